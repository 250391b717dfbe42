"""Reading KServe's InferenceService: what it must have, what it asks for, what is not honoured."""

from modelport_engine.objects.inferenceservice import (
    API_VERSION,
    DEFAULT_NAMESPACE,
    KIND,
    MOUNT,
    Container,
    Front,
    InferenceService,
    Model,
    Spec,
    check_folder,
    check_name,
    check_namespace,
    parse,
    read_spec,
    storage_path,
)

__all__ = [
    "API_VERSION",
    "DEFAULT_NAMESPACE",
    "KIND",
    "MOUNT",
    "Container",
    "Front",
    "InferenceService",
    "Model",
    "Spec",
    "check_folder",
    "check_name",
    "check_namespace",
    "parse",
    "read_spec",
    "storage_path",
]
