import numpy as np
import pandas as pd
import pytest

from modelport import evaluate
from modelport.data import Rows
from modelport.errors import DataError


def test_a_classifier_gets_its_metrics():
    labels = pd.Series([0, 1, 1, 0], name="y")
    answers = {
        "label": np.array([0, 1, 0, 0]),
        "probabilities": np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]]),
    }
    task, scores = evaluate.score(labels, answers, "classification")
    assert task == "classification"
    assert scores == pytest.approx({"accuracy": 0.75, "f1": 0.7333333, "roc_auc": 1.0})


def test_a_regressor_gets_its_metrics():
    labels = pd.Series([1.0, 2.0, 3.0], name="y")
    task, scores = evaluate.score(
        labels, {"prediction": np.array([[1.0], [2.0], [5.0]])}, "regression"
    )
    assert task == "regression"
    assert scores["mae"] == pytest.approx(2 / 3)
    assert scores["r2"] == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("labels", "answers", "task"),
    [([0.5, 1.5], [0.4, 1.6], "regression"), (["a", "b"], ["a", "b"], "classification")],
)
def test_an_unknown_task_is_told_from_the_answers(labels, answers, task):
    found, _ = evaluate.score(pd.Series(labels), {"prediction": np.array(answers)}, "unknown")
    assert found == task


def test_outputs_of_other_names_are_scored():
    answers = {"output_label": np.array([0, 1])}
    task, scores = evaluate.score(pd.Series([0, 1]), answers, "unknown")
    assert (task, scores["accuracy"]) == ("classification", 1.0)


def test_labels_with_gaps_are_refused():
    with pytest.raises(DataError, match="target column 'y' holds missing values"):
        evaluate.score(
            pd.Series([1.0, None], name="y"), {"label": np.array([1, 0])}, "classification"
        )


def test_roc_auc_is_left_out_where_a_class_has_no_rows():
    answers = {"label": np.array([0, 0]), "probabilities": np.array([[0.9, 0.1], [0.8, 0.2]])}
    _, scores = evaluate.score(pd.Series([0, 0]), answers, "classification")
    assert set(scores) == {"accuracy", "f1"}


def test_a_networks_scores_are_scored_by_the_highest():
    scores = np.array([[0.1, 2.0, -1.0], [3.0, 0.0, 0.0], [0.0, 0.0, 0.5]], np.float32)
    labels = pd.Series([1, 0, 1])
    task, metrics = evaluate.score(labels, {"prediction": scores}, "unknown")
    assert (task, metrics["accuracy"]) == ("classification", pytest.approx(2 / 3))


def test_tensors_are_answered_in_batches_of_what_there_is_time_for():
    sizes = []

    class Sums:
        def answer(self, rows):
            sizes.append(len(rows))
            return {"prediction": rows.sum(axis=(1, 2, 3))}

    images = np.ones((10, 1, 2, 2), np.float32)
    assert evaluate.answers(Sums(), images, 4)["prediction"].tolist() == [4.0] * 10
    assert sizes == [4, 4, 2]
    numbers = np.arange(4, dtype=np.float32)
    large = np.broadcast_to(numbers[:, None, None, None], (4, 1, 1000, 1000))
    kept = evaluate.in_time(Sums(), Rows(large, pd.Series(numbers)), 0.0)
    assert len(kept.inputs) == 2
    assert kept.inputs[:, 0, 0, 0].tolist() == kept.labels.tolist()
