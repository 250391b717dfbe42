"""A predictor in another process: `--predictor_host`, over V1, V2 or gRPC."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from modelport_serving.errors import InvalidInput, ServingError, StartFailed
from modelport_serving.mapping import TensorMapping
from modelport_serving.roles.context import until
from modelport_serving.roles.instances import INSTANCES
from modelport_serving.roles.predictor import Metadata, Predictor
from modelport_serving.tensors import Array, Tensors, TensorSpec, cast

if TYPE_CHECKING:
    from modelport_serving.roles.context import Context

_HIGHEST_PORT = 65535
_PATH = re.compile(r"((?<!/)/[-.~\w]+)*$")
"""What may follow a host's name."""

_READY_SECONDS = 5.0
_METADATA_SECONDS = 10.0
"""How long metadata is taken for true: the predictor may get another model meanwhile."""


class Client(Protocol):
    """One protocol's calls; they last as long as they last. Errors are the runtime's own."""

    async def infer(self, inputs: Tensors, outputs: Sequence[str], context: Context) -> Tensors:
        """Ask for the named outputs, or for all of them."""

    async def ready(self, name: str, version: str | None) -> bool:
        """Ask whether the model is ready."""

    async def metadata(self, name: str, version: str | None) -> Metadata:
        """Ask what the model takes and answers."""

    async def close(self) -> None:
        """Close the connections."""


class RemotePredictor(Predictor):
    """The predictor at `host[:port][/path]`. Its errors keep their meaning and their words.

    No answer within `timeout` seconds, or the request's own deadline, is `DeadlineExceeded`; no
    connection is `UpstreamFailed`.
    """

    def __init__(self, host: str, protocol: str, *, use_ssl: bool, timeout: float) -> None:
        self._title = f"the predictor at {host}"
        self._client = _client(host, protocol, use_ssl=use_ssl)
        self._named_tensors = protocol != "v1"
        self._timeout = timeout
        self._known: dict[tuple[str, str | None], tuple[float, Metadata]] = {}

    async def infer(
        self,
        inputs: Tensors,
        outputs: Sequence[str],
        context: Context,
        deadline: float = math.inf,
    ) -> Tensors:
        """Ask the predictor; numbers become of the dtypes that its metadata names."""
        latest = asyncio.get_running_loop().time() + self._timeout
        async with until(min(deadline, latest), self._title):
            if self._named_tensors:
                known = await self.metadata(context.model_name, context.model_version)
                inputs = _fitted(inputs, known.inputs)
            return await self._client.infer(inputs, outputs, context)

    async def ready(self, name: str, version: str | None = None) -> bool:
        """Ask the predictor; one that does not answer soon is not ready."""
        try:
            async with asyncio.timeout(_READY_SECONDS):
                return await self._client.ready(name, version)
        except (ServingError, TimeoutError):
            return False

    async def metadata(self, name: str, version: str | None = None) -> Metadata:
        """Return the predictor's, at most some seconds old."""
        now = time.monotonic()
        since, metadata = self._known.get((name, version), (-math.inf, Metadata()))
        if now - since < _METADATA_SECONDS:
            return metadata
        metadata = await self._client.metadata(name, version)
        self._known[name, version] = now, metadata
        return metadata

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _client(host: str, protocol: str, *, use_ssl: bool) -> Client:
    # gRPC knows no paths: there a host with one is none.
    path = "" if protocol == "grpc-v2" else _PATH.search(host)[0]  # type: ignore[index]
    address = address_of(host.removesuffix(path), 443 if use_ssl else 80)
    try:
        if protocol == "grpc-v2":
            from modelport_serving.roles.grpc import GrpcClient

            return GrpcClient(address, use_ssl=use_ssl)
        from modelport_serving.roles.http import HttpClient
        from modelport_serving.roles.rest import V1Client, V2Client

        http = HttpClient(address, path, use_ssl=use_ssl)
        return V1Client(http) if protocol == "v1" else V2Client(http)
    except ModuleNotFoundError as error:
        raise StartFailed(
            f"--predictor_host needs a package that is not here ({error.name}): "
            "pip install 'modelport[transformer]'"
        ) from error


def address_of(host: str, default_port: int) -> str:
    """Return `host[:port]` with its port, and IPv6 in brackets; `StartFailed` if it is none."""
    name, colon, port = host.rpartition(":")
    if not (colon and port.isdecimal() and (":" not in name or name.endswith("]"))):
        name, port = host, str(default_port)
    name = name.strip("[]")
    if not name or set(name) & set("/?#@ ") or int(port) > _HIGHEST_PORT:
        raise StartFailed(f"--predictor_host is a host or host:port, not {host!r}")
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def _fitted(inputs: Tensors, specs: Sequence[TensorSpec]) -> Tensors:
    """Name rows after the predictor's only input, and give numbers the dtypes that it wants."""
    by_name = {spec.name: spec for spec in specs}
    if inputs.keys() == {INSTANCES} and specs and INSTANCES not in by_name:
        return _only_input(inputs[INSTANCES], specs)
    return {
        name: _cast(array, by_name[name]) if name in by_name else array
        for name, array in inputs.items()
    }


def _only_input(rows: Array, specs: Sequence[TensorSpec]) -> Tensors:
    if len(specs) != 1:
        names = ", ".join(repr(spec.name) for spec in specs)
        raise InvalidInput(f"each instance must be an object with the predictor's inputs {names}")
    if rows.dtype == np.object_:
        return TensorMapping(specs).rows(rows.tolist())
    return {specs[0].name: _cast(rows, specs[0])}


def _cast(array: Array, spec: TensorSpec) -> Array:
    same = array.dtype == spec.dtype or array.dtype == np.object_
    return array if same else cast(spec.name, array, spec)
