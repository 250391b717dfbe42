"""Which service's traffic goes where: what the reconcilers decided, as the gateway's table."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from modelport_engine.gateway.xds import Backend, Destination, Route, Table
from modelport_engine.records import EXPLAINER, PREDICTOR, Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelport_engine.gateway.envoy import Gateway
    from modelport_engine.records import Key
    from modelport_engine.replicas.fleet import Fleet


class _Decision(NamedTuple):
    traffic: tuple[tuple[str, int], ...]
    timeouts: Mapping[str, int]


def cluster(key: Key, part: Part) -> str:
    """Name a part's cluster; without dots, which part the names of Envoy's statistics."""
    return f"{key.namespace}/{part}"


class Routing:
    """The traffic of every service."""

    def __init__(self, fleet: Fleet, gateway: Gateway) -> None:
        self._fleet = fleet
        self._gateway = gateway
        self._decisions: dict[Key, _Decision] = {}

    def decide(
        self, key: Key, traffic: Sequence[tuple[str, int]], timeouts: Mapping[str, int]
    ) -> None:
        """Set a service's traffic: revisions and their share in per cent.

        `timeouts` are in seconds, by the components that these revisions have.
        """
        self._decisions[key] = _Decision(tuple(traffic), timeouts)

    def drop(self, key: Key) -> None:
        """Take a service's routes away."""
        self._decisions.pop(key, None)

    async def push(self) -> None:
        """Make the gateway work by what was decided; `GatewayFailed` if it does not."""
        await self._gateway.apply(self.table)

    async def drained(self, key: Key, part: Part, limit: float) -> bool:
        """Wait up to `limit` seconds until a part without traffic answers no request."""
        return await self._gateway.drained(cluster(key, part), limit)

    def has_traffic(self, key: Key, revision: str) -> bool:
        """Tell whether a revision was given traffic."""
        decision = self._decisions.get(key)
        return decision is not None and revision in dict(decision.traffic)

    def table(self) -> Table:
        """Give the gateway's table."""
        ports = self._ports()
        return Table(
            backends=tuple(Backend(name, tuple(sorted(ports[name]))) for name in sorted(ports)),
            routes=tuple(
                self._route(key, decision, ports)
                for key, decision in sorted(self._decisions.items())
            ),
        )

    def _ports(self) -> dict[str, list[int]]:
        ports: dict[str, list[int]] = {}
        for replica in self._fleet.all():
            key, part = replica.record.key, replica.record.part
            if not replica.ready:
                continue
            # A revision without traffic keeps its replicas until they are gone: a worker of
            # Envoy may still send them a request by the table before.
            used = self.has_traffic(key, part.revision)
            if not (replica.retiring and used):
                ports.setdefault(cluster(key, part), []).append(replica.record.port)
        return ports

    def _route(self, key: Key, decision: _Decision, ports: dict[str, list[int]]) -> Route:
        def to(component: str) -> Destination:
            weights = (
                (cluster(key, Part(revision, component)), percent)
                for revision, percent in decision.traffic
            )
            alive = tuple(share for share in weights if share[0] in ports)
            return Destination(decision.timeouts[component], alive)

        explain = to(EXPLAINER) if EXPLAINER in decision.timeouts else None
        return Route(key.namespace, key.name, to(PREDICTOR), explain)
