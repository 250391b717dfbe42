"""Which service's traffic goes where: what the reconcilers decided, as the gateway's table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelport_engine.gateway.xds import Backend, Destination, Route, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from modelport_engine.gateway.envoy import Gateway
    from modelport_engine.planner import Traffic
    from modelport_engine.replicas.fleet import Fleet
    from modelport_engine.state.records import Key, Part, ReplicaRecord, Revision


@dataclass(frozen=True)
class Decision:
    """Where a service's requests go.

    `revisions` are those of the traffic, by name; `timeouts` in seconds and `concurrency` in
    requests at a time per replica (0: any number) by component; `message` answers who asks a
    service without traffic.
    """

    traffic: Traffic
    revisions: Mapping[str, Revision]
    timeouts: Mapping[str, int]
    concurrency: Mapping[str, int] = field(default_factory=dict)
    message: str | None = None


def cluster(key: Key, part: Part) -> str:
    """Name a part's cluster; without dots, which part the names of Envoy's statistics."""
    return f"{key.namespace}/{part}"


class Routing:
    """The traffic of every service."""

    def __init__(self, fleet: Fleet, gateway: Gateway) -> None:
        self._fleet = fleet
        self._gateway = gateway
        self._decisions: dict[Key, Decision] = {}

    def decide(self, key: Key, decision: Decision) -> None:
        """Set a service's traffic."""
        self._decisions[key] = decision

    def drop(self, key: Key) -> None:
        """Take a service's routes away."""
        self._decisions.pop(key, None)

    async def push(self) -> None:
        """Make the gateway work by what was decided; `GatewayFailed` if it does not."""
        await self._gateway.apply(self.table)

    async def drained(self, key: Key, part: Part, limit: float) -> bool:
        """Wait up to `limit` seconds until a part without traffic answers no request."""
        return await self._gateway.drained(cluster(key, part), limit)

    async def left(self, record: ReplicaRecord, limit: float) -> bool:
        """Wait up to `limit` seconds until a replica that has left the table answers no request."""
        return await self._gateway.left(record.ports, limit)

    def traffic(self, key: Key) -> dict[str, int]:
        """Give a service's traffic: revisions and their share in per cent."""
        decision = self._decisions.get(key)
        return dict(decision.traffic) if decision else {}

    def has_traffic(self, key: Key, revision: str) -> bool:
        """Tell whether a revision was given traffic."""
        return revision in self.traffic(key)

    def table(self) -> Table:
        """Give the gateway's table."""
        backends = {
            cluster(key, part): self._backend(key, part, records)
            for (key, part), records in self._endpoints().items()
        }
        return Table(
            backends=tuple(backends[name] for name in sorted(backends)),
            routes=tuple(
                _route(key, decision, backends) for key, decision in sorted(self._decisions.items())
            ),
        )

    def _endpoints(self) -> dict[tuple[Key, Part], list[ReplicaRecord]]:
        lost = {place: [record] for place, record in self._fleet.lost().items()}
        alive: dict[tuple[Key, Part], list[ReplicaRecord]] = {}
        for place, replicas in self._fleet.endpoints().items():
            # A revision without traffic keeps its replicas until they are gone: a worker of
            # Envoy may still send them a request by the table before.
            used = self.has_traffic(place[0], place[1].revision)
            staying = [one.record for one in replicas if not (one.retiring and used)]
            if staying:
                alive[place] = staying
        return lost | alive

    def _backend(self, key: Key, part: Part, records: Iterable[ReplicaRecord]) -> Backend:
        decision = self._decisions.get(key)
        records = list(records)
        return Backend(
            cluster(key, part),
            tuple(sorted(record.port for record in records)),
            grpc_ports=tuple(sorted(record.grpc_port for record in records if record.grpc_port)),
            concurrency=decision.concurrency.get(part.component, 0) if decision else 0,
        )


def _route(key: Key, decision: Decision, backends: Mapping[str, Backend]) -> Route:
    def to(entry: Callable[[Revision], Part]) -> Destination:
        entries = [
            (entry(decision.revisions[revision]), percent) for revision, percent in decision.traffic
        ]
        weights = ((cluster(key, part), percent) for part, percent in entries)
        timeouts = [decision.timeouts[part.component] for part, _ in entries]
        return Destination(
            max(timeouts, default=0), tuple(share for share in weights if share[0] in backends)
        )

    explained = any(
        decision.revisions[name].explainer != decision.revisions[name].entry
        for name, _ in decision.traffic
    )
    return Route(
        key.namespace,
        key.name,
        to(lambda revision: revision.entry),
        to(lambda revision: revision.explainer) if explained else None,
        message=decision.message,
    )
