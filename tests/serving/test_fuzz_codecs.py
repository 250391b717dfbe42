"""The codecs against anything: two parsers with one meaning, and InvalidInput from both."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelport_serving.contract import Column
from modelport_serving.errors import InvalidInput, NotSupported, PredictionFailed
from modelport_serving.grpc import codec
from modelport_serving.mapping import mapping_for
from modelport_serving.rest import parsing, v1, v2
from modelport_serving.roles.instances import AnyInputs
from modelport_serving.tensors import DTYPES, Array, TensorSpec, datatype_of, to_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
NUMBERS = (
    st.integers(-(2**65), 2**65)
    | st.integers(-300, 70_000)
    | st.floats()
    | st.sampled_from([2**24 + 1, 2**53 + 1, 2**63, 2**64, -(2**63), -0.0, 1e39, 65520, 1e-320])
)
VALUES = NUMBERS | st.booleans() | st.none() | TEXT
JSON = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
)
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, -1, 2**62, 2**63]), max_size=3) | JSON
PADDING = " " * parsing._LARGE_BYTES
"""What makes any request large enough for the SIMD parser."""


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, Any]:
    """A V2 tensor, most often one that is right."""
    datatype = draw(st.sampled_from([*DTYPES, "FP8"]))
    elements = draw(st.sampled_from([NUMBERS, st.integers(0, 99), VALUES, st.booleans(), TEXT]))
    data: Any = draw(st.lists(elements, max_size=6))
    shape: Any = [len(data)]
    if draw(st.integers(0, 3)) == 0:
        shape = draw(SHAPES)
    if draw(st.integers(0, 3)) == 0:
        data = draw(st.just([data]) | JSON | st.lists(VALUES | st.lists(VALUES, max_size=2)))
    item = {"name": draw(TEXT), "datatype": datatype, "shape": shape, "data": data}
    if draw(st.integers(0, 5)) == 0:
        item["parameters"] = draw(st.none() | st.dictionaries(TEXT, VALUES, max_size=2))
    if draw(st.integers(0, 7)) == 0:
        del item[draw(st.sampled_from(sorted(item)))]
    return item


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A V2 request as JSON text; now and then with a name twice, or no JSON at all."""
    document = {"inputs": draw(st.lists(tensors(), max_size=3) | JSON)}
    optional = {"id": TEXT | JSON, "outputs": st.none() | st.lists(JSON) | JSON, "parameters": JSON}
    for name, values in optional.items():
        if draw(st.integers(0, 3)) == 0:
            document[name] = draw(values)
    text = json.dumps(document, ensure_ascii=draw(st.booleans()))
    match draw(st.integers(0, 9)):
        case 0:
            name = draw(st.sampled_from(["inputs", "outputs", "data", "name", "shape", "datatype"]))
            text = text.replace(f'"{name}"', f'"{name}": {json.dumps(draw(JSON))}, "{name}"', 1)
        case 1:
            at = draw(st.integers(0, len(text)))
            text = text[:at] + draw(st.sampled_from([*'[]{},:"0-.e\\\0', "NaN"])) + text[at:]
    return text


def decoded(body: bytes) -> Any:
    """What a request means: the type, shape, and bytes of its tensors; None if it is refused."""
    try:
        request = v2.decode(body, None, ())
    except InvalidInput:
        return None
    inputs = [
        (
            name,
            array.dtype,
            array.shape,
            array.tolist() if array.dtype == object else array.tobytes(),
        )
        for name, array in request.inputs.items()
    ]
    return inputs, request._replace(inputs={})


@settings(max_examples=250)
@given(documents())
@example('{"inputs": [{"name": "x", "datatype": "FP32", "shape": [3], "data": [1, [2, 3]]}]}')
@example('{"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1, [2]]}]}')
@example('{"inputs": [], "inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}')
@example('{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1], "data": [2]}]}')
@example('\ufeff{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}')
@example(
    '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [36028799166447617]}]}'
)
@example('{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": "abc"}]}')
@example('{"inputs": [{"name": "x[", "datatype": "FP32", "shape": [1], "data": [1]}]}')
def test_large_and_small_requests_mean_the_same(text: str) -> None:
    body = text.encode()

    assert decoded(body + PADDING.encode()) == decoded(body)


@given(st.sampled_from([d for d in DTYPES if d not in ("BYTES", "BOOL")]), st.data())
def test_large_requests_are_read_by_the_simd_parser(datatype: str, data: st.DataObject) -> None:
    """Else the test above would compare orjson with itself."""
    dtype = DTYPES[datatype]
    finite = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else {}
    array = data.draw(hnp.arrays(dtype, st.integers(1, 9), elements=finite or None))
    item = {"name": "x", "datatype": datatype, "shape": [array.size], "data": array.tolist()}
    body = json.dumps({"inputs": [item]}).encode()

    document = parsing._with_arrays(body)

    assert document is not None
    assert isinstance(document["inputs"][0]["data"], np.ndarray)
    np.testing.assert_array_equal(v2.decode(body + PADDING.encode(), None, ()).inputs["x"], array)


@given(
    st.binary(max_size=60) | documents().map(str.encode), st.none() | st.text(max_size=6), st.data()
)
def test_any_infer_request_decodes_or_is_refused(
    body: bytes, length: str | None, data: st.DataObject
) -> None:
    if length is not None and data.draw(st.booleans()):
        length = str(data.draw(st.integers(0, len(body) + 1)))
    specs = [TensorSpec("x", data.draw(st.sampled_from(sorted(DTYPES))), (-1, 2))]
    try:
        request = v2.decode(body, length, specs)
    except InvalidInput:
        return
    for array in request.inputs.values():
        assert datatype_of(array) in DTYPES


def test_a_length_has_no_thousands_of_digits() -> None:
    for length in ("0" * 5000, "5" * 5000, "0" * 20 + "1"):
        with pytest.raises(InvalidInput, match="Inference-Header-Content-Length"):
            v2.decode(b"{}", length, ())


MAPPINGS = {
    "table": mapping_for(
        [TensorSpec("features", "FP32", (-1, 3), nullable=True)],
        [Column(name, "double", shape=None, required=True) for name in "abc"],
    ),
    "whole table": mapping_for(
        [TensorSpec("features", "INT64", (-1, 2))],
        [Column(name, "long", shape=None, required=True) for name in "ab"],
    ),
    "columns": mapping_for(
        [
            TensorSpec("colour", "BYTES", (-1, 1), nullable=True),
            TensorSpec("size", "FP32", (-1,), nullable=True),
            TensorSpec("old", "BOOL", (-1, 1)),
        ],
        [
            Column("colour", "string", shape=None, required=True),
            Column("size", "double", shape=None, required=False),
            Column("old", "boolean", shape=None, required=True),
        ],
    ),
    "tensor": mapping_for([TensorSpec("x", "UINT8", (-1, 2))], []),
    "tensors": mapping_for([TensorSpec("x", "FP16", (-1, 2)), TensorSpec("y", "BYTES", (-1,))], []),
    "anything": mapping_for([], []),
}
NAMES = st.sampled_from(["a", "b", "c", "colour", "size", "old", "x", "y"])
ROWS = st.lists(
    st.lists(VALUES, max_size=3)
    | st.lists(NUMBERS, min_size=2, max_size=3)
    | st.dictionaries(NAMES, VALUES | st.lists(VALUES, max_size=2), max_size=3)
    | JSON,
    min_size=1,
    max_size=3,
) | st.lists(NUMBERS, min_size=3, max_size=3).map(lambda row: [row, row])


@settings(max_examples=250)
@given(st.sampled_from(sorted(MAPPINGS)), ROWS)
def test_any_rows_are_taken_or_refused(mapping: str, rows: list[Any]) -> None:
    body = json.dumps({"instances": rows}).encode()
    try:
        tensors = MAPPINGS[mapping].rows(v1.decode(body))
    except InvalidInput:
        return
    assert all(isinstance(array, np.ndarray) for array in tensors.values())
    counts = {array.shape[0] for array in tensors.values()}
    assert counts <= {len(rows)}


@given(st.integers(1, 2000), st.sampled_from(["[", '{"a":', "[[1],"]), st.booleans())
def test_any_depth_is_taken_or_refused(depth: int, opening: str, rows: bool) -> None:
    closing = {"[": "]", "{": "}"}[opening[0]]
    nested = (opening * depth + "1" + closing * depth).encode()
    for mapping in MAPPINGS.values():
        try:
            if rows:
                mapping.rows(v1.decode(b'{"instances": [%b]}' % nested))
            else:
                item = b'{"name": "x", "datatype": "FP32", "shape": [1], "data": [%b]}' % nested
                mapping.tensors(v2.decode(b'{"inputs": [%b]}' % item, None, ()).inputs)
        except InvalidInput:
            continue


@given(st.sampled_from(sorted(MAPPINGS)), tensors(), st.sampled_from(["x", "features", "size"]))
def test_any_tensor_is_taken_or_refused(mapping: str, item: dict[str, Any], name: str) -> None:
    body = json.dumps({"inputs": [item | {"name": name}]}).encode()
    try:
        tensors = MAPPINGS[mapping].tensors(v2.decode(body, None, ()).inputs)
    except InvalidInput:
        return
    assert all(isinstance(array, np.ndarray) for array in tensors.values())


def arrays() -> st.SearchStrategy[Array]:
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    texts = st.binary(max_size=4) | TEXT
    return st.sampled_from(sorted(DTYPES)).flatmap(
        lambda datatype: hnp.arrays(
            DTYPES[datatype], shapes, elements=texts if datatype == "BYTES" else None
        )
    )


@given(st.dictionaries(TEXT, arrays(), min_size=1, max_size=3), st.booleans())
def test_what_is_answered_can_be_asked(outputs: dict[str, Array], binary: bool) -> None:
    asked = v2.InferRequest({}, "7", binary_default=binary)
    try:
        reply = v2.encode("m", "1", asked, outputs)
    except NotSupported:  # bytes that are no text, in JSON
        assume(False)
    length = dict(reply.headers).get(v2.LENGTH_HEADER)
    head = reply.body[: int(length)] if length else reply.body
    request = reply.body.replace(b'"outputs"', b'"inputs"', 1)
    back = v2.decode(request, length and str(int(length) - 1), ())

    assert json.loads(head)["id"] == back.id == "7"
    for name, array in outputs.items():
        assert (back.inputs[name].dtype, back.inputs[name].shape) == (array.dtype, array.shape)
        if binary and array.dtype != object:
            assert back.inputs[name].tobytes() == array.tobytes()
        else:
            assert bytes_of(back.inputs[name]) == bytes_of(array)


def bytes_of(array: Array) -> Any:
    """Elements as they compare over JSON: bytes for texts, no infinities, NaN as itself."""
    if array.dtype == object:
        return [item.encode() if isinstance(item, str) else item for item in array.ravel()]
    finite = np.where(np.isfinite(array), array, 0) if array.dtype.kind == "f" else array
    return to_json(finite).tolist()


@given(st.dictionaries(TEXT, arrays(), max_size=3))
def test_any_outputs_are_answered_in_rows_or_refused(outputs: dict[str, Array]) -> None:
    try:
        reply = v1.encode(outputs)
    except (PredictionFailed, NotSupported):
        return
    rows = json.loads(reply.body)["predictions"]
    assert {len(rows)} == {len(array) for array in outputs.values()}


@pytest.mark.parametrize("field", [bytes([15 << 3, 1]), bytes([7 << 3 | 2, 0])])
def test_a_message_of_countless_fields_is_refused(field: bytes) -> None:
    """Each of them would take a microsecond, and a message may have a hundred million."""
    with pytest.raises(InvalidInput, match="more than 10000"):
        codec.decode(memoryview(field * 20_000))


@given(ROWS)
def test_any_rows_reach_a_transformer_or_are_refused(rows: list[Any]) -> None:
    try:
        tensors = AnyInputs().rows(rows)
    except InvalidInput:
        return
    assert {len(array) for array in tensors.values()} == {len(rows)}


def test_rows_for_a_transformer_have_bounds() -> None:
    with pytest.raises(InvalidInput, match="nested too deeply"):
        AnyInputs().rows(v1.decode(b'{"instances": %b1%b}' % (b"[" * 1000, b"]" * 1000)))
    wide: list[Any] = [[1.0, "a" * 100_000, *[0.5] * 100_000]]
    assert AnyInputs().rows(wide)["instances"].dtype == object
