"""Whether a replica is ready, asked as Kubernetes asks a pod."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from modelport_engine import fetch

_LIMIT = 2.0  # seconds for one probe


async def is_ready(port: int, path: str | None) -> bool:
    """Tell whether what listens on a loopback port is ready.

    Args:
        port: Of HTTP on 127.0.0.1.
        path: What answers 2xx once it is ready; None: to be connected to is enough, which is
            KServe's default.
    """
    if path is None:
        return await _connects(port)
    answer = await fetch.get(port, path, _LIMIT)
    return answer is not None and HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES


async def _connects(port: int) -> bool:
    try:
        async with asyncio.timeout(_LIMIT):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
