"""What the sweep found, as Markdown: every model in a document, the counts in the README."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.sweep.cases import KINDS

START, END = "<!-- sweep:start -->", "<!-- sweep:end -->"
_COUNTED = ("certified", "not convertible", "refused", "failed")
_HEAD = ("", "models", "certified", "not convertible", "refused", "failed", "wrongly certified")

Found = dict[str, Any]


def counts(found: Found) -> str:
    """Return the table of counts by kind."""
    models = found["models"]
    rows = [_counted(kind, [m for m in models if m["kind"] == kind]) for kind in KINDS]
    return _table(_HEAD, [*rows, _counted("all", models)])


def section(found: Found) -> str:
    """Return what goes between the README's markers."""
    libraries = ", ".join(f"{name} {number}" for name, number in found["libraries"].items())
    return (
        f"{counts(found)}\n\n"
        "Certified models are served in ONNX. Those that no converter takes, and those whose "
        "conversion the certificate refused, are served natively. Wrongly certified is a model "
        "that, on 20,000 rows which the certificate has not seen, answers more than one in a "
        "thousand otherwise (another label, or a number off by 1e-3 of its size) where neither a "
        "tie nor the rounding of inputs to float32 explains it; failed is anything else that "
        f"went wrong, up to the last answer over the wire. {libraries}. `make sweep` repeats it; "
        "[docs/sweep.md](docs/sweep.md) has every model with its reason."
    )


def document(found: Found) -> str:
    """Return the page with every model."""
    parts = [
        "# The sweep",
        "`make sweep` writes this page. Every model is trained on a data set that scikit-learn "
        "brings along, logged to MLflow, resolved, converted, certified, served by the runtime "
        "(in ONNX if it is certified, else natively) and asked over V1 and V2.",
        section(found).replace("(docs/sweep.md)", "(sweep.md)").rpartition(";")[0] + ".",
        "Differing is the share of fresh rows that native and converted model answer "
        "differently, unexplained the part of it that no tie and no rounding of inputs explains. "
        "Blame is the certificate's word, and after the slash the sweep's.",
    ]
    for kind in KINDS:
        models = [model for model in found["models"] if model["kind"] == kind]
        head = ("model", "outcome", "reason", "blame", "differing", "unexplained", "seconds")
        parts += [f"## {kind.capitalize()}", _table(head, [_row(model) for model in models])]
    left = [(one["name"], one["reason"]) for one in found["left_out"]]
    parts += [
        "## Not applicable",
        "What scikit-learn lists and nobody can ask for an answer.",
        _table(("estimator", "reason"), left),
    ]
    return "\n\n".join(parts) + "\n"


def describe(model: Found) -> str:
    """Return a model's verdict in a line."""
    wrong = " WRONGLY" if model["wrongly_certified"] else ""
    reason = f": {model['reason']}" if model["reason"] else ""
    return f"{model['name']}:{wrong} {model['outcome']}{reason} ({model['seconds']:.1f} s)"


def _counted(title: str, models: Sequence[Found]) -> tuple[str, ...]:
    outcomes = [sum(model["outcome"] == outcome for model in models) for outcome in _COUNTED]
    wrong = sum(model["wrongly_certified"] for model in models)
    return (title, *(str(number) for number in (len(models), *outcomes, wrong)))


def _row(model: Found) -> tuple[str, ...]:
    outcome = "WRONGLY certified" if model["wrongly_certified"] else model["outcome"]
    compared = [
        _share(model[name]) if model["rows"] else "" for name in ("differing", "unexplained")
    ]
    blame = " / ".join(word for word in (model["fault"], model["blame"]) if word)
    return (model["name"], outcome, model["reason"], blame, *compared, f"{model['seconds']:.1f}")


def _share(value: float) -> str:
    return f"{value:.2%}" if value else "0"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [_line(head), "|---" * len(head) + "|", *(_line(row) for row in rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escape(cell) for cell in cells)} |"


def _escape(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
