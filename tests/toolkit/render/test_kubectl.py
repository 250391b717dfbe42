"""kubectl's tables and descriptions of services."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from modelport.render import grid_html, grid_text, sections_html, sections_text
from modelport.render.grid import Grid
from modelport.render.kubectl import description, events, history, listing

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion

NOW = datetime(2026, 3, 1, 13, 35, 2, tzinfo=UTC)
CREATED = "2026-03-01T13:30:00Z"


@pytest.fixture
def shared(service: dict[str, Any]) -> dict[str, Any]:
    """A service whose traffic two revisions share."""
    service["metadata"] |= {"generation": 2, "namespace": "default"}
    predictor = service["status"]["components"]["predictor"]
    predictor["traffic"] = [
        {"revisionName": "tumor-predictor-00001", "percent": 90, "latestRevision": False},
        {"revisionName": "tumor-predictor-00002", "percent": 10, "latestRevision": True},
    ]
    predictor["grpcUrl"] = "grpc://127.0.0.1:8080"
    return service


def revision(number: int, **values: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": f"tumor-predictor-0000{number}", "creationTimestamp": CREATED},
        "revision": number,
        "state": "Ready",
        "track": "",
        "traffic": 0,
        "spec": {"predictor": {"model": {"storageUri": f"file:///models/{number}"}}},
        **values,
    }


def replica(slot: int, **values: Any) -> dict[str, Any]:
    return {
        "name": f"tumor-predictor-00002-{slot}",
        "revision": "tumor-predictor-00002",
        "component": "predictor",
        "pid": 4000 + slot,
        "port": 20000 + slot,
        "grpcPort": 21000 + slot,
        "ready": True,
        "startTime": CREATED,
        "restarts": 0,
        "memoryBytes": 50 * 2**20,
        "log": "/nowhere",
        **values,
    }


def event(**values: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "tumor.1", "namespace": "default", "creationTimestamp": CREATED},
        "involvedObject": {
            "kind": "InferenceService",
            "namespace": "default",
            "name": "tumor",
        },
        "type": "Normal",
        "reason": "TrafficMoved",
        "message": "tumor-predictor-00002 10 %",
        "count": 1,
        "firstTimestamp": CREATED,
        "lastTimestamp": CREATED,
        **values,
    }


def row(grid: Grid) -> dict[str, str]:
    (cells,) = grid.rows
    return dict(zip(grid.header, cells, strict=True))


def test_the_columns_are_kserve_s_own(shared: dict[str, Any]) -> None:
    assert row(listing([shared], now=NOW)) == {
        "NAME": "tumor",
        "URL": "http://127.0.0.1:8080/serving/default/tumor",
        "READY": "True",
        "PREV": "90",
        "LATEST": "10",
        "PREVROLLEDOUTREVISION": "tumor-predictor-00001",
        "LATESTREADYREVISION": "tumor-predictor-00002",
        "AGE": "3h20m",
    }


def test_a_service_without_a_status_has_empty_cells(service: dict[str, Any]) -> None:
    del service["status"]
    cells = row(listing([service], {}, namespaces=True, now=NOW))
    assert next(iter(cells)) == "NAMESPACE"
    assert (cells["URL"], cells["READY"], cells["REPLICAS"]) == ("", "Unknown", "0/0")


def test_wide_counts_the_replicas_that_stay(shared: dict[str, Any]) -> None:
    replicas = [
        replica(1, restarts=3),
        replica(2, ready=False, memoryBytes=0),
        replica(3, retiring=True, memoryBytes=0),
    ]
    cells = row(listing([shared], {("default", "tumor"): replicas}, now=NOW))
    assert cells["REVISIONS"] == "tumor-predictor-00001=90%,tumor-predictor-00002=10%"
    assert (cells["REPLICAS"], cells["RESTARTS"], cells["MEMORY"]) == ("1/2", "3", "50.0 MiB")


def test_events_that_came_again_are_counted() -> None:
    again = event(count=3, lastTimestamp="2026-03-01T13:35:00Z", type="Warning")
    cells = row(events([again], now=NOW))
    assert cells["LAST SEEN"] == "2s (x3 over 5m2s)"
    assert cells["OBJECT"] == "inferenceservice/tumor"
    assert row(events([again], namespaces=True, now=NOW))["NAMESPACE"] == "default"


def test_a_canary_s_revision_names_its_own_model() -> None:
    spec = {
        "predictor": {"model": {"storageUri": "file:///one"}},
        "canary": [{"predictor": {"name": "b", "sklearn": {"storageUri": "file:///two"}}}],
    }
    grid = history([revision(1, spec=spec), revision(2, spec=spec, track="b")], NOW)
    assert [cells[grid.header.index("MODEL")] for cells in grid.rows] == [
        "file:///one",
        "file:///two",
    ]


def test_a_description(shared: dict[str, Any], snapshot: SnapshotAssertion) -> None:
    shared["status"]["modelStatus"]["lastFailureInfo"] = {
        "reason": "ModelLoadFailed",
        "message": "tumor-predictor-00003-1 ended with exit code 3: no such file",
        "modelRevisionName": "tumor-predictor-00003",
        "location": "tumor-predictor-00003-1",
        "exitCode": 3,
        "time": CREATED,
    }
    revisions = [revision(1, traffic=90), revision(2, traffic=10), revision(3, state="Failed")]
    told = description(shared, revisions, [replica(1)], [event()], NOW)
    assert sections_text(told) == snapshot


def test_a_description_of_next_to_nothing(service: dict[str, Any]) -> None:
    del service["status"]
    service["metadata"] |= {"generation": 1, "labels": {}, "annotations": None}
    told = sections_text(description(service, [], [], [], NOW))
    assert "Replicas:  <none>" in told
    assert "To call it" not in told


def test_lines_are_never_folded_and_hold_no_control_characters() -> None:
    grid = Grid(("NAME", "MESSAGE"), (("tumor", "x" * 300 + "\x1b[31m"),))
    head, line = grid_text(grid).splitlines()
    assert head == "NAME    MESSAGE"
    assert len(line) > 300
    assert "\x1b" not in line


def test_nothing_of_a_service_becomes_markup(shared: dict[str, Any]) -> None:
    evil = deepcopy(shared)
    evil["metadata"]["name"] = evil["metadata"]["namespace"] = "<script>"
    evil["status"]["url"] = "javascript:alert(1)"
    for one in evil["status"]["conditions"]:
        one["message"] = "<script>"
    told = [revision(1, state="<script>", track="<script>", traffic=1)]
    shown = (
        grid_html("<script>", listing([evil], {}, now=NOW)),
        grid_html("Events", events([event(message="<script>")], now=NOW)),
        sections_html("<script>", description(evil, told, [replica(1)], [event()], NOW)),
    )
    for html in shown:
        assert "<script" not in html
        assert "href" not in html


def test_a_table_in_the_notebook(shared: dict[str, Any]) -> None:
    html = grid_html("InferenceServices", listing([shared], now=NOW))
    assert 'href="http://127.0.0.1:8080/serving/default/tumor"' in html
    assert "✓" in html
