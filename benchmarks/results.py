"""What was measured, kept as JSON: one file for each scenario, with the machine's facts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks import machine
from benchmarks.places import folder
from benchmarks.progress import say

_PACKAGES = ("modelport", "numpy", "onnxruntime", "orjson", "uvloop", "httptools", "grpcio")


def save(scenario: str, result: dict[str, Any]) -> dict[str, Any]:
    """Keep a result in place of an earlier one; return it as it comes from JSON."""
    document = {
        "scenario": scenario,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.facts(),
        "versions": {package: _version(package) for package in _PACKAGES},
        **result,
    }
    path = folder("results") / f"{scenario}.json"
    text = json.dumps(document, indent=1)
    path.write_text(text)
    say(f"Kept in {path}")
    kept: dict[str, Any] = json.loads(text)
    return kept


def load(scenario: str) -> dict[str, Any] | None:
    """Return what was last measured, as it comes from JSON; None if nothing was."""
    path = folder("results") / f"{scenario}.json"
    if not path.exists():
        return None
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
