"""The one path of every prediction, whatever the protocol: named arrays in, named arrays out.

transformer (if any) -> cache (if on) -> batch -> model
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from modelport_serving.batching import Batcher, Call, Done, Limits
from modelport_serving.cache import Cache, Keys, open_cache
from modelport_serving.errors import ModelNotFound, ModelNotReady, NotSupported, ServingError
from modelport_serving.repository import Repository
from modelport_serving.roles import Context, ExplainerRole, Role, load_role
from modelport_serving.roles.predictor import LocalPredictor, Metadata

if TYPE_CHECKING:
    from modelport_serving.exchange import Exchange, Watchers
    from modelport_serving.mapping import InputMapping
    from modelport_serving.metrics import ModelMetrics
    from modelport_serving.model import Model
    from modelport_serving.settings import Settings
    from modelport_serving.tensors import Tensors, TensorSpec
    from modelport_serving.workers import Control


class Target(Protocol):
    """What a request asks: a model of this server, or what stands in front of one."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def version(self) -> str | None:
        """Its version, if it has any."""

    @property
    def mapping(self) -> InputMapping:
        """How a request's tensors or rows become what it takes."""

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """What it takes, as far as it says so."""


@dataclass(frozen=True)
class _Front:
    """The transformer or explainer of this server, as a request asks it."""

    name: str
    version: str | None
    mapping: InputMapping
    inputs: Sequence[TensorSpec] = ()


@dataclass(frozen=True)
class _Served:
    """What serves a model beside its runtime."""

    batcher: Batcher
    metrics: ModelMetrics
    keys: Keys | None


class DataPlane:
    """The models of this server, their queues, and the threads that slow ones run in."""

    def __init__(self, settings: Settings, watchers: Watchers) -> None:
        self.watchers = watchers
        self.draining = False
        self._started = False
        self.timeout_seconds = settings.request_timeout_seconds
        self.role: Role | None = None
        self.repository = Repository(
            None if settings.predictor_host else settings.model_dir,
            settings.model_name,
            model_format=settings.model_format,
            version_policy=settings.model_version_policy,
            allow_pickle=settings.allow_pickle,
            warmup=settings.model_warmup,
            max_threads=settings.max_threads,
            with_digests=settings.cache_bytes > 0,
            on_loaded=self._attach,
            on_unloaded=self._detach,
        )
        self.control: Control = self.repository
        self._settings = settings
        self._limits = Limits(
            batch_rows=settings.max_batch_size,
            batch_seconds=settings.max_batch_latency_ms / 1000,
            queue_length=settings.max_queue_length,
            queue_seconds=settings.max_queue_seconds,
        )
        self._threads = ThreadPoolExecutor(settings.max_threads, thread_name_prefix="predict")
        self._served: dict[Model, _Served] = {}
        self._cache: Cache | None = None
        if settings.cache_bytes:
            # Each worker has a memory of its own; together they take what was allowed.
            share = settings.cache_bytes // (1 if settings.cache_url else settings.workers)
            self._cache = open_cache(settings.cache_url, share, settings.cache_ttl_seconds)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, unwanted: frozenset[str] = frozenset()) -> None:
        """Load the models but the unwanted, and the transformer or explainer.

        `ModelLoadFailed` when the only model, or one of these, cannot be served.
        """
        await self.repository.start(unwanted)
        self.role = await load_role(self._settings, self)
        self._started = True

    @property
    def ready(self) -> bool:
        """Whether every model that is wanted answers, and the server is not stopping."""
        return self._started and self.repository.ready and not self.draining

    @property
    def unready_reason(self) -> str:
        """Why the server is not ready, in one line."""
        if self.draining:
            return "the server is stopping"
        failed = (entry for entry in self.repository.index() if entry.reason)
        waits = "the predictor is not ready" if self.is_remote else "the models are not loaded yet"
        return next((f"model {entry.name!r}: {entry.reason}" for entry in failed), waits)

    @property
    def is_remote(self) -> bool:
        """Whether the models are another server's: this is its transformer or explainer."""
        return self._settings.predictor_host is not None

    def names(self) -> list[str]:
        """Return the models that may be asked here, ready or not."""
        return [self._settings.model_name] if self.is_remote else self.repository.names()

    async def is_ready(self, name: str | None = None, version: str | None = None) -> bool:
        """Whether a model, or all of them, can answer: a transformer is no more than its predictor.

        `ModelNotFound` when there is no such model.
        """
        if self.is_remote:
            own = self._settings.model_name
            self._check_name(name or own)
            return self.ready and self.role is not None and await self.role.ready(own, version)
        if name is not None:
            self.repository.get(name, version)
        return self.ready if name is None else True

    async def metadata(self, name: str, version: str | None = None) -> Metadata:
        """Return what is known of a model: its own word, or the transformer's."""
        if self.is_remote:
            self._check_name(name)
        else:
            self.repository.get(name, version)
        teller = self.role or LocalPredictor(self)
        return await teller.metadata(name, version)

    def find(self, exchange: Exchange, name: str, version: str | None = None) -> Target:
        """Return what answers for a model; `ModelNotFound`, `ModelNotReady`."""
        if self.role is not None or self.is_remote:
            return self._front(exchange, name, version)
        model = self.repository.get(name, version)
        exchange.found(self._served[model].metrics)
        return model

    def submit(
        self,
        exchange: Exchange,
        target: Target,
        inputs: Tensors,
        outputs: Sequence[str],
        deadline: float,
        done: Done,
    ) -> None:
        """Answer mapped inputs with the named outputs, or with all of them.

        `deadline` is in the event loop's seconds. `done` is called once, in the event loop, soon
        but not before this returns. Errors of the request itself are raised.
        """
        if isinstance(target, _Front):
            self._start(self._ask_role(exchange, target, inputs, outputs, deadline, done))
        else:
            exchange.call = self._submit(target, inputs, outputs, deadline, done)

    async def infer(
        self,
        model: Model,
        inputs: Tensors,
        outputs: Sequence[str] = (),
        deadline: float = math.inf,
    ) -> Tensors:
        """Ask a model of this server, for callers that wait in a coroutine."""
        future: asyncio.Future[Tensors] = asyncio.get_running_loop().create_future()

        def done(answers: Tensors | None, error: Exception | None) -> None:
            if future.done():
                return
            if answers is None:
                future.set_exception(error or AssertionError("neither answers nor an error"))
            else:
                future.set_result(answers)

        deadline = min(deadline, asyncio.get_running_loop().time() + self.timeout_seconds)
        call = self._submit(model, inputs, outputs, deadline, done)
        try:
            return await future
        except asyncio.CancelledError:
            call.cancel()
            raise

    def find_explained(self, exchange: Exchange, name: str, version: str | None = None) -> Target:
        """Return what `explain` takes; `NotSupported` when this server has no explainer."""
        target = self.find(exchange, name, version)
        if not isinstance(self.role, ExplainerRole):
            raise NotSupported(
                f"model {name!r} is served without explainer: start one with --explainer"
            )
        return target

    async def explain(
        self,
        exchange: Exchange,
        target: Target,
        inputs: Tensors,
        parameters: Mapping[str, Any],
        deadline: float,
    ) -> Any:
        """Return what the explainer says of mapped inputs, given the request's parameters."""
        role = self.role
        assert isinstance(role, ExplainerRole)  # noqa: S101 - find_explained has found it
        context = _context(exchange, target, parameters)
        exchange.seconds = context.seconds
        return await role.explain(inputs, context, deadline)

    async def close(self) -> None:
        """Unload the models; predictions that still run are not waited for."""
        if self.role is not None:
            await self.role.close()
        if self._cache is not None:
            self._cache.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.repository.close()

    def _front(self, exchange: Exchange, name: str, version: str | None) -> Target:
        if self.is_remote:
            self._check_name(name)
            exchange.found(self.watchers.metrics.model(name))
        else:
            exchange.found(self._served[self.repository.get(name, version)].metrics)
        if self.role is None:
            raise ModelNotReady(f"model {name!r} is not loaded yet: try again shortly")
        return _Front(name, version, self.role.mapping)

    def _check_name(self, name: str) -> None:
        own = self._settings.model_name
        if name != own:
            raise ModelNotFound(f"no model {name!r} here, only {own!r}")

    async def _ask_role(
        self,
        exchange: Exchange,
        target: _Front,
        inputs: Tensors,
        outputs: Sequence[str],
        deadline: float,
        done: Done,
    ) -> None:
        context = _context(exchange, target)
        exchange.seconds = context.seconds
        assert self.role is not None  # noqa: S101 - the target is its front
        try:
            answers = await self.role.infer(inputs, outputs, context, deadline)
        except Exception as error:  # noqa: BLE001 - every failure is answered
            done(None, error)
        else:
            done(answers, None)

    def _submit(
        self,
        model: Any,
        inputs: Tensors,
        outputs: Sequence[str],
        deadline: float,
        done: Done,
    ) -> Call:
        if outputs:
            model.check_outputs(outputs)
        call = Call(inputs, outputs, deadline, done)
        served = self._served[model]
        if served.keys is None:
            served.batcher.submit(call)
        else:
            self._look_up(served, served.keys, call)
        return call

    def _look_up(self, served: _Served, keys: Keys, call: Call) -> None:
        """Answer from the cache, or ask the model and keep what it answers."""
        cache = self._cache
        assert cache is not None  # noqa: S101 - there are no keys without it
        loop = asyncio.get_running_loop()
        key = keys.key(call.inputs, call.outputs)
        answer_caller = call.done

        def keep(answers: Tensors | None, error: Exception | None) -> None:
            if answers is not None:
                cache.put(key, answers)
                self.watchers.metrics.cache_bytes = cache.size
            if answer_caller is not None:
                answer_caller(answers, error)

        def found(answers: Tensors | None) -> None:
            if answers is not None:
                served.metrics.cache_hit()
                loop.call_soon(call.finish, answers, None)
                return
            served.metrics.cache_miss()
            if call.done is None:
                return
            call.done = keep
            try:
                served.batcher.submit(call)
            except ServingError as error:
                loop.call_soon(call.finish, None, error)

        cache.get(key, found)

    def _attach(self, model: Model) -> None:
        metrics = self.watchers.metrics.model(model.name, model.version)
        metrics.loaded(model.load_seconds)
        metrics.warmed_up(model.warmup_seconds)
        runtime, most = model.runtime, self._settings.max_threads
        concurrency = max(1, most // runtime.threads)
        if runtime.concurrency is not None:
            concurrency = min(concurrency, runtime.concurrency)
        batcher = Batcher(model, self._limits, self._threads, concurrency, metrics)
        keys = Keys(model.name, model.version, model.digest) if self._cache else None
        self._served[model] = _Served(batcher, metrics, keys)

    def _detach(self, model: Model) -> None:
        del self._served[model]

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._tasks.discard)


def _context(
    exchange: Exchange, target: Target, parameters: Mapping[str, Any] | None = None
) -> Context:
    headers = {**exchange.headers, **exchange.trace_headers}
    return Context(target.name, target.version, exchange.request_id, headers, parameters or {})
