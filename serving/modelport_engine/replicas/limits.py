"""The limits of `resources.limits` that this machine lets any user enforce.

Memory is measured now and then, and a replica that uses more than its limit is killed, as the
kubelet would. Between two looks it may use more; a kernel that enforced it (cgroup v2, where
systemd delegates it to users) is on few of the machines that this runs on. Cores are limited
where the process is started: its numerical libraries use as many threads.
"""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS = (("GiB", 2**30), ("MiB", 2**20))


def over_limit(limits: Mapping[int, int]) -> dict[int, str]:
    """Find the replicas that use more memory than they may.

    Args:
        limits: By the id of the process that leads a replica's session, in bytes.

    Returns:
        What to say about each that does, such as "used 1.2 GiB of its limit of 1 GiB".
    """
    said = {}
    for leader, members in _sessions(limits).items():
        limit = limits[leader]
        # Pages that workers share count for each of them here, so this is never too little.
        if sum(map(_resident, members)) > limit:
            used = sum(map(_share, members))
            if used > limit:
                said[leader] = f"used {_amount(used)} of its limit of {_amount(limit)}"
    return said


def _sessions(leaders: Mapping[int, int]) -> dict[int, list[int]]:
    """Find the processes of each replica: it leads a session, in which its workers are."""
    found = defaultdict(list)
    for pid in psutil.pids() if leaders else ():
        try:
            session = os.getsid(pid)
        except OSError:
            continue
        if session in leaders:
            found[session].append(pid)
    return found


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _share(pid: int) -> int:
    """Its own memory and its part of what it shares; much slower to learn than `_resident`."""
    try:
        memory = psutil.Process(pid).memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(memory, "pss", memory.uss))


def _amount(size: int) -> str:
    unit, factor = next((unit for unit in _UNITS if size >= unit[1]), _UNITS[-1])
    return f"{round(size / factor, 2):g} {unit}"
