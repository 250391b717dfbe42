"""The cases: what is done under load, when it counts as recovered, and what may be lost."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from modelport_engine.errors import RevisionFailed
from tests.engine.faults.traffic import now

if TYPE_CHECKING:
    from tests.engine.faults.trial import Trial

Case = Callable[["Trial"], None]

_STOP = "serving.kserve.io/stop"

_UNDER_WAY = "the killed replica was answering it, and a prediction is never asked twice"
_NOBODY = "nobody listens until Envoy is back, and what it was carrying is gone"
_ASKED_FOR = "the service was stopped as asked"

_REACTION = 0.05
# Seconds within which Envoy hears of a connection that has gone.

_RECONNECT = 0.5
# Seconds within which a gRPC client tries again.

_GONE = "nobody listens|connection lost|(503|UNAVAILABLE) .*(reset|termination|disconnect)"
# What is told of a connection that has gone.

_CRASHES = """
import socket, sys, time
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    time.sleep(0.3)
sys.exit("crashes as it was made to")
"""


# Changes that must cost nothing.


def new_revision(trial: Trial) -> None:
    """A new model takes over; recovered when it has all the traffic."""
    before = trial.serve()
    for _ in trial.rounds():
        weight = trial.next_weight()
        trial.expect(before, weight)
        with trial.recovery():
            trial.site.settle(trial.site.apply(trial.service(weight)))
        trial.expect(weight)
        before = weight


def canary_steps(trial: Trial) -> None:
    """canaryTrafficPercent 5, 50, 100; recovered when the traffic is so."""
    before = trial.serve()
    for _ in trial.rounds():
        weight = trial.next_weight()
        trial.expect(before, weight)
        for percent in (5, 50, 100):
            document = trial.service(weight, canaryTrafficPercent=percent)
            with trial.recovery(f"to {percent} %"):
                trial.site.settle(trial.site.apply(document))
            if percent == 100:
                trial.expect(weight)
            _check_share(trial, weight, percent)
        before = weight


def named_canary(trial: Trial) -> None:
    """spec.canary with 20 %, then promoted; recovered when the traffic is so."""
    before = trial.serve()
    for number in trial.rounds():
        weight, name = trial.next_weight(), f"v{number}"
        trial.expect(before, weight)
        document, canary = trial.service(before), trial.service(weight)
        entry = {"trafficPercent": 20, "predictor": {**canary["spec"]["predictor"], "name": name}}
        document["spec"]["canary"] = [entry]
        with trial.recovery("to 20 %"):
            trial.site.settle(trial.site.apply(document))
        _check_share(trial, weight, 20)
        canary["spec"]["predictor"]["name"] = name
        with trial.recovery("promoted"):
            trial.site.settle(trial.site.apply(canary))
        trial.expect(weight)
        before = weight


def scale(trial: Trial) -> None:
    """1 to 3 replicas and back; recovered when there are as many, and all are ready."""
    weight = trial.serve()
    for _ in trial.rounds():
        for what, count in (("to 3", 3), ("to 1", 1)):
            with trial.recovery(what):
                trial.site.apply(trial.service(weight, minReplicas=count))
                trial.until(lambda count=count: trial.site.has_replicas(trial.name, count))
            trial.go_on(0.3)


def broken_revision(trial: Trial) -> None:
    """A model that does not load is applied; recovered when the status says so."""
    weight = trial.serve()
    for _ in trial.rounds():
        document = trial.site.home.service(trial.site.broken_model(), trial.name)
        with trial.recovery("refused"):
            try:
                trial.site.settle(trial.site.apply(document))
                trial.check(False, "a model that does not load is Ready")
            except RevisionFailed as error:
                trial.check("keeps serving" in str(error), f"the status says: {error}")
        with trial.recovery("put back"):
            trial.site.settle(trial.site.apply(trial.service(weight)))


def roll_back(trial: Trial) -> None:
    """Back to the revision before, whose processes are gone; recovered when it has the traffic."""
    first, second = trial.serve(), trial.next_weight()
    for _ in trial.rounds():
        trial.expect(first, second)
        trial.site.settle(trial.site.apply(trial.service(second)))
        trial.expect(second)
        trial.go_on(0.3)
        trial.expect(first, second)
        with trial.recovery():
            trial.site.settle(trial.site.client.rollback(trial.name))
        trial.expect(first)


def stop_and_start(trial: Trial) -> None:
    """Stopped, and started; recovered when nothing runs any more, and when it answers again."""
    weight = trial.serve()
    for _ in trial.rounds():
        stopped = trial.service(weight)
        stopped["metadata"]["annotations"] = {_STOP: "true"}
        with trial.recovery("stopped") as begun:
            trial.site.settle(trial.site.apply(stopped))
            trial.until(lambda: trial.site.replicas(trial.name) == [])
        trial.expect()
        trial.until_over()
        trial.expect(weight)
        with trial.recovery("started") as started:
            trial.site.settle(trial.site.apply(trial.service(weight)))
            trial.until_answered(started)
        trial.excuse(_ASKED_FOR, ".*(is stopped|has no ready revision)", begun, now())


def crash_looping_neighbour(trial: Trial) -> None:
    """A service beside it dies again and again; nothing is to recover here."""
    trial.serve()
    name = f"{trial.name}-neighbour"
    document = {**trial.service(1), "metadata": {"name": name}}
    command = [sys.executable, "-c", _CRASHES, "$(PORT)"]
    container = {"name": "kserve-container", "image": "crashes", "command": command}
    document["spec"] = {"predictor": {"containers": [container]}}
    for _ in trial.rounds():
        trial.site.apply(document)
        trial.until(lambda: _restarts(trial, name) >= 2)
    trial.site.client.delete(name)


# Processes that are killed with SIGKILL.


def one_of_two_killed(trial: Trial) -> None:
    """One of two replicas is killed; recovered when there are two again."""
    trial.serve(minReplicas=2)
    trial.until(lambda: trial.site.has_replicas(trial.name, 2))
    for _ in trial.rounds():
        _kill_replica(trial, of=2)


def the_only_one_killed(trial: Trial) -> None:
    """The only replica is killed; recovered when another one is ready. Requests wait meanwhile."""
    trial.serve()
    for _ in trial.rounds():
        _kill_replica(trial, of=1)


def engine_killed(trial: Trial) -> None:
    """The engine is killed; recovered when the next one takes a change and carries it out."""
    weight, count = trial.serve(), 1
    for _ in trial.rounds():
        with trial.recovery("answers"):
            _kill_engine(trial)
        count = 3 - count
        with trial.recovery("works"):
            trial.site.apply(trial.service(weight, minReplicas=count))
            trial.until(lambda: trial.site.has_replicas(trial.name, count))  # noqa: B023


def engine_killed_in_a_rollout(trial: Trial) -> None:
    """The engine is killed while a revision comes up; recovered when that one has the traffic."""
    before = trial.serve()
    for number in trial.rounds():
        weight = trial.next_weight()
        trial.expect(before, weight)
        with trial.recovery():
            applied = trial.site.apply(trial.service(weight))
            trial.go_on(0.15 * (number % 8))
            _kill_engine(trial)
            trial.site.settle(applied)
        trial.expect(weight)
        before = weight


def envoy_killed(trial: Trial) -> None:
    """Envoy is killed; recovered when it answers again, on both protocols."""
    trial.serve()
    for _ in trial.rounds():
        with trial.recovery():
            killed = trial.site.kill(trial.site.gateway())
            trial.until_answered(killed.gone)
        trial.excuse(_NOBODY, _GONE, killed.begun, now() + _RECONNECT)


def everything_killed(trial: Trial) -> None:
    """Engine, standby, Envoy and all replicas at once; the engine is started again by hand."""
    trial.serve(minReplicas=2)
    trial.until(lambda: trial.site.has_replicas(trial.name, 2))
    for _ in trial.rounds():
        site = trial.site
        with trial.recovery():
            # The standby first, so that nothing comes back by itself.
            killed = site.kill(*site.standbys(), site.engine(), *site.others())
            site.start()
            trial.until(lambda: site.has_replicas(trial.name, 2))
            trial.until_answered(killed.gone)
        trial.excuse(_NOBODY, _GONE, killed.begun, now() + _RECONNECT)


CASES: dict[str, Case] = {
    "a new revision": new_revision,
    "a canary's steps": canary_steps,
    "a named canary": named_canary,
    "scale up and down": scale,
    "a revision that does not load": broken_revision,
    "roll back": roll_back,
    "stop and start": stop_and_start,
    "a crash-looping neighbour": crash_looping_neighbour,
    "one of two replicas killed": one_of_two_killed,
    "the only replica killed": the_only_one_killed,
    "the engine killed": engine_killed,
    "the engine killed in a rollout": engine_killed_in_a_rollout,
    "Envoy killed": envoy_killed,
    "everything killed": everything_killed,
}


def _check_share(trial: Trial, weight: int, percent: int) -> None:
    """Count who answers for a moment: as many as their share, give or take six deviations."""
    answers = [one.weight for one in trial.go_on(0.5)]
    share, spread = percent / 100, 6 * (percent * (100 - percent) / len(answers)) ** 0.5 / 100
    seen = answers.count(weight) / len(answers)
    trial.check(abs(seen - share) <= spread, f"{percent} % of the traffic was {seen:.0%}")


def _kill_replica(trial: Trial, of: int) -> None:
    victim = trial.site.replicas(trial.name)[0]
    with trial.recovery():
        killed = trial.site.kill(victim["pid"], port=victim["port"])
        trial.until(lambda: trial.site.has_replicas(trial.name, of, without={victim["pid"]}))
    trial.excuse(_UNDER_WAY, _GONE, killed.begun, killed.gone + _REACTION)


def _kill_engine(trial: Trial) -> None:
    before = trial.site.engine()
    trial.site.kill(before)
    trial.until(lambda: trial.site.engine() not in (0, before))


def _restarts(trial: Trial, name: str) -> int:
    return max((int(one["restarts"]) for one in trial.site.replicas(name)), default=0)
