"""The cases: what is done under load, when it counts as recovered, and what may be lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engine.faults.site import SERVICE, stopped
from tests.engine.faults.traffic import now

from modelport_engine.errors import RevisionFailed

if TYPE_CHECKING:
    from tests.engine.faults.trial import Trial

Case = Callable[["Trial"], None]

_SENT = (
    "it had been sent to the killed replica, whose connections the system closes some 30 ms later; "
    "a prediction that may have been made is not asked for twice"
)
_NOBODY = "nobody listens until Envoy is back, and what it was carrying is gone"
_WAITED = "no replica was ready for as long as the gateway goes on trying, which is five seconds"
_ASKED_FOR = "the service was stopped, as asked"

_REACTION = 0.05
# Seconds within which Envoy hears of a connection that has gone.

_PATIENCE = 4.0
# Seconds that the gateway tries at least.

_RECONNECT = 0.5
# Seconds within which a gRPC client tries again.

CUT = "(503|UNAVAILABLE) the replica that was to answer has ended"
NO_GATEWAY = "nobody listens|connection lost|UNAVAILABLE"
NO_REPLICA = "503 no replica of it is ready"
STOPPED = ".*(is stopped|has no ready revision)"
# What clients are told.

_MOMENT = 0.5
# Seconds under load between two changes.

_EFFORT = 300
# Five milliseconds of a core for each request.

_SLEEPER = Path(__file__).with_name("sleeper.py")

_CRASHES = """
import socket, sys, time
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    time.sleep(0.3)
sys.exit("crashes as it was made to")
"""


# Changes that must cost nothing.


def new_revision(trial: Trial) -> None:
    """A new model takes over; recovered when it has all the traffic."""
    trial.serve()
    for _ in trial.rounds():
        with trial.new_model() as weight, trial.recovery():
            trial.site.settle(trial.site.service(weight))


def canary_steps(trial: Trial) -> None:
    """canaryTrafficPercent 5, 50, 100; recovered when the traffic is so."""
    trial.serve()
    for _ in trial.rounds():
        with trial.new_model() as weight:
            for percent in (5, 50, 100):
                document = trial.site.service(weight, canaryTrafficPercent=percent)
                with trial.recovery(f"to {percent} %"):
                    trial.site.settle(document)
                _check_share(trial, weight, percent)


def named_canary(trial: Trial) -> None:
    """spec.canary with 20 %, then promoted; recovered when the traffic is so."""
    trial.serve()
    for _ in trial.rounds():
        with trial.new_model() as weight:
            document, canary = trial.site.service(), trial.site.service(weight)
            canary["spec"]["predictor"]["name"] = f"v{weight}"
            entry = {"trafficPercent": 20, "predictor": canary["spec"]["predictor"]}
            document["spec"]["canary"] = [entry]
            with trial.recovery("to 20 %"):
                trial.site.settle(document)
            _check_share(trial, weight, 20)
            with trial.recovery("promoted"):
                trial.site.settle(canary)


def scale(trial: Trial) -> None:
    """1 to 3 replicas and back; recovered when there are as many, and all are ready."""
    trial.serve()
    for _ in trial.rounds():
        for count in (3, 1):
            with trial.recovery(f"to {count}"):
                trial.apply(minReplicas=count)
            trial.go_on(_MOMENT)


def broken_revision(trial: Trial) -> None:
    """A model that does not load is applied; recovered when the status says so."""
    trial.serve()
    for _ in trial.rounds():
        with trial.recovery("refused"):
            try:
                trial.site.settle(trial.site.broken_service())
                trial.check(False, "a model that does not load is Ready")
            except RevisionFailed as error:
                trial.check("keeps serving" in str(error), f"the status says: {error}")
        with trial.recovery("put back"):
            trial.apply()


def roll_back(trial: Trial) -> None:
    """Back to a revision whose processes are gone; recovered when it has all the traffic."""
    trial.serve()
    for _ in trial.rounds():
        before = trial.site.serving
        with trial.new_model() as weight:
            trial.site.settle(trial.site.service(weight))
        trial.go_on(_MOMENT)
        trial.expect(weight, before)
        with trial.recovery():
            trial.site.settled(trial.site.client.rollback(SERVICE))
        trial.expect(before)
        trial.site.serving = before


def stop_and_start(trial: Trial) -> None:
    """Stopped, and started; recovered when nothing runs any more, and when it answers again."""
    trial.serve()
    for _ in trial.rounds():
        with trial.recovery("stopped") as begun:
            trial.site.settle(stopped(trial.site.service()))
            trial.until_replicas(0)
        trial.expect()
        trial.until_over()
        trial.expect(trial.site.serving)
        with trial.recovery("started") as started:
            trial.apply()
            trial.until_answered(started)
        trial.excuse(_ASKED_FOR, STOPPED, begun, now())


def crash_looping_neighbour(trial: Trial) -> None:
    """A service beside it dies again and again; there is nothing to recover."""
    trial.serve()
    document = trial.site.program("neighbour", "-c", _CRASHES, "$(PORT)")
    for _ in trial.rounds():
        trial.site.client.apply(document)
        trial.until(lambda: _restarts(trial, "neighbour") >= 2, "a neighbour that crashes")
    trial.site.client.delete("neighbour")


# Scaling by load.


def scaled_by_concurrency(trial: Trial) -> None:
    """A hundred requests a second of 0.2 s each; recovered when the first replica is added."""
    weight = trial.site.serving
    program = (str(_SLEEPER), "$(PORT)", str(weight), "0.2")
    scaling = {"maxReplicas": 4, "scaleMetric": "concurrency", "scaleTarget": 8}
    trial.site.settle(trial.site.program(SERVICE, *program, **scaling))
    _load_step(trial, calm=5, step=100, protocols=["rest"])


def scaled_by_cpu(trial: Trial) -> None:
    """A model that needs half a core then, and asks for a quarter; recovered likewise."""
    requests = {"cpu": "250m"}
    scaling = {"maxReplicas": 4, "scaleMetric": "cpu", "scaleTarget": 70}
    trial.apply(effort=_EFFORT, requests=requests, **scaling)
    _load_step(trial, calm=4, step=50, protocols=["rest", "grpc"])


def _load_step(trial: Trial, calm: float, step: float, protocols: list[str]) -> None:
    trial.ask(calm, protocols)
    for _ in trial.rounds():
        with trial.recovery("a replica more"):
            trial.ask(step, protocols)
            trial.until(lambda: trial.site.ready(SERVICE) > 1, "a second replica")
        with trial.recovery("back to one"):
            trial.ask(calm, protocols)
            trial.until_replicas(1)


# Processes that are killed with SIGKILL.


def one_of_two_killed(trial: Trial) -> None:
    """One of two replicas is killed; recovered when there are two again."""
    trial.serve(minReplicas=2)
    for _ in trial.rounds():
        _kill_replica(trial, of=2)


def the_only_one_killed(trial: Trial) -> None:
    """The only replica is killed; recovered when another one is ready. Requests wait meanwhile."""
    trial.serve()
    for _ in trial.rounds():
        _kill_replica(trial, of=1)


def engine_killed(trial: Trial) -> None:
    """The engine is killed; recovered when the next one answers, and when it has carried out."""
    trial.serve()
    for number in trial.rounds():
        with trial.recovery("answers"):
            _kill_engine(trial)
        with trial.recovery("carries out a change"):
            trial.apply(minReplicas=2 - number % 2)


def engine_killed_in_a_rollout(trial: Trial) -> None:
    """The engine is killed while a revision comes up; recovered when that one has the traffic."""
    trial.serve()
    for number in trial.rounds():
        with trial.new_model() as weight, trial.recovery():
            applied = trial.site.client.apply(trial.site.service(weight))
            trial.go_on(0.15 * (number % 8))
            _kill_engine(trial)
            trial.site.settled(applied)


def envoy_killed(trial: Trial) -> None:
    """Envoy is killed; recovered when it answers again, on both protocols."""
    trial.serve()
    for _ in trial.rounds():
        with trial.recovery():
            killed = trial.site.kill(trial.site.gateway())
            trial.until_answered(killed.gone)
        trial.excuse(_NOBODY, NO_GATEWAY, killed.begun, now() + _RECONNECT)


def everything_killed(trial: Trial) -> None:
    """Engine, standby, Envoy and all replicas at once; the engine is started again by hand."""
    trial.serve(minReplicas=2)
    for _ in trial.rounds():
        with trial.recovery():
            killed = trial.site.kill_all()
            trial.site.start()
            trial.until_replicas(2)
            trial.until_answered(killed.gone)
        trial.excuse(_NOBODY, NO_GATEWAY, killed.begun, now() + _RECONNECT)
        trial.excuse(_WAITED, CUT, killed.begun, now(), least=_PATIENCE)


CASES: dict[str, Case] = {
    "a new revision": new_revision,
    "a canary's steps": canary_steps,
    "a named canary": named_canary,
    "scale up and down": scale,
    "a revision that does not load": broken_revision,
    "roll back": roll_back,
    "stop and start": stop_and_start,
    "a crash-looping neighbour": crash_looping_neighbour,
    "scaled by concurrency": scaled_by_concurrency,
    "scaled by cpu": scaled_by_cpu,
    "one of two replicas killed": one_of_two_killed,
    "the only replica killed": the_only_one_killed,
    "the engine killed": engine_killed,
    "the engine killed in a rollout": engine_killed_in_a_rollout,
    "Envoy killed": envoy_killed,
    "everything killed": everything_killed,
}


def _check_share(trial: Trial, weight: int, percent: int) -> None:
    """Count who answers for a moment: as many as their share, give or take six deviations."""
    answers = [one.weight for one in trial.go_on(_MOMENT)]
    spread = 6 * (percent * (100 - percent) / len(answers)) ** 0.5
    seen = 100 * answers.count(weight) / len(answers)
    trial.check(abs(seen - percent) <= spread, f"{percent} % of the traffic were {seen:.0f} %")


def _kill_replica(trial: Trial, of: int) -> None:
    # A crash that is not the first one is waited for; an object that is applied forgets them.
    trial.apply(minReplicas=of)
    victim = trial.site.replicas(SERVICE)[0]
    with trial.recovery():
        killed = trial.site.kill(victim["pid"], port=victim["port"])
        trial.until_replicas(of, without=[victim["pid"]])
    trial.excuse(_SENT, CUT, killed.begun, killed.gone + _REACTION)
    trial.excuse(_WAITED, CUT, killed.begun, now(), least=_PATIENCE)


def _kill_engine(trial: Trial) -> None:
    before = trial.site.engine()
    trial.site.kill(before)
    trial.until(lambda: trial.site.engine() not in (0, before), "the next engine")


def _restarts(trial: Trial, name: str) -> int:
    return max((int(one["restarts"]) for one in trial.site.replicas(name)), default=0)
