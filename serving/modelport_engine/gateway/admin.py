"""Envoy's admin interface, over its Unix socket."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from modelport_engine import fetch
from modelport_engine.gateway.xds import ADMIN_SOCKET

if TYPE_CHECKING:
    from pathlib import Path

_LIMIT = 2.0
# Seconds for one answer; it takes milliseconds.


class Admin:
    """Envoy's admin interface; `folder` is where that Envoy works."""

    def __init__(self, folder: Path) -> None:
        self._socket = folder / ADMIN_SOCKET

    async def statistics(self, pattern: str, **options: str) -> list[dict[str, Any]] | None:
        """Give the statistics that match a regular expression; None when Envoy does not answer."""
        query = urlencode({"format": "json", "filter": pattern, **options})
        answer = await fetch.get(self._socket, f"/stats?{query}", _LIMIT)
        if answer is None or answer.status != HTTPStatus.OK:
            return None
        entries: list[dict[str, Any]] = json.loads(answer.body)["stats"]
        return entries

    async def values(self, pattern: str) -> dict[str, Any] | None:
        """Give counters, gauges and texts by name; None when Envoy does not answer."""
        entries = await self.statistics(pattern)
        return None if entries is None else {entry["name"]: entry["value"] for entry in entries}

    async def do(self, command: str) -> None:
        """Have Envoy do something, if it answers at all."""
        await fetch.post(self._socket, command, _LIMIT)

    def forget(self) -> None:
        """Remove the socket of an Envoy that has ended."""
        self._socket.unlink(missing_ok=True)
