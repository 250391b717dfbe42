"""What the loops of all services share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelport_engine.gateway.envoy import Gateway
    from modelport_engine.gateway.routing import Routing
    from modelport_engine.paths import EnginePaths
    from modelport_engine.replicas.fleet import Fleet
    from modelport_engine.replicas.storage import Storage
    from modelport_engine.settings import Settings
    from modelport_engine.state.events import EventLog
    from modelport_engine.state.store import Store


@dataclass(frozen=True)
class World:
    """The engine's parts. `notify` wakes those who watch a service."""

    paths: EnginePaths
    settings: Settings
    store: Store
    events: EventLog
    storage: Storage
    fleet: Fleet
    gateway: Gateway
    routing: Routing
    notify: Callable[[], None]
