import numpy as np
import pandas as pd
import pytest

from modelport import data
from modelport.errors import DataError, UsageError
from modelport.reports import Column

COLUMNS = (Column(name="a", type="double"), Column(name="b", type="long", required=False))


@pytest.fixture
def frame():
    return pd.DataFrame({"b": [1, 2, 3], "a": [0.5, 1.5, 2.5], "label": ["x", "y", "x"]})


def test_a_frame_is_saved_and_read_back_with_its_labels(frame, tmp_path):
    path = data.save(frame.set_index(pd.Index([7, 8, 9])), tmp_path / "rows.parquet", "label")
    rows = data.load(path, "label")
    pd.testing.assert_frame_equal(rows.inputs, frame[["b", "a"]])
    assert list(rows.labels) == ["x", "y", "x"]


def test_a_csv_file_stays_where_it_is(frame, tmp_path):
    frame.to_csv(tmp_path / "rows.csv", index=False)
    path = data.save(tmp_path / "rows.csv", tmp_path / "unused.parquet", "label")
    assert path == str(tmp_path / "rows.csv")
    assert not (tmp_path / "unused.parquet").exists()
    assert len(data.load(path, None).inputs.columns) == 3


@pytest.mark.parametrize("as_file", [True, False])
def test_a_missing_target_names_the_columns_there_are(frame, tmp_path, as_file):
    given = frame
    if as_file:
        given = tmp_path / "rows.csv"
        frame.to_csv(given, index=False)
    with pytest.raises(DataError, match="no column 'y': set --target to one of 'b', 'a', 'label'"):
        data.save(given, tmp_path / "rows.parquet", "y")


def test_a_file_that_is_not_there_or_of_another_kind_is_refused(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        data.save("gone.csv", tmp_path / "x", None)
    with pytest.raises(UsageError, match="neither CSV, Parquet nor NumPy"):
        data.save("rows.xlsx", tmp_path / "x", None)


def test_what_has_no_columns_is_refused(tmp_path):
    with pytest.raises(UsageError, match="data of type list have no column names"):
        data.save([[0.0, 1.0]], tmp_path / "x", None)


def test_arrays_are_kept_as_what_they_are(tmp_path):
    matrix = data.save(np.eye(3), tmp_path / "rows.parquet", None)
    assert data.load(matrix, None).inputs.to_numpy().tolist() == np.eye(3).tolist()
    images = np.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    kept = data.load(data.save(images, tmp_path / "rows.parquet", None), None).inputs
    assert np.array_equal(kept, images)
    np.savez(tmp_path / "labelled.npz", inputs=images, kind=np.array(["a", "b"]))
    found = data.load(str(tmp_path / "labelled.npz"), "kind")
    assert found.inputs.shape == (2, 3, 4)
    assert found.labels.tolist() == ["a", "b"]
    assert found.sample(1).inputs.shape == (1, 3, 4)
    with pytest.raises(DataError, match="no column 'gone'"):
        data.load(str(tmp_path / "labelled.npz"), "gone")


def test_a_file_that_changed_is_read_anew(frame, tmp_path):
    frame.to_csv(tmp_path / "rows.csv", index=False)
    assert len(data.load(str(tmp_path / "rows.csv"), None).inputs) == 3
    frame.head(1).to_csv(tmp_path / "rows.csv", index=False)
    assert len(data.load(str(tmp_path / "rows.csv"), None).inputs) == 1


def test_a_broken_parquet_file_is_refused(tmp_path):
    (tmp_path / "rows.parquet").write_text("not parquet")
    with pytest.raises(DataError, match="does not read"):
        data.save(tmp_path / "rows.parquet", tmp_path / "x", None)


def test_rows_are_put_into_the_signatures_order(frame):
    fitted = data.fit(data.Rows(frame), COLUMNS)
    assert list(fitted.inputs.columns) == ["a", "b"]


def test_an_optional_column_may_be_missing(frame):
    assert list(data.fit(data.Rows(frame[["a"]]), COLUMNS).inputs.columns) == ["a"]


def test_a_missing_column_is_named(frame):
    with pytest.raises(DataError, match="lack 'a', which the model's signature requires"):
        data.fit(data.Rows(frame[["b"]]), COLUMNS)


def test_text_in_a_numeric_column_is_refused(frame):
    with pytest.raises(DataError, match=r"column 'a' holds .* where the signature says double"):
        data.fit(data.Rows(frame.assign(a=["p", "q", "r"])), COLUMNS)


def test_a_sample_keeps_rows_and_labels_together(frame):
    rows = data.Rows(frame[["a", "b"]], frame["label"]).sample(2)
    assert list(rows.labels) == list(frame.loc[rows.inputs.index, "label"])
    assert len(rows.inputs) == 2
