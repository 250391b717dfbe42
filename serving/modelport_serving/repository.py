"""The models of one folder: which there are, which are loaded, and which one answers.

`model_dir` is one model (an MLflow model folder, or a plain model file or its folder), a folder of
versions of one model (`1/`, `2/`, ...), or a repository of models: `<model>/<version>/`, or
`<model>/` without versions. A name that a request gives is only ever looked up among the folders
found there, so no name can leave `model_dir`.

What serves goes on serving: a version is loaded beside the old one, which answers until the new
one can, and which is unloaded when its last request has been answered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar, TypeVarTuple

from modelport_serving.contract import files
from modelport_serving.errors import ModelLoadFailed, ModelNotFound, ModelNotReady, ServingError
from modelport_serving.model import Model, ModelState
from modelport_serving.plain import is_model

log = logging.getLogger("modelport_serving")

LATEST, ALL = "latest", "all"
_LOADS_AT_ONCE = 2
_SHOWN_NAMES = 8

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")
Version = str | None
Folders = Mapping[Version, Path]
"""The folders of a model by version; None stands for a model without versions."""


class IndexEntry(NamedTuple):
    """One version of one model, loaded or not; `reason` says why it, or its new copy, is not."""

    name: str
    version: Version
    state: ModelState
    reason: str


class Layout(NamedTuple):
    """What a `model_dir` holds; `single` when the folder is that of one model."""

    models: Mapping[str, Folders]
    single: bool


class Repository:
    """The models below `model_dir`. Everything but loading itself runs in the event loop.

    Args:
        model_dir: The folder.
        model_name: What a single model is called; a repository's models have their folders' names.
        model_format: The format of plain models whose names do not tell it.
        version_policy: `latest` (the highest number), `all`, or versions as in `1,3`.
        allow_pickle: Whether models may be loaded that can run any code.
        warmup: Whether each model answers its example before it is ready.
        max_threads: The most CPU threads that one model may use for one answer.
        on_loaded: Called with each model just before it answers requests.
        on_unloaded: Called with each model once its last request is answered and it is unloaded.
    """

    def __init__(
        self,
        model_dir: Path | None,
        model_name: str,
        *,
        model_format: str | None = None,
        version_policy: str = LATEST,
        allow_pickle: bool = False,
        warmup: bool = True,
        max_threads: int = 1,
        with_digests: bool = False,
        on_loaded: Callable[[Model], None] = lambda _: None,
        on_unloaded: Callable[[Model], None] = lambda _: None,
    ) -> None:
        self._root = model_dir
        self._model_name = model_name
        self._model_format = model_format
        self._policy = version_policy
        self._allow_pickle = allow_pickle
        self._warmup = warmup
        self._max_threads = max_threads
        self._with_digests = with_digests
        self._on_loaded = on_loaded
        self._on_unloaded = on_unloaded
        self._started = False
        self._served: dict[str, _Served] = {}
        self._answering: dict[tuple[str, Version], Model] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        # Threads of our own: the loop waits for those of its own executor when it ends.
        self._threads = ThreadPoolExecutor(_LOADS_AT_ONCE, thread_name_prefix="load")

    @property
    def ready(self) -> bool:
        """Whether every model that is wanted answers."""
        return self._started and all(served.is_complete for served in self._served.values())

    async def start(self, unwanted: frozenset[str] = frozenset()) -> None:
        """Load what the folder holds, but for the unwanted models.

        A single model's failure is raised (`ModelLoadFailed`); in a repository it keeps no other
        model from serving, and the index tells it.
        """
        layout = await self._in_thread(self._find)
        models = {name: f for name, f in layout.models.items() if name not in unwanted}
        for name, folders in models.items():
            self._served[name] = _Served(wanted(folders, self._policy))
        failures = await asyncio.gather(
            *(self._load(name, folders) for name, folders in models.items()),
            return_exceptions=True,
        )
        for failure in filter(None, failures):
            if layout.single or not isinstance(failure, ServingError):
                raise failure
            log.error("%s", failure)
        self._started = True

    def get(self, name: str, version: Version = None) -> Model:
        """Return the model that answers: this version, or the highest that is ready.

        `ModelNotFound` names what there is; `ModelNotReady` says why it does not answer.
        """
        model = self._answering.get((name, version))
        if model is None:
            raise self._no_answer(name, version)
        return model

    def names(self) -> list[str]:
        """Return the models that are wanted here, ready or not."""
        return [name for name, served in self._served.items() if served.wanted]

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model that answer, lowest first; none where it has none."""
        served = self._served.get(name)
        if served is None or not served.wanted:
            raise self._no_answer(name, None)
        return [version for version in _sorted(served.ready) if version is not None]

    def index(self) -> list[IndexEntry]:
        """List every version of every model: on disk, loaded, loading, failed or unloading."""
        on_disk = self._find().models
        return [
            entry
            for name in dict.fromkeys([*on_disk, *self._served])
            for entry in self._entries(name, on_disk.get(name, {}))
        ]

    async def load(self, name: str) -> None:
        """Read the model's folder again, and serve what is new or changed in it.

        `ModelNotFound` when there is no such folder; `ModelLoadFailed` when a version of it
        cannot be served: then what served before goes on serving.
        """
        on_disk = (await self._in_thread(self._find)).models
        if name not in on_disk:
            raise ModelNotFound(f"{self._root} holds no model {name!r}, only {_list(on_disk)}")
        self._served.setdefault(name, _Served([]))
        await self._load(name, on_disk[name])

    async def unload(self, name: str) -> None:
        """Stop serving every version of a model; requests in flight are still answered."""
        served = self._served.get(name)
        if served is None or not served.wanted:
            raise self._no_answer(name, None)
        async with served.lock:
            served.wanted = set()
            served.attempts.clear()
            for version in list(served.ready):
                self._retire(served, version)
            self._publish(name, served)

    def close(self) -> None:
        """Unload every model; what still loads or answers is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for task in self._retiring:
            task.cancel()
        self._answering.clear()
        for served in self._served.values():
            for model in served.ready.values():
                model.unload()
            served.ready.clear()

    async def _load(self, name: str, folders: Folders) -> None:
        """Serve the wanted versions; those that are wanted no more are unloaded at the end."""
        served = self._served[name]
        async with served.lock:
            chosen = wanted(folders, self._policy)
            failures: list[ModelLoadFailed] = []
            for version in chosen:
                try:
                    await self._load_version(name, served, version, folders.get(version))
                except ModelLoadFailed as failure:
                    failures.append(failure)
                self._publish(name, served)
            if failures:
                raise failures[0]
            served.wanted = set(chosen)
            for version in served.ready.keys() - served.wanted:
                self._retire(served, version)
            served.attempts.clear()
            self._publish(name, served)

    async def _load_version(
        self, name: str, served: _Served, version: Version, folder: Path | None
    ) -> None:
        """Load a version, unless the one that serves is the same still, and put it in place."""
        model = Model(
            name,
            folder or Path(),
            version,
            model_format=self._model_format,
            allow_pickle=self._allow_pickle,
            warm=self._warmup,
            with_digest=self._with_digests,
            max_threads=self._max_threads,
        )
        served.attempts[version] = model
        try:
            fingerprint = await self._in_thread(_fingerprint, model, folder, self._root)
            if version in served.ready and served.fingerprints[version] == fingerprint:
                del served.attempts[version]
                return
            await self._in_thread(model.load)
        except ModelLoadFailed as failure:
            model.reason = str(failure)
            raise
        self._on_loaded(model)
        if version in served.ready:
            self._retire(served, version)
        del served.attempts[version]
        served.ready[version] = model
        served.fingerprints[version] = fingerprint

    def _publish(self, name: str, served: _Served) -> None:
        """Let requests find the versions that are ready, and the highest without its number."""
        for key in [key for key in self._answering if key[0] == name]:
            del self._answering[key]
        for version in _sorted(served.ready):
            self._answering[name, version] = self._answering[name, None] = served.ready[version]

    def _retire(self, served: _Served, version: Version) -> None:
        """Unload a version in the background, once its last request has been answered."""
        model = served.ready.pop(version)
        model.state = ModelState.UNLOADING
        served.retiring.append(model)
        task = asyncio.create_task(self._unload(served, model))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _unload(self, served: _Served, model: Model) -> None:
        await model.idle()
        await self._in_thread(model.unload)
        served.retiring.remove(model)
        self._on_unloaded(model)

    def _entries(self, name: str, folders: Folders) -> list[IndexEntry]:
        served = self._served.get(name) or _Served([])
        versions = {
            *folders,
            *served.ready,
            *served.attempts,
            *(m.version for m in served.retiring),
        }
        return [IndexEntry(name, version, *served.state(version)) for version in _sorted(versions)]

    def _no_answer(self, name: str, version: Version) -> ServingError:
        """Say why no model answers for a name and a version."""
        if not self._started and not self._served:  # what there is has not been looked up yet
            return ModelNotReady(f"model {name!r} is not loaded yet: try again shortly")
        served = self._served.get(name)
        if served is None or not served.wanted:
            return ModelNotFound(f"no model {name!r} here: GET /v2/models lists those that are")
        if version is not None and version not in served.known:
            has = _list(version for version in _sorted(served.ready) if version is not None)
            return ModelNotFound(f"model {name!r} has no version {version!r} here, only {has}")
        waiting = served.attempts.values() if version is None else [served.attempts[version]]
        reason = next((model.reason for model in waiting if model.reason), "")
        if reason:
            return ModelNotReady(f"model {name!r} is not loaded: {reason}")
        return ModelNotReady(f"model {name!r} is not loaded yet: try again shortly")

    def _find(self) -> Layout:
        return find(self._root, self._model_name, self._model_format)

    def _in_thread(
        self, function: Callable[[*Arguments], Result], *arguments: *Arguments
    ) -> asyncio.Future[Result]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads, function, *arguments)


class _Served:
    """What is known of one model name.

    `wanted` are the versions that make it ready; `ready` those that answer; `attempts` those
    that are loading or have failed to; `retiring` those whose last requests are being answered.
    """

    def __init__(self, wanted: Iterable[Version]) -> None:
        self.lock = asyncio.Lock()
        self.wanted = set(wanted)
        self.ready: dict[Version, Model] = {}
        self.attempts: dict[Version, Model] = {}
        self.retiring: list[Model] = []
        self.fingerprints: dict[Version, frozenset[object]] = {}

    @property
    def is_complete(self) -> bool:
        """Whether all that is wanted is ready."""
        return self.wanted <= self.ready.keys()

    @property
    def known(self) -> set[Version]:
        """The versions that answer, or could once they are loaded."""
        return self.wanted | self.ready.keys() | self.attempts.keys()

    def state(self, version: Version) -> tuple[ModelState, str]:
        """Return a version's state, and why it (or its new copy) does not serve."""
        attempt = self.attempts.get(version)
        if version in self.ready:
            return ModelState.READY, attempt.reason if attempt else ""
        if attempt:
            return attempt.state, attempt.reason
        if any(model.version == version for model in self.retiring):
            return ModelState.UNLOADING, ""
        return ModelState.UNAVAILABLE, "unloaded" if not self.wanted else "not wanted"


def find(model_dir: Path | None, model_name: str, model_format: str | None = None) -> Layout:
    """Find the models of a folder and their versions. Reads names alone, no model.

    Without a folder there are none: the models are another server's.

    A folder without any model counts as that of a single one, whose loading then says what is
    missing. In a repository folders without a model, such as `lost+found`, are passed over.
    """
    if model_dir is None:
        return Layout({}, single=False)
    if not is_model(model_dir, model_format):
        folders = _folders(model_dir)
        if folders and all(_is_version(folder.name) for folder in folders):
            return Layout({model_name: {folder.name: folder for folder in folders}}, single=True)
        models = {
            folder.name: _model_folders(folder, model_dir, model_format) for folder in folders
        }
        if any(models.values()):
            return Layout({name: found for name, found in models.items() if found}, single=False)
    return Layout({model_name: {None: model_dir}}, single=True)


def wanted(folders: Folders, policy: str) -> list[Version]:
    """Return the versions that a policy asks for, lowest first; one without versions always."""
    if None in folders:
        return [None]
    if policy == ALL:
        return _sorted(folders)
    if policy == LATEST:
        return _sorted(folders)[-1:]
    return [version.strip() for version in policy.split(",")]


def _model_folders(folder: Path, root: Path, model_format: str | None) -> dict[Version, Path]:
    # What a link outside holds is not looked at: loading it will be refused.
    if not _is_inside(folder, root) or is_model(folder, model_format):
        return {None: folder}
    return {inner.name: inner for inner in _folders(folder) if _is_version(inner.name)}


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdecimal() and str(int(name)) == name


def _is_inside(folder: Path, root: Path) -> bool:
    return folder.resolve().is_relative_to(root.resolve())


def _fingerprint(model: Model, folder: Path | None, root: Path | None) -> frozenset[object]:
    """Return what changes when any file of a model's folder does; it must lie in the root."""
    if folder is None or root is None:
        raise ModelLoadFailed(f"model {model.title} is wanted, but {root} does not hold it")
    if not _is_inside(folder, root):
        raise ModelLoadFailed(f"{folder} is a link out of {root}: put the model itself there")
    stats = ((path, path.stat()) for path in files(folder))
    return frozenset((path, stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in stats)


def _sorted(versions: Iterable[Version]) -> list[Version]:
    return sorted(versions, key=_number)


def _number(version: Version) -> int:
    return int(version) if version is not None and _is_version(version) else -1


def _list(names: Iterable[str]) -> str:
    shown = list(names)
    more = ", ..." if len(shown) > _SHOWN_NAMES else ""
    return ", ".join(map(repr, shown[:_SHOWN_NAMES])) + more if shown else "none"
