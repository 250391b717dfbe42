"""PyTorch and Keras: tensors of any kind, a batch of any size."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.models import infer_signature
from torch import nn

from modelport import tracking
from modelport.convert import flavour, pytorch
from modelport.convert import keras as keras_flavour
from modelport.errors import UnsupportedModel
from modelport.models import ModelRef


class Network(nn.Module):
    """Images to scores, with layers that act otherwise in training."""

    def __init__(self):
        super().__init__()
        self.deep = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout())
        self.scores = nn.Linear(4, 5)

    def forward(self, images):
        return self.scores(self.deep(images).mean((2, 3)))


class Heads(nn.Module):
    """Numbers to two named outputs."""

    def __init__(self):
        super().__init__()
        self.scores = nn.Linear(4, 5)

    def forward(self, rows):
        scores = self.scores(rows)
        return {"scores": scores, "shares": scores.softmax(1)}


def noise(*shape):
    return np.random.default_rng(0).random(shape).astype(np.float32)


def test_a_module_answers_batches_of_any_size(tmp_path, assert_certified, store):
    images = noise(7, 3, 8, 8)
    network = Network().train()
    with torch.no_grad():
        network(torch.from_numpy(images))
        scores = network.eval()(torch.from_numpy(images)).numpy()
    store.mlflow.pytorch.log_model(
        network,
        name="network",
        registered_model_name="network",
        signature=infer_signature(images, scores),
        pip_requirements=["torch"],
        serialization_format="pickle",
    )
    resolution = tracking.resolve(ModelRef.parse("models:/network/1"), tmp_path)
    assert resolution.flavour == "pytorch"
    native = flavour("pytorch").load(tmp_path, resolution)
    assert not native.estimator.training
    model = assert_certified(pytorch, native, images)
    assert [(t.name, t.shape) for t in model.inputs] == [("input", (-1, 3, 8, 8))]
    assert model.answer(images[:3])["prediction"].shape == (3, 5)


def test_outputs_keep_their_names_and_a_table_is_one_tensor(assert_certified):
    rows = pd.DataFrame(noise(9, 4).astype(float), columns=list("abcd"))
    model = assert_certified(pytorch, pytorch.PytorchModel(Heads().eval()), rows)
    assert [tensor.name for tensor in model.outputs] == ["scores", "shares"]


def test_whole_numbers_reach_embeddings(resolved, optimised):
    words = np.random.default_rng(0).integers(0, 10, (5, 4))
    native = pytorch.PytorchModel(nn.Sequential(nn.Embedding(10, 3), nn.Flatten()).eval(), "int64")
    model = optimised(pytorch.convert(native, resolved(words)))
    assert model.inputs[0].datatype == "INT64"
    np.testing.assert_allclose(model.predict(words), native.predict(words).numpy(), rtol=1e-6)


def test_what_the_exporter_does_not_take_is_refused(resolved):
    script = pytorch.PytorchModel(torch.jit.script(Network().eval()))
    with pytest.raises(UnsupportedModel, match="no TorchScript: log the module itself"):
        pytorch.convert(script, resolved(noise(2, 3, 8, 8)))
    fixed = torch.export.export(Heads().eval(), (torch.ones(2, 4),)).module()
    with pytest.raises(UnsupportedModel, match="batches of one size alone"):
        pytorch.convert(pytorch.PytorchModel(fixed), resolved(noise(2, 4)))


def test_without_a_signature_nobody_knows_the_shape(resolved):
    unknown = resolved(noise(2, 4)).model_copy(update={"inputs": ()})
    with pytest.raises(UnsupportedModel, match="has no signature"):
        pytorch.convert(pytorch.PytorchModel(Heads().eval()), unknown)


def test_a_keras_model(tmp_path, assert_certified):
    images = noise(5, 8, 8, 3)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(5, activation="softmax"),
        ]
    )
    answers = model.predict(images, verbose=0)
    mlflow.keras.save_model(
        model,
        str(tmp_path / "model"),
        signature=infer_signature(images, answers),
        pip_requirements=["keras"],
    )
    native = keras_flavour.load(tmp_path / "model", None)
    converted = assert_certified(keras_flavour, native, images)
    assert [(t.name, t.shape) for t in converted.inputs] == [("input", (-1, 8, 8, 3))]
    np.testing.assert_allclose(converted.predict(images), answers, atol=1e-5)


def test_a_keras_model_of_several_tensors_is_refused(resolved):
    inputs = [keras.Input((4,)), keras.Input((4,))]
    model = keras.Model(inputs, keras.layers.Concatenate()(inputs))
    with pytest.raises(UnsupportedModel, match="takes 2 tensors"):
        keras_flavour.convert(keras_flavour.KerasModel(model), resolved(noise(2, 4)))
