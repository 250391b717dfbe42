"""Wrong conversions, planted into the graphs of real models: the certificate must catch each.

Every change is made to the ONNX graph itself, at a place that hypothesis picks, and is one that
changes some answer: the certificate has to find a row that shows it, whatever the data hold.
"""

import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from sklearn import datasets, ensemble, linear_model, tree
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from modelport import parity
from modelport.convert import session
from modelport.convert import sklearn as flavour
from modelport.reports import Column, Resolution

COMMON = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much],
}
TYPES = {"f": "double", "i": "long", "O": "string", "T": "string"}
MOVED = 1e-3  # of a threshold's feature: far above what float32 rounds, far below what one sees

wine = datasets.load_wine(as_frame=True)
FEATURES, LABELS = wine.data.iloc[:, :6], wine.target
diabetes = datasets.load_diabetes(as_frame=True)


def with_text(features):
    table = features.copy()
    table["grade"] = pd.cut(features["alcohol"], 4, labels=["a", "b", "c", "d"]).astype(object)
    table.loc[::9, "ash"] = np.nan
    return table


TABLE = with_text(FEATURES)
PREPARED = ColumnTransformer(
    [
        ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), list(FEATURES.columns)),
        ("text", OneHotEncoder(handle_unknown="ignore"), ["grade"]),
    ]
)
TREES = {
    "a tree": (tree.DecisionTreeClassifier(random_state=0), FEATURES, LABELS),
    "a regressor": (
        tree.DecisionTreeRegressor(max_leaf_nodes=30, random_state=0),
        diabetes.data,
        diabetes.target,
    ),
    "a forest": (
        ensemble.RandomForestClassifier(7, min_samples_leaf=2, random_state=0),
        FEATURES,
        LABELS,
    ),
    "boosting": (
        ensemble.GradientBoostingRegressor(n_estimators=5, random_state=0),
        diabetes.data,
        diabetes.target,
    ),
    "histograms": (
        ensemble.HistGradientBoostingRegressor(max_iter=5, random_state=0),
        diabetes.data,
        diabetes.target,
    ),
    "a scaled forest": (
        make_pipeline(StandardScaler(), ensemble.RandomForestClassifier(5, random_state=0)),
        FEATURES,
        LABELS,
    ),
    "a forest on components": (
        make_pipeline(PCA(4), ensemble.RandomForestClassifier(5, random_state=0)),
        FEATURES,
        LABELS,
    ),
    "a forest on text": (
        make_pipeline(PREPARED, ensemble.RandomForestClassifier(5, random_state=0)),
        TABLE,
        LABELS,
    ),
}
_converted = {}


def converted(name, estimator, frame, labels):
    """Fit and convert once; return the native model, its graph and the rows."""
    if name not in _converted:
        native = flavour.SklearnModel(estimator.fit(frame, labels), takes_table=True)
        columns = tuple(Column(name=c, type=TYPES[frame[c].dtype.kind]) for c in frame)
        resolution = Resolution(source="x", uri="x", flavour="sklearn", inputs=columns)
        _converted[name] = native, flavour.convert(native, resolution).onnx
    native, graph = _converted[name]
    return native, onnx.load_from_string(graph), frame


def certificate(native, proto, frame, rows=40):
    """Certify on few rows: what the data do not show, the certificate must find."""
    model = session.OnnxModel(proto.SerializeToString())
    return parity.certify(native, model, [parity.Probe("data", frame.iloc[:rows])])


def caught(native, proto, frame, rows=40):
    seen = certificate(native, proto, frame, rows)
    return seen.verdict == "failed" and seen.fault == "converter" and bool(seen.worst)


class Ensemble:
    """The attributes of a graph's tree ensemble, as lists to change."""

    def __init__(self, proto):
        nodes = [node for node in proto.graph.node if node.op_type.startswith("TreeEnsemble")]
        self._given = {given.name: given for given in nodes[0].attribute}
        kind = "class" if "class_ids" in self._given else "target"
        self.modes = self._given["nodes_modes"].strings
        self.thresholds = self._given["nodes_values"].floats
        self.features = self._given["nodes_featureids"].ints
        self.missing = self._given["nodes_missing_value_tracks_true"].ints
        self.trues = self._given["nodes_truenodeids"].ints
        self.falses = self._given["nodes_falsenodeids"].ints
        self.trees = self._given["nodes_treeids"].ints
        self.ids = self._given["nodes_nodeids"].ints
        self.weights = self._given[f"{kind}_weights"].floats
        self._of = list(
            zip(
                self._given[f"{kind}_treeids"].ints,
                self._given[f"{kind}_nodeids"].ints,
                strict=True,
            )
        )

    @property
    def splits(self):
        return [place for place, mode in enumerate(self.modes) if mode != b"LEAF"]

    def leaf(self, place, child):
        return [
            weight
            for weight, owner in zip(self.weights, self._of, strict=True)
            if owner == (self.trees[place], child)
        ]

    def parents_of_leaves(self, apart):
        """Splits both of whose children are leaves, whose answers are this far apart."""
        pairs = [
            (p, self.leaf(p, self.trues[p]), self.leaf(p, self.falses[p])) for p in self.splits
        ]
        return [p for p, a, b in pairs if a and b and np.abs(np.subtract(a, b)).max() > apart]


def visible(native, frame):
    """Return the least difference that no tolerance covers, in the output's unit."""
    largest = max(np.abs(values).max() for values in native.answer(frame).values())
    return 3 * (1e-5 + 1e-4 * float(largest))


each_of_the_trees = pytest.mark.parametrize("name", TREES)


@each_of_the_trees
def test_the_honest_graph_passes_and_every_leaf_is_visited(name):
    native, proto, frame = converted(name, *TREES[name])
    seen = certificate(native, proto, frame)
    assert seen.verdict == "passed", seen.worst
    coverage = seen.coverage
    assert coverage.leaves == len([m for m in Ensemble(proto).modes if m == b"LEAF"])
    assert coverage.leaves_visited == coverage.leaves
    assert coverage.thresholds_tried == coverage.thresholds == len(Ensemble(proto).splits)


@each_of_the_trees
@given(data=st.data(), moved=st.sampled_from([-0.3, -MOVED, MOVED, 0.3]))
@settings(max_examples=6, **COMMON)
def test_a_changed_threshold_is_caught(name, data, moved):
    native, proto, frame = converted(name, *TREES[name])
    own = Ensemble(proto)
    place = data.draw(st.sampled_from(own.parents_of_leaves(visible(native, frame))))
    own.thresholds[place] += moved * max(abs(own.thresholds[place]), 1e-2)
    assume(reaches(native, place, own))
    assert caught(native, proto, frame)


def reaches(native, place, own):
    """A category's threshold lies between 0 and 1: moving it there changes nothing."""
    names = (
        getattr(native.estimator[0], "get_feature_names_out", list)()
        if hasattr(native.estimator, "steps")
        else []
    )
    return not (len(names) and str(names[own.features[place]]).startswith("text"))


@each_of_the_trees
@given(data=st.data(), changed=st.sampled_from([0.5, 1.05, 2.0]))
@settings(max_examples=6, **COMMON)
def test_a_changed_leaf_is_caught(name, data, changed):
    native, proto, frame = converted(name, *TREES[name])
    own = Ensemble(proto)
    place = data.draw(st.integers(0, len(own.weights) - 1))
    assume(abs(own.weights[place] * (changed - 1)) > visible(native, frame))
    own.weights[place] *= changed
    assert caught(native, proto, frame)


@each_of_the_trees
@given(data=st.data())
@settings(max_examples=6, **COMMON)
def test_swapped_branches_are_caught(name, data):
    native, proto, frame = converted(name, *TREES[name])
    own = Ensemble(proto)
    place = data.draw(st.sampled_from(own.parents_of_leaves(visible(native, frame))))
    own.trues[place], own.falses[place] = own.falses[place], own.trues[place]
    assert caught(native, proto, frame)


@each_of_the_trees
@given(data=st.data())
@settings(max_examples=5, **COMMON)
def test_a_split_on_another_column_is_caught(name, data):
    native, proto, frame = converted(name, *TREES[name])
    own = Ensemble(proto)
    place = data.draw(st.sampled_from(own.parents_of_leaves(visible(native, frame))))
    own.features[place] = (own.features[place] + 1) % len(FEATURES.columns)
    assert caught(native, proto, frame)


def test_less_instead_of_less_or_equal_is_caught():
    """Seen at the thresholds alone, where the values are float32's own."""
    native, proto, frame = converted("a tree", *TREES["a tree"])
    own = Ensemble(proto)
    own.modes[:] = [mode if mode == b"LEAF" else b"BRANCH_LT" for mode in own.modes]
    seen = certificate(native, proto, frame)
    # One number next to the threshold: what rounding might do too, and is told as such.
    assert seen.explained["rounding"] >= len(own.parents_of_leaves(visible(native, frame)))


@given(data=st.data())
@settings(max_examples=5, **COMMON)
def test_missing_values_on_the_wrong_side_are_caught(data):
    native, proto, frame = converted("a forest", *TREES["a forest"])
    own = Ensemble(proto)
    root = data.draw(st.sampled_from([p for p in own.splits if own.ids[p] == 0]))
    own.missing[root] = 1 - own.missing[root]
    assert caught(native, proto, frame)


@given(order=st.permutations([0, 1, 2]))
@settings(max_examples=5, **COMMON)
@pytest.mark.parametrize("kind", ["logistic", "forest"])
def test_a_swapped_class_order_is_caught(kind, order):
    assume(order != [0, 1, 2])
    model = linear_model.LogisticRegression(max_iter=5000)
    model = model if kind == "logistic" else ensemble.RandomForestClassifier(5, random_state=0)
    native, proto, frame = converted(f"classes of a {kind}", model, FEATURES, LABELS)
    labels = [
        given
        for node in proto.graph.node
        for given in node.attribute
        if given.name in ("classlabels_int64s", "classlabels_ints") and len(given.ints)
    ]
    values = [
        one for one in proto.graph.initializer if numpy_helper.to_array(one).tolist() == [0, 1, 2]
    ]
    assert labels or values
    for given_labels in labels:
        given_labels.ints[:] = order
    for value in values:
        value.CopyFrom(
            numpy_helper.from_array(
                np.array(order, dtype=numpy_helper.to_array(value).dtype), value.name
            )
        )
    assert caught(native, proto, frame)


def attribute(proto, node_type, name):
    node = next(node for node in proto.graph.node if node.op_type == node_type)
    return next(given for given in node.attribute if given.name == name)


@pytest.mark.parametrize("name", ["a scaled forest", "a forest on text"])
def test_a_dropped_scaler_is_caught(name):
    native, proto, frame = converted(name, *TREES[name])
    nodes = [node for node in proto.graph.node if node.op_type in ("Sub", "Div")]
    assert len(nodes) == 2
    ends = {node.output[0]: node.input[0] for node in nodes}
    for inner in proto.graph.node:
        inner.input[:] = [ends.get(ends.get(i, i), ends.get(i, i)) for i in inner.input]
    for node in nodes:
        proto.graph.node.remove(node)
    assert caught(native, proto, frame)


@given(column=st.integers(0, 5), what=st.sampled_from(["Sub", "Div"]))
@settings(max_examples=5, **COMMON)
def test_a_changed_scale_of_one_column_is_caught(column, what):
    native, proto, frame = converted("a scaled forest", *TREES["a scaled forest"])
    constant = next(node for node in proto.graph.node if node.op_type == what).input[1]
    held = next(one for one in proto.graph.initializer if one.name == constant)
    values = numpy_helper.to_array(held).copy()
    values[..., column] *= 1.001
    held.CopyFrom(numpy_helper.from_array(values, constant))
    assert caught(native, proto, frame)


@given(data=st.data(), scale=st.sampled_from([0.999, 1.001, -1.0]))
@settings(max_examples=6, **COMMON)
def test_a_changed_coefficient_is_caught(data, scale):
    native, proto, frame = converted("linear", linear_model.Ridge(), diabetes.data, diabetes.target)
    values = attribute(proto, "LinearRegressor", "coefficients").floats
    place = data.draw(st.integers(0, len(values) - 1))
    assume(abs(values[place]) > 1)
    values[place] *= scale
    assert caught(native, proto, frame)


def test_a_transposed_tensor_is_caught():
    """A square matrix fits either way."""
    targets = np.stack([diabetes.target, diabetes.data["bmi"] * 100, diabetes.data["age"]], axis=1)
    native, proto, frame = converted(
        "square", linear_model.LinearRegression(), diabetes.data.iloc[:, :3], targets
    )
    values = attribute(proto, "LinearRegressor", "coefficients").floats
    values[:] = np.array(values).reshape(3, 3).T.ravel()
    assert caught(native, proto, frame)


@pytest.mark.parametrize("encoder", ["one-hot", "ordinal"])
def test_a_swapped_category_that_no_row_of_the_data_holds_is_caught(encoder):
    """The data given are few, and hold the categories 'a' and 'b' alone."""
    chosen = (
        OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        if encoder == "one-hot"
        else OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    )
    columns = ColumnTransformer([("text", chosen, ["grade"])], remainder="passthrough")
    model = make_pipeline(columns, linear_model.Ridge())
    table = TABLE.drop(columns=["ash"])
    native, proto, frame = converted(f"{encoder} ridge", model, table, LABELS + table.index / 50)
    few = frame[frame["grade"].isin(["a", "b"])]
    texts = [
        given
        for node in proto.graph.node
        for given in node.attribute
        if sorted(given.strings) == [b"a", b"b", b"c", b"d"]
    ]
    assert texts
    assert certificate(native, proto, few).verdict == "passed"
    for given_texts in texts:
        given_texts.strings[:] = [b"a", b"b", b"d", b"c"]
    seen = certificate(native, proto, few)
    assert (seen.verdict, seen.coverage.categories) == ("failed", 4)
    assert seen.coverage.categories_visited == 4


def test_a_changed_imputation_is_caught():
    native, proto, frame = converted("a forest on text", *TREES["a forest on text"])
    filled = native.estimator[0].named_transformers_["numbers"][0].statistics_
    held = next(
        one
        for one in proto.graph.initializer
        if list(one.dims)[-1:] == [len(filled)]
        and np.allclose(numpy_helper.to_array(one).ravel(), filled)
    )
    held.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(held) * 1.2, held.name))
    assert caught(native, proto, frame)


def test_a_dropped_tree_is_caught():
    native, proto, frame = converted("a forest", *TREES["a forest"])
    own = Ensemble(proto)
    for place, (owner, _) in enumerate(own._of):
        if owner == 3:
            own.weights[place] = 0.0
    assert caught(native, proto, frame)
