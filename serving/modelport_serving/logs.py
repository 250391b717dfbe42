"""The server's log: text or JSON on stderr, with request ids, written without making anyone wait.

Records go into a bounded queue that a thread writes from; what does not fit is counted and given
up. Request and answer headers are never logged, and whatever looks like credentials that somebody
else logged is blotted out.
"""

from __future__ import annotations

import json
import logging
import logging.config
import os
import queue
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from random import getrandbits
from typing import TYPE_CHECKING, Any

import orjson

from modelport_serving.errors import StartFailed

if TYPE_CHECKING:
    from modelport_serving.settings import Settings

_PACKAGE = "modelport_serving"
_LEVEL = "KSERVE_LOGLEVEL"
_MOST_WAITING = 10_000
_LONGEST_ID = 128
_LATENCIES = "requestId: %s, preprocess_ms: %s, explain_ms: %s, predict_ms: %s, postprocess_ms: %s"

_CREDENTIALS = re.compile(
    r"(authorization\W{1,8}(?:basic|bearer)\s+|\bbearer\s+)[\w.~+/=-]{6,}", re.IGNORECASE
)

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


def request_id(given: str | None) -> str:
    """Return a caller's x-request-id if it is short and printable, else a new one."""
    if given and len(given) <= _LONGEST_ID and given.isascii() and given.isprintable():
        return given
    return f"{getrandbits(128):032x}"


@contextmanager
def for_request(identity: str) -> Iterator[None]:
    """Let every record that is logged inside carry this request id."""
    token = _request_id.set(identity)
    try:
        yield
    finally:
        _request_id.reset(token)


class RequestIdFilter(logging.Filter):
    """Gives every record its `request_id`, None outside of requests. Drops none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Take the id of `for_request`, unless the record came with one (`extra`)."""
        if not hasattr(record, "request_id"):
            record.request_id = _request_id.get()
        return True


class TextFormatter(logging.Formatter):
    """One line a record, for people: the program's name and the message."""

    def __init__(self, program: str) -> None:
        super().__init__(f"{program}: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        text = _without_credentials(super().format(record))
        identity = getattr(record, "request_id", None)
        if identity is None or "fields" in record.__dict__:
            return text
        first, *rest = text.split("\n", 1)
        return "\n".join([f"{first} (request {identity})", *rest])


class JsonFormatter(logging.Formatter):
    """One JSON object a record, for machines."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record; `extra={"fields": {...}}` adds members."""
        content: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
        }
        if (identity := getattr(record, "request_id", None)) is not None:
            content["requestId"] = identity
        if record.exc_info:
            content["exception"] = self.formatException(record.exc_info)
        content.update(getattr(record, "fields", {}))
        return _without_credentials(orjson.dumps(content, default=str).decode())


def _without_credentials(text: str) -> str:
    return _CREDENTIALS.sub(r"\1***", text)


class LogWriter(logging.Handler):
    """Writes records to stderr from a thread of its own; `dropped` is called for those it cannot.

    Whoever logs never waits, not even when nobody reads stderr.
    """

    def __init__(self, formatter: logging.Formatter, dropped: Callable[[], None]) -> None:
        super().__init__()
        self.addFilter(RequestIdFilter())
        self._dropped = dropped
        self._waiting: queue.SimpleQueue[logging.LogRecord | None] = queue.SimpleQueue()
        self._stream = logging.StreamHandler(sys.stderr)
        self._stream.setFormatter(formatter)
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record."""
        if self._waiting.qsize() >= _MOST_WAITING:
            self._dropped()
            return
        # What its arguments are now may have changed when it is written.
        record.msg, record.args = record.getMessage(), None
        self._waiting.put(record)

    def end(self, seconds: float) -> None:
        """Write what waits, for so many seconds at most."""
        self._waiting.put(None)
        self._thread.join(seconds)

    def _write(self) -> None:
        while (record := self._waiting.get()) is not None:
            self._stream.handle(record)


def start_as(
    settings: Settings, program: str, dropped: Callable[[], None] = lambda: None
) -> LogWriter | None:
    """Log as the settings say; the writer is to be ended, where there is one."""
    if settings.log_config_file is not None:
        configure(settings.log_config_file)
    elif settings.configure_logging:
        return start(program, settings.log_format, dropped)
    return None


def start(program: str, log_format: str, dropped: Callable[[], None]) -> LogWriter:
    """Log to stderr from now on, as `text` or `json`; KSERVE_LOGLEVEL is honoured as in KServe.

    `StartFailed` when that is no level.
    """
    level = os.environ.get(_LEVEL, "INFO").upper()
    if level not in logging.getLevelNamesMapping():
        raise StartFailed(f"{_LEVEL} is {level!r}: set it to DEBUG, INFO, WARNING or ERROR")
    formatter = JsonFormatter() if log_format == "json" else TextFormatter(program)
    writer = LogWriter(formatter, dropped)
    root = logging.getLogger()
    root.handlers[:] = [writer]
    root.setLevel(logging.WARNING)
    logging.getLogger(_PACKAGE).setLevel(level)
    return writer


def configure(path: Path) -> None:
    """Log as a file says, a dictConfig in YAML or JSON; `StartFailed` says what is wrong with it.

    It may use this module's formatters and its `RequestIdFilter`.
    """
    try:
        logging.config.dictConfig(_read(path))
    except OSError as error:
        raise StartFailed(f"cannot read --log_config_file {path}: {error.strerror}") from error
    except Exception as error:
        reason = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
        raise StartFailed(
            f"--log_config_file {path} is no logging configuration: {reason}"
        ) from error


def _read(path: Path) -> Any:
    if path.suffix == ".json":
        return json.loads(path.read_bytes())
    if path.suffix in (".yaml", ".yml"):
        import yaml

        return yaml.safe_load(path.read_bytes())
    raise ValueError("expected a .yaml, .yml or .json file")


class LatencyLog:
    """One record a request with its times, in the words of KServe's `--enable_latency_logging`.

    It goes to the logger `modelport_serving.trace`.
    """

    def __init__(self) -> None:
        self._log = logging.getLogger(f"{_PACKAGE}.trace")

    def write(
        self,
        identity: str,
        preprocess: float,
        explain: float,
        predict: float,
        postprocess: float,
    ) -> None:
        """Log one request's times, given in seconds."""
        if not self._log.isEnabledFor(logging.INFO):
            return
        times = {
            "preprocess_ms": round(preprocess * 1000, 6),
            "explain_ms": round(explain * 1000, 6),
            "predict_ms": round(predict * 1000, 6),
            "postprocess_ms": round(postprocess * 1000, 6),
        }
        message = (identity, *times.values())
        # Made by hand: looking for the caller would cost as much as all the rest.
        record = logging.LogRecord(
            self._log.name, logging.INFO, __file__, 0, _LATENCIES, message, None
        )
        record.request_id = identity
        record.fields = times
        self._log.handle(record)
