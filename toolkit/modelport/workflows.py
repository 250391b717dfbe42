"""Kubeflow pipelines: found by entry point, compiled, run on this machine. Only user of kfp.

`python -m modelport.workflows FOLDER` runs the pipeline that `FOLDER/request.json` asks for.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from modelport.errors import ModelportError, UsageError
from modelport.extras import require

GROUP = "modelport.pipelines"


@dataclass(frozen=True)
class Step:
    """One task of a pipeline: its name, and what its component says it does."""

    name: str
    description: str


@dataclass(frozen=True)
class Request:
    """A run that is asked for: the pipeline's entry-point name and its arguments."""

    pipeline: str
    arguments: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write the request into a run's folder."""
        (folder / "request.json").write_text(json.dumps(asdict(self), indent=2))

    @classmethod
    def read(cls, folder: Path) -> Request:
        """Read the request of a run's folder."""
        return cls(**json.loads((folder / "request.json").read_text()))


def names() -> list[str]:
    """Return the names of the installed pipelines."""
    return sorted(point.name for point in entry_points(group=GROUP))


def pipeline(name: str) -> Any:
    """Load a pipeline; `UsageError` names those there are."""
    require("kfp", extra="release")
    for point in entry_points(group=GROUP, name=name):
        return point.load()
    raise UsageError(f"there is no pipeline {name!r}", f"installed: {', '.join(names())}")


def steps(name: str) -> tuple[Step, ...]:
    """Return a pipeline's tasks in the order in which they run."""
    spec = pipeline(name).pipeline_spec
    return tuple(_steps(spec, spec.root))


def run(folder: Path) -> None:
    """Run the pipeline that a folder asks for, in this process and its children.

    The steps' outputs lie in `folder/pipeline`. A step's own error is in the journal.

    Raises:
        RuntimeError: A step failed.
    """
    local = require("kfp.local", extra="release")
    asked = Request.read(folder)
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(folder / "pipeline"),
        workspace_root=str(folder / "workspace"),
    )
    pipeline(asked.pipeline)(**asked.arguments)


def report_file(folder: Path, step: str) -> Path | None:
    """Return the report that a step of a local run wrote, or None."""
    return next(iter(folder.glob(f"pipeline/*/{step}/report")), None)


def _steps(spec: Any, component: Any) -> list[Step]:
    """Walk a DAG's tasks in dependency order; a condition's tasks stand where it does."""
    tasks: Mapping[str, Any] = component.dag.tasks
    found: list[Step] = []
    done: set[str] = set()
    while len(done) < len(tasks):
        ready = [n for n in tasks if n not in done and done >= set(tasks[n].dependent_tasks)]
        for name in ready:
            inner = spec.components[tasks[name].component_ref.name]
            found += _steps(spec, inner) if inner.HasField("dag") else [_step(spec, name, inner)]
        done |= set(ready)
    return found


def _step(spec: Any, name: str, component: Any) -> Step:
    """Describe a task by the first line of its component's docstring."""
    executor = spec.deployment_spec["executors"][component.executor_label]
    for text in executor["container"]["command"]:
        if f"def {name}(" in text:
            function = next(n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef))
            return Step(name, (ast.get_docstring(function) or "").partition("\n")[0])
    return Step(name, "")


def main(arguments: list[str]) -> int:
    """Run the pipeline of a folder; what fails is told in its journal."""
    try:
        run(Path(arguments[0]))
    except (ModelportError, RuntimeError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - goes to the run's log
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
