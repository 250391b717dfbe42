"""What answers a transformer or explainer: the model of this process, or another server."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from modelport_serving.errors import ServingError
from modelport_serving.roles.instances import INSTANCES

if TYPE_CHECKING:
    from modelport_serving.dataplane import DataPlane
    from modelport_serving.model import Model
    from modelport_serving.roles.context import Context
    from modelport_serving.tensors import Tensors, TensorSpec


class Metadata(NamedTuple):
    """What a predictor says of a model, as in OIP model metadata; empty where it says nothing."""

    platform: str = ""
    versions: tuple[str, ...] = ()
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()


class Predictor(ABC):
    """Answers named tensors with named tensors. Event loop only."""

    @abstractmethod
    async def infer(
        self,
        inputs: Tensors,
        outputs: Sequence[str],
        context: Context,
        deadline: float = math.inf,
    ) -> Tensors:
        """Answer with the named outputs, or with all of them if none is named.

        A tensor named `instances`, alone, stands for rows without names (V1). `deadline` is in
        the event loop's seconds: `DeadlineExceeded`.
        """

    @abstractmethod
    async def ready(self, name: str, version: str | None = None) -> bool:
        """Tell whether the model would answer now."""

    @abstractmethod
    async def metadata(self, name: str, version: str | None = None) -> Metadata:
        """Return what is known of the model."""

    @abstractmethod
    async def close(self) -> None:
        """Give connections and threads back."""


class LocalPredictor(Predictor):
    """The models of this process, through the data plane: cached, batched and measured as ever."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    async def infer(
        self,
        inputs: Tensors,
        outputs: Sequence[str],
        context: Context,
        deadline: float = math.inf,
    ) -> Tensors:
        """Map the tensors onto the model's inputs, and ask the data plane."""
        model = self._plane.repository.get(context.model_name, context.model_version)
        return await self._plane.infer(model, _mapped(model, inputs), outputs, deadline)

    async def ready(self, name: str, version: str | None = None) -> bool:
        """Tell whether the repository has a model that answers."""
        try:
            self._plane.repository.get(name, version)
        except ServingError:
            return False
        return True

    async def metadata(self, name: str, version: str | None = None) -> Metadata:
        """Return what the model's runtime says of it."""
        models = self._plane.repository
        runtime = models.get(name, version).runtime
        versions = tuple(models.versions(name))
        return Metadata(runtime.platform, versions, runtime.inputs, runtime.outputs)

    async def close(self) -> None:
        """Leave the data plane to its owner."""


def _mapped(model: Model, inputs: Tensors) -> Tensors:
    """Map tensors by name, and rows without names as V1 does."""
    if inputs.keys() != {INSTANCES} or INSTANCES in {spec.name for spec in model.runtime.inputs}:
        return model.mapping.tensors(inputs)
    rows = inputs[INSTANCES]
    if len(model.runtime.inputs) == 1 and rows.dtype != np.object_:
        return model.mapping.tensors({model.runtime.inputs[0].name: rows})
    return model.mapping.rows(rows.tolist())
