"""What transformers and explainers share: they are users' classes, loaded by name."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from modelport_serving.errors import ModelLoadFailed, PredictionFailed, ServingError
from modelport_serving.roles.loading import load_class

if TYPE_CHECKING:
    from modelport_serving.tensors import Array, Tensors


class Component:
    """A user's class; its plain methods run in threads, its `async def` ones in the event loop."""

    model_name: str
    """The name that it serves; set before `load`."""

    model_dir: Path | None
    """The folder that `--model_dir` names, if it does; set before `load`."""

    def load(self) -> None:
        """Get ready, once, before the first request: read files, connect."""


_Kind = TypeVar("_Kind", bound=Component)


async def load_component(
    reference: str, base: type[_Kind], model_name: str, model_dir: Path | None = None
) -> _Kind:
    """Make a `module:Class` and let it get ready, in a thread; `ModelLoadFailed` says why not."""
    return await asyncio.to_thread(_load, reference, base, model_name, model_dir)


def _load(reference: str, base: type[_Kind], model_name: str, model_dir: Path | None) -> _Kind:
    kind = load_class(reference, base, model_dir)
    try:
        component = kind()
        component.model_name, component.model_dir = model_name, model_dir
        component.load()
    except Exception as error:
        raise ModelLoadFailed(
            f"{reference!r} cannot get ready: {type(error).__name__}: {error}"
        ) from error
    return component


class Method:
    """One method of a user's class, called the way it needs.

    What goes wrong in it becomes `PredictionFailed`, with its name; a `ServingError` passes.
    """

    def __init__(
        self, component: Component, name: str, threads: Executor, *, inline: bool = False
    ) -> None:
        self.title = f"{type(component).__name__}.{name}"
        self._method: Callable[..., Any] = getattr(component, name)
        self.in_thread = not (inline or inspect.iscoroutinefunction(self._method))
        self._threads = threads

    async def __call__(self, *arguments: Any) -> Any:
        """Call the method, wherever it has to run."""
        try:
            result = await self._outcome(arguments)
            return await result if inspect.isawaitable(result) else result
        except ServingError:
            raise
        except Exception as error:
            raise PredictionFailed(
                f"{self.title} failed: {type(error).__name__}: {error}"
            ) from error

    async def _outcome(self, arguments: tuple[Any, ...]) -> Any:
        if not self.in_thread:
            return self._method(*arguments)
        # The trace that is current here is current in the thread too.
        run = contextvars.copy_context().run
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, run, self._method, *arguments)


def writable(tensors: Tensors) -> Tensors:
    """Let users change arrays in place: what came from the wire or the cache is read-only."""
    return {
        name: array if array.flags.writeable else array.copy() for name, array in tensors.items()
    }


def checked(result: object, title: str) -> Tensors:
    """Check what a user's method returned: arrays by name; texts become object arrays."""
    if not isinstance(result, Mapping) or not all(isinstance(name, str) for name in result):
        raise PredictionFailed(
            f"{title} must return a dict of arrays by name, it returned {type(result).__name__}"
        )
    return {name: tensor(value) for name, value in result.items()}


def tensor(value: object) -> Array:
    """Return a value as a C-contiguous array; texts and dates as objects."""
    array = np.asarray(value, order="C")
    return array.astype(np.str_).astype(np.object_) if array.dtype.kind in "MUS" else array
