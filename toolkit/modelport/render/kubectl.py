"""What kubectl shows of InferenceServices: its columns, and its description.

Source: the printer columns of KServe's CustomResourceDefinition, and kubectl's own of events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from modelport.render import figures
from modelport.render.curl import metadata_line, predict_line
from modelport.render.grid import Grid, Section
from modelport.render.services import Resource, age, read

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from modelport.render.facts import Fact

_COLUMNS = (
    *("NAME", "URL", "READY", "PREV", "LATEST"),
    *("PREVROLLEDOUTREVISION", "LATESTREADYREVISION", "AGE"),
)
_WIDE = ("REVISIONS", "REPLICAS", "RESTARTS", "MEMORY")
_EVENTS = ("LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE")
_REVISIONS = ("REVISION", "NAME", "STATE", "TRACK", "TRAFFIC", "MODEL", "AGE")
_REPLICAS = ("NAME", "READY", "PID", "PORT", "GRPC", "RESTARTS", "MEMORY", "AGE")
_SHOWN_EVENTS = 20
_NONE = "<none>"


def listing(
    items: Sequence[Resource],
    replicas: Mapping[tuple[str, str], Sequence[Resource]] | None = None,
    *,
    namespaces: bool = False,
    now: datetime | None = None,
) -> Grid:
    """Return services as `kubectl get inferenceservices` prints them.

    Args:
        items: The services.
        replicas: Their processes by (namespace, name), for the wide form.
        namespaces: Begin with a column of namespaces.
        now: The moment for which ages are told; by default the present.
    """
    header = (
        *(("NAMESPACE",) if namespaces else ()),
        *_COLUMNS,
        *(() if replicas is None else _WIDE),
    )
    rows = []
    for item in items:
        metadata = item["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        wide = () if replicas is None else _wide(item, replicas.get((namespace, name), ()))
        rows.append((*((namespace,) if namespaces else ()), *_columns(item, now), *wide))
    return Grid(header, tuple(rows))


def events(
    items: Sequence[Resource], *, namespaces: bool = False, now: datetime | None = None
) -> Grid:
    """Return Kubernetes' events as `kubectl get events` prints them."""
    header = (*(("NAMESPACE",) if namespaces else ()), *_EVENTS)
    rows = (
        (*((one["metadata"]["namespace"],) if namespaces else ()), *_event(one, now))
        for one in items
    )
    return Grid(header, tuple(rows))


def history(revisions: Sequence[Resource], now: datetime | None = None) -> Grid:
    """Return the kept revisions of a service, oldest first."""
    return Grid(_REVISIONS, tuple(_revision(one, now) for one in revisions))


def description(
    item: Resource,
    revisions: Sequence[Resource],
    replicas: Sequence[Resource],
    happened: Sequence[Resource],
    now: datetime | None = None,
) -> tuple[Section, ...]:
    """Return everything that is known of a service, as `kubectl describe` lays it out."""
    found = read(item, now)
    failure = (item.get("status") or {}).get("modelStatus", {}).get("lastFailureInfo") or {}
    sections = [
        Section(f"InferenceService {found.name}", _metadata(item, now)),
        Section("Conditions", _conditions(item, now)),
        Section("Traffic", _traffic(revisions)),
        Section("Revisions", history(revisions, now)),
        Section("Replicas", _replicas(replicas, now)),
    ]
    if failure:
        sections.append(Section("Last failure", _failure(failure, now)))
    if found.url:
        sections.append(Section("To call it", _calls(item)))
    return (*sections, Section("Events", events(happened[-_SHOWN_EVENTS:], now=now)))


def _columns(item: Resource, now: datetime | None) -> tuple[str, ...]:
    found, traffic = read(item, now), _targets(item)
    latest = next((one for one in traffic if one.get("latestRevision")), {})
    previous = next((one for one in traffic if not one.get("latestRevision")), {})
    return (
        found.name,
        found.url,
        found.ready,
        _text(previous.get("percent")),
        _text(latest.get("percent")),
        _text(previous.get("revisionName")),
        _text(latest.get("revisionName")),
        found.age,
    )


def _wide(item: Resource, replicas: Sequence[Resource]) -> tuple[str, ...]:
    shares = (f"{one.get('revisionName')}={one.get('percent')}%" for one in _targets(item))
    kept = [one for one in replicas if not one.get("retiring")]
    ready = sum(bool(one["ready"]) for one in kept)
    return (
        ",".join(shares) or _NONE,
        f"{ready}/{len(kept)}",
        str(sum(one["restarts"] for one in replicas)),
        figures.size(sum(one["memoryBytes"] for one in replicas)),
    )


def _targets(item: Resource) -> list[Resource]:
    predictor = ((item.get("status") or {}).get("components") or {}).get("predictor") or {}
    return list(predictor.get("traffic") or ())


def _event(one: Resource, now: datetime | None) -> tuple[str, ...]:
    last, count = age(one["lastTimestamp"], now), one.get("count") or 1
    if count > 1:
        last = f"{last} (x{count} over {age(one['firstTimestamp'], now)})"
    about = one["involvedObject"]
    return (
        last,
        one["type"],
        one["reason"],
        f"{about['kind'].lower()}/{about['name']}",
        one["message"],
    )


def _revision(one: Resource, now: datetime | None) -> tuple[str, ...]:
    return (
        str(one["revision"]),
        one["metadata"]["name"],
        one["state"],
        _track(one),
        f"{one.get('traffic') or 0}%",
        _model(one),
        age(one["metadata"]["creationTimestamp"], now),
    )


def _track(revision: Resource) -> str:
    track = revision.get("track")
    return _NONE if track is None else track or "stable"


def _model(revision: Resource) -> str:
    """Return what the revision's own predictor serves: the stable one, or its track's."""
    spec, track = revision["spec"], revision.get("track")
    entries = (one["predictor"] for one in spec.get("canary") or ())
    named = (one for one in entries if track and one.get("name") == track)
    predictor = next(named, spec["predictor"])
    parts = (part for part in predictor.values() if isinstance(part, dict))
    return next((str(part["storageUri"]) for part in parts if "storageUri" in part), _NONE)


def _metadata(item: Resource, now: datetime | None) -> tuple[Fact, ...]:
    metadata, status, found = item["metadata"], item.get("status") or {}, read(item, now)
    seen = status.get("observedGeneration", _NONE)
    return (
        ("Name", found.name),
        ("Namespace", found.namespace),
        ("Labels", _mapping(metadata.get("labels"))),
        ("Annotations", _mapping(metadata.get("annotations"))),
        ("Created", f"{metadata['creationTimestamp']} ({found.age} ago)"),
        ("Generation", f"{metadata['generation']}, observed {seen}"),
        ("Model", found.model or _NONE),
        ("URL", found.url or _NONE),
        ("Ready", f"{found.ready}: {found.why}" if found.why else found.ready),
    )


def _conditions(item: Resource, now: datetime | None) -> Grid:
    rows = (
        (
            one.get("type", ""),
            one.get("status", "Unknown"),
            age(one.get("lastTransitionTime"), now),
            one.get("reason") or "",
            one.get("message") or "",
        )
        for one in (item.get("status") or {}).get("conditions") or ()
    )
    return Grid(("TYPE", "STATUS", "AGE", "REASON", "MESSAGE"), tuple(rows))


def _traffic(revisions: Sequence[Resource]) -> Grid:
    rows = (
        (one["metadata"]["name"], f"{one['traffic']}%", _track(one))
        for one in revisions
        if one.get("traffic")
    )
    return Grid(("REVISION", "PERCENT", "TRACK"), tuple(rows))


def _replicas(replicas: Sequence[Resource], now: datetime | None) -> Grid:
    rows = (
        (
            one["name"],
            "Retiring" if one.get("retiring") else str(bool(one["ready"])),
            str(one["pid"]),
            str(one["port"]),
            _text(one.get("grpcPort")) or _NONE,
            str(one["restarts"]),
            figures.size(one["memoryBytes"]),
            age(one["startTime"], now),
        )
        for one in replicas
    )
    return Grid(_REPLICAS, tuple(rows))


def _failure(failure: Resource, now: datetime | None) -> tuple[Fact, ...]:
    code = failure.get("exitCode")
    pairs = (
        ("Reason", failure.get("reason")),
        ("Message", failure.get("message")),
        ("Revision", failure.get("modelRevisionName")),
        ("Replica", failure.get("location")),
        ("Exit code", None if code is None else str(code)),
        ("Age", age(failure.get("time"), now)),
    )
    return tuple((name, str(value)) for name, value in pairs if value)


def _calls(item: Resource) -> tuple[Fact, ...]:
    metadata, status = item["metadata"], item["status"]
    name = metadata["name"]
    calls = [
        ("Metadata", metadata_line(status["url"], name)),
        ("REST", predict_line(status["url"], name)),
    ]
    if grpc := status["components"]["predictor"].get("grpcUrl"):
        authority = f"{name}.{metadata['namespace']}.example.com"
        calls.append(("gRPC", f"{urlsplit(grpc).netloc}, with the :authority {authority}"))
    return tuple(calls)


def _mapping(values: dict[str, str] | None) -> str:
    return ", ".join(f"{key}={value}" for key, value in (values or {}).items()) or _NONE


def _text(value: Any) -> str:
    return "" if value is None else str(value)
