"""Triton's own server, from PyTriton's wheel, with its own Python backend: V2 and gRPC.

PyTriton itself puts one more process between the two, and on some systems does not start.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

import forest

PACKAGES = Path(sysconfig.get_path("purelib"))
TRITON = PACKAGES / "pytriton" / "tritonserver"
REPOSITORY = Path(__file__).parent / "repository"
BACKENDS = Path("triton-backends").absolute()


def backends() -> Path:
    """Return the backends' folder, with the interpreter of this Python version in it."""
    if not BACKENDS.exists():
        staged = BACKENDS.with_suffix(".partial")
        shutil.rmtree(staged, ignore_errors=True)
        shutil.copytree(TRITON / "backends", staged)
        version = "{}.{}".format(*sys.version_info)
        stub = TRITON / "python_backend_stubs" / version / "triton_python_backend_stub"
        shutil.copy(stub, staged / "python")
        staged.rename(BACKENDS)
    return BACKENDS


def main() -> None:
    """Become Triton's server."""
    os.environ["LD_LIBRARY_PATH"] = str(PACKAGES / "nvidia_pytriton.libs")
    os.environ["PYTHONPATH"] += f"{os.pathsep}{PACKAGES}"
    server = str(TRITON / "bin" / "tritonserver")
    options = {
        "model-repository": REPOSITORY,
        "backend-directory": backends(),
        "http-address": forest.HOST,
        "http-port": forest.http_port(),
        "grpc-address": forest.HOST,
        "grpc-port": forest.grpc_port(),
        "allow-metrics": "false",
    }
    os.execv(server, [server, *(f"--{name}={value}" for name, value in options.items())])  # noqa: S606


if __name__ == "__main__":
    main()
