"""Live endpoints: predictions and explanations over the V1 protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import urllib3

from modelport.convert.base import PREDICTION
from modelport.errors import PredictionError, UsageError

if TYPE_CHECKING:
    import pandas as pd

_TIMEOUT = urllib3.Timeout(connect=5.0, read=60.0)
_BATCH = 256
_BATCH_VALUES = 1_000_000  # numbers in a request: of images it holds fewer
_EXPLAIN_TIMEOUT = urllib3.Timeout(connect=5.0, read=300.0)
_EXPLAIN_BATCH = 4  # rows of a request: a slow model's explanations come in time, and show progress

Answers = dict[str, np.ndarray[Any, Any]]


class Endpoint:
    """A service's URL, with connections that stay open; safe to use from several threads.

    Args:
        url: The InferenceService's `status.url`.
        service: Its name, which is the model's on the wire.
        connections: How many requests may be under way at once.

    Attributes:
        url: Where predictions are asked for.
    """

    def __init__(self, url: str, service: str, connections: int = 8) -> None:
        self.url = f"{url.rstrip('/')}/v1/models/{service}:predict"
        self._pool = urllib3.PoolManager(maxsize=connections, block=True, timeout=_TIMEOUT)

    def answer(self, instances: list[Any]) -> Answers:
        """Answer n instances, in requests of `batch_size`: every output by name, shape [n, ...].

        Raises:
            PredictionError: The endpoint does not answer, or refuses the rows.
        """
        predictions: list[Any] = []
        batch = batch_size(instances)
        for start in range(0, len(instances), batch):
            body = encode(instances[start : start + batch])
            predictions += json.loads(self.post(body))["predictions"]
        return _by_output(predictions)

    def post(self, body: bytes) -> bytes:
        """Send a V1 request body; return the answer's."""
        return post(self._pool, self.url, body)

    def close(self) -> None:
        """Close every connection."""
        self._pool.clear()


def post(pool: urllib3.PoolManager, url: str, body: bytes) -> bytes:
    """Send a JSON request body; return the answer's.

    Raises:
        PredictionError: The endpoint does not answer, or refuses the request.
    """
    try:
        response = pool.request(
            "POST", url, body=body, headers={"Content-Type": "application/json"}
        )
    except urllib3.exceptions.HTTPError as error:
        raise PredictionError(f"{url} does not answer", "see `modelport status`") from error
    if response.status != 200:
        raise PredictionError(_refusal(response.status, response.data), _advice(response.status))
    return response.data


def explain(
    url: str, service: str, instances: list[Any], output: int | None
) -> Iterator[list[dict[str, Any]]]:
    """Ask a service's explainer about n instances; yield the explanations of a few at a time.

    Args:
        url: The InferenceService's `status.url`.
        service: Its name.
        instances: n instances.
        output: Which of several outputs is explained; None leaves it to the explainer.

    Raises:
        PredictionError: The explainer does not answer, or refuses the rows.
    """
    parameters = {} if output is None else {"parameters": {"output": output}}
    with urllib3.PoolManager(timeout=_EXPLAIN_TIMEOUT) as pool:
        for start in range(0, len(instances), _EXPLAIN_BATCH):
            asked = {"instances": instances[start : start + _EXPLAIN_BATCH], **parameters}
            target = f"{url.rstrip('/')}/v1/models/{service}:explain"
            answer = json.loads(post(pool, target, json.dumps(asked).encode()))
            yield answer["explanations"]


def encode(instances: list[Any]) -> bytes:
    """Write a V1 request body."""
    return json.dumps({"instances": instances}).encode()


def instances(rows: Any) -> list[Any]:
    """Turn rows into V1 instances: a DataFrame's by column name, an array's or list's in order.

    A missing value becomes null. One flat row is taken as a single row.
    """
    if hasattr(rows, "to_dict") and hasattr(rows, "columns"):
        return _of_frame(rows)
    if hasattr(rows, "to_frame"):  # a Series is one row of a DataFrame
        return _of_frame(rows.to_frame().T)
    given = rows.tolist() if isinstance(rows, np.ndarray) else rows
    if isinstance(given, dict):
        given = [given]
    if not isinstance(given, list | tuple) or not given:
        raise UsageError(
            f"rows of type {type(rows).__name__} cannot be sent",
            "give a DataFrame, an array or a list with at least one row",
        )
    nested = isinstance(given[0], list | tuple | dict)
    return [_plain(row) for row in (given if nested else [given])]


def batch_size(instances: list[Any]) -> int:
    """Return how many of the instances go into one request."""
    return min(_BATCH, max(1, _BATCH_VALUES // _values(instances[0])))


def _values(instance: Any) -> int:
    """Count the values of an instance, whose lists are all of one length at each depth."""
    if isinstance(instance, dict):
        return sum(map(_values, instance.values()))
    if not isinstance(instance, list) or not instance:
        return 1
    return len(instance) * _values(instance[0])


def _of_frame(frame: pd.DataFrame) -> list[Any]:
    if frame.empty:
        raise UsageError("there are no rows to send", "give at least one row")
    named = not all(isinstance(name, int) for name in frame.columns)
    cells = frame.astype(object).where(frame.notna(), None)
    return [
        {str(key): _plain(value) for key, value in row.items()}
        if named
        else [_plain(value) for value in row.values()]
        for row in cells.to_dict(orient="records")
    ]


def _plain(value: Any) -> Any:
    """Turn numpy's values and NaN into what JSON has."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and value != value else value  # NaN


def _by_output(predictions: list[Any]) -> Answers:
    if predictions and isinstance(predictions[0], dict):
        return {name: np.asarray([p[name] for p in predictions]) for name in predictions[0]}
    return {PREDICTION: np.asarray(predictions)}


def _refusal(status: int, data: bytes) -> str:
    try:
        reason = json.loads(data)["error"]
    except (ValueError, KeyError, TypeError):
        reason = data[:200].decode(errors="replace")
    return f"the endpoint answers {status}: {reason}"


def _advice(status: int) -> str:
    if status == 400:
        return "give rows as the model's signature describes them"
    if status == 404:
        return "see `modelport status` for what is served"
    return "see `modelport status` for what is wrong"
