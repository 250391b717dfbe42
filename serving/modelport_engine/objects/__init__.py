"""Reading KServe's InferenceService: what it must have, what it asks for, what is not honoured."""

from modelport_engine.objects.components import Batcher, Front, Logger, Predictor
from modelport_engine.objects.containers import Container, Model
from modelport_engine.objects.inferenceservice import InferenceService, is_stopped, parse
from modelport_engine.objects.names import (
    API_VERSION,
    DEFAULT_NAMESPACE,
    KIND,
    check_name,
    check_namespace,
)
from modelport_engine.objects.spec import Canary, Spec, read_spec
from modelport_engine.objects.storage import MOUNT, check_folder, is_fetched, storage_path
from modelport_engine.objects.unhonoured import unhonoured

__all__ = [
    "API_VERSION",
    "DEFAULT_NAMESPACE",
    "KIND",
    "MOUNT",
    "Batcher",
    "Canary",
    "Container",
    "Front",
    "InferenceService",
    "Logger",
    "Model",
    "Predictor",
    "Spec",
    "check_folder",
    "check_name",
    "check_namespace",
    "is_fetched",
    "is_stopped",
    "parse",
    "read_spec",
    "storage_path",
    "unhonoured",
]
