"""The SHAP explainer: a process of its own that asks a predictor, against shap done by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shap

from modelport_serving import contract
from modelport_serving.errors import InvalidInput, ModelLoadFailed
from modelport_serving.roles.shap import MOST_ROWS
from modelport_serving.roles.tables import Background, Table

BACKGROUND_ROWS = 20


def with_background(trained: Any, folder: Path, output: str = "probabilities") -> Path:
    """Copy a served model folder, and put the first rows beside the model."""
    shutil.copytree(trained.folder, folder)
    background = folder / contract.BACKGROUND_FILE
    background.parent.mkdir()
    rows = trained.rows.iloc[:BACKGROUND_ROWS]
    document = {
        contract.BACKGROUND_COLUMNS: list(rows.columns),
        contract.BACKGROUND_ROWS: rows.to_numpy().tolist(),
        contract.BACKGROUND_OUTPUT: output,
    }
    background.write_text(json.dumps(document))
    return folder


@pytest.fixture(scope="module")
def pair(serving: Any, tumor: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A predictor, and the explainer in front of it."""
    folder = with_background(tumor, tmp_path_factory.mktemp("explained") / "tumor")
    with (
        serving("--model_name", "tumor", "--model_dir", str(folder)) as predictor,
        serving(*explainer_of(predictor, "tumor", folder)) as explainer,
    ):
        yield explainer


def explainer_of(predictor: Any, name: str, folder: Path) -> list[str]:
    arguments = ["--model_name", name, "--model_dir", str(folder), "--explainer", "shap"]
    return [*arguments, "--predictor_host", predictor.address, "--predictor_protocol", "v2"]


def explained(server: Any, content: Any, name: str = "tumor") -> list[dict[str, Any]]:
    answer = server.post(f"/v1/models/{name}:explain", content)
    assert answer.status == 200, answer.body
    told: list[dict[str, Any]] = answer.json["explanations"]
    for one in told:
        assert one["residual"] == pytest.approx(0, abs=1e-6)
        total = one["base_value"] + sum(one["values"].values())
        assert total == pytest.approx(one["output_value"], abs=1e-6)
    return told


def records(rows: Any) -> list[dict[str, Any]]:
    return json.loads(rows.to_json(orient="records"))


class TestOverTheWire:
    def test_v1_tells_what_shap_finds_by_hand(self, pair: Any, tumor: Any) -> None:
        rows = tumor.rows.iloc[200:203]
        (one, *_) = told = explained(pair, {"instances": records(rows)})
        by_hand = shap.TreeExplainer(
            tumor.model,
            tumor.rows.iloc[:BACKGROUND_ROWS].to_numpy(),
            feature_perturbation="interventional",
            model_output="probability",
        )(rows.to_numpy())
        assert one["base_value"] == pytest.approx(by_hand.base_values[0, 1], abs=1e-5)
        assert list(one["values"]) == list(rows.columns)
        assert (one["output"], one["method"]) == ("probabilities[1]", "permutation")
        for row, found in enumerate(told):
            values = np.array(list(found["values"].values()))
            # Ten permutations at most are near the tree explainer's exact values, not on them.
            assert values == pytest.approx(by_hand.values[row, :, 1], abs=0.06)
            assert np.corrcoef(values, by_hand.values[row, :, 1])[0, 1] > 0.95

    def test_lists_objects_and_tensors_are_told_the_same(self, pair: Any, tumor: Any) -> None:
        rows = tumor.rows.iloc[100:102]
        objects = explained(pair, {"instances": records(rows)})
        assert explained(pair, {"instances": rows.to_numpy().tolist()}) == objects
        tensor = {"name": "input", "datatype": "FP32", "shape": [2, 30]}
        tensor["data"] = rows.to_numpy().ravel().tolist()
        answer = pair.post("/v2/models/tumor/explain", {"inputs": [tensor]})
        assert answer.status == 200, answer.body
        outputs = {item["name"]: item for item in answer.json["outputs"]}
        assert outputs["values"]["shape"] == [2, 30]
        assert outputs["features"]["data"] == list(rows.columns)
        for name, key in (("base_values", "base_value"), ("output_values", "output_value")):
            assert outputs[name]["data"] == pytest.approx([one[key] for one in objects], abs=1e-6)
        values = [value for one in objects for value in one["values"].values()]
        assert outputs["values"]["data"] == pytest.approx(values, abs=1e-6)

    def test_a_row_alone_is_told_what_it_is_told_among_others(self, pair: Any, tumor: Any) -> None:
        rows = records(tumor.rows.iloc[50:54])
        assert explained(pair, {"instances": rows[2:3]}) == [
            explained(pair, {"instances": rows})[2]
        ]

    def test_a_class_may_be_chosen(self, pair: Any, tumor: Any) -> None:
        rows = records(tumor.rows.iloc[:1])
        (first,) = explained(pair, {"instances": rows, "parameters": {"output": 0}})
        (second,) = explained(pair, {"instances": rows})
        assert first["output"] == "probabilities[0]"
        assert first["base_value"] + second["base_value"] == pytest.approx(1, abs=1e-6)

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            ({"instances": [[1.0] * 30], "parameters": {"output": 2}}, "'output' is 0 to 1, not 2"),
            ({"instances": [[1.0] * 30], "parameters": [1]}, "must be an object"),
            ({"instances": [[1.0] * 29]}, "30 features"),
            ({"instances": [{"mean radius": 1.0}]}, "30 features"),
            ({"instances": [{"a": 1.0, "b": 2}]}, "missing columns: 'mean radius'"),
            ({"instances": [[1.0] * 30] * (MOST_ROWS + 1)}, f"at most {MOST_ROWS}"),
        ],
    )
    def test_what_cannot_be_explained(self, pair: Any, content: Any, why: str) -> None:
        answer = pair.post("/v1/models/tumor:explain", content)
        assert answer.status == 400
        assert why in answer.json["error"]

    def test_predictions_pass_through(self, pair: Any, tumor: Any) -> None:
        rows = tumor.rows.iloc[:2]
        answer = pair.post("/v1/models/tumor:predict", {"instances": rows.to_numpy().tolist()})
        labels = [prediction["label"] for prediction in answer.json["predictions"]]
        assert labels == tumor.model.predict(rows.to_numpy()).tolist()

    def test_a_deadline(self, pair: Any, tumor: Any) -> None:
        tensor = {"name": "input", "datatype": "FP32", "shape": [4, 30]}
        tensor["data"] = tumor.rows.iloc[:4].to_numpy().ravel().tolist()
        parameters = {"timeout": 10_000}  # microseconds
        body = {"inputs": [tensor], "parameters": parameters}
        assert pair.post("/v2/models/tumor/explain", body).status == 504


def test_text_columns_and_few_features_are_exact(serving: Any, flower: Any, tmp_path: Path) -> None:
    folder = with_background(flower, tmp_path / "flower")
    with (
        serving("--model_name", "flower", "--model_dir", str(folder)) as predictor,
        serving(*explainer_of(predictor, "flower", folder)) as explainer,
    ):
        rows = flower.rows.iloc[:2]
        told = explained(explainer, {"instances": records(rows)}, "flower")
        assert explained(explainer, {"instances": rows.to_numpy().tolist()}, "flower") == told

    background = flower.rows.iloc[:BACKGROUND_ROWS]
    for (_, row), one in zip(rows.iterrows(), told, strict=True):

        def mean(row: Any = row, **known: Any) -> float:
            asked = background.assign(**{name: row[name] for name in known})
            return float(flower.model.predict_proba(asked)[:, 1].mean())

        nothing, both = mean(), mean(colour=1, size=1)
        colour, size = mean(colour=1), mean(size=1)
        expected = {
            "colour": (colour - nothing + both - size) / 2,
            "size": (size - nothing + both - colour) / 2,
        }
        assert one["method"] == "exact"
        assert one["values"] == pytest.approx(expected, abs=1e-5)


def test_a_regressor_in_the_same_process(serving: Any, price: Any, tmp_path: Path) -> None:
    folder = with_background(price, tmp_path / "price", "prediction")
    name = ("--model_name", "price", "--model_dir", str(folder))
    with serving(*name, "--explainer", "shap") as server:
        rows = price.rows.iloc[:2]
        told = explained_loosely(server, {"instances": records(rows)})
    mean = price.rows.mean()
    for (_, row), one in zip(rows.iterrows(), told, strict=True):
        for feature, weight in zip(price.rows.columns, price.model.coef_, strict=True):
            expected = weight * (row[feature] - mean[feature])
            assert one["values"][feature] == pytest.approx(expected, abs=1e-2)
        assert one["output"] == "prediction"


def explained_loosely(server: Any, content: Any) -> list[dict[str, Any]]:
    """Prices are in the hundreds: what is left over is as much larger."""
    answer = server.post("/v1/models/price:explain", content)
    assert answer.status == 200, answer.body
    told: list[dict[str, Any]] = answer.json["explanations"]
    assert all(one["residual"] < 1e-3 for one in told)
    return told


class TestFolder:
    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (None, "has no explainer/background.json"),
            ("[", "cannot be read"),
            ('{"columns": ["a"], "rows": [[1]]}', "cannot be read: KeyError"),
            ('{"columns": ["a"], "rows": [], "output": "label"}', "1 names for 0 columns"),
            ('{"columns": ["a"], "rows": [[1, 2]], "output": "label"}', "1 names for 2 columns"),
            ('{"columns": null, "rows": [[1, 2], [3]], "output": "label"}', "cannot be read"),
        ],
    )
    def test_what_is_no_background(self, tmp_path: Path, content: str | None, why: str) -> None:
        if content is not None:
            (tmp_path / "explainer").mkdir()
            (tmp_path / contract.BACKGROUND_FILE).write_text(content)
        with pytest.raises(ModelLoadFailed, match=why):
            Background.read(tmp_path)

    def test_a_server_without_one_does_not_start(self, launch: Any, tumor: Any) -> None:
        server = launch(*tumor.arguments("m"), "--explainer", "shap")
        assert server.process.wait(timeout=60) == 1
        assert "has no explainer/background.json" in server.errors()
        server.kill()

    def test_cells_keep_their_types(self, tmp_path: Path) -> None:
        (tmp_path / "explainer").mkdir()
        rows = [[1, 2.5, "red", None, True], [2, None, None, None, False]]
        document = {"columns": None, "rows": rows, "output": "prediction"}
        (tmp_path / contract.BACKGROUND_FILE).write_text(json.dumps(document))
        background = Background.read(tmp_path)
        assert background.rows.names == ("0", "1", "2", "3", "4")
        assert [column.dtype.kind for column in background.rows.columns] == list("ifOOb")
        assert np.isnan(background.rows.columns[1][1])


def test_columns_of_one_value_a_row() -> None:
    table = Table.of({"a": np.zeros((3, 1)), "b": np.array(["x", "y", "z"], object)}, ["b", "a"])
    assert [column.shape for column in table.columns] == [(3,), (3,)]
    with pytest.raises(InvalidInput, match="one value a row"):
        Table.of({"a": np.zeros((3, 2)), "b": np.zeros(3)}, ["a", "b"])
