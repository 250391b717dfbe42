"""The command line: `python -m benchmarks.engine` measures an idle engine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks import machine, results, table
from benchmarks.engine import idling, report
from benchmarks.places import CHECKOUT
from benchmarks.progress import say, working


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and put it into the README if asked to."""
    given = _parser().parse_args(arguments)
    if machine.is_busy():
        say(f"This machine is busy (load {machine.LOAD_BEFORE:.1f}): starts will take too long")
    with working("The engine"):
        result = results.save("engine", idling.run(given.services))
    say(report.table(result))
    if given.write_readme:
        table.write(CHECKOUT / "README.md", report.section(result), report.START, report.END)
        say("The README has the new table")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__)
    add = parser.add_argument
    add("--services", nargs="+", type=int, default=[1, 5, 20], metavar="N", help="default: 1 5 20")
    add("--write-readme", action="store_true", help="put the table into the README")
    return parser


if __name__ == "__main__":
    sys.exit(main())
