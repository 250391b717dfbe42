from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelport_serving.contract import Column
from modelport_serving.errors import InvalidInput
from modelport_serving.mapping import (
    ColumnMapping,
    InputMapping,
    TableMapping,
    TensorMapping,
    mapping_for,
)
from modelport_serving.tensors import TensorSpec

TABLE_COLUMNS = [Column("a", "double"), Column("b", "long"), Column("c", "double", required=False)]


@pytest.fixture
def table() -> InputMapping:
    return mapping_for([TensorSpec("x", "FP32", (-1, 3), nullable=True)], TABLE_COLUMNS)


@pytest.fixture
def by_column() -> InputMapping:
    specs = [TensorSpec("n", "FP32", (-1, 1), nullable=True), TensorSpec("s", "BYTES", (-1, 1))]
    return mapping_for(specs, [Column("s", "string"), Column("n", "double")])


def test_finds_how_a_model_takes_its_inputs() -> None:
    table, column = TensorSpec("x", "FP32", (-1, 2)), TensorSpec("a", "FP32", (-1, 1))
    two = [Column("a", "double"), Column("b", "double")]

    assert isinstance(mapping_for([table], two), TableMapping)
    assert isinstance(mapping_for([column], two), ColumnMapping)
    assert isinstance(mapping_for([table], []), TensorMapping)
    assert isinstance(mapping_for([table], two[:1]), TensorMapping)
    assert isinstance(
        mapping_for([table], [Column("a", "tensor(float32)", shape=(-1, 2))]), TensorMapping
    )


@pytest.mark.parametrize(
    "instances",
    [
        [[1, 2, 3.5], [4, 5, 6]],
        [{"a": 1, "b": 2, "c": 3.5}, {"c": 6, "b": 5, "a": 4}],
        [{"a": [1], "b": [2], "c": [3.5]}, {"a": [4], "b": [5], "c": [6]}],
    ],
)
def test_table_takes_rows(table: InputMapping, instances: list[Any]) -> None:
    array = table.rows(instances)["x"]

    assert array.dtype == np.float32
    assert array.tolist() == [[1, 2, 3.5], [4, 5, 6]]


def test_table_takes_missing_values(table: InputMapping) -> None:
    array = table.rows([{"a": None, "b": 2}, [1, 2, None]])["x"]

    np.testing.assert_array_equal(array, [[np.nan, 2, np.nan], [1, 2, np.nan]])


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_table_takes_columns(table: InputMapping, shape: tuple[int, ...]) -> None:
    given = {
        name: np.array(values).reshape(shape)
        for name, values in {"c": [3.0, 6.0], "a": [1.0, 4.0], "b": [2, 5]}.items()
    }

    assert table.tensors(given)["x"].tolist() == [[1, 2, 3], [4, 5, 6]]


def test_table_takes_its_tensor_without_a_copy(table: InputMapping) -> None:
    array = np.zeros((2, 3), np.float32)

    assert table.tensors({"x": array})["x"] is array


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        ([[1, 2, 3], [1, 2]], "instance 1: expected 3 features, 2 given"),
        ([{"a": 1, "c": 2}], "instance 0: missing column 'b'"),
        ([{"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2, "d": 3}], "instance 1: unknown column 'd'"),
        ([{"a": 1, "b": 2, "c": 3, "d": 4}], "instance 0: unknown column 'd'"),
        ([[1, 2, 3], "abc"], "instance 1: expected a list of values, or an object by column"),
        ([{"a": "1", "b": 2, "c": 3}], "input 'a': expected FP32, a string given"),
        ([[1, [2, 3], 3]], "input 'b': expected one value a row"),
        ([[1, {}, 3]], "input 'b': expected FP32, an object given"),
        ([[1, None, 3]], "input 'b': expected FP32, null given"),
        ([[1e300, 2, 3]], "a value is too large"),
    ],
)
def test_table_refuses_rows(table: InputMapping, instances: list[Any], message: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        table.rows(instances)

    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"x": (2, 2)}, "input 'x': expected 3 features (shape [-1, 3]), shape [2, 2] given"),
        ({"x": (3,)}, "expected 3 features"),
        ({"x": (2, 3), "y": (2,)}, "unknown input 'y'"),
        ({"y": (2, 3)}, "unknown input 'y', the model takes 'a', 'b', 'c'"),
        ({"a": (2,), "c": (2,)}, "missing column 'b'"),
        ({"a": (2,), "b": (3,)}, "input 'a' has 2 rows, but 'b' has 3"),
        ({"a": (2, 2), "b": (2,)}, "input 'a': expected one value a row"),
    ],
)
def test_table_refuses_tensors(
    table: InputMapping, shapes: dict[str, tuple[int, ...]], message: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        table.tensors({name: np.zeros(shape) for name, shape in shapes.items()})

    assert message in str(refusal.value)


@pytest.mark.parametrize(
    "instances", [[["u", 1], ["v", None]], [{"s": "u", "n": 1}, {"n": None, "s": "v"}]]
)
def test_columns_take_rows(by_column: InputMapping, instances: list[Any]) -> None:
    feeds = by_column.rows(instances)

    assert feeds["s"].tolist() == [["u"], ["v"]]
    np.testing.assert_array_equal(feeds["n"], np.array([[1], [np.nan]], np.float32))


def test_columns_take_text_as_bytes(by_column: InputMapping) -> None:
    feeds = by_column.tensors({"s": np.array([b"\xc3\xa9"], object), "n": np.array([1])})

    assert feeds["s"].tolist() == [["é"]]


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        ([[1, 1]], "input 's': expected BYTES, INT64 given"),
        ([[None, 1]], "input 's': expected BYTES, null given"),
        ([["u", "v"]], "input 'n': expected FP32, a string given"),
    ],
)
def test_columns_refuse_rows(by_column: InputMapping, instances: list[Any], message: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        by_column.rows(instances)

    assert message in str(refusal.value)


def test_a_graph_takes_missing_text_where_the_signature_has_some() -> None:
    mapping = mapping_for(
        [TensorSpec("s", "BYTES", (-1, 1)), TensorSpec("t", "BYTES", (-1, 1))],
        [Column("s", "string", required=False), Column("t", "string")],
    )
    text, gap = np.array(["a"], object), np.array([None], object)

    assert mapping.rows([[None, "a"]])["s"].tolist() == [[None]]
    assert mapping.rows([{"t": "a"}])["s"].tolist() == [[None]]
    assert mapping.tensors({"s": gap, "t": text})["s"].tolist() == [[None]]
    for refused in (
        lambda: mapping.rows([["a", None]]),
        lambda: mapping.tensors({"t": gap, "s": text}),
    ):
        with pytest.raises(InvalidInput, match="input 't': expected BYTES, null given"):
            refused()


def test_columns_that_the_model_does_not_take_are_let_through() -> None:
    mapping = mapping_for(
        [TensorSpec("b", "INT64", (-1, 1))], [Column("a", "string"), Column("b", "long")]
    )

    assert mapping.rows([{"a": "ignored", "b": 2}])["b"].tolist() == [[2]]
    assert mapping.rows([["ignored", 2]])["b"].tolist() == [[2]]


def test_tensors_by_name() -> None:
    image = TensorSpec("image", "FP32", (-1, 2, 2))
    mapping = mapping_for([image, TensorSpec("scale", "FP32", (-1,))], [])

    feeds = mapping.rows([{"image": [[1, 2], [3, 4]], "scale": 2}])

    assert feeds["image"].tolist() == [[[1, 2], [3, 4]]]
    assert feeds["scale"].tolist() == [2]
    with pytest.raises(InvalidInput, match="an object with 'image', 'scale'"):
        mapping.rows([[1]])
    with pytest.raises(InvalidInput, match="missing input 'scale'"):
        mapping.tensors({"image": np.zeros((1, 2, 2))})
    with pytest.raises(InvalidInput, match=r"expected shape \[-1, 2, 2\], \[1, 4\] given"):
        mapping.tensors({"image": np.zeros((1, 4)), "scale": np.zeros(1)})


def test_rows_of_the_only_tensor() -> None:
    mapping = mapping_for([TensorSpec("x", "INT64", (-1, 2))], [])

    assert mapping.rows([[1, 2], [3, 4]])["x"].tolist() == [[1, 2], [3, 4]]
    with pytest.raises(InvalidInput, match="expected INT64, FP64 given"):
        mapping.rows([[1.5, 2]])


def test_a_model_without_inputs_takes_what_it_is_given() -> None:
    mapping = mapping_for([], [])

    rows = mapping.rows([{"n": 1, "s": None, "x": [1, 2]}, {"s": "u", "n": 2, "x": [3, 4]}])

    assert rows["n"].dtype == np.int64
    assert rows["s"].tolist() == [None, "u"]
    assert rows["x"].tolist() == [[1, 2], [3, 4]]
    (missing,) = mapping.rows([[None, 1]]).values()
    np.testing.assert_array_equal(missing, [[np.nan, 1]])
    assert mapping.tensors({"t": np.array([b"\xc3\xa9"], object)})["t"].tolist() == ["é"]
    with pytest.raises(InvalidInput, match="instance 1: expected an object with 'a'"):
        mapping.rows([{"a": 1}, [1]])
