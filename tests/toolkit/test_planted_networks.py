"""Wrong conversions, planted into graphs of networks: the certificate must catch each."""

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import nn

from modelport import parity
from modelport.convert import pytorch, session
from modelport.convert.fitted import fitted
from modelport.reports import Column, Resolution

COMMON = {
    "deadline": None,
    "derandomize": True,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much],
}
WORDS = 20


class Scores(nn.Module):
    """Images to shares of three classes."""

    def __init__(self):
        super().__init__()
        self.deep = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
        self.scores = nn.Linear(3, 3)

    def forward(self, images):
        return self.scores(self.deep(images).mean((2, 3))).softmax(1)


class Sentences(nn.Module):
    """Numbers of words to a value."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, 4)
        self.value = nn.Linear(4, 1)

    def forward(self, words):
        return self.value(self.words(words).mean(1))


def images():
    return np.random.default_rng(0).random((12, 3, 6, 6)).astype(np.float32)


def sentences():
    """Short ones, in which the middle words do not occur."""
    some = np.random.default_rng(0).integers(0, 5, (12, 3))
    some[0], some[1] = 0, WORDS - 1
    return some.astype(np.int64)


def tables():
    """Columns whose magnitudes lie far apart."""
    return (np.random.default_rng(0).normal(size=(40, 3)) * [1e-2, 1, 1e4]).astype(np.float32)


NETWORKS = {
    "images": (Scores, images),
    "words": (Sentences, sentences),
    "numbers": (lambda: nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1)), tables),
}
_converted = {}


def converted(name):
    """Make and convert once; return the native model, a graph of one's own and the rows."""
    make, rows = NETWORKS[name]
    if name not in _converted:
        torch.manual_seed(0)
        network = make()
        if name == "images":  # statistics of the batches that it saw
            network(torch.from_numpy(images()) * 3 + 1)
        native = fitted(network.eval())
        native.dtype = rows().dtype
        tensor = f"tensor({rows().dtype})"
        column = Column(name="input", type=tensor, shape=(-1, *rows().shape[1:]))
        resolution = Resolution(source="x", uri="x", flavour="pytorch", inputs=(column,))
        _converted[name] = native, pytorch.convert(native, resolution).onnx
    native, graph = _converted[name]
    return native, onnx.load_from_string(graph), rows()


def certificate(native, proto, rows):
    model = session.OnnxModel(proto.SerializeToString())
    return parity.certify(native, model, [parity.Probe("data", rows)])


def caught(native, proto, rows):
    seen = certificate(native, proto, rows)
    return (seen.verdict, seen.fault) == ("failed", "converter") and bool(seen.worst)


def weights(proto):
    """The constants that a network learned: numbers of more than one value."""
    return [
        one
        for one in proto.graph.initializer
        if np.prod(one.dims) > 1 and numpy_helper.to_array(one).dtype == np.float32
    ]


def put(constant, values):
    constant.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), constant.name))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_honest_graph_passes(name):
    seen = certificate(*converted(name))
    assert seen.verdict == "passed", seen.worst


@pytest.mark.parametrize("name", NETWORKS)
@given(data=st.data(), changed=st.sampled_from([0.0, 1.1, -1.0]))
@settings(max_examples=6, **COMMON)
def test_one_changed_weight_is_caught(name, data, changed):
    native, proto, rows = converted(name)
    constant = data.draw(st.sampled_from(weights(proto)))
    values = numpy_helper.to_array(constant).copy()
    place = data.draw(st.integers(0, values.size - 1))
    assume(abs(values.flat[place] * (changed - 1)) > 0.02)
    values.flat[place] *= changed
    put(constant, values)
    assume(is_felt(native, proto, rows))
    assert caught(native, proto, rows)


def is_felt(native, proto, rows):
    """Some row far from the data is answered differently: no unit that never fires."""
    if rows.dtype.kind == "i":
        far = np.arange(3 * WORDS).reshape(-1, 3) % WORDS
    else:
        spread = np.random.default_rng(1).normal(size=(200, *rows.shape[1:])) * 2
        far = (spread * (rows.std(axis=0) + 1e-9)).astype(rows.dtype)
    given_rows = session.OnnxModel(proto.SerializeToString()).answer(far)["prediction"]
    return np.abs(given_rows - native.answer(far)["prediction"]).max() > 1e-3


@pytest.mark.parametrize("name", ["images", "numbers"])
def test_a_transposed_square_weight_is_caught(name):
    native, proto, rows = converted(name)
    square = next(one for one in weights(proto) if list(one.dims) == [3, 3])
    put(square, numpy_helper.to_array(square).T)
    assert caught(native, proto, rows)


def test_swapped_channels_are_caught():
    native, proto, rows = converted("images")
    kernel = next(one for one in weights(proto) if len(one.dims) == 4)
    put(kernel, numpy_helper.to_array(kernel)[:, ::-1])
    assert caught(native, proto, rows)


def test_a_dropped_softmax_is_caught():
    native, proto, rows = converted("images")
    node = next(node for node in proto.graph.node if node.op_type == "Softmax")
    node.op_type = "Identity"
    del node.attribute[:]
    assert caught(native, proto, rows)


def test_statistics_of_the_batch_are_caught():
    """A batch norm that was converted as in training."""
    native, _, rows = converted("images")

    class Training:
        def answer(self, given_rows):
            network = native.estimator.train()
            with torch.no_grad():
                kept = {name: one.clone() for name, one in network.state_dict().items()}
                answers = network(torch.from_numpy(given_rows)).numpy()
                network.load_state_dict(kept)
            network.eval()
            return {"prediction": answers}

    seen = parity.certify(native, Training(), [parity.Probe("data", rows)])
    assert seen.verdict == "failed"
