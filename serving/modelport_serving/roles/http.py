"""HTTP/1.1 to one host: kept connections, a bound on them, one retry. The only user of aiohttp."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import aiohttp
from yarl import URL

from modelport_serving.errors import UpstreamFailed

MOST_CONNECTIONS = 128
"""Requests under way at once; further ones wait for a connection."""

_CONNECT_SECONDS = 10.0
"""A host that drops packets must not hold a caller for the whole of its deadline."""

_IDLE_SECONDS = 30.0
"""Longer unused connections may have been forgotten on the way without a word."""


class HttpAnswer(NamedTuple):
    """A whole HTTP response; its headers are found by names in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """Requests to one `host:port`, over TLS with `use_ssl`. Made and used in an event loop.

    `path` goes before every request's own.
    """

    def __init__(
        self,
        address: str,
        path: str = "",
        *,
        use_ssl: bool = False,
        most_connections: int = MOST_CONNECTIONS,
    ) -> None:
        self.address = address
        self._base = f"{'https' if use_ssl else 'http'}://{address}{path}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=most_connections, keepalive_timeout=_IDLE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept-Encoding",),  # to compress would take longer than to send
            timeout=aiohttp.ClientTimeout(sock_connect=_CONNECT_SECONDS),
        )

    async def request(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        body: Sequence[bytes] = (),
    ) -> HttpAnswer:
        """Send a request and return the whole answer, whatever its status.

        What was not answered is sent once more: a server may close a kept connection at any time,
        and predictions change nothing. `UpstreamFailed` when that fails too. Cancel it to give up
        waiting.
        """
        url = URL(self._base + target, encoded=True)
        data = b"".join(body)
        try:
            try:
                return await self._exchange(method, url, headers, data)
            except aiohttp.ClientConnectionError:
                return await self._exchange(method, url, headers, data)
        except aiohttp.ClientConnectionError as error:
            raise UpstreamFailed(
                f"the predictor at {self.address} does not answer ({error}): is it running?"
            ) from error
        except aiohttp.ClientResponseError as error:
            raise UpstreamFailed(f"the predictor's answer is not HTTP: {error.message}") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _exchange(
        self, method: str, url: URL, headers: Iterable[tuple[str, str]], data: bytes
    ) -> HttpAnswer:
        async with self._session.request(
            method, url, headers=headers, data=data or None, allow_redirects=False
        ) as response:
            try:
                body = await response.read()
            except aiohttp.ClientError as error:
                raise UpstreamFailed(
                    "the predictor closed the connection within its answer"
                ) from error
            return HttpAnswer(response.status, response.headers, body)
