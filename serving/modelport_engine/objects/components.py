"""The components of a service: its predictor, what stands in front of it, its canaries."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from modelport_engine.objects.autoscaling import Scaling
from modelport_engine.objects.containers import Container, Framework, Model
from modelport_engine.objects.parts import ObjectPart

DEFAULT_TIMEOUT = 60  # seconds; KServe's default

FRAMEWORKS = (
    *("sklearn", "xgboost", "lightgbm", "onnx", "pytorch"),
    *("tensorflow", "triton", "huggingface", "pmml", "paddle"),
)
_IMPLEMENTATIONS = ("model", *FRAMEWORKS, "containers")

_One = Annotated[list[Container], Field(min_length=1, max_length=1)]


class Batcher(ObjectPart):
    """Requests that are answered together: `max_latency` in milliseconds."""

    max_batch_size: Annotated[int | None, Field(ge=1)] = None
    max_latency: Annotated[int | None, Field(ge=1)] = None


class Logger(ObjectPart):
    """Where requests and answers are sent as CloudEvents."""

    url: str = ""
    mode: Literal["all", "request", "response"] = "all"

    @property
    def can_send(self) -> bool:
        """Whether events can be posted to the URL; KServe's buckets are not reachable here."""
        return self.url.startswith(("http://", "https://")) and self.url.isprintable()


class Component(Scaling):
    """What every component has. `timeout` in seconds, for one request through the gateway."""

    container_concurrency: Annotated[int, Field(ge=0, exclude=True)] = 0
    timeout: Annotated[int, Field(ge=1, le=86_400, exclude=True)] = DEFAULT_TIMEOUT
    logger: Logger | None = None


class Predictor(Component):
    """`spec.predictor`, with exactly one of `model`, a framework's name and `containers`."""

    name: Annotated[
        str | None, Field(pattern=r"^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$", exclude=True)
    ] = None
    model: Model | None = None
    sklearn: Framework | None = None
    xgboost: Framework | None = None
    lightgbm: Framework | None = None
    onnx: Framework | None = None
    pytorch: Framework | None = None
    tensorflow: Framework | None = None
    triton: Framework | None = None
    huggingface: Framework | None = None
    pmml: Framework | None = None
    paddle: Framework | None = None
    containers: _One | None = None
    batcher: Batcher | None = None
    canary_traffic_percent: Annotated[int | None, Field(ge=0, le=100, exclude=True)] = None

    @property
    def implementations(self) -> list[str]:
        """The fields that say what is run; an accepted predictor has one."""
        return [name for name in _IMPLEMENTATIONS if getattr(self, name) is not None]

    @property
    def program(self) -> Framework | Container:
        """What is run."""
        written: Framework | list[Container] = getattr(self, self.implementations[0])
        return written[0] if isinstance(written, list) else written

    @property
    def program_field(self) -> str:
        """Where that stands in a predictor."""
        return _field(self.implementations[0])

    @property
    def template(self) -> dict[str, Any]:
        """What a process depends on; a framework's name is written as a model of that format."""
        template = super().template
        for name in FRAMEWORKS:
            if name in template:
                template["model"] = {"modelFormat": {"name": name}, **template.pop(name)}
        return template


class Front(Component):
    """`spec.transformer` and `spec.explainer`: components that ask the predictor."""

    containers: _One

    @property
    def container(self) -> Container:
        """The one container that it has."""
        return self.containers[0]

    @property
    def program(self) -> Container:
        """What is run."""
        return self.container

    @property
    def program_field(self) -> str:
        """Where that stands in a front."""
        return _field("containers")


class CanaryEntry(ObjectPart):
    """One of `spec.canary`: a predictor beside the stable one, and its share of the traffic."""

    traffic_percent: Annotated[int, Field(ge=0, le=100)]
    predictor: Predictor


def _field(implementation: str) -> str:
    return "containers[0]" if implementation == "containers" else implementation
