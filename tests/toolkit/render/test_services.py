from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from modelport.render import (
    as_text,
    service_html,
    service_renderable,
    services_html,
    services_renderable,
)
from modelport.render.services import age, read

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion

NOW = datetime(2026, 3, 1, 13, 35, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-3, "0s"),
        (119, "119s"),
        (310, "5m10s"),
        (600, "10m"),
        (10_900, "3h1m"),
        (90_000, "25h"),
        (180_000, "2d2h"),
        (2_000_000, "23d"),
    ],
)
def test_age_is_told_as_kubectl_does(seconds: int, shown: str) -> None:
    created = (NOW - timedelta(seconds=seconds)).isoformat()

    assert age(created, NOW) == shown


def test_reads_kserves_fields(service: dict[str, Any]) -> None:
    found = read(service, NOW)

    assert found.ready == "True"
    assert found.revision == "tumor-predictor-00002"
    assert found.model == "models:/breast-cancer-onnx/2"
    assert found.age == "3h20m"
    assert found.why == ""


def test_a_failed_load_is_the_reason(broken_service: dict[str, Any]) -> None:
    assert read(broken_service).why == "ModelLoadFailed: model.onnx is not an ONNX file"


def test_without_a_failure_the_unmet_condition_is_the_reason(service: dict[str, Any]) -> None:
    service["status"]["conditions"] = [
        {"type": "Ready", "status": "False", "message": "IngressReady is False"},
        {"type": "PredictorReady", "status": "Unknown", "reason": "Progressing"},
        {"type": "IngressReady", "status": "False", "reason": "NoRoute", "message": "port is busy"},
    ]

    assert read(service).why == "NoRoute: port is busy"


def test_a_service_that_has_no_status_yet(service: dict[str, Any]) -> None:
    del service["status"]

    found = read(service, NOW)

    assert (found.ready, found.revision, found.url) == ("Unknown", "", "")
    assert "Unknown" in as_text(services_renderable([service], NOW))
    assert "Not known to be ready" in service_html(service, NOW)


def test_without_our_annotation_the_model_is_the_storage_uri(service: dict[str, Any]) -> None:
    del service["metadata"]["annotations"]
    service["spec"]["predictor"]["model"]["storageUri"] = "s3://models/tumor"

    assert read(service).model == "s3://models/tumor"


@pytest.mark.parametrize("width", [80, 140])
def test_the_list_in_the_terminal(
    service: dict[str, Any],
    broken_service: dict[str, Any],
    width: int,
    snapshot: SnapshotAssertion,
) -> None:
    shown = as_text(services_renderable([service, broken_service], NOW), width)

    assert shown == snapshot
    assert "http://127.0.0.1:8080/serving/default/tumor" in shown


def test_one_service_in_the_terminal(
    broken_service: dict[str, Any], snapshot: SnapshotAssertion
) -> None:
    assert as_text(service_renderable(broken_service, NOW), 80) == snapshot


def test_no_service_says_what_to_do() -> None:
    assert "%kserve_deploy" in as_text(services_renderable([]))
    assert "%kserve_deploy" in services_html([])


def test_the_list_in_the_notebook(service: dict[str, Any], broken_service: dict[str, Any]) -> None:
    shown = services_html([service, broken_service], NOW)

    assert "tumor-predictor-00002" in shown
    assert "✗ False" in shown
    assert "ModelLoadFailed: model.onnx is not an ONNX file" in shown
    assert 'href="http://127.0.0.1:8080/serving/default/tumor"' in shown


def test_one_service_in_the_notebook(service: dict[str, Any]) -> None:
    shown = service_html(service, NOW)

    for said in ("Ready", "100% tumor-predictor-00002", "IngressReady", "UpToDate", "3h20m old"):
        assert said in shown


def test_nothing_of_a_service_becomes_markup(service: dict[str, Any]) -> None:
    service["metadata"]["name"] = "<script>"
    service["status"]["url"] = "javascript:alert(1)"
    service["status"]["conditions"][0]["message"] = "<script>"

    for shown in (services_html([service], NOW), service_html(service, NOW)):
        assert "<script" not in shown
        assert "href" not in shown
