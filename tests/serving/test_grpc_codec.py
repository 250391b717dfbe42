"""The gRPC codec, against Triton's own message classes and against arbitrary bytes."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.grpc import service_pb2 as triton

from modelport_serving.errors import InvalidInput, NotSupported, PayloadTooLarge
from modelport_serving.grpc import codec, compression
from modelport_serving.grpc.messages import FIELDS, message_class
from modelport_serving.tensors import DTYPES, Array, datatype_of, to_binary

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)
CONTENTS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


@st.composite
def arrays(draw: st.DrawFn, datatypes: Any = tuple(DTYPES)) -> Array:
    datatype = draw(st.sampled_from(datatypes))
    elements = st.binary() if datatype == "BYTES" else None
    array: Array = draw(hnp.arrays(DTYPES[datatype], draw(SHAPES), elements=elements))
    return array


def tensors(datatypes: Any = tuple(DTYPES)) -> st.SearchStrategy[dict[str, Array]]:
    return st.dictionaries(st.text(max_size=5), arrays(datatypes), min_size=1, max_size=3)


def request(given_tensors: dict[str, Array], *, raw: bool, **fields: Any) -> Any:
    """Build a request with Triton's classes, as a client would."""
    message = triton.ModelInferRequest(model_name="m", **fields)
    for name, array in given_tensors.items():
        datatype = datatype_of(array)
        tensor = message.inputs.add(name=name, datatype=datatype, shape=array.shape)
        if raw:
            message.raw_input_contents.append(to_binary(array))
        else:
            getattr(tensor.contents, CONTENTS[datatype]).extend(array.ravel().tolist())
    return message


def decode(message: Any) -> codec.InferRequest:
    return codec.decode(memoryview(message.SerializeToString()))


def same(one: dict[str, Array], other: dict[str, Array]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert other[name].dtype == array.dtype
        np.testing.assert_array_equal(other[name], array)


@given(tensors(), st.text(max_size=5), st.text(max_size=3), st.lists(st.text(), unique=True))
def test_raw_requests(arrays: dict[str, Array], name: str, version: str, wanted: Any) -> None:
    message = request(arrays, raw=True, id=name, model_version=version)
    for output in wanted:
        message.outputs.add(name=output)

    decoded = decode(message)

    same(arrays, decoded.inputs)
    assert (decoded.model_name, decoded.id, decoded.raw) == ("m", name, True)
    assert decoded.model_version == (version or None)
    assert decoded.outputs == tuple(wanted)
    assert all(array.flags.aligned for array in decoded.inputs.values())


@given(tensors(tuple(CONTENTS)))
def test_typed_requests(arrays: dict[str, Array]) -> None:
    decoded = decode(request(arrays, raw=False))

    same(arrays, decoded.inputs)
    assert not decoded.raw


@given(tensors(), st.booleans())
def test_responses(arrays: dict[str, Array], raw: bool) -> None:
    asked = codec.InferRequest("m", None, "7", {}, (), raw, None)

    encoded = codec.encode("3", asked, arrays)
    data = b"".join(encoded.parts)
    response = triton.ModelInferResponse.FromString(data)

    assert len(data) == encoded.size
    assert (response.model_name, response.model_version, response.id) == ("m", "3", "7")
    has_fp16 = any(array.dtype == np.float16 for array in arrays.values())
    assert bool(response.raw_output_contents) == (raw or has_fp16)
    back = triton.ModelInferRequest(
        inputs=[
            triton.ModelInferRequest.InferInputTensor.FromString(output.SerializeToString())
            for output in response.outputs
        ],
        raw_input_contents=response.raw_output_contents,
    )
    same(arrays, decode(back).inputs)


def test_a_large_raw_tensor_is_not_copied() -> None:
    array = np.arange(1000, dtype=np.float64)
    data = request({"x": array}, raw=True).SerializeToString()
    # Wherever it lies, one of eight paddings of the name before it aligns it.
    views = []
    for padding in range(8):
        message = memoryview(request({"x" * (padding + 1): array}, raw=True).SerializeToString())
        (decoded,) = codec.decode(message).inputs.values()
        views.append(np.shares_memory(decoded, np.frombuffer(message, np.uint8)))
    assert len(data) > array.nbytes
    assert any(views)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        codec.decode(memoryview(data))
    except InvalidInput:
        return


@given(tensors(), st.booleans(), st.data())
def test_damaged_requests_decode_or_are_refused(
    arrays: dict[str, Array], raw: bool, data: st.DataObject
) -> None:
    if not raw:
        arrays = {name: array for name, array in arrays.items() if array.dtype != np.float16}
    message = bytearray(request(arrays, raw=raw).SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(message) - 1))
        message[position] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(message)))
    try:
        codec.decode(memoryview(bytes(message[:end])))
    except InvalidInput:
        return


def test_unknown_fields_hide_no_tensor() -> None:
    known = request({"x": np.ones(2, np.float32)}, raw=True).SerializeToString()
    number = bytes([15 << 3, 5])
    fixed = bytes([15 << 3 | 5, 1, 2, 3, 4])
    text = bytes([15 << 3 | 2, 2]) + b"hi"

    for unknown in (number, fixed, text):
        decoded = codec.decode(memoryview(unknown + known + unknown))
        assert decoded.inputs["x"].tolist() == [1, 1]


def tensor(**fields: Any) -> Any:
    return triton.ModelInferRequest.InferInputTensor(**fields)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({}, "no inputs"),
        (
            {
                "inputs": [tensor(name="x", datatype="FP32", shape=[1])],
                "raw_input_contents": [b""] * 2,
            },
            "1 inputs, but 2 raw_input_contents",
        ),
        (
            {
                "inputs": [
                    tensor(name="x", datatype="FP32", shape=[1], contents={"fp32_contents": [1]})
                ],
                "raw_input_contents": [b"\0" * 4],
            },
            "input 'x': contents and raw_input_contents exclude",
        ),
        (
            {"inputs": [tensor(name="x", datatype="FP32", shape=[0])] * 2},
            "input 'x' is given twice",
        ),
        ({"inputs": [tensor(name="x", datatype="FP16", shape=[1])]}, "use raw_input_contents"),
        ({"inputs": [tensor(name="x", datatype="FP8", shape=[1])]}, "unknown datatype 'FP8'"),
        ({"inputs": [tensor(name="x", datatype="INT32", shape=[2])]}, "needs 2 elements"),
        ({"inputs": [tensor(name="x", datatype="FP32", shape=[2])]}, "needs 2 elements"),
        ({"inputs": [tensor(name="x", datatype="INT64", shape=[-1])]}, "shape must be"),
        (
            {
                "inputs": [
                    tensor(name="x", datatype="INT8", shape=[1], contents={"int_contents": [300]})
                ]
            },
            "does not fit",
        ),
        (
            {
                "inputs": [tensor(name="x", datatype="FP32", shape=[0])],
                "outputs": [{"name": "y"}, {"name": "y"}],
            },
            "output 'y' is asked for twice",
        ),
        (
            {
                "inputs": [tensor(name="x", datatype="FP32", shape=[0])],
                "parameters": {"timeout": {"int64_param": -1}},
            },
            "microseconds",
        ),
    ],
)
def test_refusals(message: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        decode(triton.ModelInferRequest(**message))
    assert words in str(refusal.value)


def test_timeout_is_in_microseconds() -> None:
    message = request({"x": np.ones(1, np.float32)}, raw=True)
    assert decode(message).timeout is None
    message.parameters["other"].string_param = "x"
    message.parameters["timeout"].int64_param = 1_500_000
    assert decode(message).timeout == 1.5


def label(field: FieldDescriptor) -> tuple[int, bool]:
    return field.number, field.is_repeated


def theirs(name: str) -> Descriptor:
    if name == "ParametersEntry":
        return theirs("ModelInferRequest").nested_types_by_name["ParametersEntry"]
    outer, _, inner = name.partition(".")
    found = triton.DESCRIPTOR.message_types_by_name[outer]
    return found.nested_types_by_name[inner] if inner else found


@pytest.mark.parametrize("name", FIELDS)
def test_fields_are_those_of_the_protocol(name: str) -> None:
    ours = message_class(name).DESCRIPTOR
    published = theirs(name).fields_by_name
    packed = ("fp32_contents", "fp64_contents")
    # KServe answers a load or unload with these; Triton answers nothing.
    only_kserve = ("RepositoryModelLoadResponse", "RepositoryModelUnloadResponse")
    for field in ours.fields:
        if name in only_kserve:
            assert not published
            continue
        assert label(field) == label(published[field.name])
        if field.name not in packed:
            assert field.type == published[field.name].type
        else:
            assert published[field.name].is_packed


@pytest.mark.parametrize(("encoding", "bits"), [("gzip", 31), ("deflate", 15)])
def test_expansion(encoding: str, bits: int) -> None:
    deflater = zlib.compressobj(wbits=bits)
    small = deflater.compress(bytes(1000)) + deflater.flush()

    assert compression.expand(memoryview(small), encoding, 1000) == bytes(1000)
    with pytest.raises(PayloadTooLarge):
        compression.expand(memoryview(small), encoding, 999)
    with pytest.raises(InvalidInput):
        compression.expand(memoryview(small)[:-1], encoding, 1000)
    with pytest.raises(InvalidInput):
        compression.expand(memoryview(b"nothing"), encoding, 1000)
    with pytest.raises(NotSupported):
        compression.expand(memoryview(small), "br", 1000)
