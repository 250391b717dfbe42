"""Transformers and explainers: what users write, and what stands behind them.

from modelport_serving.roles import Transformer
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport_serving.errors import InvalidInput
from modelport_serving.roles.component import load_component
from modelport_serving.roles.context import Context
from modelport_serving.roles.explainer import (
    Explainer,
    ExplainerRole,
    Explanations,
    Predict,
)
from modelport_serving.roles.predictor import LocalPredictor, Predictor
from modelport_serving.roles.remote import RemotePredictor
from modelport_serving.roles.transformer import Transformer, TransformerRole
from modelport_serving.tensors import Tensors, TensorSpec

if TYPE_CHECKING:
    from modelport_serving.dataplane import DataPlane
    from modelport_serving.settings import Settings

__all__ = [
    "Context",
    "Explainer",
    "ExplainerRole",
    "Explanations",
    "InvalidInput",
    "Predict",
    "Role",
    "TensorSpec",
    "Tensors",
    "Transformer",
    "TransformerRole",
    "load_role",
]

Role = TransformerRole | ExplainerRole

_BUILT_IN = {"shap": "modelport_serving.roles.shap:ShapExplainer"}
"""Explainers that any model gets without code of its own."""


async def load_role(settings: Settings, plane: DataPlane) -> Role | None:
    """Load what `--transformer` and `--explainer` name; None where requests go to models.

    With both, explanations ask the predictor through the transformer. `ModelLoadFailed` says
    which class cannot be loaded, and why.
    """
    name, folder, threads = settings.model_name, settings.model_dir, settings.max_threads
    predictor = _predictor(settings, plane)
    role: Role | None = None
    if settings.transformer:
        transformer = await load_component(settings.transformer, Transformer, name, folder)
        predictor = role = TransformerRole(transformer, predictor, threads)
    if settings.explainer:
        reference = _BUILT_IN.get(settings.explainer, settings.explainer)
        explainer = await load_component(reference, Explainer, name, folder)
        role = ExplainerRole(explainer, predictor, threads)
    return role


def _predictor(settings: Settings, plane: DataPlane) -> Predictor:
    if settings.predictor_host is None:
        return LocalPredictor(plane)
    return RemotePredictor(
        settings.predictor_host,
        settings.predictor_protocol,
        use_ssl=settings.predictor_use_ssl,
        timeout=settings.predictor_request_timeout_seconds,
    )
