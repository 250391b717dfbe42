"""How many replicas each part of a service is to have: what the object says, and the load."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from modelport_engine.planner import ALL
from modelport_engine.scaling import Autoscaler
from modelport_engine.state.records import PREDICTOR, STABLE, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modelport_engine.objects import Spec
    from modelport_engine.scaling import Sample, Scale, Windows
    from modelport_engine.state.records import Key, Revision, Service
    from modelport_engine.state.store import Store


class Scaler:
    """The scale of one service; what it has decided on is kept across restarts."""

    def __init__(self, key: Key, store: Store, windows: Windows) -> None:
        self._key = key
        self._store = store
        self._windows = windows
        self._autoscalers: dict[Part, Autoscaler] = {}

    def wanted(
        self, service: Service, revisions: Sequence[Revision], spec: Spec
    ) -> dict[Part, int]:
        """Give the replicas to run of every part that a track names."""
        known = {revision.name: revision for revision in revisions}
        decided = self._store.scales(self._key)
        canaries = {canary.name: canary.replicas for canary in spec.canaries}
        wanted: dict[Part, int] = {}
        for name, track in sorted(service.tracks.items(), reverse=True):  # the stable one last
            for revision in {track.rolled_out, track.latest} - {None}:
                for part in known[str(revision)].parts:
                    scale = spec.scales.get(part.component)
                    if scale is None:
                        wanted[part] = 1
                    elif name != STABLE:
                        count = canaries.get(name, 1) if part.component == PREDICTOR else 1
                        wanted[part] = max(1, count)
                    else:
                        before = Part(track.rolled_out or "", part.component)
                        share = ALL if spec.canary_percent is None else spec.canary_percent
                        inherited = math.ceil(decided.get(before, 0) * share / ALL)
                        wanted[part] = scale.bound(decided.get(part, inherited))
        return wanted

    def keep(self, revision: Revision, wanted: Mapping[Part, int]) -> None:
        """Let a revision that takes over stay as large as it was brought up."""
        decided = self._store.scales(self._key)
        for part in revision.parts:
            if decided.get(part) != wanted[part]:
                self._store.scale(self._key, part, wanted[part])

    def autoscaled(self, service: Service, revisions: Sequence[Revision], spec: Spec) -> list[Part]:
        """Name the parts whose number follows the load: those of the stable track's revisions."""
        track = service.stable
        return [
            part
            for revision in revisions
            if revision.name in (track.rolled_out, track.latest) and revision.state == "Ready"
            for part in revision.parts
            if (scale := spec.scales.get(part.component)) and scale.varies
        ]

    def decide(
        self, parts: Mapping[Part, int], spec: Spec, sample: Callable[[Part], Sample]
    ) -> list[tuple[Part, int, str]]:
        """Look at the load of these parts, with the replicas that they have now.

        Gives what changes: the part, its new number of replicas, and why.
        """
        self._autoscalers = {part: self._autoscaler(part, now) for part, now in parts.items()}
        changes = []
        for part, autoscaler in self._autoscalers.items():
            taken = sample(part)
            autoscaler.observe(taken)
            decision = autoscaler.desired(self._scale(spec, part), taken.time)
            if decision.replicas != parts[part]:
                self._store.scale(self._key, part, decision.replicas)
                changes.append((part, decision.replicas, decision.reason))
        return changes

    def _autoscaler(self, part: Part, current: int) -> Autoscaler:
        return self._autoscalers.get(part) or Autoscaler(self._windows, current)

    @staticmethod
    def _scale(spec: Spec, part: Part) -> Scale:
        scale: Scale = spec.scales[part.component]
        return scale
