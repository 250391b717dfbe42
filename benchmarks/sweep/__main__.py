"""The command line: `python -m benchmarks.sweep` carries every model, words pick some."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import results, table
from benchmarks.places import CHECKOUT
from benchmarks.progress import say, working
from benchmarks.sweep import report
from benchmarks.sweep.catalogue import catalogue, left_out
from benchmarks.sweep.workers import carried

PAGE = CHECKOUT / "docs" / "sweep.md"
_LIBRARIES = {
    "scikit-learn": "scikit-learn",
    "XGBoost": "xgboost-cpu",
    "LightGBM": "lightgbm",
    "CatBoost": "catboost",
    "skl2onnx": "skl2onnx",
    "onnxmltools": "onnxmltools",
    "ONNX Runtime": "onnxruntime",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry the models; the exit status is 1 when one failed or was wrongly certified."""
    given = _parser().parse_args(arguments)
    names = [
        case.name
        for case in catalogue().values()
        if not given.only or any(word in f"{case.kind} {case.name}" for word in given.only)
    ]
    if not names:
        say(f"no model is called {' or '.join(given.only)}")
        return 2
    with working(f"{len(names)} models"), tempfile.TemporaryDirectory(prefix="sweep-") as root:
        found = results.save("sweep", _found(names, Path(root), given.workers))
    say(report.counts(found))
    if given.write:
        PAGE.write_text(report.document(found))
        table.write(CHECKOUT / "README.md", report.section(found), report.START, report.END)
        say(f"{PAGE} and the README have the new tables")
    return 1 if any(_is_bad(model) for model in found["models"]) else 0


def _found(names: Sequence[str], root: Path, workers: int) -> dict[str, Any]:
    verdicts: dict[str, dict[str, Any]] = {}
    for verdict in carried(names, root, workers):
        verdicts[verdict.name] = {
            **asdict(verdict),
            "wrongly_certified": verdict.wrongly_certified,
        }
        say(f"[{len(verdicts)}/{len(names)}] {report.describe(verdicts[verdict.name])}")
    return {
        "libraries": {title: version(package) for title, package in _LIBRARIES.items()},
        "models": [verdicts[name] for name in names],
        "left_out": [asdict(one) for one in left_out()],
    }


def _is_bad(model: dict[str, Any]) -> bool:
    return bool(model["outcome"] == "failed" or model["wrongly_certified"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__)
    add = parser.add_argument
    add("only", nargs="*", metavar="WORD", help="models whose kind or name has one of the words")
    add("--workers", type=int, default=2, help="processes that work side by side (default: 2)")
    add("--write", action="store_true", help=f"write {PAGE.name} and the README's counts")
    return parser


if __name__ == "__main__":
    sys.exit(main())
