from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelport_serving import tensors
from modelport_serving.errors import InvalidInput
from modelport_serving.tensors import DTYPES, Array, TensorSpec

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)
NUMERIC = [datatype for datatype in DTYPES if datatype != "BYTES"]


@st.composite
def numeric_arrays(draw: st.DrawFn) -> Array:
    datatype = draw(st.sampled_from(NUMERIC))
    array: Array = draw(hnp.arrays(DTYPES[datatype], draw(SHAPES)))
    return array


def object_arrays(elements: st.SearchStrategy[Any]) -> st.SearchStrategy[Array]:
    return SHAPES.flatmap(lambda shape: hnp.arrays(np.object_, shape, elements=elements))


TEXT_ARRAYS = object_arrays(st.text(st.characters(exclude_categories=["Cs"])))


def finite_or_nan(array: Array) -> Array:
    """JSON knows no infinities: they are written as null, as NaN is."""
    if array.dtype.kind != "f":
        return array
    return np.where(np.isfinite(array), array, np.nan).astype(array.dtype)


@given(numeric_arrays() | TEXT_ARRAYS, st.booleans())
def test_json_round_trip(array: Array, nested: bool) -> None:
    data = tensors.to_json(array)
    text = orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)
    values = json.loads(text)
    if nested and array.size:
        values = np.array(values, np.object_).reshape(array.shape).tolist()

    back = tensors.from_json("x", tensors.datatype_of(array), list(array.shape), values)

    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, finite_or_nan(array))


@given(numeric_arrays(), st.integers(0, 7))
def test_binary_round_trip(array: Array, offset: int) -> None:
    raw = memoryview(b"x" * offset + tensors.to_binary(array))[offset:]

    back = tensors.from_binary("x", tensors.datatype_of(array), list(array.shape), raw)

    assert back.dtype == array.dtype
    assert back.flags.aligned
    np.testing.assert_array_equal(back, array)


@given(object_arrays(st.binary()))
def test_binary_bytes_round_trip(array: Array) -> None:
    raw = memoryview(tensors.to_binary(array))

    np.testing.assert_array_equal(tensors.from_binary("x", "BYTES", list(array.shape), raw), array)


def test_binary_is_little_endian_with_lengths() -> None:
    assert tensors.to_binary(np.array([1], ">i4")) == b"\x01\0\0\0"
    assert tensors.to_binary(np.array(["é"], object)) == b"\x02\0\0\0\xc3\xa9"


@given(st.sampled_from(sorted(DTYPES)), st.lists(st.integers(-1, 3), max_size=3), st.binary())
def test_any_bytes_decode_or_are_refused(datatype: str, shape: list[int], raw: bytes) -> None:
    try:
        array = tensors.from_binary("x", datatype, shape, memoryview(raw))
    except InvalidInput:
        return
    assert list(array.shape) == shape


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
)


@given(st.sampled_from([*DTYPES, "FP8", None]), JSON_VALUES, JSON_VALUES)
def test_any_json_decodes_or_is_refused(datatype: Any, shape: Any, data: Any) -> None:
    try:
        array = tensors.from_json("x", datatype, shape, data)
    except InvalidInput:
        return
    assert list(array.shape) == shape
    assert array.dtype == DTYPES[datatype]


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "message"),
    [
        ("FP8", [1], [1], "input 'x': unknown datatype 'FP8', expected one of BOOL, UINT8"),
        ("FP32", [2, -1], [1, 2], "shape must be a list of whole numbers, [2, -1] given"),
        ("FP32", "1", [1], "shape must be a list of whole numbers, '1' given"),
        ("FP32", [3], [1, 2], "shape [3] needs 3 elements, 2 given"),
        ("FP32", [2, 3], [[1, 2], [3, 4], [5, 6]], "expected data of shape [2, 3], [3, 2] given"),
        ("FP32", [3], [[1, 2], [3]], "rows of different lengths"),
        ("FP32", [1], 1, "data must be a list, the number 1 given"),
        ("FP32", [1], ["1.5"], "expected FP32 (numbers), a string given"),
        ("FP32", [1], [True], "expected FP32 (numbers), a boolean given"),
        ("FP32", [1], [1e300], "expected FP32, a value is too large for it"),
        ("INT64", [1], [1.5], "expected INT64 (whole numbers), the number 1.5 given"),
        ("INT64", [2], [1, None], "expected INT64 (whole numbers), null given"),
        ("INT8", [1], [300], "expected INT8, a value from 300 to 300 does not fit"),
        ("UINT64", [2], [2**63, -1], "expected UINT64, a value does not fit"),
        ("BOOL", [1], [1], "expected BOOL (booleans), the number 1 given"),
        ("BYTES", [2], ["a", 1], "expected BYTES (strings), the number 1 given"),
        ("BYTES", [1], [{"b64": "?"}], "'b64' is not base64 text"),
        ("BYTES", [1], [{"b64": 1}], "'b64' is not base64 text"),
        ("BYTES", [1], [{"b64": "YQ==", "c": 1}], "expected BYTES (strings), an object given"),
        ("BYTES", [1], [["a"], ["b", "c"]], "expected BYTES (strings), a list given"),
    ],
)
def test_refusals_name_input_expected_and_given(
    datatype: str, shape: Any, data: Any, message: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        tensors.from_json("x", datatype, shape, data)

    assert message in str(refusal.value)
    assert "'x'" in str(refusal.value)


def test_numbers_beyond_int64_stay_exact() -> None:
    array = tensors.from_json("x", "UINT64", [2], [1, 2**64 - 1])

    assert array.tolist() == [1, 2**64 - 1]


def test_null_is_nan_in_a_float_tensor() -> None:
    array = tensors.from_json("x", "FP32", [2], [None, 2])

    assert np.isnan(array[0])
    assert array[1] == 2


def test_bytes_in_json_are_base64() -> None:
    array = tensors.from_json("x", "BYTES", [2], [{"b64": "/9j/"}, "a"])
    assert array.tolist() == [b"\xff\xd8\xff", "a"]


def test_null_in_a_bytes_tensor_is_for_models_that_take_it() -> None:
    array = tensors.from_json("x", "BYTES", [2], [None, "a"])

    nullable = TensorSpec("x", "BYTES", (-1,), nullable=True)
    assert tensors.cast("x", array, nullable).tolist() == [None, "a"]
    with pytest.raises(InvalidInput, match="input 'x': expected BYTES, null given"):
        tensors.cast("x", array, TensorSpec("x", "BYTES", (-1,)))


@pytest.mark.parametrize(
    ("given_dtype", "datatype"),
    [
        (np.float64, "FP32"),
        (np.int64, "FP32"),
        (np.int64, "INT32"),
        (np.bool_, "FP32"),
        (np.uint8, "INT64"),
    ],
)
def test_casts_keep_the_meaning(given_dtype: Any, datatype: str) -> None:
    array = tensors.cast("x", np.array([0, 1], given_dtype), TensorSpec("x", datatype, (-1,)))

    assert array.dtype == DTYPES[datatype]
    assert array.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "datatype"),
    [
        (np.array([1.0]), "INT64"),
        (np.array(["1"], object), "FP32"),
        (np.array([1.0]), "BYTES"),
        (np.array([1]), "BOOL"),
        (np.array([2**40]), "INT32"),
        (np.array([1e300]), "FP32"),
        (np.array([b"\xff"], object), "BYTES"),
    ],
)
def test_casts_that_would_change_a_value_are_refused(values: Array, datatype: str) -> None:
    with pytest.raises(InvalidInput, match=r"input 'x': expected"):
        tensors.cast("x", values, TensorSpec("x", datatype, (-1,)))
