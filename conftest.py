"""No test and no notebook touches its user's state: all of it lies in a temporary folder."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

_HOME = Path(tempfile.mkdtemp(prefix="modelport-tests-"))
_ARTIFACTS = Path(__file__).parent / "notebooks" / "mlruns"  # MLflow's default, beside a notebook
_ARTIFACTS_ARE_OURS = not _ARTIFACTS.exists()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pytest_configure() -> None:
    """Set the variables before any kernel or process is started."""
    os.environ["MODELPORT_HOME"] = str(_HOME / "home")
    os.environ["MODELPORT_GATEWAY_PORT"] = str(_free_port())
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{_HOME / 'mlflow.db'}"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop what notebooks started; remove what MLflow wrote beside them."""
    subprocess.run([sys.executable, "-m", "modelport", "down"], check=False, capture_output=True)
    shutil.rmtree(_HOME, ignore_errors=True)
    # One of several workers may end while another's notebook still runs.
    if _ARTIFACTS_ARE_OURS and not hasattr(session.config, "workerinput"):
        shutil.rmtree(_ARTIFACTS, ignore_errors=True)
