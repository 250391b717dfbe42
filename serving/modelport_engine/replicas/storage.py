"""Where a revision's models lie on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport_engine.objects import is_fetched, storage_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from modelport_engine.paths import EnginePaths
    from modelport_engine.settings import Settings
    from modelport_engine.state.records import Key, Revision


class Storage:
    """PLACEHOLDER by the lead: helper durability writes the real one."""

    def __init__(
        self, paths: EnginePaths, settings: Settings, environment: Mapping[str, str]
    ) -> None: ...

    def folder(self, revision: Revision, uri: str) -> Path | None:  # noqa: ARG002
        return None if is_fetched(uri) else storage_path(uri)

    async def fetch(self, revision: Revision, uri: str) -> Path:
        raise NotImplementedError

    def forget(self, key: Key, kept: set[str]) -> None: ...
