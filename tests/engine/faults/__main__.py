"""Faults under load: `python -m tests.engine.faults` prints what came of each (`make faults`).

Real processes: the engine, Envoy, and the runtime with a small ONNX model, asked over REST and
gRPC at a constant rate. Each answer must be that of a model that may answer at that time, and no
request may be lost but of those classes that a line below the case names. Ends with 1 otherwise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from modelport_engine.errors import EngineError
from tests.engine.faults.cases import CASES
from tests.engine.faults.site import Site
from tests.engine.faults.traffic import Load
from tests.engine.faults.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.engine.faults.cases import Case
    from tests.engine.faults.verdict import Result

HEAD = f"{'case':<32}{'sent':>8}{'REST':>6}{'gRPC':>6}{'longest':>9}  recovered (median, longest)"


def main() -> int:
    """Run the cases and print the table."""
    given = _parser().parse_args()
    names = [name for name in CASES if not given.only or any(word in name for word in given.only)]
    print(HEAD)
    bad = False
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        site = Site(Path(folder))
        try:
            site.start()
            with Load(site.port) as load:
                for name in names:
                    result = tried(site, load, name, given.seconds, given.rate)
                    for line in lines(result):
                        print(line, flush=True)
                    bad |= bool(result.problems)
        finally:
            for left in site.close():
                print(left)
                bad = True
    return 1 if bad else 0


def tried(site: Site, load: Load, name: str, seconds: float, rate: float) -> Result:
    """Try one case."""
    trial = Trial(site, load, seconds, rate)
    try:
        CASES[name](trial)
    except (AssertionError, EngineError) as error:
        trial.check(False, f"{type(error).__name__}: {error}")
    result = trial.end(name)
    result.problems += site.flaws()
    return result


def lines(result: Result) -> Iterator[str]:
    """Give a case's lines of the table."""
    times = "; ".join(
        f"{what} {median(seconds):.2f} s, {max(seconds):.2f} s ({len(seconds)} x)".strip()
        for what, seconds in result.recoveries.items()
    )
    counts = f"{result.failed['rest']:>6}{result.failed['grpc']:>6}"
    verdict = "FAILED" if result.problems else ""
    yield (
        f"{result.name:<32}{result.sent:>8}{counts}{result.longest:>7.2f} s  {times}  {verdict}"
    ).rstrip()
    for (why, protocol), count in result.excused.items():
        yield f"    {count} of {protocol}: {why}"
    for problem in result.problems:
        yield f"    {problem[:400]}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.engine.faults", description=__doc__)
    add = parser.add_argument
    add("--only", nargs="+", default=[], metavar="WORD", help="cases whose name has one of them")
    add("--seconds", type=float, default=60.0, help="of each case; 0: each fault once")
    add("--rate", type=float, default=200.0, help="requests a second, of each protocol")
    return parser


if __name__ == "__main__":
    sys.exit(main())
