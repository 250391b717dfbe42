"""Faults under load: `python -m tests.engine.faults` prints what came of each (`make faults`).

Real processes: the engine, Envoy, and the runtime with a small ONNX model, asked over REST and
gRPC at a constant rate. Each answer must be that of a model that may answer at that time, and no
request may be lost but of those classes that a line below the case names. Ends with 1 otherwise.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tests.engine.faults.cases import CASES
from tests.engine.faults.chaos import Chaos
from tests.engine.faults.site import Site
from tests.engine.faults.traffic import Load
from tests.engine.faults.trial import Trial

from modelport_engine.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.faults.cases import Case
    from tests.engine.faults.verdict import Result

WINDOWS = {
    "MODELPORT_ENGINE_SCALE_QUIET_WINDOW": "10",
    "MODELPORT_ENGINE_SCALE_STABLE_WINDOW": "12",
}
"""Instead of a minute: how long the load must be low before replicas go."""

HEAD = f"{'case':<32}{'sent':>8}{'REST':>6}{'gRPC':>6}{'longest':>9}  recovered (median, longest)"


def main() -> int:
    """Run the cases, or faults by chance, and print the table."""
    given = _parser().parse_args()
    words = given.only or [""]
    names = [name for name in CASES if any(word in name for word in words)]
    print(HEAD)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, site_at(Path(folder)) as site:
        with Load(site.port) as load:
            if given.random:
                bad = _print(by_chance(site, load, given.random, given.seed, given.rate))
            else:
                results = (tried(site, load, name, given.seconds, given.rate) for name in names)
                bad = sum(map(_print, results))
    return 1 if bad else 0


@contextmanager
def site_at(folder: Path, **settings: str) -> Iterator[Site]:
    """An engine with windows of seconds instead of a minute; nothing may outlive it."""
    site = Site(folder, **(settings or WINDOWS))
    try:
        site.start()
        yield site
    finally:
        left = site.close()
    assert not left, left


def tried(site: Site, load: Load, name: str, seconds: float, rate: float) -> Result:
    """Try one case."""
    return _result(name, Trial(site, load, seconds, rate), CASES[name])


def by_chance(site: Site, load: Load, seconds: float, seed: int, rate: float) -> Result:
    """Try faults by chance."""
    trial = Trial(site, load, 0, rate)
    chaos = Chaos(trial, seed)
    result = _result(f"by chance, seed {seed}", trial, lambda _: chaos.run(seconds))
    result.problems += [f"done: {', '.join(chaos.done)}"] if result.problems else []
    return result


def _result(name: str, trial: Trial, case: Case) -> Result:
    try:
        case(trial)
    except (AssertionError, EngineError) as error:
        trial.check(False, f"{type(error).__name__}: {error}")
    result = trial.end(name)
    result.problems += [] if result.problems else trial.site.flaws()
    return result


def _print(result: Result) -> bool:
    """Print a case's lines; True when it found something."""
    for line in lines(result):
        print(line, flush=True)
    return bool(result.problems)


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
    add("--random", type=float, metavar="SECONDS", help="do faults by chance for so long instead")
    add("--seed", type=int, default=random.randrange(1000), help="of chance")
    add("--rate", type=float, default=200.0, help="requests a second, of each protocol")
    return parser


if __name__ == "__main__":
    sys.exit(main())
