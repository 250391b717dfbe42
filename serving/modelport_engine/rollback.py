"""Going back to a revision that is kept: which spec that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelport_engine.errors import InvalidObject, NotFound
from modelport_engine.objects import read_spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelport_engine.state.records import Revision, Service

_SHARING = "canaryTrafficPercent"


def rolled_back(
    service: Service, revisions: Sequence[Revision], number: int | None
) -> dict[str, Any]:
    """Give the spec that makes a kept revision the stable one, with all of the traffic.

    Args:
        service: The service as it is.
        revisions: Those that are kept of it.
        number: Of the revision; None: the one that serves if the latest does not, as it failed
            or shares the traffic, else the one that served before.

    Raises:
        NotFound: when that revision is not kept.
        InvalidObject: when its spec is unknown: an earlier version of the engine made it.
    """
    revision = _find(service, revisions, number)
    canaries = revision.spec.get("canary", [])
    predictors = [revision.spec["predictor"], *(canary["predictor"] for canary in canaries)]
    for predictor in predictors:
        alone = {name: value for name, value in predictor.items() if name != _SHARING}
        rest = {name: value for name, value in revision.spec.items() if name != "canary"}
        spec = {**rest, "predictor": alone}
        if read_spec(spec).template == revision.template:
            return spec
    raise InvalidObject(
        f"the spec of {revision.name} is not known", "apply the file that you want to go back to"
    )


def _find(service: Service, revisions: Sequence[Revision], number: int | None) -> Revision:
    stable = service.stable
    before = stable.previous if stable.rolled_out == stable.latest else stable.rolled_out
    for revision in revisions:
        if revision.name == before if number is None else revision.number == number:
            return revision
    kept = ", ".join(str(revision.number) for revision in revisions)
    what = "an earlier revision" if number is None else f"revision {number}"
    raise NotFound(f"{service.key} has no {what}", f"those that are kept: {kept}")
