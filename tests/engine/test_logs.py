from __future__ import annotations

import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from modelport_engine.errors import StorageFailed
from modelport_engine.replicas.logs import files, rotate, tail

if TYPE_CHECKING:
    from pathlib import Path

WRITER = "for number in range(200_000): print(number, flush=number % 10 == 0)"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "tumor-predictor-00001-1.log"


def test_a_log_within_its_limit_or_not_there_is_left_alone(log: Path) -> None:
    assert rotate(log, 10) is False
    log.write_text("0123456789")
    assert rotate(log, 10) is False
    assert files(log) == [log]


def test_a_large_log_is_put_aside_and_two_older_files_are_kept(log: Path) -> None:
    for text in ("first\n", "second\n", "third\n", "fourth\n"):
        with log.open("a") as file:
            file.write(text)
        assert rotate(log, 5) is True
        assert log.stat().st_size == 0
    log.write_text("fifth\n")
    assert [file.name.partition(".")[2] for file in files(log)] == ["log.2", "log.1", "log"]
    assert [file.read_text() for file in files(log)] == ["third\n", "fourth\n", "fifth\n"]
    assert {path.name for path in log.parent.iterdir()} == {file.name for file in files(log)}
    assert stat.S_IMODE(files(log)[0].stat().st_mode) == 0o600


def test_a_writer_that_goes_on_writing_goes_on_in_the_emptied_log(log: Path) -> None:
    seen: list[str] = []
    with log.open("ab") as output:
        process = subprocess.Popen([sys.executable, "-c", WRITER], stdout=output)
    with process:
        while process.poll() is None:
            if rotate(log, 100_000):
                seen += files(log)[-2].read_text().split("\n")[:-1]
            time.sleep(0.001)
    seen += log.read_text().split("\n")[:-1]
    assert process.returncode == 0
    # A cut may take a few lines with it, and half of one; what was not cut is there once.
    assert 150_000 < len({line for line in seen if line.isdigit()}) <= len(seen) <= 200_000
    assert seen[-1] == "199999"


def test_a_copy_that_cannot_be_written_leaves_the_log_whole(log: Path) -> None:
    log.write_text("0123456789")
    log.with_name(f"{log.name}.0").mkdir()
    with pytest.raises(StorageFailed, match="directory"):
        rotate(log, 5)
    assert log.read_text() == "0123456789"


def test_the_tail_goes_back_into_older_files_as_far_as_it_must(log: Path) -> None:
    assert tail(log, 3) == []
    for first in (0, 10_000):
        log.write_text("".join(f"line {number}\n" for number in range(first, first + 10_000)))
        rotate(log, 1)
    log.write_text("last\nunfinished")
    assert tail(log, 0) == []
    assert tail(log, 1) == ["unfinished"]
    assert tail(log, 4) == ["line 19998", "line 19999", "last", "unfinished"]
    assert tail(log, 15_002)[:2] == ["line 5000", "line 5001"]
    assert len(tail(log, 10**6)) == 20_002
    log.write_bytes(b"\xff" * 300_000)
    assert tail(log, 1) == ["\ufffd" * 300_000]
