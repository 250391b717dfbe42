"""The token of a gateway that other machines can reach."""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from modelport_engine.errors import EngineStartFailed
from modelport_engine.paths import storage_failed

if TYPE_CHECKING:
    from modelport_engine.paths import EnginePaths
    from modelport_engine.settings import Settings

log = logging.getLogger(__name__)

_SIZE = 32  # bytes


def token_file(paths: EnginePaths, settings: Settings) -> Path | None:
    """Name the file with what callers from other machines send; None if none can call."""
    if _is_loopback(settings.gateway_host):
        return None
    named = settings.gateway_token_file
    return Path(named).expanduser().absolute() if named else paths.token


def gateway_token(paths: EnginePaths, settings: Settings) -> str | None:
    """Give what callers from other machines send; the engine's own is made at its first use.

    Raises:
        EngineStartFailed: when the file that the user names cannot be read.
        StorageFailed: when the engine's own cannot be written.
    """
    file = token_file(paths, settings)
    if file is None:
        return None
    if file == paths.token and not file.exists():
        _make(paths)
    try:
        token = file.read_text().strip()
    except (OSError, ValueError) as error:
        raise EngineStartFailed(
            f"the gateway's token cannot be read from {file} ({error})",
            "write one there, or unset MODELPORT_ENGINE_GATEWAY_TOKEN_FILE",
        ) from error
    log.info("other machines reach the gateway with the token in %s", file)
    return token


def _make(paths: EnginePaths) -> None:
    partial = paths.token.with_suffix(".partial")
    try:
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secrets.token_urlsafe(_SIZE)}\n")
        partial.replace(paths.token)
    except OSError as error:
        raise storage_failed(paths.home, error) from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True  # the gateway refuses it and says why
