"""How an InferenceService and what belongs to it may be named."""

from __future__ import annotations

import re
from typing import Any

from modelport_engine.errors import InvalidObject

API_VERSION = "serving.kserve.io/v1beta1"
KIND = "InferenceService"
DEFAULT_NAMESPACE = "default"

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# KServe's own rule is stricter than DNS-1123: a service's name starts with a letter. 45 leaves
# room for `-predictor-00001` in the 63 characters of a DNS label.
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,43}[a-z0-9])?")


def check_name(name: Any) -> str:
    """Give the name back if a service can have it; else `InvalidObject`."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidObject(
            f"metadata.name {name!r} is not a service name",
            "use at most 45 lower-case letters, digits and '-', starting with a letter",
        )
    return name


def check_namespace(namespace: Any) -> str:
    """Give the namespace back if it is a DNS-1123 label; else `InvalidObject`."""
    if not isinstance(namespace, str) or not _NAMESPACE.fullmatch(namespace):
        raise InvalidObject(
            f"metadata.namespace {namespace!r} is not a namespace name",
            "use at most 63 lower-case letters, digits and '-'",
        )
    return namespace
