from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from modelport_engine.errors import GatewayFailed
from modelport_engine.gateway.envoy import Gateway
from modelport_engine.gateway.xds import Table
from modelport_engine.paths import EnginePaths
from modelport_engine.replicas.processes import is_alive, kill_strays, owned
from modelport_engine.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[EnginePaths]:
    paths = EnginePaths(tmp_path)
    paths.prepare()
    yield paths
    kill_strays(tmp_path, keep=set())


def test_an_envoy_that_does_not_take_its_table_is_ended(
    paths: EnginePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(gateway: Gateway) -> None:
        await gateway.claim(None, default=0)
        with monkeypatch.context() as patch:
            patch.setattr("modelport_engine.gateway.envoy.START_LIMIT", -1.0)
            with pytest.raises(GatewayFailed, match="did not take"):
                await gateway.start(Table)
        assert not gateway.running
        assert [process for process in owned(paths.home) if is_alive(process.pid)] == []

        await gateway.start(Table)
        assert gateway.answering
        await gateway.stop()

    store = Store(paths.database)
    asyncio.run(scenario(Gateway(paths, store, workers=1)))
    store.close()
