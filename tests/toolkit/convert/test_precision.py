"""Candidates of narrower numbers: right where they are made, and with a reason where not."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.neural_network import MLPRegressor

from modelport import parity
from modelport.convert import precision, session
from modelport.convert import sklearn as flavour


@pytest.fixture
def network(diabetes, resolved, optimised):
    rows, target = diabetes
    estimator = MLPRegressor(hidden_layer_sizes=(128, 64), max_iter=20, random_state=0).fit(
        rows, target / 100
    )
    native = flavour.SklearnModel(estimator, takes_table=True)
    return native, optimised(flavour.convert(native, resolved(rows))).estimator


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_every_precision_of_a_network(network, diabetes):
    native, graph = network
    found = precision.candidates(graph, "auto")
    assert [one.precision for one in found] == ["float32", "float16", "int8"]
    sizes = [len(one.onnx) for one in found]
    assert sizes == sorted(sizes, reverse=True)
    for one in found:
        model = session.OnnxModel(one.onnx)
        assert {tensor.datatype for tensor in (*model.inputs, *model.outputs)} == {"FP32"}
        difference = abs(model.predict(diabetes[0]).ravel() - native.predict(diabetes[0]))
        assert np.quantile(difference, 0.95) < 0.05
    exact = session.OnnxModel(found[0].onnx)
    assert not parity.compare(native.answer(diabetes[0]), exact.answer(diabetes[0])).failed.any()


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_one_precision_alone(network):
    (only,) = precision.candidates(network[1], "int8")
    assert only.precision == "int8"


def test_a_forest_has_nothing_to_narrow(iris, resolved, optimised):
    native = flavour.SklearnModel(RandomForestClassifier(3).fit(*iris), takes_table=True)
    graph = optimised(flavour.convert(native, resolved(iris[0]))).estimator
    plain, half, eighth = precision.candidates(graph, "auto")
    assert plain.onnx == graph
    assert half.onnx is eighth.onnx is None
    assert half.reason == "no layer of the graph has weights that float16 would narrow"
