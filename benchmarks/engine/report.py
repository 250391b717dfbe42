"""What the engine needs, as the README's table."""

from __future__ import annotations

from typing import Any

from benchmarks.engine.idling import ROLES

START, END = "<!-- engine:start -->", "<!-- engine:end -->"
_MB = 1e6


def section(result: dict[str, Any]) -> str:
    """Return all that goes between the README's markers."""
    machine = result["machine"]
    note = (
        f"Measured {result['measured'][:10]} on {machine['cores']} cores of "
        f"{machine['processor']}: each service one replica with a random forest in ONNX "
        "(100 trees), deployed one after another. Memory in MB as PSS, which counts pages that "
        "processes share once, in brackets all resident sets; CPU in per cent of a core over "
        f"{result['idle_seconds']:g} s in which nobody asks anything. "
        "`python -m benchmarks.engine` repeats it."
    )
    return f"{table(result)}\n\n{note}"


def table(result: dict[str, Any]) -> str:
    """Return the table alone."""
    head = ["idle services", *(f"{role}, MB" for role in ROLES), "all, MB", "each service, MB"]
    head += ["apply to Ready, s: median", "longest", "CPU % of engine", "Envoy", "services"]
    rows = [_cells(row) for row in result["rows"]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])


def _cells(row: dict[str, Any]) -> list[str]:
    count, rss, pss, seconds = row["services"], row["rss"], row["pss"], row["seconds"]
    cells = [str(count)]
    cells += [_memory(pss.get(role, 0), rss.get(role, 0)) for role in ROLES]
    cells.append(_memory(sum(pss.values()), sum(rss.values())))
    cells.append(f"{pss['services'] / count / _MB:.0f}" if count else "")
    cells += [f"{seconds[which]:.2f}" if seconds else "" for which in ("median", "most")]
    return [*cells, *(f"{row['cpu'].get(role, 0):.1f}" for role in ("engine", "Envoy", "services"))]


def _memory(pss: float, rss: float) -> str:
    return f"{pss / _MB:,.0f} ({rss / _MB:,.0f})" if rss else ""
