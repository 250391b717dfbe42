"""A transformer for modelport's runtime; YAML names it `--transformer=own_transformer:Metres`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport_serving.roles import Transformer

if TYPE_CHECKING:
    from modelport_serving.roles import Context, Tensors


class Metres(Transformer):
    """Takes centimetres for a model that wants metres."""

    def preprocess(self, inputs: Tensors, context: Context) -> Tensors:
        del context
        return {**inputs, "x": inputs["x"] / 100}
