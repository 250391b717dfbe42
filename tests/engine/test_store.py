from __future__ import annotations

import resource
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from modelport_engine.errors import Conflict, NotFound, StorageFailed
from modelport_engine.objects import InferenceService, parse
from modelport_engine.records import Key, ReplicaRecord
from modelport_engine.store import REVISION_HISTORY, Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = Key("default", "tumor")


def service(model: int = 1, **predictor: Any) -> InferenceService:
    spec = {"model": {"modelFormat": {"name": "onnx"}, "storageUri": f"/models/{model}"}}
    return parse(
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "tumor", "annotations": {"why": "test"}},
            "spec": {"predictor": {**spec, **predictor}},
        }
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "engine"
    folder.mkdir(parents=True)
    return folder / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(path)
    yield opened
    opened.close()


def test_only_a_changed_spec_is_a_new_generation(store: Store) -> None:
    first = store.apply(service())
    same = store.apply(service())
    assert (first.generation, same) == (1, first)

    annotated = store.apply(replace(service(), annotations={"why": "other"}))
    assert annotated.generation == 1
    assert annotated.resource_version > first.resource_version
    assert annotated.annotations == {"why": "other"}

    scaled = store.apply(service(minReplicas=3))
    assert scaled.generation == 2
    assert [revision.name for revision in store.revisions(KEY)] == ["tumor-predictor-00001"]

    store.apply(service(model=2))
    assert [revision.name for revision in store.revisions(KEY)] == [
        "tumor-predictor-00001",
        "tumor-predictor-00002",
    ]


def test_a_replaced_revision_retires_and_a_failed_one_gets_another_try(store: Store) -> None:
    store.apply(service(model=1))
    store.apply(service(model=2))
    assert [revision.state for revision in store.revisions(KEY)] == ["Retired", "Pending"]
    store.fail(store.revisions(KEY)[-1], {"reason": "ModelLoadFailed"})
    assert store.revisions(KEY)[-1].failure == {"reason": "ModelLoadFailed"}
    store.apply(service(model=2))
    latest = store.revisions(KEY)[-1]
    assert (latest.number, latest.state, latest.failure) == (2, "Pending", None)


def test_rolling_out_remembers_the_revision_before(store: Store) -> None:
    store.apply(service(model=1))
    store.roll_out(KEY, "tumor-predictor-00001")
    store.apply(service(model=2))
    store.roll_out(KEY, "tumor-predictor-00002")
    store.roll_out(KEY, "tumor-predictor-00002")
    stored = store.service(KEY)
    assert (stored.rolled_out, stored.previous) == (
        "tumor-predictor-00002",
        "tumor-predictor-00001",
    )


def test_old_revisions_are_forgotten_but_not_the_one_that_serves(store: Store) -> None:
    store.apply(service(model=0))
    store.roll_out(KEY, "tumor-predictor-00001")
    for model in range(1, 2 * REVISION_HISTORY):
        store.apply(service(model=model))
    numbers = [revision.number for revision in store.revisions(KEY)]
    assert numbers == [1, *range(REVISION_HISTORY + 1, 2 * REVISION_HISTORY + 1)]


def test_an_object_that_changed_meanwhile_is_a_conflict(store: Store) -> None:
    version = str(store.apply(service()).resource_version)
    store.apply(service(model=2))
    with pytest.raises(Conflict, match=f"since resourceVersion {version}"):
        store.apply(replace(service(model=3), resource_version=version))
    store.mark_deleted(KEY)
    with pytest.raises(Conflict, match="is being deleted"):
        store.apply(service())
    store.remove(KEY)
    with pytest.raises(NotFound):
        store.service(KEY)
    assert store.apply(service()).last_revision == 1


def test_what_was_written_is_there_for_the_next_engine(store: Store, path: Path) -> None:
    stored = store.apply(service())
    record = ReplicaRecord(KEY, "tumor-predictor-00001", 1, 42, 1.5, 20000, ready=False)
    store.add_replica(record)
    store.mark_ready(record)
    store.remember("gateway_port", 8780)
    store.save_status(KEY, {"url": "x"})
    # As after a crash: the first one has not closed its file.
    second = Store(path)
    assert second.service(KEY).status == {"url": "x"}
    assert second.service(KEY).uid == stored.uid
    assert second.replicas() == [replace(record, ready=True)]
    assert second.setting("gateway_port") == 8780
    second.close()


def test_a_write_is_durable_before_it_returns(path: Path, store: Store) -> None:
    store.remember("a", 1)
    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store.pragma("synchronous") == 2
    assert store.pragma("foreign_keys") == 1


def test_a_full_disk_is_one_clear_line_and_changes_nothing(store: Store) -> None:
    store.apply(service())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, before[1]))
    try:
        with pytest.raises(StorageFailed, match="cannot be written") as caught:
            store.apply(service(model=2, args=["x" * 500_000]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert store.service(KEY).generation == 1
    assert store.apply(service(model=2)).generation == 2


def test_the_state_of_a_newer_version_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageFailed, match="newer version of modelport"):
        Store(path)


def test_replicas_of_an_earlier_version_are_predictors(path: Path, store: Store) -> None:
    record = ReplicaRecord(KEY, "tumor-predictor-00001", 1, 42, 1.5, 20000, ready=True)
    store.add_replica(record)
    store.close()
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE replicas DROP COLUMN component")
        database.execute("PRAGMA user_version = 1")
    again = Store(path)
    assert again.replicas() == [record]
    explainer = replace(record, pid=43, component="explainer")
    again.add_replica(explainer)
    assert again.replicas() == [record, explainer]
    again.close()
