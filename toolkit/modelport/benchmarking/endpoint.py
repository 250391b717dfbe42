"""A live endpoint of any server that speaks KServe's V1 or V2: what it is sent, how fast it is."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import urllib3

from modelport import endpoints
from modelport.benchmarking.drive import Generator
from modelport.benchmarking.rounds import Loads, Point, Say, measure
from modelport.errors import PredictionError, UsageError
from modelport.reports import Footprint, Latency

if TYPE_CHECKING:
    import pandas as pd

Protocol = Literal["v1", "v2"]
Array = np.ndarray[Any, Any]

_URL = re.compile(
    r"(?P<base>https?://.+?)/(?P<protocol>v[12])/models/(?P<model>[^/:]+)"
    r"(?P<version>/versions/[^/:]+)?(?::predict|/infer)?/?"
)
_TIMEOUT = urllib3.Timeout(connect=5.0, read=60.0)
_CEILING_SECONDS = 0.3
_BODIES = 16  # different ones: the same rows over and over may flatter the endpoint
_BODIES_BYTES = 8 << 20
_MADE_ROWS = 64


@dataclass(frozen=True)
class Address:
    """A model at an endpoint.

    Attributes:
        base: The server's URL, up to `/v1` or `/v2`.
        model: The model's name on the wire.
        version: `/versions/N`, where one was asked for.
    """

    base: str
    model: str
    protocol: Protocol = "v2"
    version: str = ""

    @classmethod
    def parse(cls, url: str, model: str | None, protocol: Protocol | None) -> Address:
        """Read a model's URL, or a server's with the model's name beside it."""
        found = _URL.fullmatch(url)
        if found is None:
            if not model:
                raise UsageError(
                    f"{url} names no model", "give http://HOST/v2/models/NAME, or pass --model"
                )
            return cls(url.rstrip("/"), model, protocol or "v2")
        spoken = protocol or cast("Protocol", found["protocol"])
        return cls(found["base"], model or found["model"], spoken, found["version"] or "")

    @property
    def url(self) -> str:
        """Where predictions are asked for."""
        if self.protocol == "v1":
            return f"{self.base}/v1/models/{self.model}:predict"
        return f"{self.base}/v2/models/{self.model}{self.version}/infer"


@dataclass(frozen=True)
class Input:
    """A tensor that the model takes, as its metadata say."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """Values for an input, shape [n, ...]."""

    input: Input
    values: Array

    @classmethod
    def of(cls, given: Input, values: Array) -> Tensor:
        """Take values as the input's datatype has them."""
        kind = given.datatype.rstrip("0123456789")
        dtype = {"INT": int, "UINT": int, "BOOL": bool, "BYTES": str}.get(kind, float)
        try:
            return cls(given, values.astype(dtype))
        except (ValueError, TypeError) as error:
            raise UsageError(
                f"the rows do not fit {given.name!r}, a {given.datatype} ({error})",
                "give rows as the model's metadata describe them",
            ) from error

    def json(self) -> list[Any]:
        """Return the values as JSON has them; NaN becomes null."""
        plain = self.values.astype(object)
        plain[self.values != self.values] = None
        return cast("list[Any]", plain.tolist())

    def part(self, start: int, count: int) -> Tensor:
        """Return so many rows from there on, the first ones again after the last."""
        return Tensor(self.input, self.values[np.arange(start, start + count) % len(self.values)])


class Live:
    """A model at an endpoint, with rows to ask it for.

    Args:
        rows: A DataFrame, an array or a list; without any, rows are made by the model's metadata.

    Raises:
        PredictionError: The endpoint does not answer, or does not describe the model.
    """

    def __init__(self, address: Address, rows: Any = None) -> None:
        self._address = address
        self._pool = urllib3.PoolManager(timeout=_TIMEOUT, retries=False)
        if rows is not None and address.protocol == "v1":
            self._rows: list[Any] = endpoints.instances(rows)
            return
        inputs = self._metadata()
        tensors = _made(inputs) if rows is None else _given(rows, inputs)
        self._rows = _instances(tensors) if address.protocol == "v1" else tensors

    @property
    def url(self) -> str:
        """Where predictions are asked for."""
        return self._address.url

    def bodies(self, batch_size: int) -> list[bytes]:
        """Return request bodies of so many rows each, with different rows as far as there are."""
        first = self._body(0, batch_size)
        count = min(_BODIES, max(1, _BODIES_BYTES // len(first)))
        return [first, *(self._body(n * batch_size, batch_size) for n in range(1, count))]

    def ask(self, body: bytes) -> int:
        """Send one request; return the size of its answer."""
        return len(endpoints.post(self._pool, self.url, body))

    def footprint(self) -> Footprint | None:
        """Return memory and load time, where the server's Prometheus metrics tell them."""
        try:
            response = self._pool.request("GET", f"{self._address.base}/metrics")
        except urllib3.exceptions.HTTPError:
            return None
        text = response.data.decode(errors="replace") if response.status == 200 else ""
        memory = _samples(text, "process_resident_memory_bytes", "")
        loads = _samples(text, "modelport_model_load_seconds", f'"{self._address.model}"')
        if not memory or not loads:
            return None
        return Footprint(load_seconds=max(loads), memory_bytes=int(sum(memory)))

    def _body(self, start: int, count: int) -> bytes:
        if self._address.protocol == "v1":
            picked = [self._rows[(start + place) % len(self._rows)] for place in range(count)]
            return endpoints.encode(picked)
        return json.dumps({"inputs": [_v2(one.part(start, count)) for one in self._rows]}).encode()

    def _metadata(self) -> tuple[Input, ...]:
        url = f"{self._address.base}/v2/models/{self._address.model}{self._address.version}"
        try:
            response = self._pool.request("GET", url)
        except urllib3.exceptions.HTTPError as error:
            raise PredictionError(f"{url} does not answer", "check the URL") from error
        try:
            described = json.loads(response.data)["inputs"]
            return tuple(
                Input(one["name"], one["datatype"], tuple(int(size) for size in one["shape"]))
                for one in described
            )
        except (ValueError, KeyError, TypeError) as error:
            raise PredictionError(
                f"{url} answers {response.status} and describes no inputs",
                "check the model's name, or give rows with --data and --protocol v1",
            ) from error


def run(live: Live, loads: Loads, say: Say) -> tuple[Latency, ...]:
    """Measure an endpoint at every load, beside what the load generator itself reaches at it.

    Raises:
        PredictionError: The endpoint does not answer, or refuses the rows.
    """
    points = []
    with Generator() as generator:
        for size in loads.batch_sizes:
            bodies = live.bodies(size)
            answer_bytes = live.ask(bodies[0])
            for callers in loads.concurrency:
                job = partial(generator.run, live.url, bodies, callers, loads.seconds)
                point = Point("live", size, callers, job)
                say(f"the load generator's own ceiling: {point.load}")
                reached = generator.ceiling(bodies, answer_bytes, callers, _CEILING_SECONDS)
                points.append(replace(point, ceiling=reached))
        return measure(points, loads.repeats, say)


def _v2(tensor: Tensor) -> dict[str, Any]:
    given = tensor.input
    data = tensor.json()
    return {
        "name": given.name,
        "datatype": given.datatype,
        "shape": tensor.values.shape,
        "data": data,
    }


def _given(rows: Any, inputs: Sequence[Input]) -> list[Tensor]:
    """Turn rows into the tensors of a V2 request: one for all columns, or one for each."""
    if len(inputs) == 1:
        only = inputs[0]
        values = np.asarray(rows.to_numpy() if hasattr(rows, "to_numpy") else rows)
        return [Tensor.of(only, _shaped(values, only))]
    if not hasattr(rows, "columns"):
        names = ", ".join(one.name for one in inputs[:8])
        raise UsageError("the rows have no column names", f"give a DataFrame with {names}")
    return [Tensor.of(one, _column(rows, one)) for one in inputs]


def _shaped(values: Array, given: Input) -> Array:
    """Check that rows have the input's shape; one flat row is taken as a single row."""
    found = values if values.ndim > 1 else values[None]
    wanted = given.shape[1:]
    if found.ndim - 1 != len(wanted) or any(
        size not in (-1, has) for size, has in zip(wanted, found.shape[1:], strict=True)
    ):
        raise UsageError(
            f"a row has the shape {list(found.shape[1:])} where the model takes {list(wanted)}",
            "give rows as the model's metadata describe them",
        )
    return found


def _column(rows: pd.DataFrame, given: Input) -> Array:
    if given.name not in rows:
        raise UsageError(f"the rows have no column {given.name!r}", "give all the model's columns")
    return rows[given.name].to_numpy().reshape(-1, *(1 for _ in given.shape[1:]))


def _made(inputs: Sequence[Input]) -> list[Tensor]:
    """Make rows that a model takes, going by its metadata alone."""
    numbers = np.random.default_rng(0)
    found = []
    for one in inputs:
        shape = (_MADE_ROWS, *(max(size, 1) for size in one.shape[1:]))
        found.append(Tensor.of(one, np.round(numbers.normal(size=shape), 4)))
    return found


def _instances(tensors: Sequence[Tensor]) -> list[Any]:
    """Turn tensors into V1 instances: a row each, by name where there are several tensors."""
    if len(tensors) == 1:
        return list(tensors[0].json())
    rows = zip(*(tensor.json() for tensor in tensors), strict=True)
    names = [tensor.input.name for tensor in tensors]
    return [dict(zip(names, row, strict=True)) for row in rows]


def _samples(text: str, metric: str, label: str) -> list[float]:
    """Return a Prometheus metric's values, of those series whose labels hold `label`."""
    lines = re.findall(rf"^{metric}(\{{.*\}})? (\S+)$", text, re.MULTILINE)
    return [float(value) for labels, value in lines if label in labels]
