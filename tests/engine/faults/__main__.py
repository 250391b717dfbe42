"""Faults under load: `python -m tests.engine.faults` prints what came of each (`make faults`).

Real processes: the engine, Envoy, and the runtime with a small ONNX model, asked over REST and
gRPC at a constant rate. Each answer must be that of a model that may answer at that time, and no
request may be lost but of those classes that a line below the case names. Ends with 1 otherwise.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import table
from tests.engine.faults import report
from tests.engine.faults.cases import CASES
from tests.engine.faults.suite import suite_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.faults.suite import Suite
    from tests.engine.faults.verdict import Result

README = Path(__file__).parents[3] / "README.md"

WINDOWS = {
    "MODELPORT_ENGINE_SCALE_QUIET_WINDOW": "10",
    "MODELPORT_ENGINE_SCALE_STABLE_WINDOW": "12",
}
# Instead of a minute: how long the load must be low before replicas go.


def main() -> int:
    """Try the cases, or faults by chance, and print the table."""
    given = _given()
    print(report.HEAD)
    results = []
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as folder,
        suite_at(Path(folder), given.rate, **WINDOWS) as suite,
    ):
        for result in _tried(suite, given):
            results.append(result)
            print("\n".join(report.lines(result)), flush=True)
    failed = any(result.problems for result in results)
    if given.write_readme and not failed:
        text = report.markdown(results, _setting(given))
        table.write(README, text, report.START, report.END)
    return 1 if failed else 0


def _tried(suite: Suite, given: argparse.Namespace) -> Iterator[Result]:
    if given.random:
        yield suite.by_chance(given.random, given.seed)
        return
    for name in CASES:
        if not given.only or any(word in name for word in given.only):
            yield suite.tried(name, given.seconds)


def _setting(given: argparse.Namespace) -> str:
    day = datetime.now(UTC).date()
    return (
        f"Measured {day} on {os.cpu_count()} cores, which load, gateway and models share, with "
        f"{given.rate:g} requests a second over REST and as many over gRPC at a constant rate; "
        f"each case for {given.seconds:g} s, in which its fault is repeated. Each answer is "
        "checked to be that of a model which may answer at that time; a wait counts from when a "
        "request was due. Replicas go after a quiet window of 10 s here. `make faults` repeats it."
    )


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.engine.faults", description=__doc__)
    add = parser.add_argument
    add("--only", nargs="+", default=[], metavar="WORD", help="cases whose name has one of them")
    add("--seconds", type=float, default=60.0, help="of each case; 0: each fault once")
    add("--rate", type=float, default=200.0, help="requests a second, of each protocol")
    add("--random", type=float, metavar="SECONDS", help="do faults by chance for so long instead")
    add("--seed", type=int, default=random.randrange(1000), help="of chance")
    add("--write-readme", action="store_true", help="put the table of all cases into the README")
    given = parser.parse_args()
    if given.write_readme and (given.only or given.random):
        parser.error("--write-readme needs all cases: leave --only and --random away")
    return given


if __name__ == "__main__":
    sys.exit(main())
