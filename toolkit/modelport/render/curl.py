"""Shell lines that reach a live service; they work as they are pasted."""

from __future__ import annotations

import json
import math
import shlex
from typing import Any
from urllib.parse import quote


def curl_line(url: str, service: str, instance: object) -> str:
    """Return a curl command that sends one instance to the V1 protocol's `:predict`.

    Args:
        url: The service's URL, without a path.
        service: The InferenceService's name, which is also the model's.
        instance: One row as the model takes it: a list, a dict by input name, or numpy's
            equivalents. A missing value (NaN) is sent as null.
    """
    body = json.dumps({"instances": [_jsonable(instance)]}, allow_nan=False, default=str)
    where = _address(url, f"v1/models/{quote(service, safe='')}:predict")
    return f"curl -s {where} -H 'Content-Type: application/json' -d {shlex.quote(body)}"


def predict_line(url: str, service: str) -> str:
    """Return a curl command that sends the V1 request body in a file `rows.json`."""
    where = _address(url, f"v1/models/{quote(service, safe='')}:predict")
    return f"curl -s {where} -H 'Content-Type: application/json' -d @rows.json"


def metadata_line(url: str, service: str) -> str:
    """Return a curl command for the model's metadata, by the Open Inference Protocol."""
    where = _address(url, f"v2/models/{quote(service, safe='')}")
    return f"curl -s {where}"


def _address(url: str, path: str) -> str:
    return shlex.quote(f"{url.rstrip('/')}/{path}")


def _jsonable(value: Any) -> Any:
    """Return plain JSON values for numpy's scalars and arrays, null for what is not finite."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
