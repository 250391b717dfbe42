"""What a service should look like now, as a pure function of what it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelport_engine.state.records import STABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelport_engine.state.records import Part, Revision, Track

Traffic = tuple[tuple[str, int], ...]
"""Revisions and their share in per cent; canaries first: one that grows keeps whom it has."""

ALL = 100


@dataclass(frozen=True)
class Shares:
    """How the object parts the traffic, in per cent.

    `canaries`: of each canary's track. `latest`: what the newest revision of the stable track
    has of the stable track's share; None: all of it.
    """

    canaries: Mapping[str, int]
    latest: int | None = None


@dataclass(frozen=True)
class Plan:
    """Replicas to run of each part, the traffic, and what is to be noted once it flows so.

    `up`: revisions that are up for the first time; `roll_outs`: tracks and the revision that has
    the traffic of each now.
    """

    replicas: Mapping[Part, int]
    traffic: Traffic
    up: tuple[str, ...] = ()
    roll_outs: tuple[tuple[str, str], ...] = ()


STOPPED = Plan({}, ())


def plan(
    revisions: Sequence[Revision],
    tracks: Mapping[str, Track],
    shares: Shares,
    wanted: Mapping[Part, int],
    ready: Mapping[Part, int],
) -> Plan:
    """Decide which revisions run, and which of them answer.

    The latest revision of a track is brought up beside the one that serves; it has traffic once
    all of its replicas are ready, and never if it failed.

    Args:
        revisions: The service's revisions.
        tracks: The stable track, and those of the canaries.
        shares: How the object parts the traffic.
        wanted: Replicas to run of the parts of every revision that a track names.
        ready: Ready replicas of each part.
    """
    known = {revision.name: revision for revision in revisions}
    running = {
        name
        for track in tracks.values()
        for name in (track.rolled_out, track.latest)
        if name and (known[name].state != "Failed" or name == track.rolled_out)
    }
    parts = [part for name in sorted(running) for part in known[name].parts]
    up = {
        name
        for name in running
        if known[name].state == "Ready"
        or (
            known[name].state == "Pending"
            and all(ready.get(part, 0) >= wanted[part] for part in known[name].parts)
        )
    }
    roll_outs = tuple(
        (name, track.latest)
        for name, track in tracks.items()
        if track.latest in up
        and track.latest != track.rolled_out
        and (name != STABLE or _takes_all(track, shares))
    )
    return Plan(
        replicas={part: wanted[part] for part in parts},
        traffic=_traffic(tracks, shares, up, dict(roll_outs)),
        up=tuple(sorted(name for name in up if known[name].state == "Pending")),
        roll_outs=roll_outs,
    )


def _takes_all(track: Track, shares: Shares) -> bool:
    """Tell whether the latest stable revision takes over: there may be none to share with."""
    return shares.latest in (None, ALL) or track.rolled_out is None


def _traffic(
    tracks: Mapping[str, Track], shares: Shares, up: set[str], roll_outs: Mapping[str, str]
) -> Traffic:
    stable = tracks[STABLE]
    serving = roll_outs.get(STABLE, stable.rolled_out)
    if serving is None:
        return ()
    parted: Counter[str] = Counter()
    left = ALL
    for name, percent in shares.canaries.items():
        canary = roll_outs.get(name, tracks[name].rolled_out)
        if canary:
            parted[canary] += percent
            left -= percent
    if stable.latest != serving and stable.latest in up and shares.latest:
        share = left * shares.latest // ALL
        parted[stable.latest] += share
        left -= share
    parted[serving] += left
    return tuple((name, percent) for name, percent in parted.items() if percent)
