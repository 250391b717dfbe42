"""One look at a service, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelport_engine.gateway.routing import Decision
from modelport_engine.planner import STOPPED, Shares, plan
from modelport_engine.status import Facts, how_to_start

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping, Sequence
    from typing import Any

    from modelport_engine.objects import Spec
    from modelport_engine.planner import Plan, Traffic
    from modelport_engine.state.records import Part, Revision, Service
    from modelport_engine.status import Urls


@dataclass(frozen=True)
class Observation:
    """What a service is now.

    `wanted` counts the replicas that each part is to have, `ready` and `started` those that it
    has; `failures` has KServe's lastFailureInfo of parts that had trouble.
    """

    service: Service
    revisions: Sequence[Revision]
    spec: Spec
    stopped: bool
    wanted: Mapping[Part, int]
    ready: Counter[Part]
    started: Counter[Part]
    failures: Mapping[Part, dict[str, Any]]

    def revision(self, name: str | None) -> Revision | None:
        """Find a revision by name; None once it was pruned."""
        return next((revision for revision in self.revisions if revision.name == name), None)

    def plan(self) -> Plan:
        """Say what it should look like now."""
        if self.stopped:
            return STOPPED
        canaries = {canary.name: canary.percent for canary in self.spec.canaries}
        shares = Shares(canaries, self.spec.canary_percent)
        return plan(self.revisions, self.service.tracks, shares, self.wanted, self.ready)

    def decision(self, wanted: Plan) -> Decision:
        """Say where requests go, by a plan."""
        names = {name for name, _ in wanted.traffic}
        revisions = {one.name: one for one in self.revisions if one.name in names}
        components = sorted({name for one in revisions.values() for name in one.components})
        return Decision(
            wanted.traffic,
            revisions,
            timeouts=self.spec.timeouts(components),
            concurrency={name: self.spec.concurrency(name) or 0 for name in components},
            message=f"service {self.service.key} is stopped: {how_to_start(self.service.name)}"
            if self.stopped
            else None,
        )

    def facts(self, wanted: Plan, traffic: Traffic, urls: Urls | None) -> Facts:
        """Say what the status is made of.

        `traffic` is what the gateway has taken, `urls` where it offers the service.
        """
        return Facts(
            service=self.service,
            revisions=self.revisions,
            traffic=traffic,
            is_moving=traffic != wanted.traffic,
            wanted=self.wanted,
            ready=self.ready,
            started=self.started,
            crashes={
                part: failure
                for part, failure in self.failures.items()
                if self.ready[part] < wanted.replicas.get(part, 0)
                and (revision := self.revision(part.revision))
                and revision.state == "Ready"
            },
            urls=urls,
            stopped=self.stopped,
        )
