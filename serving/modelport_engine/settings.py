"""The engine's settings: frozen, read from the environment once, at the edge.

Every field says its unit, and why its default is what it is.
"""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

from modelport_engine.errors import EngineStartFailed
from modelport_engine.scaling.policy import Windows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "MODELPORT_ENGINE_"

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError(text)
    return _BOOLEANS[text.lower()]


_READERS: dict[str, Callable[[str], str | int | float]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": _boolean,
}


def _own_runtime() -> str:
    # -P keeps the working directory off the import path: no file there can shadow a module.
    return shlex.join([sys.executable, "-P", "-m", "modelport_serving"])


def _own_initializer() -> str:
    return shlex.join([sys.executable, "-P", "-m", "modelport.storage_initializer"])


def _half_of_the_cores() -> int:
    return max(1, min(4, (os.cpu_count() or 1) // 2))


@dataclass(frozen=True)
class Invocation:
    """How one engine was started.

    `gateway_port` and `gateway_host`: those asked for, if any. `detached`: it outlives who started
    it, and comes back when it is killed. `lock`: descriptor of the home's lock, if a standby has
    started it.
    """

    gateway_port: int | None = None
    gateway_host: str | None = None
    detached: bool = False
    lock: int | None = None


@dataclass(frozen=True)
class Settings:
    """How the engine works; field `x` is read from the variable `MODELPORT_ENGINE_X`."""

    runtime: str = _own_runtime()
    """Command line that starts a model server; KServe's arguments are appended to it."""

    allow_pickle: bool = False
    """Whether models may be loaded whose loading can run any code in their folder."""

    storage_initializer: str = _own_initializer()
    """Command line that fetches a model; KServe's contract: the URI and a folder are appended."""

    fetch_deadline: float = 600.0
    """Seconds that fetching one model may take: some gigabytes over a slow line."""

    gateway_port: int = 8780
    """TCP port tried first on a new home; free on most machines, unlike 8080."""

    gateway_host: str = "127.0.0.1"
    """IP address that the gateway listens on; on another one than loopback, it asks callers from
    other machines for a token."""

    gateway_token_file: str = ""
    """File with that token; by default one that the engine makes in its home."""

    gateway_workers: int = _half_of_the_cores()
    """Threads of Envoy; half of the cores, since the models need the others."""

    startup_deadline: float = 120.0
    """Seconds a replica may take to become ready; large models load slowly."""

    start_attempts: int = 2
    """Starts of a new revision that exits by itself before we give up; the second one
    rules out a port that another program took in between."""

    backoff_first: float = 0.5
    """Seconds before a replica that crashed twice is started again; doubles with each crash."""

    backoff_limit: float = 30.0
    """Seconds that the back-off never exceeds, so that a repaired machine recovers soon."""

    stop_grace: float = 30.0
    """Seconds a replica may take to end after SIGTERM; Kubernetes' own default."""

    drain_limit: float = 60.0
    """Seconds that requests on an old revision may take to end before it is stopped;
    KServe's default request timeout."""

    scale_stable_window: float = 60.0
    """Seconds that concurrency and rps are averaged over; Knative's stable window."""

    scale_panic_window: float = 6.0
    """Seconds that a sudden load is judged by; Knative's panic window."""

    scale_short_window: float = 3.0
    """Seconds that cpu, memory and latency are averaged over: longer than a spike."""

    scale_quiet_window: float = 60.0
    """Seconds that fewer replicas must have sufficed before some are stopped."""

    log_limit: int = 16 * 1024 * 1024
    """Bytes at which a replica's log is put aside; two older files are kept."""

    tick: float = 0.1
    """Seconds between two looks at every process; bounds how late a crash is noticed."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables that are set; `EngineStartFailed` if one is malformed."""
        values: dict[str, str | int | float] = {}
        for field in fields(cls):
            name = PREFIX + field.name.upper()
            text = environment.get(name)
            if text is None:
                continue
            try:
                values[field.name] = _READERS[str(field.type)](text)
            except ValueError:
                wanted = "true or false" if field.type == "bool" else "a number"
                raise EngineStartFailed(
                    f"{name}={text!r} is not {wanted}", "correct it or unset it"
                ) from None
        return cls(**values)  # type: ignore[arg-type]  # each has its field's own type

    @property
    def windows(self) -> Windows:
        """What autoscaling looks back on."""
        return Windows(
            stable=self.scale_stable_window,
            panic=self.scale_panic_window,
            short=self.scale_short_window,
            quiet=self.scale_quiet_window,
        )

    @property
    def runtime_command(self) -> list[str]:
        """The runtime's command line as separate arguments."""
        return shlex.split(self.runtime)
