"""A folder of models: what is found in it, what serves, and what a change of it does."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from modelport_serving.errors import (
    ContractError,
    ModelLoadFailed,
    ModelNotFound,
    ModelNotReady,
    ServingError,
)
from modelport_serving.model import Model, ModelState
from modelport_serving.repository import IndexEntry, Repository, find

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from conftest import Serving

READY, UNAVAILABLE = ModelState.READY, ModelState.UNAVAILABLE


def put(folder: Path, factor: float) -> Path:
    """Put a model that multiplies by a factor where it was not, or in place of another."""
    spec = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]) for name in "xy"]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [factor])
    node = helper.make_node("Mul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "times", spec[:1], spec[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    staged = folder.with_name(f".{folder.name}")
    staged.mkdir(parents=True)
    onnx.save(model, staged / "model.onnx")
    (staged / "MLmodel").write_text(yaml.safe_dump({"flavors": {"onnx": {"data": "model.onnx"}}}))
    shutil.rmtree(folder, ignore_errors=True)
    return staged.rename(folder)


def break_(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"not a model")


def factor(model: Model) -> float:
    return float(model.predict({"x": np.ones((1, 1), np.float32)})["y"][0, 0])


def served(
    test: Callable[[Repository], Coroutine[Any, Any, None]], root: Path, **options: Any
) -> None:
    """Run a test on a repository that is started, and close it."""

    async def run() -> None:
        repository = Repository(root, "m", **options)
        try:
            await repository.start()
            await test(repository)
        finally:
            repository.close()

    asyncio.run(run())


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Two models: one in three versions, one without."""
    root = tmp_path / "shop"
    for version in (2, 10, 9):
        put(root / "price" / str(version), version)
    put(root / "tax", 0.5)
    return root


# --- what is found ---------------------------------------------------------------------------


def test_one_model_folder_is_one_model(tmp_path: Path) -> None:
    async def check(repository: Repository) -> None:
        model = repository.get("m")
        assert (model.name, model.version, factor(model)) == ("m", None, 3)
        assert repository.names() == ["m"]
        assert repository.versions("m") == []
        assert repository.index() == [IndexEntry("m", None, READY, "")]

    served(check, put(tmp_path / "one", 3))


def test_numbered_folders_are_versions_of_one_model(tmp_path: Path) -> None:
    for version in ("1", "2"):
        put(tmp_path / version, int(version))

    async def check(repository: Repository) -> None:
        assert factor(repository.get("m")) == 2
        with pytest.raises(ModelNotFound, match="no version '1' here, only '2'"):
            repository.get("m", "1")

    served(check, tmp_path)


def test_a_repository_holds_models_with_and_without_versions(shop: Path) -> None:
    (shop / "lost+found").mkdir()
    (shop / ".git").mkdir()
    (shop / "README.md").touch()

    async def check(repository: Repository) -> None:
        assert repository.names() == ["price", "tax"]
        assert factor(repository.get("price")) == 10  # the highest number, not the last word
        assert repository.versions("price") == ["10"]
        assert repository.get("tax").version is None
        assert repository.index() == [
            IndexEntry("price", "2", UNAVAILABLE, "not wanted"),
            IndexEntry("price", "9", UNAVAILABLE, "not wanted"),
            IndexEntry("price", "10", READY, ""),
            IndexEntry("tax", None, READY, ""),
        ]
        assert repository.ready

    served(check, shop)


@pytest.mark.parametrize(
    ("policy", "versions"), [("latest", ["10"]), ("all", ["2", "9", "10"]), ("9, 2", ["2", "9"])]
)
def test_a_policy_chooses_versions(shop: Path, policy: str, versions: list[str]) -> None:
    async def check(repository: Repository) -> None:
        assert repository.versions("price") == versions
        assert [factor(repository.get("price", v)) for v in versions] == list(map(float, versions))
        assert repository.get("price").version == versions[-1]

    served(check, shop, version_policy=policy)


def test_a_wanted_version_that_is_missing_is_a_failure(shop: Path) -> None:
    async def check(repository: Repository) -> None:
        assert not repository.ready
        assert factor(repository.get("price")) == 9
        with pytest.raises(ModelNotReady, match="version 4 is wanted, but"):
            repository.get("price", "4")

    served(check, shop, version_policy="9,4")


@pytest.mark.parametrize("name", ["../shop/tax", "..", "", ".", "price/10", "tax\0", "/etc"])
def test_a_name_is_never_a_path(shop: Path, name: str) -> None:
    async def check(repository: Repository) -> None:
        with pytest.raises(ModelNotFound):
            repository.get(name)
        with pytest.raises(ModelNotFound):
            await repository.load(name)
        with pytest.raises(ModelNotFound):
            await repository.unload(name)

    served(check, shop)


def test_links_out_of_the_folder_are_refused(shop: Path, tmp_path: Path) -> None:
    outside = put(tmp_path / "outside", 7)
    (shop / "stolen").symlink_to(outside)
    (shop / "tax" / "1").symlink_to(outside)  # inside of a model it is no version
    (shop / "price" / "11").symlink_to(outside)

    async def check(repository: Repository) -> None:
        for name in ("stolen", "price"):
            with pytest.raises(ModelNotReady, match="is a link out of"):
                repository.get(name)
        assert factor(repository.get("tax")) == 0.5
        assert not repository.ready

    served(check, shop)


def test_the_folder_itself_may_be_a_link(shop: Path, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(shop)

    async def check(repository: Repository) -> None:
        assert repository.ready

    served(check, link)


@pytest.mark.parametrize("name", ["01", "-1", "1.0", "²", "v1"])
def test_only_whole_numbers_are_versions(tmp_path: Path, name: str) -> None:
    put(tmp_path / name, 1)

    assert find(tmp_path, "m").models == {name: {None: tmp_path / name}}


# --- failures --------------------------------------------------------------------------------


def test_a_single_model_that_fails_is_raised(tmp_path: Path) -> None:
    async def check(_: Repository) -> None:
        raise AssertionError("it started")

    with pytest.raises(ContractError, match="no file MLmodel"):
        served(check, tmp_path)
    break_(put(tmp_path / "1", 1))
    with pytest.raises(ModelLoadFailed, match="cannot load"):
        served(check, tmp_path)


def test_one_broken_model_keeps_no_other_from_serving(shop: Path) -> None:
    break_(shop / "tax")

    async def check(repository: Repository) -> None:
        assert factor(repository.get("price")) == 10
        assert not repository.ready
        with pytest.raises(ModelNotReady, match="'tax' is not loaded: ONNX Runtime cannot load"):
            repository.get("tax")
        (entry,) = (entry for entry in repository.index() if entry.name == "tax")
        assert entry.state is UNAVAILABLE
        assert "cannot load" in entry.reason

        put(shop / "tax", 0.25)
        await repository.load("tax")
        assert repository.ready
        assert factor(repository.get("tax")) == 0.25

    served(check, shop)


def test_a_model_that_still_loads_is_not_ready(shop: Path) -> None:
    async def check() -> None:
        repository = Repository(shop, "m")
        starting = asyncio.create_task(repository.start())
        while not repository.names():
            await asyncio.sleep(0)
        assert not repository.ready
        with pytest.raises(ModelNotReady, match="not loaded yet"):
            repository.get("price")
        await starting
        assert repository.ready
        repository.close()

    asyncio.run(check())


# --- load and unload -------------------------------------------------------------------------


def test_load_finds_a_new_version_and_unloads_the_old(shop: Path) -> None:
    events: list[tuple[str, str | None]] = []
    hooks = {
        "on_loaded": lambda model: events.append(("loaded", model.version)),
        "on_unloaded": lambda model: events.append(("unloaded", model.version)),
    }

    async def check(repository: Repository) -> None:
        put(shop / "price" / "11", 11)
        await repository.load("price")
        assert factor(repository.get("price")) == 11
        while len(events) < 4:
            await asyncio.sleep(0.001)
        assert events[2:] == [("loaded", "11"), ("unloaded", "10")]

    served(check, shop, **hooks)


def test_load_swaps_in_what_changed_and_keeps_what_did_not(shop: Path) -> None:
    async def check(repository: Repository) -> None:
        two, ten = repository.get("price", "2"), repository.get("price", "10")
        put(shop / "price" / "2", 2.5)
        await repository.load("price")
        assert factor(repository.get("price", "2")) == 2.5
        assert repository.get("price", "2") is not two
        assert repository.get("price", "10") is ten

    served(check, shop, version_policy="all")


def test_a_failed_load_leaves_the_old_version_serving(shop: Path) -> None:
    async def check(repository: Repository) -> None:
        break_(put(shop / "price" / "11", 11))
        with pytest.raises(ModelLoadFailed, match="cannot load"):
            await repository.load("price")
        assert factor(repository.get("price")) == 10
        assert repository.ready
        states = {entry.version: entry for entry in repository.index() if entry.name == "price"}
        assert states["10"] == IndexEntry("price", "10", READY, "")
        assert states["11"].state is UNAVAILABLE
        assert "cannot load" in states["11"].reason

        break_(shop / "price" / "10")
        shutil.rmtree(shop / "price" / "11")
        with pytest.raises(ModelLoadFailed, match="cannot load"):
            await repository.load("price")
        assert factor(repository.get("price")) == 10
        (entry,) = (entry for entry in repository.index() if entry.version == "10")
        assert entry.state is READY
        assert "cannot load" in entry.reason

    served(check, shop)


def test_a_model_in_use_is_unloaded_after_its_last_request(shop: Path) -> None:
    unloaded: list[Model] = []

    async def check(repository: Repository) -> None:
        old = repository.get("tax")
        old.begin()
        old.begin()
        put(shop / "tax", 0.25)
        await repository.load("tax")
        assert old.state is ModelState.UNLOADING
        assert factor(repository.get("tax")) == 0.25
        old.end()
        await asyncio.sleep(0)
        assert factor(old) == 0.5
        assert unloaded == []
        old.end()
        while not unloaded:
            await asyncio.sleep(0.001)
        assert unloaded == [old]
        with pytest.raises(ModelNotReady, match="was unloaded"):
            factor(old)

    served(check, shop, on_unloaded=unloaded.append)


def test_unload_takes_a_model_away_and_load_brings_it_back(shop: Path) -> None:
    async def check(repository: Repository) -> None:
        await repository.unload("price")
        assert repository.names() == ["tax"]
        assert repository.ready
        for call in (repository.get, repository.versions):
            with pytest.raises(ModelNotFound, match="no model 'price'"):
                call("price")
        while any(entry.state is ModelState.UNLOADING for entry in repository.index()):
            await asyncio.sleep(0.001)
        assert {entry.reason for entry in repository.index() if entry.name == "price"} == {
            "unloaded"
        }
        with pytest.raises(ModelNotFound):
            await repository.unload("price")
        await repository.load("price")
        assert factor(repository.get("price")) == 10

    served(check, shop, version_policy="all")


def test_a_model_that_is_gone_from_disk_goes_on_serving(shop: Path) -> None:
    async def check(repository: Repository) -> None:
        shutil.rmtree(shop / "tax")
        with pytest.raises(ModelNotFound, match="holds no model 'tax', only 'price'"):
            await repository.load("tax")
        assert factor(repository.get("tax")) == 0.5
        assert IndexEntry("tax", None, READY, "") in repository.index()

    served(check, shop)


def test_loads_of_one_model_at_once_load_it_once(shop: Path) -> None:
    loaded: list[str | None] = []

    async def check(repository: Repository) -> None:
        put(shop / "price" / "11", 11)
        await asyncio.gather(*(repository.load("price") for _ in range(5)))
        assert loaded.count("11") == 1

    served(check, shop, on_loaded=lambda model: loaded.append(model.version))


def test_no_request_fails_while_versions_come_and_go(shop: Path) -> None:
    """A caller in another thread's place: each asks, waits a tick as a queue does, and answers."""
    failures: list[ServingError] = []
    answers: set[float] = set()
    done = threading.Event()

    async def caller(repository: Repository) -> None:
        while not done.is_set():
            try:
                model = repository.get("tax")
                model.begin()
                await asyncio.sleep(0)
                answers.add(factor(model))
                model.end()
            except ServingError as failure:
                failures.append(failure)

    async def check(repository: Repository) -> None:
        callers = [asyncio.create_task(caller(repository)) for _ in range(4)]
        for step in range(1, 11):
            put(shop / "tax", step)
            await repository.load("tax")
        done.set()
        await asyncio.gather(*callers)

    served(check, shop)
    assert failures == []
    assert len(answers) > 1  # it changed under them


def test_a_server_serves_a_repository(shop: Path, serving: Serving) -> None:
    with serving("--model_dir", str(shop)) as server:
        body = {"instances": [[2.0]]}
        answers = [server.post(f"/v1/models/{n}:predict", body).json for n in ("price", "tax")]

    assert answers == [{"predictions": [[20.0]]}, {"predictions": [[1.0]]}]
