"""Stored things as the documents that clients read, in Kubernetes' own shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psutil

from modelport_engine import objects
from modelport_engine.state.records import timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelport_engine.replicas.fleet import Replica
    from modelport_engine.state.records import Event, Revision, Service


def document_of(service: Service) -> dict[str, Any]:
    """Give a stored service as the InferenceService object that clients read."""
    metadata: dict[str, Any] = {
        "name": service.name,
        "namespace": service.namespace,
        "uid": service.uid,
        "creationTimestamp": service.created,
        "generation": service.generation,
        "resourceVersion": str(service.resource_version),
    }
    if service.labels:
        metadata["labels"] = service.labels
    if service.annotations:
        metadata["annotations"] = service.annotations
    if service.deleted:
        metadata["deletionTimestamp"] = service.deleted
    return {
        "apiVersion": objects.API_VERSION,
        "kind": objects.KIND,
        "metadata": metadata,
        "spec": service.spec,
        "status": service.status,
    }


def event_list(events: Sequence[Event]) -> dict[str, Any]:
    """Give events as Kubernetes' EventList."""
    return {
        "apiVersion": "v1",
        "kind": "EventList",
        "metadata": {},
        "items": [_event(event) for event in events],
    }


def revision_list(
    service: Service, revisions: Sequence[Revision], traffic: Mapping[str, int]
) -> dict[str, Any]:
    """Give a service's revisions, oldest first. `traffic`: in per cent, of those that have any."""
    return {
        "kind": "RevisionList",
        "items": [_revision(service, revision, traffic) for revision in revisions],
    }


def replica_list(replicas: Sequence[Replica]) -> dict[str, Any]:
    """Give a service's processes."""
    return {"kind": "ReplicaList", "items": [_replica(replica) for replica in replicas]}


def _event(event: Event) -> dict[str, Any]:
    namespace, name = event.key
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{name}.{event.number}",
            "namespace": namespace,
            "creationTimestamp": event.first,
        },
        "involvedObject": {"kind": objects.KIND, "namespace": namespace, "name": name},
        "type": event.type,
        "reason": event.reason,
        "message": event.message,
        "count": event.count,
        "firstTimestamp": event.first,
        "lastTimestamp": event.last,
    }


def _revision(service: Service, revision: Revision, traffic: Mapping[str, int]) -> dict[str, Any]:
    named = (
        track for track, of in service.tracks.items() if revision.name in (of.latest, of.rolled_out)
    )
    document = {
        "metadata": {"name": revision.name, "creationTimestamp": revision.created},
        "revision": revision.number,
        "state": revision.state,
        "track": next(named, None),
        "traffic": traffic.get(revision.name, 0),
        "spec": revision.spec,
    }
    return {**document, "failure": revision.failure} if revision.failure else document


def _replica(replica: Replica) -> dict[str, Any]:
    record = replica.record
    return {
        "name": replica.name,
        "revision": record.revision,
        "component": record.component,
        "pid": record.pid,
        "port": record.port,
        "grpcPort": record.grpc_port,
        "ready": replica.ready,
        "retiring": replica.retiring,
        "startTime": timestamp(record.started),
        "restarts": record.restarts,
        "memoryBytes": _resident(record.pid),
        "log": str(replica.log),
    }


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
