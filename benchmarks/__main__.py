"""The command line: `python -m benchmarks` runs everything, `--help` lists the parts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import compare, decoding, machine, network, results, scaling, soak, table
from benchmarks.contenders import EVERYONE, OURS, Contender
from benchmarks.load import LoadFailed, missing_tools
from benchmarks.places import CHECKOUT
from benchmarks.progress import say, working
from benchmarks.servers import ServerFailed

Scenario = Callable[[argparse.Namespace], bool]

COMPARISON = "comparison"
README = "readme"
DESCRIBED: dict[str, Callable[[dict[str, Any]], str]] = {
    "scaling": scaling.describe,
    "network": network.describe,
    "decoding": decoding.describe,
    "soak": soak.describe,
}
QUICK_SECONDS = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for; the exit status is 1 when the runtime has no figures."""
    given = _parser().parse_args(arguments)
    if missing := missing_tools():
        say(f"benchmarks: apt-get install {' '.join(missing)} first")
        return 1
    if machine.is_busy():
        say(f"This machine is busy (load {machine.LOAD_BEFORE:.1f}): the figures will be too low")
    scenarios = _scenarios(given.scenario)
    failed = [name for name, scenario in scenarios.items() if not _run(name, scenario, given)]
    writes = given.write_readme or given.scenario == README
    written = _write_readme() if writes else True
    return 1 if failed or not written else 0


def _run(name: str, scenario: Scenario, given: argparse.Namespace) -> bool:
    with working(f"Scenario {name}"):
        try:
            return scenario(given)
        except (ServerFailed, LoadFailed) as error:
            say(f"{name}: {error}")
            return False


def _scenarios(name: str) -> dict[str, Scenario]:
    if name == "all":
        return SCENARIOS
    return {one: run for one, run in {**SCENARIOS, "start": _start}.items() if one == name}


def _compare(given: argparse.Namespace) -> bool:
    return _comparison(given, COMPARISON, given.connections)


def _start(given: argparse.Namespace) -> bool:
    return _comparison(given, "start", ())


def _comparison(given: argparse.Namespace, name: str, connections: Sequence[int]) -> bool:
    plan = compare.Plan(
        contenders=_wanted(given.only),
        connections=connections,
        seconds=given.seconds or (QUICK_SECONDS if given.quick else 4),
        repeats=given.repeats or (1 if given.quick else 3),
        install=not given.quick,
    )
    kept = results.save(name, compare.run(plan))
    say(table.markdown(kept))
    ours = [row for row in kept["rows"] if row["server"] == OURS]
    return not any(row["problem"] for row in ours)


def _wanted(words: Sequence[str]) -> Sequence[Contender]:
    """Return the runtime, and the rivals whose titles have one of the words (all without any)."""
    return [
        one
        for one in EVERYONE
        if not words or one.title == OURS or any(word in one.title.lower() for word in words)
    ]


def _others(name: str, measured: dict[str, Any]) -> bool:
    say(DESCRIBED[name](results.save(name, measured)))
    return True


def _scale(given: argparse.Namespace) -> bool:
    connections = given.connections if given.quick else scaling.CONNECTIONS
    return _others("scaling", scaling.run(connections, given.seconds or 4))


def _network(given: argparse.Namespace) -> bool:
    repeats = given.repeats or (1 if given.quick else 3)
    return _others("network", network.run(given.seconds or 10, repeats))


def _decode(given: argparse.Namespace) -> bool:
    return _others("decoding", decoding.run(given.repeats or (3 if given.quick else 20)))


def _soak(given: argparse.Namespace) -> bool:
    seconds = given.soak_seconds
    return _others("soak", soak.run(seconds, min(30, max(1, seconds // 3))))


SCENARIOS: dict[str, Scenario] = {
    COMPARISON: _compare,
    "scaling": _scale,
    "network": _network,
    "decoding": _decode,
    "soak": _soak,
}


def _write_readme() -> bool:
    """Put the last results of every scenario into the README, or say why not."""
    comparison = results.load(COMPARISON)
    if comparison is None:
        say("Nothing is compared yet: python -m benchmarks comparison")
        return False
    kept = {name: results.load(name) for name in DESCRIBED}
    others = [DESCRIBED[name](result) for name, result in kept.items() if result]
    try:
        table.write(CHECKOUT / "README.md", table.section(comparison, others))
    except ValueError as error:
        say(str(error))
        return False
    say("The README has the new figures")
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("scenario", nargs="?", default="all", choices=["all", *SCENARIOS, "start", README])
    add("--only", nargs="+", default=[], metavar="WORD", help="the runtime and rivals so named")
    add("--connections", type=_numbers, default=(1, 16, 64), help="default: 1,16,64")
    add("--seconds", type=int, help="of each measurement (default: 4; network 10)")
    add("--repeats", type=int, help="interleaved rounds (default: 3)")
    add("--soak-seconds", type=int, default=600, help="of the soak (default: 600)")
    add("--quick", action="store_true", help="one short round; nothing is installed")
    add("--write-readme", action="store_true", help="put the figures into the README")
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(number) for number in text.split(",")))


if __name__ == "__main__":
    sys.exit(main())
