from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from modelport_serving import logs
from modelport_serving.errors import StartFailed


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program that logs, and return what it wrote."""
    begin = (
        "import logging, os, sys\n"
        "from modelport_serving import logs\n"
        "log = logging.getLogger('modelport_serving')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", begin + code],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment or None,
    )


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_writes_text_for_people() -> None:
    told = run("""
writer = logs.start("modelport-serving", "text", lambda: None)
log.info("m is ready at %s", "http://127.0.0.1:8080")
log.debug("not this")
logging.getLogger("somebody.else").info("nor this")
logging.getLogger("somebody.else").warning("but this")
with logs.for_request("r-1"):
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("it failed")
log.info("given", extra={"request_id": "r-2"})
writer.end(10)
""")
    lines = told.stderr.splitlines()
    assert lines[:3] == [
        "modelport-serving: m is ready at http://127.0.0.1:8080",
        "modelport-serving: but this",
        "modelport-serving: it failed (request r-1)",
    ]
    assert lines[3] == "Traceback (most recent call last):"
    assert lines[-2:] == [
        "ZeroDivisionError: division by zero",
        "modelport-serving: given (request r-2)",
    ]


def test_writes_json_for_machines() -> None:
    before = datetime.now(UTC)
    told = run("""
writer = logs.start("modelport-serving", "json", lambda: None)
log.info("größe\\n%s", "x")
with logs.for_request("r-1"):
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("it failed")
log.info("odd", extra={"fields": {"what": object}})
writer.end(10)
""")
    first, second, third = json_lines(told.stderr)
    assert before <= datetime.fromisoformat(first.pop("timestamp")) <= datetime.now(UTC)
    assert first.pop("process") > 0
    assert first == {"level": "INFO", "logger": "modelport_serving", "message": "größe\nx"}
    assert second["requestId"] == "r-1"
    assert second["level"] == "ERROR"
    assert second["exception"].endswith("ZeroDivisionError: division by zero")
    assert third["what"] == "<class 'object'>"


def test_keeps_the_ids_of_requests_apart() -> None:
    heard: list[tuple[str, str | None]] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append((record.getMessage(), getattr(record, "request_id", "missing")))

    listener = Listener()
    listener.addFilter(logs.RequestIdFilter())
    log = logging.getLogger("test_keeps_the_ids_of_requests_apart")
    log.propagate = False
    log.addHandler(listener)

    async def request(identity: str, turn: asyncio.Event, other: asyncio.Event) -> None:
        with logs.for_request(identity):
            other.set()
            await turn.wait()
            log.warning(identity)

    async def both() -> None:
        one, two = asyncio.Event(), asyncio.Event()
        await asyncio.gather(request("a", one, two), request("b", two, one))

    asyncio.run(both())
    log.warning("outside")
    assert sorted(heard[:2]) == [("a", "a"), ("b", "b")]
    assert heard[2] == ("outside", None)


def test_takes_a_callers_request_id_only_if_it_can_be_written() -> None:
    assert logs.request_id("2f6e-ab/1") == "2f6e-ab/1"
    for given in (None, "", "x" * 129, "a\nb", "größe"):
        made = logs.request_id(given)
        assert len(made) == 32
        assert made.isalnum()
    assert logs.request_id(None) != logs.request_id(None)


def test_writes_latencies_in_kserves_words() -> None:
    told = run("""
for log_format in ("text", "json"):
    writer = logs.start("modelport-serving", log_format, lambda: None)
    logs.LatencyLog().write("r-1", 0.0015, 0.0, 0.25, 0.000002)
    writer.end(10)
""")
    text, line = told.stderr.splitlines()
    message = (
        "requestId: r-1, preprocess_ms: 1.5, explain_ms: 0.0, predict_ms: 250.0, "
        "postprocess_ms: 0.002"
    )
    assert text == f"modelport-serving: {message}"
    record = json.loads(line)
    assert record["logger"] == "modelport_serving.trace"
    assert record["message"] == message
    assert record["requestId"] == "r-1"
    assert (record["predict_ms"], record["postprocess_ms"]) == (250.0, 0.002)


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer s3cret-Token.x==",
        "{'authorization': 'Bearer s3cret-Token.x=='}",
        "headers: [(b'authorization', b'Bearer s3cret-Token.x==')]",
        "authorization=Basic s3cret-Token.x==",
        "sent bearer s3cret-Token.x== to it",
    ],
)
def test_blots_out_credentials(text: str) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, text, None, None)
    for formatter in (logs.TextFormatter("p"), logs.JsonFormatter()):
        written = formatter.format(record)
        assert "s3cret" not in written
        assert "***" in written


def test_leaves_plain_words_alone() -> None:
    text = "a valid bearer token is needed, basic information follows"
    record = logging.LogRecord("x", logging.INFO, "", 0, text, None, None)
    assert logs.TextFormatter("p").format(record) == f"p: {text}"


def test_waits_for_nobody() -> None:
    """Nobody reads stderr, and its pipe is full soon: the program goes on, and counts drops."""
    code = """
import logging, os
from modelport_serving import logs
dropped = 0
def drop():
    global dropped
    dropped += 1
writer = logs.start("modelport-serving", "text", drop)
log = logging.getLogger("modelport_serving")
for _ in range(30_000):
    log.info("x" * 100)
writer.end(0.1)
print(dropped, flush=True)
os._exit(0)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            dropped = int(process.stdout.readline())
            assert process.wait(30) == 0
        finally:
            process.kill()
        written = process.stderr.read().count("modelport-serving: ")
    # 64 KiB of lines fit into the pipe, 10,000 records into the queue.
    assert 0 < dropped < 30_000
    assert 0 < written <= 30_000 - dropped


def test_honours_kserves_log_level() -> None:
    code = """
writer = logs.start("modelport-serving", "text", lambda: None)
log.debug("deep")
writer.end(10)
"""
    assert run(code, KSERVE_LOGLEVEL="debug").stderr == "modelport-serving: deep\n"


def test_refuses_an_unknown_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KSERVE_LOGLEVEL", "loud")
    with pytest.raises(StartFailed, match="KSERVE_LOGLEVEL is 'LOUD': set it to"):
        logs.start("modelport-serving", "text", lambda: None)


CONFIGURATION = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"ours": {"()": "modelport_serving.logs.JsonFormatter"}},
    "filters": {"ids": {"()": "modelport_serving.logs.RequestIdFilter"}},
    "handlers": {
        "out": {
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stdout",
            "formatter": "ours",
            "filters": ["ids"],
        }
    },
    "loggers": {"modelport_serving": {"handlers": ["out"], "level": "DEBUG"}},
}


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
def test_takes_a_configuration_file(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"log{suffix}"
    file.write_text(json.dumps(CONFIGURATION))  # JSON is YAML too
    told = run(f"""
from pathlib import Path
logs.configure(Path({str(file)!r}))
with logs.for_request("r-1"):
    log.debug("deep")
""")
    (record,) = json_lines(told.stdout)
    assert (record["message"], record["requestId"]) == ("deep", "r-1")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("log.ini", "[loggers]", "expected a .yaml, .yml or .json file"),
        ("log.json", "{", "Expecting property name"),
        ("log.yaml", "a: [", "while parsing"),
        (
            "log.yaml",
            "version: 1\nhandlers: {out: {class: no.Such}}",
            "Unable to configure handler",
        ),
        ("log.yaml", "just text", "dictionary"),
    ],
)
def test_says_what_is_wrong_with_a_configuration_file(
    tmp_path: Path, name: str, content: str, reason: str
) -> None:
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(StartFailed) as refused:
        logs.configure(file)
    assert str(refused.value).startswith(f"--log_config_file {file} is no logging configuration: ")
    assert reason in str(refused.value)


def test_says_that_the_configuration_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"cannot read --log_config_file .*: No such file"):
        logs.configure(tmp_path / "absent.yaml")
