"""Where the benchmark keeps what it makes: environments, models, logs and results."""

from __future__ import annotations

import os
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
RIVALS = Path(__file__).parent / "rivals"


def home() -> Path:
    """Return where everything goes: the variable MODELPORT_BENCH, or .bench in the checkout."""
    return Path(os.environ.get("MODELPORT_BENCH") or CHECKOUT / ".bench")


def folder(name: str) -> Path:
    """Return a folder below `home`, made when it is missing."""
    path = home() / name
    path.mkdir(parents=True, exist_ok=True)
    return path
