from __future__ import annotations

import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

from modelport_engine.replicas.limits import over_limit

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 2**20
ALONE = "held = bytearray(200 << 20); print(1, flush=True); input()"
WITH_A_WORKER = f"""
import subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", {ALONE!r}], stdin=subprocess.PIPE)
worker.wait()
"""
WITH_A_FORK = """
import os
held = os.urandom(200 << 20)
if os.fork():
    print(1, flush=True)
input()
"""


@contextmanager
def replica(program: str) -> Iterator[int]:
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"1\n"
        try:
            yield process.pid
        finally:
            for member in [*psutil.Process(process.pid).children(), process]:
                member.kill()


def test_a_replica_is_over_its_limit_with_all_its_workers() -> None:
    with replica(ALONE) as alone, replica(WITH_A_WORKER) as leader:
        said = over_limit({alone: 150 * MIB, leader: 150 * MIB})
        assert set(said) == {alone, leader}
        for words in said.values():
            assert re.fullmatch(r"used 2\d\d(\.\d+)? MiB of its limit of 150 MiB", words)
        assert over_limit({alone: 1024 * MIB, leader: 150 * MIB}) == {leader: said[leader]}


def test_what_workers_share_counts_once() -> None:
    with replica(WITH_A_FORK) as leader:
        assert over_limit({leader: 300 * MIB}) == {}
        assert set(over_limit({leader: 150 * MIB})) == {leader}


def test_a_replica_that_has_ended_is_over_no_limit() -> None:
    with replica(ALONE) as alone:
        pass
    assert over_limit({alone: 1}) == {}
    assert over_limit({}) == {}
