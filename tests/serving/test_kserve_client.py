"""KServe's own clients, unmodified, each in a process and an environment of its own.

KServe needs other versions of pandas and psutil than ours, and its protobuf messages clash with
those of Triton's client.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conftest import Serving, Trained


def run(python: Path, program: str, *arguments: str) -> Any:
    done = subprocess.run(
        [str(python), str(Path(__file__).with_name(program)), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_rest(flower: Trained, serving: Serving, kserve_python: Path) -> None:
    with serving(*flower.arguments("flower")) as server:
        got = run(kserve_python, "kserve_rest_program.py", f"http://{server.address}")

    expected = ["rose", "iris"]
    missing = got.pop("unknown model")
    wrong = got.pop("wrong rows")
    assert got == {
        "live": True,
        "ready": True,
        "model ready, V1": True,
        "model ready, V2": True,
        "V1": expected,
        "V2": expected,
        "V2 binary": expected,
        "id": "seven",
    }
    assert (missing[0], "no model 'other'" in missing[1]) == (404, True)
    assert (wrong[0], "expected 2 features, 1 given" in wrong[1]) == (400, True)
