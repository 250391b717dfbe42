"""Fuzz a real server: `python tests/serving/fuzz.py --requests 100000`.

Sends damaged HTTP, JSON, binary tensors, protobuf and HTTP/2 frames in rounds. After every round
the server must answer good requests rightly, have logged no error, and have grown by no more than
`GROWTH_MIB` since the first round. Then schemathesis tries what the OpenAPI document promises.
Ends with 1 when anything failed.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil
from fuzz_support import KINDS, campaign, good_requests, save_models

if TYPE_CHECKING:
    from conftest import Server

GROWTH_MIB = 32
"""What a server may grow by after its first round: allocators keep what they had once."""

ROUND = 4000
_MIB = 1024 * 1024
_SHOWN = 20
_UNTRUE_OF_MODELS = "positive_data_acceptance"
"""A check that asks for what the document cannot say: which tensors each model takes."""


class Described(NamedTuple):
    """What schemathesis found: how many requests it sent, and its report where some failed."""

    sent: int
    report: str


def resident(server: Server) -> int:
    """Return the memory of the server in bytes."""
    return int(psutil.Process(server.process.pid).memory_info().rss)


def problems(server: Server) -> list[str]:
    """Return what is wrong with the process itself."""
    if server.process.poll() is not None:
        return [f"the server ended with {server.process.returncode}: {server.errors()[-2000:]}"]
    log = server.errors()
    lines = [line for line in log.splitlines() if "is ready at" not in line]
    return [f"the log has {len(lines)} lines: {log[:4000]}"] if lines else []


def described(server: Server, examples: int, seed: int = 0) -> Described:
    """Let schemathesis try every endpoint of the OpenAPI document but `unload`."""
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", "--no-color"),
        *("--checks", "all", "--exclude-checks", _UNTRUE_OF_MODELS),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", str(examples)),
        *("--exclude-path-regex", "unload$", "--seed", str(seed)),
        *("--generation-database", ":memory:", f"http://{server.address}/openapi.json"),
    ]
    with tempfile.TemporaryDirectory() as folder:  # it keeps files where it runs
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    found = re.search(r"(\d+) generated", done.stdout)
    sent = int(found[1]) if found else 0
    return Described(sent, "" if done.returncode == 0 and sent else done.stdout + done.stderr)


def fuzz(server: Server, requests: int, seed: int) -> int:
    """Fuzz a server, print what came of it, and return the number of failures."""
    answers: Counter[str] = Counter()
    failures: list[str] = []
    sent, first, started = 0, 0, time.monotonic()
    while sent < requests and server.process.poll() is None:
        ports = server.port, server.grpc_port
        counts = asyncio.run(campaign(*ports, min(ROUND, requests - sent), seed=seed + sent))
        good = asyncio.run(good_requests(*ports, seed=sent))
        sent += counts.sent
        answers += counts.answers
        failures += [*counts.failures, *good.failures, *problems(server)]
        first = first or resident(server)
        print(
            f"{sent:>8} sent, {len(failures)} failures, {resident(server) / _MIB:.0f} MiB, "
            f"{sent / (time.monotonic() - started):.0f}/s",
            flush=True,
        )
        if failures:
            break
    last = resident(server) if server.process.poll() is None else 0
    if last - first > GROWTH_MIB * _MIB:
        failures.append(f"grew by {(last - first) / _MIB:.0f} MiB")
    for answer, count in sorted(answers.items()):
        print(f"  {answer:<10} {count}")
    print(f"memory: {first / _MIB:.1f} MiB after the first round, {last / _MIB:.1f} MiB at the end")
    for failure in failures[:_SHOWN]:
        print(f"FAILED: {failure}")
    return len(failures)


def main() -> int:
    """Run the program."""
    from conftest import serving

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help=f"of {', '.join(KINDS)}")
    parser.add_argument("--examples", type=int, default=200, help="of each endpoint in OpenAPI")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = save_models(Path(folder))
        with serving("--model_dir", str(root), "--enable_docs_url") as server:
            failures = fuzz(server, given.requests, given.seed)
            api = described(server, given.examples, given.seed)
            print(f"{api.sent} requests from the OpenAPI document\n{api.report}")
            wrong = [*problems(server), *([api.report] if api.report else [])]
    print(f"{failures + len(wrong)} failures")
    return 1 if failures or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
