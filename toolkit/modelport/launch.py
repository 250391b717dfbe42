"""Starts a release in a process of its own, follows it, and cleans up when it is stopped."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelport import journal, reports, rollout, targets, tracking, workbench, workflows
from modelport.config import settings
from modelport.errors import Interrupted, ModelportError, StorageError
from modelport.journal import Event, Journal
from modelport.reports import ReleaseReport, Report, StepRecord

if TYPE_CHECKING:
    from modelport.manifests import Manifest
    from modelport.targets.base import Target

PIPELINE = "release"
STEPS = (
    "resolve",
    "convert",
    "certify",
    "evaluate",
    "benchmark",
    "explain",
    "log",
    "gate",
    "deploy",
    "verify",
)

# Which field of the whole report each step's report fills.
_FIELDS: dict[str, tuple[str, type[Report]]] = {
    "resolve": ("resolution", reports.Resolution),
    "convert": ("conversion", reports.Conversion),
    "certify": ("certificate", reports.Certificate),
    "evaluate": ("evaluation", reports.Evaluation),
    "benchmark": ("benchmark", reports.Benchmark),
    "explain": ("explanation", reports.Explanation),
    "gate": ("gates", reports.Gates),
    "deploy": ("deployment", reports.Deployment),
    "verify": ("verification", reports.Verification),
}

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 5.0
_FULL_DISK_BYTES = 64 * 1024  # less than a journal and a log need

OnSteps = Callable[[tuple[StepRecord, ...]], None]


def new_release_id() -> str:
    """Return a name for a release; names sort by time."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"


def new_folder(release_id: str) -> Path:
    """Make the working folder of a release, owner-only; remove the oldest ones."""
    home = settings()
    folder = home.releases / release_id
    try:
        home.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise StorageError(
            f"{home.home} cannot be written ({error.strerror})",
            "free space there, or set MODELPORT_HOME to another folder",
        ) from error
    for old in sorted(home.releases.iterdir())[: -home.limits.kept_releases]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


class Launch:
    """One release under way.

    Args:
        folder: Its working folder, from `new_folder`.
        arguments: The pipeline's arguments.
    """

    def __init__(self, folder: Path, arguments: dict[str, Any]) -> None:
        self._folder = folder
        self._arguments = arguments
        self._journal = Journal(folder / "journal.jsonl")
        self._events: list[Event] = []
        self._started = time.time()
        self._previous: Manifest | None = None

    def follow(self, on_steps: OnSteps) -> ReleaseReport:
        """Run to the end, telling `on_steps` how they stand; return the whole report.

        Raises:
            ModelportError: What stopped the release, with its report as `release` and the
                failed step's traceback as `details`.
        """
        place = targets.local()
        try:
            returncode = self._run(place, on_steps)
        except KeyboardInterrupt:
            raise self._undone(place, _interrupted(self._previous), "interrupted") from None
        except ModelportError as error:
            raise self._undone(place, error, "failed") from error
        except OSError as error:
            told = StorageError(
                f"{self._folder} cannot be written ({error.strerror})",
                "free space there, or set MODELPORT_HOME to another disk",
            )
            raise self._undone(place, told, "failed") from error
        failure = self._failure(returncode)
        if failure is not None:
            raise self._undone(place, failure, "failed")
        report = self._report("deployed")
        if report.gates is not None and not report.gates.passed:
            from modelport.release import gate_error

            raise self._stopped(gate_error(report.gates), "stopped")
        return report

    def _run(self, place: Target, on_steps: OnSteps) -> int:
        """Run the pipeline's process with its workbenches; return its exit code.

        The target is made ready while everything warms up, long before a step deploys: if it
        cannot be, there is no use in going on, and only once it is do we know what there is to
        go back to.
        """
        workflows.Request(PIPELINE, self._arguments).write(self._folder)
        environment = {
            **os.environ,
            **tracking.environment(),
            journal.VARIABLE: str(self._folder / "journal.jsonl"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        with (
            (self._folder / "log.txt").open("wb") as log,
            workbench.started(environment, log) as variables,
        ):
            process = subprocess.Popen(
                [sys.executable, "-m", "modelport.workflows", str(self._folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**environment, **variables},
                start_new_session=True,  # Ctrl-C is ours to pass on, after which we clean up
            )
            try:
                place.prepare()
                self._previous = place.get(*self._service)
                while process.poll() is None:
                    self._read()
                    on_steps(self.steps())
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(_POLL_SECONDS)
            finally:
                _kill(process)
                self._read()
            on_steps(self.steps())
            return process.returncode

    @property
    def _service(self) -> tuple[str, str]:
        return self._arguments["service"], self._arguments["namespace"]

    def _undone(self, place: Target, error: ModelportError, outcome: str) -> ModelportError:
        """Put the service back, if the failed step could not; close the MLflow run."""
        stopped = self._stopped(error, outcome)
        rollout.restore(place, *self._service, self._arguments["release_id"], self._previous)
        if stopped.release is not None and stopped.release.registration is not None:
            with suppress(ModelportError):  # MLflow may be what failed
                tracking.end_run(stopped.release.registration.run_id, passed=False)
        return stopped

    def _read(self) -> None:
        self._events += self._journal.fresh()

    def steps(self) -> tuple[StepRecord, ...]:
        """How every step stands now."""
        return steps_after(STEPS, self._events, time.time())

    def _failure(self, returncode: int) -> ModelportError | None:
        failed = next((event for event in self._events if event.error), None)
        if failed is not None and failed.error is not None:
            error = journal.to_error(failed.error)
            error.details = failed.traceback
            return error
        if returncode == 0:
            return None
        if shutil.disk_usage(self._folder).free < _FULL_DISK_BYTES:
            return StorageError(
                f"the disk that holds {self._folder} is full",
                "free space there, or set MODELPORT_HOME to another disk",
            )
        return ModelportError(
            f"the release's process ended with code {returncode}",
            f"see {self._folder / 'log.txt'}",
        )

    def _stopped(self, error: ModelportError, outcome: str) -> ModelportError:
        error.release = self._report(outcome, error=str(error))
        return error

    def _report(self, outcome: str, error: str | None = None) -> ReleaseReport:
        found: dict[str, Any] = {}
        for step, (field, kind) in _FIELDS.items():
            path = workflows.report_file(self._folder, step)
            if path is not None:
                found[field] = kind.read(path)
        logged = workflows.report_file(self._folder, "log")
        if logged is not None:
            found["registration"] = reports.Dossier.read(logged).registration
        return ReleaseReport.model_validate(
            {
                "release_id": self._arguments["release_id"],
                "model": self._arguments["model"],
                "service": self._arguments["service"],
                "namespace": self._arguments["namespace"],
                "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
                "seconds": time.time() - self._started,
                "outcome": outcome,
                "error": error,
                "steps": _ended(self.steps()),
                **found,
            }
        )


def _ended(steps: tuple[StepRecord, ...]) -> tuple[StepRecord, ...]:
    """Call a step skipped that still waits when the release is over."""
    return tuple(
        record.model_copy(update={"state": "skipped"}) if record.state == "waiting" else record
        for record in steps
    )


def _interrupted(previous: Manifest | None) -> Interrupted:
    state = "the service is as it was" if previous else "nothing was deployed"
    return Interrupted(f"the release was stopped; {state}", "run it again when you like")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the release's process with all its children: asked first, then made to."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)


def steps_after(
    names: Sequence[str], events: Iterable[Event], now: float
) -> tuple[StepRecord, ...]:
    """Tell how each step stands at `now` (seconds since the epoch), after these events."""
    records = {name: StepRecord(name=name, state="waiting") for name in names}
    begun: dict[str, float] = {}
    for event in events:
        if event.step not in records:
            continue
        changed: dict[str, Any] = {"message": event.message}
        if event.state == "running":
            begun[event.step] = event.at
        if event.state is not None:
            changed |= {"state": event.state, "seconds": event.at - begun[event.step]}
        records[event.step] = records[event.step].model_copy(update=changed)
    return tuple(
        record.model_copy(update={"seconds": now - begun[record.name]})
        if record.state == "running"
        else record
        for record in records.values()
    )
