from __future__ import annotations

import os
import signal
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from modelport_engine.access import gateway_token, token_file
from modelport_engine.errors import EngineStartFailed
from modelport_engine.settings import Settings

if TYPE_CHECKING:
    from tests.engine.conftest import Home

EVERYWHERE = "0.0.0.0"  # noqa: S104 - that is what is tested


def test_a_gateway_on_loopback_has_no_token(home: Home) -> None:
    for host in ("127.0.0.1", "::1", "127.0.0.2"):
        settings = Settings(gateway_host=host)
        assert token_file(home.client.paths, settings) is None
        assert gateway_token(home.client.paths, settings) is None


def test_the_engine_makes_a_token_once_and_only_its_owner_can_read_it(home: Home) -> None:
    paths, settings = home.client.paths, Settings(gateway_host=EVERYWHERE)
    paths.prepare()
    token = gateway_token(paths, settings)
    assert token is not None
    assert len(token) >= 43
    assert gateway_token(paths, settings) == token
    assert stat.S_IMODE(paths.token.stat().st_mode) == 0o600


def test_a_token_of_ones_own_is_read_from_its_file(home: Home) -> None:
    file = home.folder / "token"
    settings = Settings(gateway_host=EVERYWHERE, gateway_token_file=str(file))
    with pytest.raises(EngineStartFailed, match=rf"{file}.*unset MODELPORT_ENGINE_GATEWAY_TOKEN"):
        gateway_token(home.client.paths, settings)
    file.write_text("sesame\n")
    assert gateway_token(home.client.paths, settings) == "sesame"


def test_an_engine_that_others_can_reach_says_where_its_token_is_and_stays_so(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home.start()["gatewayTokenFile"] is None
    home.client.shutdown()
    monkeypatch.setenv("MODELPORT_ENGINE_GATEWAY_HOST", EVERYWHERE)
    first = home.start()
    paths = home.client.paths
    assert (first["gatewayHost"], first["gatewayTokenFile"]) == (EVERYWHERE, str(paths.token))
    token = Path(first["gatewayTokenFile"]).read_text().strip()
    assert token not in str(first)
    assert token not in paths.log.read_text()
    assert str(paths.token) in paths.log.read_text()

    os.kill(first["pid"], signal.SIGKILL)
    home.eventually(lambda: not home.client.is_running())
    second = home.eventually(lambda: home.client.is_running() and home.client.info())
    assert second["gatewayHost"] == EVERYWHERE
    assert paths.token.read_text().strip() == token
