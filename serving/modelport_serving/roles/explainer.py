"""Explainers: users' classes that ask a predictor, and say why it answers as it does."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from modelport_serving.errors import PredictionFailed
from modelport_serving.roles.component import Component, Method, checked, tensor, writable
from modelport_serving.roles.context import Context, until
from modelport_serving.roles.instances import AnyInputs
from modelport_serving.roles.predictor import Metadata, Predictor

if TYPE_CHECKING:
    from modelport_serving.mapping import InputMapping
    from modelport_serving.tensors import Tensors

EXPLANATION = "explanation"
"""The V2 output that holds an explanation as JSON text, as in MLServer."""

Predict = Callable[..., Any]
"""`predict(inputs, outputs=())` asks the predictor; awaited in an `async def`, else answering."""


@dataclass(frozen=True)
class Explanations:
    """What an explainer returns that tells V1 and V2 the same, each in its own way."""

    rows: Sequence[Any]
    """V1: JSON values, one for each row."""

    tensors: Tensors
    """V2: arrays by name."""


class Explainer(Component):
    """Derive from it and write `explain`, `async def` or plain.

    class Occlusion(Explainer):
        def explain(self, inputs, predict, context):
            base = predict(inputs)["probabilities"]
            ...
            return {"importance": importance}
    """

    def explain(self, inputs: Tensors, predict: Predict, context: Context) -> Any:
        """Return arrays by name, or anything that JSON can say, or both as `Explanations`.

        A plain method calls `predict` and gets its answer, as libraries such as SHAP expect; an
        `async def` awaits it. `inputs` are as `Transformer.preprocess` gets them.
        """
        raise NotImplementedError


class ExplainerRole(Predictor):
    """An explainer and the predictor that it asks. Predictions pass through to the predictor."""

    def __init__(self, explainer: Explainer, predictor: Predictor, threads: int) -> None:
        self.mapping: InputMapping = AnyInputs()
        self._predictor = predictor
        # Threads of its own: those wait for the predictor, whose transformer may need a thread.
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="explain")
        self._explain = Method(explainer, "explain", self._threads)

    async def explain(self, inputs: Tensors, context: Context, deadline: float = math.inf) -> Any:
        """Return what the user's class explains: see `v1_explanations`, `v2_explanation`."""
        predict = self._predict(context, deadline)
        async with until(deadline, f"the explainer of model {context.model_name!r}"):
            with context.timed("explain"):
                return await self._explain(writable(inputs), predict, context)

    async def infer(
        self,
        inputs: Tensors,
        outputs: Sequence[str],
        context: Context,
        deadline: float = math.inf,
    ) -> Tensors:
        """Ask the predictor."""
        with context.timed("predict"):
            return await self._predictor.infer(inputs, outputs, context, deadline)

    async def ready(self, name: str, version: str | None = None) -> bool:
        """Tell whether the predictor is ready: an explainer is no more than it."""
        return await self._predictor.ready(name, version)

    async def metadata(self, name: str, version: str | None = None) -> Metadata:
        """Return the predictor's."""
        return await self._predictor.metadata(name, version)

    async def close(self) -> None:
        """Close the predictor; explanations that still run in threads are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await self._predictor.close()

    def _predict(self, context: Context, deadline: float) -> Predict:
        loop = asyncio.get_running_loop()

        async def ask(inputs: Tensors, outputs: Sequence[str] = ()) -> Tensors:
            given = checked(inputs, "what is given to predict")
            return await self._predictor.infer(given, outputs, context, deadline)

        def ask_and_wait(inputs: Tensors, outputs: Sequence[str] = ()) -> Tensors:
            return asyncio.run_coroutine_threadsafe(ask(inputs, outputs), loop).result()

        return ask_and_wait if self._explain.in_thread else ask


def v1_explanations(result: Any) -> bytes:
    """Return the body of a V1 `:explain` answer: `{"explanations": ...}`."""
    told = result.rows if isinstance(result, Explanations) else result
    return _json({"explanations": told})


def v2_explanation(result: Any) -> Tensors:
    """Return the outputs of a V2 explain answer: the arrays, else JSON as one text."""
    if isinstance(result, Explanations):
        return dict(result.tensors)
    if isinstance(result, Mapping) and result and all(map(_is_tensor, result.values())):
        return {str(name): tensor(value) for name, value in result.items()}
    text = np.empty(1, np.object_)
    text[0] = _json(result).decode()
    return {EXPLANATION: text}


def _is_tensor(value: object) -> bool:
    return isinstance(value, np.ndarray)


def _json(value: Any) -> bytes:
    try:
        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
        return orjson.dumps(value, default=_plain, option=options)
    except TypeError as error:
        raise PredictionFailed(f"the explanation is not JSON: {error}") from error


def _plain(value: object) -> Any:
    """Take the arrays that orjson does not write itself: objects, slices, texts."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError(f"it holds {type(value).__name__}")
