"""Wrong conversions, planted into graphs of boosted trees: the certificate must catch each."""

import re

import catboost
import lightgbm
import numpy as np
import onnx
import pytest
import xgboost
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sklearn import datasets

from modelport import parity
from modelport.convert import flavour, session
from modelport.convert.fitted import fitted
from modelport.reports import Column, Resolution

COMMON = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much],
}
wine = datasets.load_wine(as_frame=True)
FEATURES, LABELS = wine.data.iloc[:, :5], wine.target
SIZE = FEATURES["alcohol"] * 3 + FEATURES["ash"]
HOLED = FEATURES.mask(np.random.default_rng(0).random(FEATURES.shape) < 0.1)

MODELS = {
    "xgboost": (xgboost.XGBRegressor(n_estimators=4, max_depth=3), HOLED, SIZE),
    "xgboost classes": (xgboost.XGBClassifier(n_estimators=3, max_depth=3), FEATURES, LABELS),
    "lightgbm": (
        lightgbm.LGBMRegressor(n_estimators=4, num_leaves=7, verbose=-1),
        HOLED,
        SIZE,
    ),
    "lightgbm classes": (
        lightgbm.LGBMClassifier(n_estimators=3, num_leaves=7, verbose=-1),
        FEATURES,
        LABELS,
    ),
    "catboost": (
        catboost.CatBoostRegressor(
            iterations=4, depth=3, logging_level="Silent", allow_writing_files=False
        ),
        HOLED,
        SIZE,
    ),
}
each_model = pytest.mark.parametrize("name", MODELS)
_converted = {}


def converted(name):
    """Fit and convert once; return the native model, a graph of one's own and the rows."""
    model, frame, target = MODELS[name]
    if name not in _converted:
        native = fitted(model.fit(frame, target))
        columns = tuple(Column(name=column, type="double") for column in frame)
        library = name.partition(" ")[0]
        resolution = Resolution(source="x", uri="x", flavour=library, inputs=columns)
        _converted[name] = native, flavour(library).convert(native, resolution).onnx
    native, graph = _converted[name]
    return native, onnx.load_from_string(graph), frame


def certificate(native, proto, frame):
    """Certify on few rows: what the data do not show, the certificate must find."""
    model = session.OnnxModel(proto.SerializeToString())
    return parity.certify(native, model, [parity.Probe("data", frame.iloc[:30])])


def caught(native, proto, frame):
    seen = certificate(native, proto, frame)
    return (seen.verdict, seen.fault) == ("failed", "converter") and bool(seen.worst)


def ensemble(proto):
    """The attributes of the graph's trees by name; the leaves' ones begin with `leaf`."""
    node = next(node for node in proto.graph.node if node.op_type.startswith("TreeEnsemble"))
    return {re.sub("^(class|target)_", "leaf_", one.name): one for one in node.attribute}


def roots(own):
    """Places of the splits that every row meets."""
    asked = zip(own["nodes_modes"].strings, own["nodes_nodeids"].ints, strict=True)
    return [place for place, (mode, node) in enumerate(asked) if mode != b"LEAF" and node == 0]


def reachable(native):
    """Count the leaves that some row reaches: CatBoost may ask one column twice in a tree."""
    (grove,) = native.groves()
    count = 0
    for tree in grove.trees:
        waiting = [(0, {})]
        while waiting:
            node, box = waiting.pop()
            feature, threshold = int(tree.feature[node]), tree.threshold[node]
            if feature < 0:
                count += 1
                continue
            low, high = box.get(feature, (-np.inf, np.inf))
            if low < min(high, threshold):
                waiting.append((tree.left[node], box | {feature: (low, min(high, threshold))}))
            if max(low, threshold) < high:
                waiting.append((tree.right[node], box | {feature: (max(low, threshold), high)}))
    return count


@each_model
def test_the_honest_graph_passes_and_every_leaf_is_visited(name):
    native, proto, frame = converted(name)
    seen = certificate(native, proto, frame)
    assert seen.verdict == "passed", seen.worst
    assert seen.coverage.leaves_visited == reachable(native) > 0
    assert seen.coverage.thresholds_tried == seen.coverage.thresholds > 0


@each_model
@given(data=st.data(), changed=st.sampled_from([0.9, 1.1, -1.0]))
@settings(max_examples=4, **COMMON)
def test_a_changed_leaf_is_caught(name, data, changed):
    native, proto, frame = converted(name)
    weights = ensemble(proto)["leaf_weights"].floats
    place = data.draw(st.integers(0, len(weights) - 1))
    assume(abs(weights[place] * (changed - 1)) > 0.02)
    weights[place] *= changed
    assert caught(native, proto, frame)


@each_model
@given(data=st.data())
@settings(max_examples=4, **COMMON)
def test_swapped_branches_are_caught(name, data):
    native, proto, frame = converted(name)
    own = ensemble(proto)
    place = data.draw(st.sampled_from(roots(own)))
    trues, falses = own["nodes_truenodeids"].ints, own["nodes_falsenodeids"].ints
    trues[place], falses[place] = falses[place], trues[place]
    assert caught(native, proto, frame)


@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
@given(data=st.data())
@settings(max_examples=4, **COMMON)
def test_missing_values_on_the_wrong_side_are_caught(name, data):
    """The data given hold none in most columns."""
    native, proto, frame = converted(name)
    own = ensemble(proto)
    root = data.draw(st.sampled_from(roots(own)))
    tracks = own["nodes_missing_value_tracks_true"].ints
    tracks[root] = 1 - tracks[root]
    assert caught(native, proto, frame.fillna(frame.median()))


@pytest.mark.parametrize("name", ["xgboost", "lightgbm"])
@given(data=st.data(), moved=st.sampled_from([0.99, 1.01]))
@settings(max_examples=4, **COMMON)
def test_a_moved_threshold_is_caught(name, data, moved):
    native, proto, frame = converted(name)
    own = ensemble(proto)
    root = data.draw(st.sampled_from(roots(own)))
    own["nodes_values"].floats[root] *= moved
    assert caught(native, proto, frame)


@pytest.mark.parametrize("name", ["xgboost", "xgboost classes"])
def test_a_lost_base_score_is_caught(name):
    native, proto, frame = converted(name)
    ensemble(proto)["base_values"].floats[0] += 0.1
    assert caught(native, proto, frame)


@pytest.mark.parametrize("name", ["xgboost classes", "lightgbm classes"])
def test_trees_of_the_wrong_class_are_caught(name):
    native, proto, frame = converted(name)
    ids = ensemble(proto)["leaf_ids"]
    ids.ints[:] = [(place + 1) % 3 for place in ids.ints]
    assert caught(native, proto, frame)
