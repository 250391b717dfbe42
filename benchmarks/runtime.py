"""The runtime alone, for the scenarios in which it has no rival."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contenders import serving
from benchmarks.machine import SERVER_CORE
from benchmarks.servers import Ports, Server, running

if TYPE_CHECKING:
    from benchmarks.protocols import Request


@contextmanager
def modelport(
    model: Path, request: Request, *arguments: str, core: int | None = SERVER_CORE
) -> Iterator[tuple[Server, int]]:
    """Serve a model folder; the block begins when `request` is answered rightly, at this port."""
    ports = Ports.free()
    with running("modelport-alone", serving(model, ports, *arguments), {}, core) as server:
        port = ports.of(request)
        server.wait_for(port, request)
        yield server, port
