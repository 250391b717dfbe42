"""TCP ports of this machine: which are free, and who holds one that is not."""

from __future__ import annotations

import random
import socket
from itertools import chain
from typing import TYPE_CHECKING

import psutil

from modelport_engine.errors import EngineStartFailed, PortInUse

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

LOOPBACK = ("127.0.0.1",)
"""Where replicas listen, and the gateway unless it is asked otherwise."""

_REPLICA_PORTS = range(20_000, 32_000)
# Below the ports that systems hand out to clients by themselves, so nobody takes one by chance
# between our look and the replica's bind.


def is_free(port: int, hosts: Sequence[str] = LOOPBACK) -> bool:
    """Tell whether a listener could bind the port of these IP addresses now."""
    return all(_is_free(port, host) for host in hosts)


def _is_free(port: int, host: str) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Connections of an earlier listener that linger in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def replica_port(taken: set[int], hosts: Sequence[str] = LOOPBACK) -> int:
    """Choose a port for a replica; `taken` are those of replicas that may not have bound yet."""
    first = random.randrange(len(_REPLICA_PORTS))  # noqa: S311 - to spread them, not to hide them
    for port in chain(_REPLICA_PORTS[first:], _REPLICA_PORTS[:first]):
        if port not in taken and is_free(port, hosts):
            return port
    raise PortInUse(
        f"no port from {_REPLICA_PORTS[0]} to {_REPLICA_PORTS[-1]} is free", "stop some programs"
    )


def gateway_port(
    explicit: int | None,
    remembered: int | None,
    default: int,
    hosts: Sequence[str] = LOOPBACK,
) -> int:
    """Choose the gateway's port: the one asked for, else the last one, else the default.

    A service's URL contains it, so only a home that never had one falls back to any free port.

    Raises:
        PortInUse: when the port asked for, or the remembered one, is not free.
    """
    wanted = explicit or remembered
    if wanted is None:
        return default if is_free(default, hosts) else replica_port(set(), hosts)
    if not 0 < wanted < 65_536:
        raise EngineStartFailed(f"{wanted} is not a port", "choose one from 1024 to 65535")
    if not is_free(wanted, hosts):
        raise PortInUse(
            f"port {wanted} on {hosts[0]} is in use{_holder(wanted)}",
            "stop what holds it, or choose another one with --gateway-port",
        )
    return wanted


def is_connected(pid: int, ports: Collection[int]) -> bool:
    """Tell whether a process has connections to any of these replicas' ports, or is opening some.

    No, where the process is gone or the system does not tell.
    """
    addresses = {(host, port) for host in LOOPBACK for port in ports}
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return False
    return any(connection.raddr in addresses for connection in connections)


def _holder(port: int) -> str:
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return ""
    for connection in connections:
        local = connection.laddr
        if connection.status == psutil.CONN_LISTEN and local and local.port == port:
            return _named(connection.pid)
    return ""


def _named(pid: int | None) -> str:
    if pid is None:
        return ""
    try:
        return f" by {psutil.Process(pid).name()} (pid {pid})"
    except psutil.Error:
        return f" by pid {pid}"
