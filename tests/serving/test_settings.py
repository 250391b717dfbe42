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
    assert read.max_body_bytes == 128 * 2**20


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
        (["--max_asyncio_workers", "2"], "unrecognized arguments: --max_asyncio_workers"),
        (["--http", "8081"], "unrecognized arguments: --http"),
        (["--workers", "0"], "above 0"),
        (["--access_log_format", "%s"], "has one format"),
        (["--model_version_policy", "newest"], "latest, all or versions"),
        (["--max_queue_seconds", "-1"], "above 0"),
        (["--max_queue_seconds", "nan"], "above 0"),
        (["--predictor_host", "h"], "needs --transformer or --explainer"),
        (["--tls_cert_file", "c"], "go together"),
        (["--cache_url", "redis://h"], "needs --cache_bytes"),
        (["--predictor_protocol", "v3"], "invalid choice"),
        (["--http_port", "0"], "above 0"),
        (["--http_port", "65536"], "at most 65535"),
        (["--max_threads", "many"], "a whole number"),
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


def test_workers_share_the_cpus() -> None:
    one = settings.parse([*REQUIRED]).max_threads

    assert settings.parse([*REQUIRED, "--workers", "2"]).max_threads == max(1, one // 2)
    assert settings.parse([*REQUIRED, "--workers", "1000"]).max_threads == 1
    assert settings.parse([*REQUIRED, "--max_threads", "7", "--workers", "2"]).max_threads == 7
