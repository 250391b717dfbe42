"""What the public verbs return: objects that show themselves in a cell and a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelport import render

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import RenderableType

    from modelport import reports
    from modelport.manifests import Manifest
    from modelport.reports import ReleaseReport
    from modelport.workflows import Step

Bundle = dict[str, str]


class View:
    """Shows itself as HTML in a notebook, and with rich in a terminal."""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Bundle:
        del include, exclude
        return {"text/plain": render.as_text(self.__rich__()), "text/html": self._html()}

    def __rich__(self) -> RenderableType:
        raise NotImplementedError

    def _html(self) -> str:
        raise NotImplementedError

    def json(self) -> Any:
        """Return the same as plain JSON values."""
        raise NotImplementedError


@dataclass(frozen=True, repr=False)
class Release(View):
    """One release, with everything that is known of it."""

    report: ReleaseReport

    def __repr__(self) -> str:
        return f"<Release {self.report.service}: {self.report.outcome}>"

    @property
    def url(self) -> str | None:
        """The service's URL, or None if it was not deployed."""
        return self.report.deployment.url if self.report.deployment else None

    def __rich__(self) -> RenderableType:
        return render.release_renderable(self.report, self._example)

    def _html(self) -> str:
        return render.release_html(self.report, self._example)

    @property
    def _example(self) -> Any:
        return self.report.verification.example if self.report.verification else None

    def json(self) -> Any:
        """Return the report as plain JSON values."""
        return self.report.model_dump(mode="json")


@dataclass(frozen=True, repr=False)
class Benchmark(View):
    """How fast a model or an endpoint is, under several loads."""

    report: reports.Benchmark

    def __repr__(self) -> str:
        return f"<Benchmark {self.report.target}: {len(self.report.measurements)} loads>"

    def __rich__(self) -> RenderableType:
        return render.benchmark_renderable(self.report)

    def _html(self) -> str:
        return render.benchmark_html(self.report)

    def json(self) -> Any:
        """Return the report as plain JSON values."""
        return self.report.model_dump(mode="json")


@dataclass(frozen=True, repr=False)
class Explanation(View):
    """Why a live service answers rows as it does."""

    report: reports.ServedExplanation

    def __repr__(self) -> str:
        return f"<Explanation {self.report.service}: {len(self.report.rows)} rows>"

    def frame(self) -> pd.DataFrame:
        """Return the SHAP values: a row for each row, a column for each feature."""
        import pandas as pd

        values = [row.values for row in self.report.rows]
        return pd.DataFrame(values, columns=list(self.report.features))

    def __rich__(self) -> RenderableType:
        return render.served_renderable(self.report)

    def _html(self) -> str:
        return render.served_html(self.report)

    def json(self) -> Any:
        """Return the report as plain JSON values."""
        return self.report.model_dump(mode="json")


@dataclass(frozen=True, repr=False)
class Certificate(View):
    """The parity record of a conversion: the same that a release keeps."""

    record: reports.Certificate

    def __repr__(self) -> str:
        return f"<Certificate {self.record.verdict}: {self.record.reason}>"

    @property
    def passed(self) -> bool:
        """Whether the converted model answers as the native one does."""
        return self.record.passed

    @property
    def rows(self) -> dict[str, int]:
        """How many rows both answered, by where these come from."""
        return self.record.rows

    @property
    def differences(self) -> dict[str, float]:
        """The largest and the 99.9th-percentile difference, absolute and relative."""
        return {
            "max_abs": self.record.max_abs_difference,
            "p999_abs": self.record.p999_abs_difference,
            "max_rel": self.record.max_rel_difference,
            "p999_rel": self.record.p999_rel_difference,
        }

    @property
    def flips(self) -> tuple[reports.DifferingRow, ...]:
        """Rows whose label flipped: the first fifty; `record.label_flips` counts all."""
        return self.record.flips

    def __rich__(self) -> RenderableType:
        return render.certificate_renderable(self.record)

    def _html(self) -> str:
        return render.certificate_html(self.record)

    def json(self) -> Any:
        """Return the record as plain JSON values."""
        return self.record.model_dump(mode="json")


@dataclass(frozen=True, repr=False)
class Plan(View):
    """What a release would do, and the manifest that it would apply."""

    manifest: str
    steps: Sequence[Step]

    def __repr__(self) -> str:
        return render.plan_text(self.manifest, self._steps)

    def __rich__(self) -> RenderableType:
        from rich.text import Text

        return Text(repr(self))

    def _html(self) -> str:
        return render.plan_html(self.manifest, self._steps)

    @property
    def _steps(self) -> list[tuple[str, str]]:
        return [(step.name, step.description) for step in self.steps]

    def json(self) -> Any:
        """Return the steps, and the manifest as an object."""
        import yaml

        steps = [{"name": name, "description": text} for name, text in self._steps]
        return {"steps": steps, "manifest": yaml.safe_load(self.manifest)}


@dataclass(frozen=True, repr=False)
class Table(View):
    """Lines under a header, as kubectl prints them; `document` is the same as JSON values.

    Where there are none, `nothing` is said instead.
    """

    title: str
    grid: render.Grid
    document: Any
    nothing: str = "there is nothing"

    def __repr__(self) -> str:
        return f"<{self.title}: {len(self.grid.rows)}>"

    def __rich__(self) -> RenderableType:
        from rich.text import Text

        return Text(render.grid_text(self.grid) if self.grid.rows else self.nothing)

    def _html(self) -> str:
        if not self.grid.rows:
            return render.grid_html(self.title, render.Grid((self.nothing,), ()))
        return render.grid_html(self.title, self.grid)

    def json(self) -> Any:
        """Return the same as plain JSON values."""
        return self.document


@dataclass(frozen=True, repr=False)
class Findings(Table):
    """What was found in manifests; `passed` where there is no error, or, if strict, nothing."""

    said: Sequence[str] = ()
    passed: bool = True

    def __rich__(self) -> RenderableType:
        from rich.text import Text

        return Text("\n".join(self.said) or self.nothing)


@dataclass(frozen=True, repr=False)
class Description(View):
    """Everything that is known of a service, in sections."""

    title: str
    sections: Sequence[render.Section]
    document: Any

    def __repr__(self) -> str:
        return f"<{self.title}>"

    def __rich__(self) -> RenderableType:
        from rich.text import Text

        return Text(render.sections_text(self.sections))

    def _html(self) -> str:
        return render.sections_html(self.title, self.sections)

    def json(self) -> Any:
        """Return the service, its revisions, replicas and events."""
        return self.document


@dataclass(frozen=True, repr=False)
class Service(View):
    """One InferenceService with its status, as KServe writes it."""

    object: Manifest

    def __repr__(self) -> str:
        return f"<Service {self.object['metadata']['name']}>"

    def __rich__(self) -> RenderableType:
        return render.service_renderable(self.object)

    def _html(self) -> str:
        return render.service_html(self.object)

    def json(self) -> Any:
        """Return the InferenceService."""
        return self.object


@dataclass(frozen=True, repr=False)
class Services(View):
    """InferenceServices with their status, as KServe writes them."""

    items: Sequence[Manifest]

    def __repr__(self) -> str:
        return f"<Services {', '.join(item['metadata']['name'] for item in self.items)}>"

    def __iter__(self) -> Iterator[Service]:
        return (Service(item) for item in self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __rich__(self) -> RenderableType:
        return render.services_renderable(list(self.items))

    def _html(self) -> str:
        return render.services_html(list(self.items))

    def json(self) -> Any:
        """Return a Kubernetes List of InferenceServices."""
        return {"apiVersion": "v1", "kind": "List", "items": list(self.items)}
