"""NVIDIA's client, unmodified, as the judge of our Open Inference Protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Serving, Trained


@pytest.fixture(scope="module")
def client(tumor: Trained, serving: Serving) -> Iterator[Any]:
    with (
        serving(*tumor.arguments("tumor")) as server,
        triton.InferenceServerClient(server.address) as client,
    ):
        yield client


def table(trained: Trained, *, binary: bool = True) -> Any:
    rows = trained.rows.head(5).to_numpy().astype(np.float32)
    given = triton.InferInput("input", list(rows.shape), "FP32")
    given.set_data_from_numpy(rows, binary_data=binary)
    return given


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tumor")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["name"] == "modelport"
    assert client.get_model_metadata("tumor")["inputs"][0]["name"] == "input"


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_infer(client: Any, tumor: Trained, binary_in: bool, binary_out: bool | None) -> None:
    outputs = None
    if binary_out is not None:
        names = ("probabilities", "label")
        outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in names]

    result = client.infer(
        "tumor", [table(tumor, binary=binary_in)], outputs=outputs, request_id="7"
    )

    rows = tumor.rows.head(5).to_numpy()
    assert result.get_response()["id"] == "7"
    np.testing.assert_array_equal(result.as_numpy("label"), tumor.model.predict(rows))
    np.testing.assert_allclose(
        result.as_numpy("probabilities"), tumor.model.predict_proba(rows), atol=1e-5
    )


def test_texts(flower: Trained, serving: Serving) -> None:
    rows = flower.rows.head(4)
    colour = triton.InferInput("colour", [4], "BYTES")
    colour.set_data_from_numpy(rows["colour"].to_numpy().astype(object))
    size = triton.InferInput("size", [4, 1], "FP32")
    size.set_data_from_numpy(rows[["size"]].to_numpy().astype(np.float32))

    with (
        serving(*flower.arguments("flower")) as server,
        triton.InferenceServerClient(server.address) as client,
    ):
        result = client.infer("flower", [colour, size])

    labels = [item.decode() for item in result.as_numpy("label")]
    assert labels == flower.model.predict(rows).tolist()


def test_errors_reach_the_caller(client: Any, tumor: Trained) -> None:
    with pytest.raises(InferenceServerException, match="no model 'other'"):
        client.infer("other", [table(tumor)])
