"""What came of the cases: as lines for a terminal, and as the README's table."""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.engine.faults.verdict import Result

START, END = "<!-- faults:start -->", "<!-- faults:end -->"

HEAD = f"{'case':<32}{'sent':>8}{'REST':>6}{'gRPC':>6}{'longest':>9}  recovered: median, longest"


def lines(result: Result) -> Iterator[str]:
    """Give a case's lines: figures, classes of failures that had to be, problems."""
    failed = result.failed
    yield (
        f"{result.name:<32}{result.sent:>8}{failed['rest']:>6}{failed['grpc']:>6}"
        f"{result.longest:>7.2f} s  {_recovered(result)}"
    ).rstrip()
    for why, count in _excused(result).items():
        yield f"    {count} had to fail: {why}"
    for problem in result.problems:
        yield f"    FAILED: {problem}"


def markdown(results: Iterable[Result], setting: str) -> str:
    """Give the README's table; `setting` says how it was measured."""
    rows = [
        [
            "what happens under load",
            "requests",
            "failed",
            "longest wait",
            "recovered: median, most",
        ],
        ["---"] * 5,
    ]
    reasons: list[str] = []
    for result in results:
        marks = []
        for why in _excused(result):
            if why not in reasons:
                reasons.append(why)
            marks.append(f"<sup>{reasons.index(why) + 1}</sup>")
        failed = f"{result.failed.total():,}{''.join(marks)}"
        longest = f"{result.longest:.2f} s"
        rows.append([result.name, f"{result.sent:,}", failed, longest, _recovered(result)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    notes = " ".join(f"<sup>{n}</sup> {why}." for n, why in enumerate(reasons, start=1))
    return f"{table}\n\n{notes}\n\n{setting}"


def _recovered(result: Result) -> str:
    return "; ".join(
        f"{what} {median(seconds):.2f} s, {max(seconds):.2f} s".strip()
        for what, seconds in result.recoveries.items()
    )


def _excused(result: Result) -> Counter[str]:
    """Count the failures that had to be, by class."""
    counted: Counter[str] = Counter()
    for (why, _), count in result.excused.items():
        counted[why] += count
    return counted
