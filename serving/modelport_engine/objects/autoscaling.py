"""By what a component is scaled: KServe's short fields and its `autoScaling`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field

from modelport_engine.objects.parts import ObjectPart
from modelport_engine.objects.quantities import Quantity, quantity
from modelport_engine.scaling.policy import Metric, Scale

if TYPE_CHECKING:
    from modelport_engine.objects.containers import Resources

MOST_REPLICAS = 64

_TARGETS: dict[Metric, float] = {
    "cpu": 70,
    "memory": 80,
    "concurrency": 100,  # Knative's default, as is that of rps
    "rps": 200,
    "latency": 0.2,
}
_TARGET_TYPES = Literal["Utilization", "Value", "AverageValue"]
_P99 = re.compile(r"histogram_quantile\(\s*0?\.990*\s*,.*\brequest_predict_seconds_bucket\b", re.S)


class Goal(NamedTuple):
    """What a metric shall be; `whole`: cores or bytes that 100 per cent are, if it says so."""

    metric: Metric
    target: float
    whole: float | None = None


class Target(ObjectPart):
    """What one of `autoScaling.metrics` shall be."""

    type: _TARGET_TYPES | None = None
    average_utilization: Annotated[int | None, Field(ge=1)] = None
    average_value: Quantity | None = None
    value: Quantity | None = None


class ResourceMetric(ObjectPart):
    """Cores or memory in use."""

    name: Literal["cpu", "memory"]
    target: Target

    @property
    def goal(self) -> Goal:
        """What it shall be: per cent of what is asked for, or of `averageValue`."""
        if self.target.average_value is not None and self.target.average_utilization is None:
            return Goal(self.name, 100, quantity(self.target.average_value) or None)
        return Goal(self.name, self.target.average_utilization or _TARGETS[self.name])


class Query(ObjectPart):
    """A query of Prometheus."""

    query: str = ""


class QueryMetric(ObjectPart):
    """What a query tells; of all queries, the engine knows the 99th percentile's answer itself."""

    metric: Query
    target: Target

    @property
    def goal(self) -> Goal | None:
        """Seconds of the 99th percentile; None for any other query."""
        if not _P99.search(self.metric.query):
            return None
        wanted = self.target.value or self.target.average_value
        return Goal("latency", (wanted and quantity(wanted)) or _TARGETS["latency"])


class MetricSpec(ObjectPart):
    """One of `autoScaling.metrics`."""

    type: Literal["Resource", "External", "PodMetric"]
    resource: ResourceMetric | None = None
    external: QueryMetric | None = None
    podmetric: QueryMetric | None = None

    @property
    def goal(self) -> Goal | None:
        """What it asks for; None if the engine cannot measure it."""
        of_type = {"Resource": self.resource, "External": self.external}
        source = of_type.get(self.type, self.podmetric)
        return source.goal if source else None


class AutoScaling(ObjectPart):
    """`autoScaling`: the first metric that can be measured decides."""

    metrics: list[MetricSpec] = Field([], max_length=16)

    @property
    def goals(self) -> list[Goal | None]:
        """What each metric asks for; None where the engine cannot measure it."""
        return [metric.goal for metric in self.metrics]


class Scaling(ObjectPart):
    """The fields of a component that say how many replicas it has."""

    min_replicas: Annotated[int, Field(ge=0, le=MOST_REPLICAS, exclude=True)] = 1
    max_replicas: Annotated[int, Field(ge=0, le=MOST_REPLICAS, exclude=True)] = 0
    scale_target: Annotated[int | None, Field(ge=1, exclude=True)] = None
    scale_metric: Annotated[
        Literal["cpu", "memory", "concurrency", "rps"] | None, Field(exclude=True)
    ] = None
    scale_metric_type: Annotated[_TARGET_TYPES | None, Field(exclude=True)] = None
    auto_scaling: Annotated[AutoScaling | None, Field(exclude=True)] = None

    @property
    def replicas(self) -> int:
        """Replicas that there are at least; this engine never scales to zero."""
        return max(1, self.min_replicas)

    @property
    def is_scaled(self) -> bool:
        """Whether the number of replicas may change; no maximum: the minimum, as in KServe."""
        return self.max_replicas > self.replicas

    @property
    def goal(self) -> Goal:
        """What decides the number of replicas."""
        metric: Metric = self.scale_metric or "cpu"
        short = Goal(metric, self.scale_target or _TARGETS[metric])
        return next(filter(None, self.auto_scaling.goals if self.auto_scaling else []), short)

    def scale(self, resources: Resources) -> Scale:
        """Give what it is scaled by. `resources`: those of its processes."""
        metric, target, whole = self.goal
        memory = (whole if metric == "memory" else None) or resources.asked("memory")
        return Scale(
            minimum=self.replicas,
            maximum=max(self.replicas, self.max_replicas),
            metric=metric,
            target=target,
            cores=(whole if metric == "cpu" else None) or resources.asked("cpu") or 1.0,
            memory_bytes=int(memory) if memory else None,
        )
