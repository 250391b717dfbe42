"""Transformers and explainers as users write them; named on command lines as `role_examples:X`."""

from __future__ import annotations

import threading

import numpy as np

from modelport_serving.roles import (
    Context,
    Explainer,
    InvalidInput,
    Predict,
    Tensors,
    TensorSpec,
    Transformer,
)

LABELS = np.array(["malignant", "benign"], dtype=object)


class Centimetres(Transformer):
    """Takes the first feature in another unit, and answers labels as words."""

    def preprocess(self, inputs: Tensors, context: Context) -> Tensors:
        del context
        rows = next(iter(inputs.values()))
        rows[:, 0] /= 10  # in place, as users do
        return inputs

    def postprocess(self, outputs: Tensors, context: Context) -> Tensors:
        label = LABELS[outputs["label"]]
        told = [f"{context.model_name} {context.request_id} {context.headers.get('x-who')}"]
        return {"diagnosis": label, "told": np.array(told * len(label), dtype=object)}


class Echo(Transformer):
    """Says where each of its methods ran."""

    def preprocess(self, inputs: Tensors, context: Context) -> Tensors:
        del context
        self.preprocessed_in = threading.current_thread()
        return inputs

    async def postprocess(self, outputs: Tensors, context: Context) -> Tensors:
        del context
        self.postprocessed_in = threading.current_thread()
        return outputs


class QuickEcho(Echo):
    may_run_inline = True


class Images(Transformer):
    """Turns images, here raw bytes, into the 30 features."""

    inputs = (TensorSpec("image", "BYTES", (-1,)),)

    def preprocess(self, inputs: Tensors, context: Context) -> Tensors:
        del context
        images = [item.encode() if isinstance(item, str) else item for item in inputs["image"]]
        if any(len(image) != 30 for image in images):
            raise InvalidInput("an image has 30 bytes")
        return {"input": np.array([list(image) for image in images], np.float32)}


class Words(Transformer):
    """Remembers the words of its folder, and what it was asked."""

    def load(self) -> None:
        assert self.model_dir is not None
        self.words = (self.model_dir / "words.txt").read_text().split()


class Broken(Transformer):
    def preprocess(self, inputs: Tensors, context: Context) -> Tensors:
        del context
        return {"input": inputs["colour"]}

    def postprocess(self, outputs: Tensors, context: Context) -> Tensors:
        del outputs, context
        return [1, 2]  # type: ignore[return-value]


class Occlusion(Explainer):
    """How much each feature's absence changes the answer; plain, as libraries are."""

    def explain(self, inputs: Tensors, predict: Predict, context: Context) -> object:
        rows = next(iter(inputs.values())).astype(np.float32)
        base = predict({"input": rows})["probabilities"][:, 1]
        changes = []
        for column in range(2):
            without = rows.copy()
            without[:, column] = 0
            changes.append(predict({"input": without}, ["probabilities"])["probabilities"][:, 1])
        importance = (base - np.array(changes)).T
        return {"importance": importance, "model": context.model_name, 1: {"base": base[::-1]}}


class AsyncOcclusion(Explainer):
    """The same base value over V2: arrays alone."""

    async def explain(self, inputs: Tensors, predict: Predict, context: Context) -> Tensors:
        del context
        return {"base": (await predict(inputs))["probabilities"]}
