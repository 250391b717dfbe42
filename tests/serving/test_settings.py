from __future__ import annotations

from pathlib import Path

import pytest

from modelport_serving import settings

REQUIRED = ["--model_dir", "m"]


def test_defaults_listen_on_loopback_and_load_no_pickle() -> None:
    read = settings.parse(REQUIRED)

    assert (read.model_name, read.model_dir) == ("model", Path("m"))
    assert (read.host, read.http_port) == ("127.0.0.1", 8080)
    assert not read.allow_pickle
    assert not read.enable_docs_url
    assert read.max_body_bytes == 100 * 2**20


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(["--enable_docs_url"], True), (["--enable_docs_url", "true"], True),
     (["--enable_docs_url=False"], False)],
)  # fmt: skip
def test_docs_url_is_read_as_kserve_does(arguments: list[str], expected: bool) -> None:
    assert settings.parse([*REQUIRED, *arguments]).enable_docs_url is expected


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--grpc_port", "8081"], "unrecognized arguments: --grpc_port"),
        (["--http", "8081"], "unrecognized arguments: --http"),
        (["--workers", "2"], "start more replicas"),
        (["--http_port", "0"], "above 0"),
        (["--http_port", "65536"], "at most 65535"),
        (["--max_threads", "many"], "above 0"),
        (["--enable_docs_url", "perhaps"], "true or false"),
        (["--model_name", "a/b"], "no slash"),
    ],
)
def test_refuses_in_one_line(
    arguments: list[str], fragment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        settings.parse([*REQUIRED, *arguments])

    errors = capsys.readouterr().err
    assert end.value.code == 2
    assert errors.startswith("modelport-serving: ")
    assert errors.count("\n") == 1
    assert fragment in errors
