"""How flavours are found; those that pass through, and those that nobody converts."""

import sys

import mlflow
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from sklearn.linear_model import LogisticRegression

from modelport import convert
from modelport.convert import onnx as passed
from modelport.convert import session
from modelport.convert import sklearn as flavour
from modelport.errors import UnsupportedModel, UsageError
from modelport.tracking import _flavour


class Logged:
    def __init__(self, *flavors):
        self.flavors = dict.fromkeys(flavors)


def test_the_most_specific_flavour_wins():
    assert _flavour(Logged("python_function", "sklearn")) == "sklearn"
    assert _flavour(Logged("python_function", "sklearn", "onnx")) == "onnx"
    assert _flavour(Logged("python_function", "prophet")) == "prophet"
    assert _flavour(Logged("python_function")) == "python_function"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("prophet", "no ONNX converter for the flavour 'prophet'"),
        ("python_function", "Python code of its own"),
    ],
)
def test_what_nobody_converts_says_why(name, reason, iris, resolved):
    known = resolved(iris[0]).model_copy(update={"flavour": name})
    with pytest.raises(UnsupportedModel, match=reason):
        convert.flavour(name).convert(None, known)


@pytest.fixture
def registered(tmp_path, monkeypatch):
    """Installs a package that registers flavours."""
    package = tmp_path / "strange-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[modelport.flavours]\n"
        "strange = strange_flavour\nbroken = nowhere_at_all\nsklearn = strange_flavour\n"
    )
    (tmp_path / "strange_flavour.py").write_text("def convert(native, resolution):\n    return 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("strange_flavour", None)


@pytest.mark.usefixtures("registered")
def test_another_package_adds_a_flavour():
    assert convert.flavour("strange").convert(None, None) == 7
    assert convert.flavour("sklearn") is flavour  # ours come first
    with pytest.raises(UsageError, match="registered the flavour 'broken' does not import"):
        convert.flavour("broken")


def test_an_onnx_model_passes_through_without_zipmap(iris, tmp_path, resolved):
    from skl2onnx import to_onnx

    rows, labels = iris[0].to_numpy(dtype=np.float32), iris[1]
    estimator = LogisticRegression(max_iter=5000).fit(rows, labels)
    mlflow.onnx.save_model(to_onnx(estimator, rows[:1]), tmp_path / "model", pip_requirements=[])
    native = passed.load(tmp_path / "model", resolved(rows))
    graph = passed.convert(native, resolved(rows))
    answers = session.OnnxModel(graph.onnx).answer(rows)
    np.testing.assert_allclose(
        answers["output_probability"], estimator.predict_proba(rows), atol=1e-5
    )
    assert graph.converter == "none (already ONNX)"


def test_a_large_model_keeps_its_weights_inside(tmp_path, resolved):
    weights = onnx.numpy_helper.from_array(np.eye(64, dtype=np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["rows", "weights"], ["out"])],
        "graph",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, 64])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [None, 64])],
        [weights],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    mlflow.onnx.save_model(
        proto, tmp_path / "model", pip_requirements=[], save_as_external_data=True
    )
    native = passed.load(tmp_path / "model", resolved(np.zeros((1, 64), np.float32)))
    assert len(native.estimator) > 64 * 64 * 4


def test_a_broken_graph_is_refused():
    with pytest.raises(UnsupportedModel, match="ONNX Runtime does not load"):
        session.OnnxModel(b"not a graph")


def test_optimisation_keeps_to_standard_operators(iris, resolved, optimised):
    native = flavour.SklearnModel(LogisticRegression(max_iter=5000).fit(*iris), takes_table=True)
    model = optimised(flavour.convert(native, resolved(iris[0])))
    proto = onnx.load_from_string(model.estimator)
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx", "ai.onnx.ml"}
    assert session.opset(model.estimator) >= 15
