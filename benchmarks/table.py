"""The comparison as a Markdown table, and the README's section."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.contenders import CEILINGS, OURS

START, END = "<!-- bench:start -->", "<!-- bench:end -->"
_CEILINGS = frozenset(contender.title for contender in CEILINGS)


def markdown(result: dict[str, Any]) -> str:
    """Return the comparison, as it comes from JSON, as a table: best first, ceilings last."""
    levels = [str(at) for at in result["connections"]]
    head = ["server", "protocol", *(f"req/s at {at}" for at in levels)]
    if levels:
        head += [f"p50 ms at {levels[0]}", f"p99 ms at {levels[-1]}", "CPU µs"]
    head += ["start s", "MB"]
    if levels:
        head.append(f"ours is, at {' / '.join(levels[1:] or levels)}")
    ours = {row["protocol"]: row for row in result["rows"] if row["server"] == OURS}
    rows = [_cells(row, ours, levels) for row in sorted(result["rows"], key=_order)]
    return "\n".join([_line(head), "|---" * len(head) + "|", *(_line(row) for row in rows)])


def section(comparison: dict[str, Any], others: list[str]) -> str:
    """Return all that goes between the README's markers."""
    machine = comparison["machine"]
    note = (
        f"Measured {comparison['measured'][:10]} on {machine['cores']} cores of "
        f"{machine['processor']} with Python {machine['python']}: a random forest in ONNX "
        "(30 features, 100 trees), one row a request; the server and its children on one core, "
        "wrk (for gRPC h2load) on another; medians of "
        f"{comparison['repeats']} interleaved rounds with {comparison['seconds']} s for each load. "
        "Every answer is checked before and after, and one failed request voids the row; metrics "
        "are on, and nobody logs single requests. CPU is the server's time for a request at the "
        "most connections; start is from the process's to the first right answer. Ratios compare "
        "the same protocol, and our V2 with what speaks its own. `make bench` repeats it."
    )
    return "\n\n".join([markdown(comparison), note, *others])


def write(readme: Path, text: str, first: str = START, last: str = END) -> None:
    """Put the text between the README's markers; `ValueError` when it has none."""
    content = readme.read_text()
    before, start, rest = content.partition(first)
    _, end, after = rest.partition(last)
    if not start or not end:
        raise ValueError(f"{readme} has no section between {first} and {last}: add these two lines")
    readme.write_text(f"{before}{first}\n{text}\n{last}{after}")


def _order(row: dict[str, Any]) -> tuple[bool, bool, bool, float]:
    """Ours, then the peers by speed under most load, then those without figures, then ceilings."""
    fastest = max(row["per_second"].values(), default=0.0)
    ceiling = row["server"] in _CEILINGS
    return row["server"] != OURS, ceiling, row["problem"] is not None, -fastest


def _cells(row: dict[str, Any], ours: dict[str, Any], levels: list[str]) -> list[str]:
    cells = [row["server"], row["protocol"]]
    if row["problem"]:
        return [*cells, f"no figures: {_escape(row['problem'])}"]
    cells += [f"{row['per_second'][at]:,.0f}" for at in levels]
    if levels:
        cells += [f"{row['p50_ms'][levels[0]]:.2f}", f"{row['p99_ms'][levels[-1]]:.2f}"]
        cells.append(f"{row['cpu_us']:,.0f}")
    start = row["start_seconds"]
    cells += ["" if start is None else f"{start:.1f}", f"{row['memory_mb']:,.0f}"]
    if levels:
        cells.append(_ratios(row, ours, levels[1:] or levels))
    return cells


def _ratios(row: dict[str, Any], ours: dict[str, Any], levels: list[str]) -> str:
    own = ours.get(row["protocol"]) or ours.get("V2")
    if row["server"] == OURS or own is None or own["problem"]:
        return ""
    ratios = [own["per_second"][at] / row["per_second"][at] for at in levels]
    return " / ".join(f"{ratio:.1f}x" if ratio >= 1.95 else f"{ratio:.2f}x" for ratio in ratios)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:120]
