"""The prediction endpoints: decode, one call of the data plane, encode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport_serving.rest import v1, v2

if TYPE_CHECKING:
    from modelport_serving.dataplane import DataPlane
    from modelport_serving.rest.replies import Reply


async def predict(plane: DataPlane, name: str, body: bytes) -> Reply:
    """Answer `POST /v1/models/{name}:predict`."""
    model = plane.model(name)
    inputs = model.mapping.rows(v1.decode(body))
    return v1.encode(await plane.infer(model, inputs))


async def infer(plane: DataPlane, name: str, body: bytes, json_length: str | None) -> Reply:
    """Answer `POST /v2/models/{name}/infer`."""
    model = plane.model(name)
    request = v2.decode(body, json_length, model.runtime.inputs)
    inputs = model.mapping.tensors(request.inputs)
    return v2.encode(name, request, await plane.infer(model, inputs, request.outputs))
