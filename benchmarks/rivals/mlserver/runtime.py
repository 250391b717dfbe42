"""MLServer with a runtime class of ONNX Runtime: V2 and gRPC."""

from __future__ import annotations

import forest
from mlserver import MLModel, types
from mlserver.codecs import NumpyCodec


class OnnxRuntime(MLModel):
    """The forest behind MLServer's interface."""

    async def load(self) -> bool:
        """Load the model."""
        self._forest = forest.Forest()
        return True

    async def predict(self, payload: types.InferenceRequest) -> types.InferenceResponse:
        """Answer with both outputs."""
        labels, scores = self._forest(NumpyCodec.decode_input(payload.inputs[0]))
        outputs = [
            NumpyCodec.encode_output("label", labels),
            NumpyCodec.encode_output("probabilities", scores),
        ]
        return types.InferenceResponse(model_name=self.name, outputs=outputs)
