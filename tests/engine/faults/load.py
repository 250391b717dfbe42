"""A program: ask services at constant rates, over REST and gRPC, and tell what came of each.

    python load.py PORT

A line of its input names what is asked from now on: a JSON list of streams, each `[protocol,
service, rate]`: `rest` or `grpc`, a name in the namespace `default`, requests a second. An empty
list stops; `idle` is printed once nothing is under way any more. Every other line of the output
is one request: protocol, service, when it was due, when it was over (both monotonic, in seconds),
and what came of it: `=` and the weight of the model that answered, or why there is no answer.

The rates are open-loop: a request that waits holds up none of those after it, and what it waited
counts from when it was due. This is a process of its own so that the one which does the damage
does not slow it down.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import struct
import sys
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import grpc
import grpc.aio
import uvloop
from tritonclient.grpc import service_pb2 as messages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PATIENCE = 30.0
"""Seconds that a client waits for an answer."""

NUMBERS = 1 << 12
"""Inputs are whole numbers below this: float32 holds their multiples exactly."""

_INFER = "/inference.GRPCInferenceService/ModelInfer"
_FLUSH = 0.02
_RECONNECT = [
    # gRPC's own pause before it connects again is a second and more: too long to see what
    # the gateway itself takes.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
]


class Client:
    """The connections to one gateway; they are kept as long as anything is asked."""

    def __init__(self, port: int) -> None:
        self._address = f"127.0.0.1:{port}"
        self._session: aiohttp.ClientSession | None = None
        self._channels: dict[str, Any] = {}

    async def rest(self, service: str, number: int) -> str:
        """Ask over HTTP/1.1 by path."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            timeout = aiohttp.ClientTimeout(total=PATIENCE)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        item = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [number]}
        url = f"http://{self._address}/serving/default/{service}/v2/models/{service}/infer"
        try:
            async with self._session.post(url, json={"inputs": [item]}) as response:
                body = await response.read()
        except aiohttp.ClientConnectorError:
            return "nobody listens"
        except aiohttp.ClientError:
            return "connection lost"
        except TimeoutError:
            return f"no answer in {PATIENCE:g} s"
        document = json.loads(body)
        if response.status != 200:
            return f"{response.status} {document.get('error')}"
        return f"={document['outputs'][0]['data'][0] / number:g}"

    async def grpc(self, service: str, number: int) -> str:
        """Ask over HTTP/2 by authority."""
        if service not in self._channels:
            options = [("grpc.default_authority", f"{service}.default.local"), *_RECONNECT]
            self._channels[service] = grpc.aio.insecure_channel(self._address, options)
        message = messages.ModelInferRequest(model_name=service)
        message.inputs.add(name="x", datatype="FP32", shape=[1, 1])
        message.raw_input_contents.append(struct.pack("<f", number))
        call = self._channels[service].unary_unary(_INFER)
        try:
            answer = await call(message.SerializeToString(), timeout=PATIENCE)
        except grpc.aio.AioRpcError as error:
            return _failure(error)
        reply = messages.ModelInferResponse.FromString(answer)
        return f"={struct.unpack('<f', reply.raw_output_contents[0])[0] / number:g}"

    async def close(self) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()
            self._session = None
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()


class Generator:
    """Asks by the streams that it was given last."""

    def __init__(self, port: int) -> None:
        self._client = Client(port)
        self._streams: list[asyncio.Task[None]] = []
        self._under_way: set[asyncio.Task[None]] = set()

    async def follow(self, commands: asyncio.StreamReader) -> None:
        """Do as the lines of the input say, until it ends."""
        printing = asyncio.create_task(_flush())
        async for line in commands:
            for stream in self._streams:
                stream.cancel()
            asked = [self._stream(*stream) for stream in json.loads(line)]
            self._streams = [asyncio.create_task(stream) for stream in asked]
            if not asked:
                await self._come_to_rest()
        printing.cancel()

    async def _come_to_rest(self) -> None:
        while self._under_way:
            await asyncio.wait(self._under_way)
        await self._client.close()
        sys.stdout.write("idle\n")

    async def _stream(self, protocol: str, service: str, rate: float) -> None:
        ask = getattr(self._client, protocol)
        begun = time.monotonic()
        for index in itertools.count():
            due = begun + index / rate
            await asyncio.sleep(due - time.monotonic())
            task = asyncio.create_task(self._request(protocol, service, ask, index, due))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _request(
        self,
        protocol: str,
        service: str,
        ask: Callable[[str, int], Awaitable[str]],
        index: int,
        due: float,
    ) -> None:
        try:
            outcome = await ask(service, index % (NUMBERS - 1) + 1)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer
            outcome = f"{type(error).__name__} {error}"
        said = " ".join(outcome.split())
        sys.stdout.write(f"{protocol} {service} {due:.4f} {time.monotonic():.4f} {said}\n")


def _failure(error: Any) -> str:
    details = error.details() or ""
    if "Failed to connect" in details or "failed to connect" in details:
        return "nobody listens"
    return f"{error.code().name} {details}"


async def _flush() -> None:
    while True:
        await asyncio.sleep(_FLUSH)
        sys.stdout.flush()


async def _main(port: int) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await Generator(port).follow(reader)


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
