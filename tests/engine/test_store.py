from __future__ import annotations

import json
import resource
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from modelport_engine.errors import Conflict, NotFound, StorageFailed
from modelport_engine.objects import InferenceService, parse
from modelport_engine.state.database import MIGRATIONS, Database
from modelport_engine.state.events import KEPT, EventLog
from modelport_engine.state.records import STABLE, Key, Part, ReplicaRecord, Track
from modelport_engine.state.store import REVISION_HISTORY, Store

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
def database(path: Path) -> Iterator[Database]:
    opened = Database(path)
    yield opened
    opened.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


def names(store: Store) -> list[tuple[str, str]]:
    return [(one.name.removeprefix("tumor-predictor-"), one.state) for one in store.revisions(KEY)]


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
    store.roll_out(KEY, STABLE, "tumor-predictor-00001")
    store.apply(service(model=2))
    store.roll_out(KEY, STABLE, "tumor-predictor-00002")
    store.roll_out(KEY, STABLE, "tumor-predictor-00002")
    latest = "tumor-predictor-00002"
    assert store.service(KEY).stable == Track(latest, latest, "tumor-predictor-00001")


def test_a_template_that_it_had_is_the_same_revision_again(store: Store) -> None:
    store.apply(service(model=1))
    store.mark_up(KEY, "tumor-predictor-00001")
    store.roll_out(KEY, STABLE, "tumor-predictor-00001")
    store.apply(service(model=2))
    store.mark_up(KEY, "tumor-predictor-00002")
    back = store.apply(service(model=1))
    assert back.stable == Track("tumor-predictor-00001", "tumor-predictor-00001")
    # It runs and serves; the other has to come up anew should it be wanted again.
    assert names(store) == [("00001", "Ready"), ("00002", "Ready")]
    store.apply(service(model=2))
    assert names(store) == [("00001", "Ready"), ("00002", "Pending")]


def with_canary(model: int, percent: int) -> InferenceService:
    document = service(model=1)
    canary = {"predictor": {"name": "v2", **service(model=model).spec["predictor"]}}
    spec = {**document.spec, "canary": [{"trafficPercent": percent, **canary}]}
    return parse(
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "tumor"},
            "spec": spec,
        }
    )


def test_a_canary_has_a_track_of_its_own_and_keeps_its_revision_when_promoted(store: Store) -> None:
    store.apply(service(model=1))
    store.mark_up(KEY, "tumor-predictor-00001")
    store.roll_out(KEY, STABLE, "tumor-predictor-00001")
    begun = store.apply(with_canary(model=2, percent=10))
    assert begun.tracks == {
        STABLE: Track("tumor-predictor-00001", "tumor-predictor-00001"),
        "v2": Track("tumor-predictor-00002"),
    }
    store.mark_up(KEY, "tumor-predictor-00002")
    store.roll_out(KEY, "v2", "tumor-predictor-00002")
    assert store.apply(with_canary(model=2, percent=50)).last_revision == 2
    promoted = store.apply(service(model=2, name="v2"))
    assert promoted.tracks == {STABLE: Track("tumor-predictor-00002", "tumor-predictor-00001")}
    assert names(store) == [("00001", "Ready"), ("00002", "Ready")]


def test_what_the_autoscaler_decided_goes_with_its_revision(store: Store) -> None:
    store.apply(service())
    part = Part("tumor-predictor-00001")
    store.scale(KEY, part, 3)
    store.scale(KEY, part, 2)
    assert store.scales(KEY) == {part: 2}
    store.remove(KEY)
    store.apply(service())
    assert store.scales(KEY) == {}


def test_events_are_counted_bounded_and_in_order(database: Database) -> None:
    log = EventLog(database)
    log.note(KEY, "Warning", "ReplicaFailed", "it ended")
    log.note(KEY, "Normal", "Created", "generation 1")
    log.note(KEY, "Warning", "ReplicaFailed", "it ended")
    log.note(Key("other", "tumor"), "Normal", "Created", "x" * 5_000)
    assert [(event.reason, event.count) for event in log.all("default", "tumor")] == [
        ("Created", 1),
        ("ReplicaFailed", 2),
    ]
    assert [len(event.message) for event in log.all("other")] == [1_024]
    assert len(log.all()) == 3
    for number in range(KEPT + 5):
        log.note(KEY, "Normal", "Updated", f"generation {number}")
    kept = log.all("default")
    assert len(kept) == KEPT
    assert kept[-1].message == f"generation {KEPT + 4}"
    assert len(log.all("other")) == 1


def test_old_revisions_are_forgotten_but_not_the_one_that_serves(store: Store) -> None:
    store.apply(service(model=0))
    store.mark_up(KEY, "tumor-predictor-00001")
    store.roll_out(KEY, STABLE, "tumor-predictor-00001")
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


def test_what_was_written_is_there_for_the_next_engine(
    store: Store, database: Database, path: Path
) -> None:
    stored = store.apply(service())
    record = ReplicaRecord(KEY, "tumor-predictor-00001", 1, 42, 1.5, 20000, ready=False)
    store.add_replica(record)
    store.mark_ready(record)
    database.remember("gateway_port", 8780)
    store.save_status(KEY, {"url": "x"})
    # As after a crash: the first one has not closed its file.
    opened = Database(path)
    second = Store(opened)
    assert second.service(KEY).status == {"url": "x"}
    assert second.service(KEY).uid == stored.uid
    assert second.replicas() == [replace(record, ready=True)]
    assert opened.setting("gateway_port") == 8780
    opened.close()


def test_a_write_is_durable_before_it_returns(path: Path, database: Database) -> None:
    database.remember("a", 1)
    with sqlite3.connect(path) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert database.pragma("synchronous") == 2
    assert database.pragma("foreign_keys") == 1


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
        Database(path)


def test_the_state_of_an_earlier_version_is_taken_over(path: Path) -> None:
    """As its first version wrote it: one line of revisions, predictors alone."""
    template = {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "/models/1"}}
    with sqlite3.connect(path) as database:
        database.executescript(MIGRATIONS[0])
        database.execute("PRAGMA user_version = 1")
        database.execute(
            "INSERT INTO services VALUES ('default', 'tumor', 'u', 'then', NULL, 2, 3, '{}', '{}', "
            "'{}', '{}', '[]', 2, 'tumor-predictor-00001', NULL)"
        )
        for number, state in ((1, "Ready"), (2, "Pending")):
            database.execute(
                "INSERT INTO revisions VALUES ('default', 'tumor', ?, ?, ?, 'then', ?, NULL)",
                (f"tumor-predictor-{number:05d}", number, json.dumps(template), state),
            )
        database.execute(
            "INSERT INTO replicas VALUES "
            "('default', 'tumor', 'tumor-predictor-00001', 1, 42, 1.5, 20000, 1)"
        )
    opened = Database(path)
    store = Store(opened)
    assert store.service(KEY).stable == Track("tumor-predictor-00002", "tumor-predictor-00001")
    assert [one.spec for one in store.revisions(KEY)] == [{"predictor": template}] * 2
    record = ReplicaRecord(KEY, "tumor-predictor-00001", 1, 42, 1.5, 20000, ready=True)
    assert store.replicas() == [record]
    explainer = replace(record, pid=43, component="explainer", grpc_port=20001, restarts=3)
    store.add_replica(explainer)
    assert store.replicas() == [record, explainer]
    opened.close()
