"""Transformers: users' classes around a predictor, in its process or in front of it."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar

from modelport_serving.errors import InvalidInput
from modelport_serving.mapping import InputMapping, TensorMapping
from modelport_serving.roles.component import Component, Method, checked, writable
from modelport_serving.roles.context import Context, until
from modelport_serving.roles.instances import AnyInputs
from modelport_serving.roles.predictor import Metadata, Predictor

if TYPE_CHECKING:
    from modelport_serving.tensors import Tensors, TensorSpec


class Transformer(Component):
    """Derive from it and write `preprocess`, `postprocess` or both, `async def` or plain.

    Raise `InvalidInput` for what the caller can mend.

        class Celsius(Transformer):
            def preprocess(self, inputs, context):
                return {"degrees": (inputs["fahrenheit"] - 32) / 1.8}
    """

    may_run_inline: ClassVar[bool] = False
    """Whether plain methods run in the event loop, not in threads: faster for what takes less than
    a millisecond, and never blocks."""

    inputs: Sequence[TensorSpec] = ()
    """What requests must hold, if it says so: they are checked, and V1 rows get these dtypes."""

    outputs: Sequence[TensorSpec] = ()
    """What it answers, where `postprocess` changes names or shapes: what model metadata tells."""

    def preprocess(
        self,
        inputs: Tensors,
        context: Context,  # noqa: ARG002
    ) -> Tensors | Awaitable[Tensors]:
        """Turn what was asked into what the predictor takes.

        V1 instances come as one tensor per key if they are objects, else as the one tensor
        `instances`, which the predictor takes as rows too (`instances.py`).
        """
        return inputs

    def postprocess(
        self,
        outputs: Tensors,
        context: Context,  # noqa: ARG002
    ) -> Tensors | Awaitable[Tensors]:
        """Turn what the predictor answered into the answer."""
        return outputs


class TransformerRole(Predictor):
    """A transformer and the predictor behind it; answers where a model would.

    `mapping` turns requests into what `infer` takes, as a model's own mapping does.
    """

    def __init__(self, transformer: Transformer, predictor: Predictor, threads: int) -> None:
        specs = tuple(transformer.inputs)
        self.mapping: InputMapping = TensorMapping(specs) if specs else AnyInputs()
        self._transformer = transformer
        self._predictor = predictor
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="transform")
        self._preprocess = self._method("preprocess")
        self._postprocess = self._method("postprocess")

    async def infer(
        self,
        inputs: Tensors,
        outputs: Sequence[str],
        context: Context,
        deadline: float = math.inf,
    ) -> Tensors:
        """Preprocess, ask the predictor, postprocess; `outputs` are the transformer's own."""
        async with until(deadline, f"the transformer of model {context.model_name!r}"):
            if self._preprocess is not None:
                inputs = await self._run("preprocess", self._preprocess, inputs, context)
            if self._postprocess is None:
                return await self._predict(inputs, outputs, context, deadline)
            answers = await self._predict(inputs, (), context, deadline)
            answers = await self._run("postprocess", self._postprocess, answers, context)
        return _chosen(answers, outputs)

    async def ready(self, name: str, version: str | None = None) -> bool:
        """Tell whether the predictor is ready: a transformer is no more than it."""
        return await self._predictor.ready(name, version)

    async def metadata(self, name: str, version: str | None = None) -> Metadata:
        """Return what the transformer declares, and the predictor's where nothing is changed."""
        behind = await self._predictor.metadata(name, version)
        own = self._transformer
        return behind._replace(
            inputs=tuple(own.inputs) or (() if self._preprocess else behind.inputs),
            outputs=tuple(own.outputs) or (() if self._postprocess else behind.outputs),
        )

    async def close(self) -> None:
        """Close the predictor; methods that still run in threads are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._predictor.close()

    def _method(self, name: str) -> Method | None:
        """Return the user's method; None where there is only the base class's."""
        if getattr(type(self._transformer), name) is getattr(Transformer, name):
            return None
        inline = self._transformer.may_run_inline
        return Method(self._transformer, name, self._threads, inline=inline)

    async def _run(self, part: str, method: Method, given: Tensors, context: Context) -> Tensors:
        with context.timed(part):
            return checked(await method(writable(given), context), method.title)

    async def _predict(
        self, inputs: Tensors, outputs: Sequence[str], context: Context, deadline: float
    ) -> Tensors:
        with context.timed("predict"):
            return await self._predictor.infer(inputs, outputs, context, deadline)


def _chosen(answers: Tensors, names: Sequence[str]) -> Tensors:
    if not names:
        return answers
    if unknown := [name for name in names if name not in answers]:
        raise InvalidInput(f"unknown output {unknown[0]!r}, the answer has {list(answers)}")
    return {name: answers[name] for name in names}
