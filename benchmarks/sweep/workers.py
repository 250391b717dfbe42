"""Processes that carry one model after another: one that crashes or hangs stops no other."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

import psutil
from pebble import ProcessExpired, ProcessFuture, ProcessPool

from benchmarks.sweep.passage import Verdict, carry, slug

MODEL_SECONDS = 120
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def carried(
    names: Sequence[str],
    root: Path,
    workers: int,
    *,
    work: Callable[[str, str], Verdict] = carry,
    seconds: float = MODEL_SECONDS,
) -> Iterator[Verdict]:
    """Carry the models in several processes; yield each verdict when it is there.

    Args:
        names: The models.
        root: A folder for all that they make.
        workers: How many processes.
        work: Carries a model, by its name and the folder.
        seconds: How long that may take.
    """
    for variable in _THREADS:
        os.environ.setdefault(variable, "1")
    pool = ProcessPool(
        max_workers=workers,
        initializer=_begin,
        initargs=(str(root),),
        context=get_context("spawn"),
    )
    waiting = {pool.schedule(work, [name, str(root)], timeout=seconds): name for name in names}
    try:
        while waiting:
            done = wait(waiting, return_when=FIRST_COMPLETED).done
            for future in [one for one in waiting if one in done]:
                yield _verdict(future, waiting.pop(future), root, seconds)
    finally:
        # The models that nobody waits for any more are not carried.
        pool.stop()  # type: ignore[no-untyped-call]
        pool.join()


def _begin(root: str) -> None:
    """Give this process an MLflow store of its own, and quiet the libraries."""
    os.chdir(root)
    for variable in [name for name in os.environ if name.startswith("MLFLOW_")]:
        del os.environ[variable]  # such as the experiment of another store
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{root}/mlflow-{os.getpid()}.db"
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    sys.stdout = sys.stderr = Path(f"{root}/said-{os.getpid()}").open("w")  # noqa: SIM115 - lives as long as the process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # a runtime that it started is stopped


def _verdict(future: ProcessFuture[Verdict], name: str, root: Path, seconds: float) -> Verdict:
    from benchmarks.sweep.catalogue import case_named

    try:
        return future.result()
    except TimeoutError:
        reason = f"it took longer than {seconds:g} s"
    except ProcessExpired as error:
        reason = f"its process died with {error.exitcode}"
    _end_runtime(root / slug(name))
    return Verdict(name, case_named(name).kind, reason=reason)


def _end_runtime(folder: Path) -> None:
    """End the runtime that a killed process left behind: it serves a model in this folder."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(str(folder) + "/" in argument for argument in process.cmdline()):
                process.kill()
