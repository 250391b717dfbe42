"""One virtual environment for each rival, made once: their requirements exclude each other."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.places import RIVALS, folder
from benchmarks.progress import working

_NOISE = re.compile(r"WARNING|ignored|notice")


class DoesNotInstall(Exception):
    """A rival's environment cannot be made here; the text is pip's reason."""


def python(name: str) -> Path:
    """Return the interpreter of a rival's environment, installed or not."""
    return folder("environments") / name / "bin" / "python"


def is_installed(name: str) -> bool:
    """Whether the environment holds just what the rival's requirements.txt asks for."""
    receipt = _receipt(name)
    return receipt.exists() and receipt.read_bytes() == _requirements(name).read_bytes()


def install(name: str) -> None:
    """Make the rival's environment, unless it is there; `DoesNotInstall` says why not."""
    if is_installed(name):
        return
    with working(f"Installing {name}"):
        root = folder("environments") / name
        shutil.rmtree(root, ignore_errors=True)
        _run(name, [sys.executable, "-m", "venv", str(root)])
        pip = [str(python(name)), "-m", "pip", "--disable-pip-version-check", "install"]
        _run(name, [*pip, "--quiet", "--requirement", str(_requirements(name))])
        shutil.copy(_requirements(name), _receipt(name))


def versions(name: str) -> dict[str, str]:
    """Return the versions that the rival's requirements.txt pins."""
    lines = _requirements(name).read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


def _requirements(name: str) -> Path:
    return RIVALS / name / "requirements.txt"


def _receipt(name: str) -> Path:
    return folder("environments") / name / "installed.txt"


def _run(name: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if line and not _NOISE.search(line)]
    (folder("logs") / f"install-{name}.log").write_text("\n".join(lines))
    if done.returncode:
        raise DoesNotInstall(lines[-1] if lines else f"pip ended with {done.returncode}")
