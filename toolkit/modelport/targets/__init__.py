"""Where services live."""

from __future__ import annotations

from modelport.config import settings
from modelport.targets.local import LocalTarget


def local() -> LocalTarget:
    """Return the target on this machine."""
    return LocalTarget(settings())
