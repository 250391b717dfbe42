"""What must hold whenever nothing is under way: nothing is missing, nothing is left over."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import psutil

from modelport_engine.replicas.processes import is_alive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.faults.site import Document, Site

_LIMIT = 40.0
# Seconds until everything has come to rest: back-off and retirement included.

_MOST_SOCKETS = 16
# Of the engine: its own listener, and those who ask it just now.

_PORT = re.compile(r'"port_value": (\d+)')


def flaws(site: Site) -> list[str]:
    """Wait until all is as it should be; say what is not."""
    deadline = time.monotonic() + _LIMIT
    while (found := site.calmly(lambda: [*_flaws(site)])) and time.monotonic() < deadline:
        time.sleep(0.2)
    return [str(flaw) for flaw in found]


def _flaws(site: Site) -> Iterator[str]:
    items = {item["metadata"]["name"]: item for item in site.client.list()["items"]}
    replicas = [one for name in items for one in site.replicas(name)]
    for name, item in items.items():
        if site.home.conditions(item)["Ready"] != "True":
            yield f"{name} is not ready"
    yield from (f"{one['name']} is not ready" for one in replicas if not one["ready"])
    yield from _processes(site, {one["pid"] for one in replicas})
    yield from _ports(site, replicas)
    yield from _endpoints(site, replicas)
    yield from _sockets(site)
    with closing(sqlite3.connect(site.client.paths.database)) as database:
        (verdict,) = database.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        yield f"the database is damaged: {verdict}"


def _processes(site: Site, replicas: set[int]) -> Iterator[str]:
    """Compare the processes that there are with those that there should be."""
    standbys = site.standbys()
    wanted = {site.engine(), site.gateway(), *replicas, *standbys}
    for process in site.owned():
        with suppress(ProcessLookupError):
            if os.getsid(process.pid) not in wanted:
                yield f"{process} is nobody's"
    yield from (f"pid {pid} does not run" for pid in wanted if not is_alive(pid))
    if len(standbys) != 1:
        yield f"there are {len(standbys)} standbys"


def _ports(site: Site, replicas: list[Document]) -> Iterator[str]:
    """Look for ports that are held, and are no replica's."""
    known = _known(replicas) | {site.port}
    ours = {process.pid for process in site.owned()}
    for seen in psutil.net_connections("tcp"):
        listens = seen.status == psutil.CONN_LISTEN and seen.pid in ours
        if listens and seen.laddr.port not in known:
            yield f"port {seen.laddr.port} is held by pid {seen.pid}"


def _sockets(site: Site) -> Iterator[str]:
    """Count the engine's sockets: it keeps a few, whatever has happened."""
    held = len(psutil.Process(site.engine()).net_connections("all"))
    if held > _MOST_SOCKETS:
        yield f"the engine holds {held} sockets"


def _endpoints(site: Site, replicas: list[Document]) -> Iterator[str]:
    """Compare the ports that Envoy was told with those of the replicas."""
    files = site.client.paths.envoy.glob("eds-*.json")
    told = {int(port) for file in files for port in _PORT.findall(file.read_text())}
    yield from (f"Envoy is told of port {port}" for port in sorted(told - _known(replicas)))


def _known(replicas: list[Document]) -> set[int]:
    return {port for one in replicas for port in (one["port"], one["grpcPort"]) if port}
