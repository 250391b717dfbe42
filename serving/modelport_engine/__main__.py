"""`python -m modelport_engine --home DIR [--gateway-host IP] [--gateway-port N] [--detach]`."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
from dataclasses import replace
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from modelport_engine.errors import EngineError, EngineStartFailed
from modelport_engine.paths import EnginePaths
from modelport_engine.settings import Invocation, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG_LIMIT = 5 * 1024 * 1024
_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def main() -> int:
    """Run an engine; with `--detach`, return once it answers, and leave it running."""
    arguments = _arguments()
    os.umask(0o077)
    paths = EnginePaths(arguments.home.expanduser().resolve())
    try:
        paths.prepare()
        if arguments.lock is not None:
            _be_daemon(paths, _invocation(arguments, detached=True), _Words(None))
        if arguments.detach:
            return _detached(paths, _invocation(arguments, detached=True))
        logging.basicConfig(level=logging.INFO, format=_FORMAT, stream=sys.stderr)
        _run(paths, _invocation(arguments, detached=False), ready=lambda: None)
    except EngineError as error:
        sys.stderr.write(f"{error}\n")
        if arguments.detach:
            # For the client, which raises the same error again.
            sys.stdout.write(json.dumps(error.document))
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m modelport_engine", description="Run InferenceServices on this machine."
    )
    parser.add_argument("--home", type=Path, required=True, help="folder that keeps its state")
    parser.add_argument("--gateway-port", type=int, help="port of the gateway")
    parser.add_argument(
        "--gateway-host",
        help="IP address of the gateway; others than loopback's ask other machines for a token",
    )
    parser.add_argument(
        "--detach", action="store_true", help="return when it answers, leave it running"
    )
    # For standby.py alone.
    parser.add_argument("--lock", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def _invocation(arguments: argparse.Namespace, *, detached: bool) -> Invocation:
    return Invocation(arguments.gateway_port, arguments.gateway_host, detached, arguments.lock)


def _run(paths: EnginePaths, invocation: Invocation, ready: Callable[[], None]) -> None:
    try:
        from modelport_engine.daemon import run
    except ImportError as error:
        raise EngineStartFailed(
            f"{error.name} is not installed", "run: pip install 'modelport[engine]'"
        ) from error
    settings = Settings.from_environment(os.environ)
    if invocation.gateway_host is not None:
        settings = replace(settings, gateway_host=invocation.gateway_host)
    run(paths, settings, invocation, ready)


def _detached(paths: EnginePaths, invocation: Invocation) -> int:
    """Fork the engine off; wait until it answers or says why it cannot."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        _be_daemon(paths, invocation, _Words(writer))
    os.close(writer)
    with os.fdopen(reader) as words:
        said = words.read()
    if not said:
        raise EngineStartFailed("the engine ended while it started", f"see {paths.log}")
    report = json.loads(said)
    if "what" in report:
        raise EngineError.of(report)
    return 0


class _Words:
    """What the engine tells its starter: once, and then the pipe is closed."""

    def __init__(self, pipe: int | None) -> None:
        self._pipe = pipe

    def say(self, report: dict[str, str]) -> None:
        pipe, self._pipe = self._pipe, None
        # The starter may be gone; the engine works all the same.
        with contextlib.suppress(OSError):
            if pipe is not None:
                os.write(pipe, json.dumps(report).encode())
                os.close(pipe)


def _be_daemon(paths: EnginePaths, invocation: Invocation, words: _Words) -> NoReturn:
    """Run the engine in a session of its own and never return to the caller's code."""
    code = 1
    try:
        os.setsid()
        os.chdir("/")
        _redirect(paths)
        _run(paths, invocation, ready=lambda: words.say({}))
        code = 0
    except EngineError as error:
        logging.error("%s", error)  # noqa: LOG015, TRY400 - one line is what a person needs
        words.say(error.document)
    except BaseException:
        logging.exception("the engine ended")  # noqa: LOG015 - nothing else would tell
    finally:
        logging.shutdown()
        os._exit(code)


def _redirect(paths: EnginePaths) -> None:
    handler = RotatingFileHandler(paths.log, maxBytes=_LOG_LIMIT, backupCount=1)
    logging.basicConfig(level=logging.INFO, format=_FORMAT, handlers=[handler])
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(paths.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for target, source in ((0, null), (1, output), (2, output)):
        os.dup2(source, target)


if __name__ == "__main__":
    sys.exit(main())
