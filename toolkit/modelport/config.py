"""Settings: frozen, nested, read from the environment once, at the edge."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import platformdirs

from modelport.errors import UsageError


@dataclass(frozen=True)
class LocalSettings:
    """The target `local`: the engine on this machine.

    Attributes:
        gateway_port: TCP port of the gateway on loopback. None lets the engine choose one and
            keep it, so that URLs stay the same (`MODELPORT_GATEWAY_PORT`).
        start_timeout: Seconds for the engine to come up; a cold start takes about one.
        ready_timeout: Seconds for a new revision to become ready; large models load slowly
            (`MODELPORT_READY_TIMEOUT`).
        kept_models: How many deployed model folders of a service stay on disk, beside those that
            a kept revision serves: one can roll back to it.
    """

    gateway_port: int | None = None
    start_timeout: float = 30.0
    ready_timeout: float = 120.0
    kept_models: int = 5


@dataclass(frozen=True)
class TrackingSettings:
    """MLflow, which reads its own `MLFLOW_*` variables too.

    Attributes:
        connect_timeout: Seconds to wait for a tracking server's first answer. MLflow itself
            retries for minutes, far longer than a person waits in front of a cell.
    """

    connect_timeout: float = 5.0


@dataclass(frozen=True)
class Limits:
    """Bounds on the work of one release, so that it stays a matter of seconds.

    Attributes:
        certified_rows: Rows of the data that native and converted model both answer.
        synthetic_rows: Rows made up beside them, to leave the data's trodden paths.
        certified_thresholds: Splits of trees that get rows on both sides of their threshold.
        certified_values: Numbers in the rows of a model of one big tensor, such as an image: of
            these it answers fewer rows.
        evaluated_rows: Labelled rows on which accuracy is measured.
        evaluate_seconds: Seconds that a network may take to answer tensors for that.
        live_rows: Rows replayed against the live endpoint.
        explained_rows: Rows that SHAP explains.
        background_rows: Rows that stand for 'feature absent' in model-agnostic explanations.
        explain_seconds: Seconds that the explanation may take; what it sampled is reported.
        benchmark_seconds: Seconds spent on a round of each measured load.
        benchmark_rounds: Rounds of each load, which show how much a busy machine scatters them.
        benchmark_most_seconds: Time after which no further round of them begins.
        benchmark_call_seconds: Batches of which one would take longer are not measured.
        kept_releases: Working folders of past releases that stay on disk; MLflow keeps all.
    """

    certified_rows: int = 2_000
    synthetic_rows: int = 512
    certified_thresholds: int = 2_000
    certified_values: int = 8_000_000
    evaluated_rows: int = 100_000
    evaluate_seconds: float = 10.0
    live_rows: int = 1_000
    explained_rows: int = 200
    background_rows: int = 50
    explain_seconds: float = 10.0
    benchmark_seconds: float = 0.05
    benchmark_rounds: int = 3
    benchmark_most_seconds: float = 3.0
    benchmark_call_seconds: float = 0.25
    kept_releases: int = 5


@dataclass(frozen=True)
class Settings:
    """Everything that can be set from outside.

    Attributes:
        home: Folder that holds all state (`MODELPORT_HOME`); by default the platform's user
            data folder.
    """

    home: Path
    local: LocalSettings = field(default_factory=LocalSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    limits: Limits = field(default_factory=Limits)

    @property
    def releases(self) -> Path:
        """Working folders of releases, one each."""
        return self.home / "releases"

    @property
    def models(self) -> Path:
        """Deployed model folders, `<namespace>/<service>/<release>`."""
        return self.home / "models"


def read(environ: Mapping[str, str]) -> Settings:
    """Read the settings; `UsageError` names the variable that does not parse."""
    home = environ.get("MODELPORT_HOME") or platformdirs.user_data_dir("modelport")
    return Settings(
        home=Path(home).expanduser().absolute(),
        local=LocalSettings(
            gateway_port=_port(environ.get("MODELPORT_GATEWAY_PORT")),
            ready_timeout=_seconds(environ, "MODELPORT_READY_TIMEOUT", default=120.0),
        ),
    )


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return this process's settings, read from its environment on first use."""
    return read(os.environ)


def _port(text: str | None) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise UsageError(
            f"MODELPORT_GATEWAY_PORT is {text!r}", "set it to a port from 1 to 65535, or unset it"
        )
    return int(text)


def _seconds(environ: Mapping[str, str], name: str, *, default: float) -> float:
    text = environ.get(name)
    if not text:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{name} is {text!r}", "set it to seconds above 0, or unset it")
    return seconds
