"""The messages of `inference.GRPCInferenceService`, as the protocol's own field declarations.

They are KServe's, and Triton's where that has more: fields of the same number agree, except that
Triton puts a repository's name before the model's (see `RepositoryModelLoadRequest`). The pool is
our own, so that a transformer may import tritonclient or kserve, which both register these names.

Three things differ from the published files without changing a byte on the wire. Packed numbers
of fixed width are declared as the `bytes` that they are, so that numpy reads and writes them
without an object per element; maps are the repeated entries that they are; and oneofs, which
only say that one of their fields is set, are left out.

Source: `open_inference_grpc.proto` (kserve/open-inference-protocol) and `grpc_service.proto`
(triton-inference-server/common).
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "inference"

FIELDS: dict[str, tuple[str, ...]] = {
    "ServerLiveResponse": ("bool live = 1",),
    "ServerReadyResponse": ("bool ready = 1",),
    "ModelReadyRequest": ("string name = 1", "string version = 2"),
    "ModelReadyResponse": ("bool ready = 1",),
    "ServerMetadataResponse": (
        "string name = 1",
        "string version = 2",
        "repeated string extensions = 3",
    ),
    "ModelMetadataRequest": ("string name = 1", "string version = 2"),
    "ModelMetadataResponse": (
        "string name = 1",
        "repeated string versions = 2",
        "string platform = 3",
        "repeated ModelMetadataResponse.TensorMetadata inputs = 4",
        "repeated ModelMetadataResponse.TensorMetadata outputs = 5",
    ),
    "ModelMetadataResponse.TensorMetadata": (
        "string name = 1",
        "string datatype = 2",
        "repeated int64 shape = 3",
    ),
    "InferParameter": (
        "optional bool bool_param = 1",
        "optional int64 int64_param = 2",
        "optional string string_param = 3",
        "optional double double_param = 4",
        "optional uint64 uint64_param = 5",
    ),
    "ParametersEntry": ("string key = 1", "InferParameter value = 2"),
    "InferTensorContents": (
        "repeated bool bool_contents = 1",
        "repeated int32 int_contents = 2",
        "repeated int64 int64_contents = 3",
        "repeated uint32 uint_contents = 4",
        "repeated uint64 uint64_contents = 5",
        "repeated bytes fp32_contents = 6",  # repeated float
        "repeated bytes fp64_contents = 7",  # repeated double
        "repeated bytes bytes_contents = 8",
    ),
    "ModelInferRequest": (
        "string model_name = 1",
        "string model_version = 2",
        "string id = 3",
        "repeated ParametersEntry parameters = 4",
        "repeated ModelInferRequest.InferInputTensor inputs = 5",
        "repeated ModelInferRequest.InferRequestedOutputTensor outputs = 6",
        "repeated bytes raw_input_contents = 7",
    ),
    "ModelInferRequest.InferInputTensor": (
        "string name = 1",
        "string datatype = 2",
        "repeated int64 shape = 3",
        "repeated ParametersEntry parameters = 4",
        "InferTensorContents contents = 5",
    ),
    "ModelInferRequest.InferRequestedOutputTensor": (
        "string name = 1",
        "repeated ParametersEntry parameters = 2",
    ),
    "ModelInferResponse": (
        "string model_name = 1",
        "string model_version = 2",
        "string id = 3",
        "repeated ParametersEntry parameters = 4",
        "repeated ModelInferResponse.InferOutputTensor outputs = 5",
        "repeated bytes raw_output_contents = 6",
    ),
    "ModelInferResponse.InferOutputTensor": (
        "string name = 1",
        "string datatype = 2",
        "repeated int64 shape = 3",
        "repeated ParametersEntry parameters = 4",
        "InferTensorContents contents = 5",
    ),
    "RepositoryIndexRequest": ("string repository_name = 1", "bool ready = 2"),
    "RepositoryIndexResponse": ("repeated RepositoryIndexResponse.ModelIndex models = 1",),
    "RepositoryIndexResponse.ModelIndex": (
        "string name = 1",
        "string version = 2",
        "string state = 3",
        "string reason = 4",
    ),
    # Triton's numbers. KServe has model_name = 1 and no repository.
    "RepositoryModelLoadRequest": ("string repository_name = 1", "string model_name = 2"),
    "RepositoryModelLoadResponse": ("string model_name = 1", "bool isLoaded = 2"),
    "RepositoryModelUnloadRequest": ("string repository_name = 1", "string model_name = 2"),
    "RepositoryModelUnloadResponse": ("string model_name = 1", "bool isUnloaded = 2"),
}

_DECLARATION = re.compile(r"(?:(repeated|optional) )?([\w.]+) (\w+) = (\d+)")


def _build_pool() -> DescriptorPool:
    file = FileDescriptorProto(name="open_inference.proto", package=PACKAGE, syntax="proto3")
    messages: dict[str, DescriptorProto] = {}
    for name, declarations in FIELDS.items():
        outer, _, own = name.rpartition(".")
        parent = messages[outer].nested_type if outer else file.message_type
        messages[name] = parent.add(name=own)
        for declaration in declarations:
            _add_field(messages[name], declaration)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _add_field(message: DescriptorProto, declaration: str) -> None:
    match = _DECLARATION.fullmatch(declaration)
    assert match is not None, declaration  # noqa: S101 - the table above is our own
    label, kind, name, number = match.groups()
    field = message.field.add(
        name=name,
        number=int(number),
        label=FieldDescriptorProto.LABEL_REPEATED
        if label == "repeated"
        else FieldDescriptorProto.LABEL_OPTIONAL,
    )
    if kind in FIELDS:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    if label == "optional":
        # In proto3 a field that tells whether it is set is a oneof of its own.
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")


_POOL = _build_pool()


def message_class(name: str) -> Any:
    """Return the class of a message by its name in `FIELDS`."""
    return GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
