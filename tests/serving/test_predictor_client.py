"""The client of a predictor in another process: real servers, and real faults on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import numpy as np
import pytest
import uvloop

from modelport_serving.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    ModelNotReady,
    NotSupported,
    Overloaded,
    PayloadTooLarge,
    PredictionFailed,
    ServingError,
    StartFailed,
    Unauthenticated,
    UpstreamFailed,
)
from modelport_serving.roles.context import Context
from modelport_serving.roles.http import HttpClient
from modelport_serving.roles.remote import RemotePredictor, address_of

run = uvloop.run
PROTOCOLS = ("v1", "v2", "grpc-v2")
V2_ANSWER = b'{"outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [1.5]}]}'


def remote(server: Any, protocol: str, timeout: float = 20.0) -> RemotePredictor:
    host = server.grpc_address if protocol == "grpc-v2" else server.address
    return RemotePredictor(host, protocol, use_ssl=False, timeout=timeout)


def infer(server: Any, protocol: str, inputs: Any, outputs: Any = (), **context: Any) -> Any:
    async def ask() -> Any:
        predictor = remote(server, protocol)
        try:
            return await predictor.infer(inputs, outputs, Context(**{"model_name": "m"} | context))
        finally:
            await predictor.close()

    return run(ask())


@pytest.fixture(scope="module")
def predictor(serving: Any, tumor: Any) -> Iterator[Any]:
    with serving(*tumor.arguments("m")) as server:
        yield server


@pytest.fixture(scope="module")
def florist(serving: Any, flower: Any) -> Iterator[Any]:
    with serving(*flower.arguments("m")) as server:
        yield server


class TestRealPredictor:
    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_rows(self, predictor: Any, tumor: Any, protocol: str) -> None:
        rows = tumor.rows.to_numpy()[:7]
        answers = infer(predictor, protocol, {"instances": rows})
        assert answers["label"].tolist() == tumor.model.predict(rows).tolist()
        assert answers["probabilities"] == pytest.approx(tumor.model.predict_proba(rows), abs=1e-5)

    @pytest.mark.parametrize("protocol", ["v2", "grpc-v2"])
    def test_tensors_and_outputs(self, predictor: Any, tumor: Any, protocol: str) -> None:
        rows = tumor.rows.to_numpy()[:3]
        answers = infer(predictor, protocol, {"input": rows}, ["probabilities"])
        assert list(answers) == ["probabilities"]
        assert answers["probabilities"].dtype == np.float32

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_columns_of_texts_and_numbers(self, florist: Any, flower: Any, protocol: str) -> None:
        columns = {name: flower.rows[name].to_numpy() for name in flower.rows}
        answers = infer(florist, protocol, columns)
        labels = next(answer for answer in answers.values() if answer.dtype == np.object_)
        texts = [item.decode() if isinstance(item, bytes) else item for item in labels]
        assert texts == flower.model.predict(flower.rows).tolist()

    def test_rows_of_a_predictor_with_several_inputs_need_names(self, florist: Any) -> None:
        with pytest.raises(InvalidInput, match="'colour', 'size'"):
            infer(florist, "v2", {"instances": np.array([["red", 1.5]], object)})

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_its_errors_keep_their_meaning(self, predictor: Any, protocol: str) -> None:
        rows = np.zeros((1, 29))
        with pytest.raises(InvalidInput, match="30"):
            infer(predictor, protocol, {"instances": rows})
        with pytest.raises(ModelNotFound, match="other"):
            infer(predictor, protocol, {"instances": rows}, model_name="other")

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_readiness_and_metadata(self, predictor: Any, protocol: str) -> None:
        async def ask() -> Any:
            client = remote(predictor, protocol)
            states = await client.ready("m"), await client.ready("other")
            metadata = await client.metadata("m")
            await client.close()
            return states, metadata

        states, metadata = run(ask())
        assert states == (True, False)
        if protocol != "v1":
            assert [(spec.name, spec.shape) for spec in metadata.inputs] == [("input", (-1, 30))]
            assert [spec.name for spec in metadata.outputs] == ["label", "probabilities"]

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_it_goes_and_comes_back(
        self, launch: Any, wait_until: Any, tumor: Any, protocol: str
    ) -> None:
        rows = {"instances": tumor.rows.to_numpy()[:1]}
        with ExitStack() as stack:

            def start(*arguments: str, port: int | None = None) -> Any:
                server = launch(*tumor.arguments("m"), *arguments, port=port)
                stack.callback(server.kill)
                wait_until(server.is_ready, "the predictor is ready")
                return server

            async def ask(server: Any) -> None:
                client = remote(server, protocol)
                context = Context("m")
                assert (await client.infer(rows, (), context))["label"].shape == (1,)
                server.process.kill()
                server.process.wait()
                with pytest.raises(UpstreamFailed, match="does not answer"):
                    await client.infer(rows, (), context)
                assert not await client.ready("m")
                ports = ("--grpc_port", str(server.grpc_port))
                await asyncio.to_thread(start, *ports, port=server.port)
                while not await client.ready("m"):  # gRPC looks for it in its own time
                    await asyncio.sleep(0.05)
                assert (await client.infer(rows, (), context))["label"].shape == (1,)
                await client.close()

            run(asyncio.wait_for(ask(start()), 60))


Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
Handler = Callable[[Reader, Writer], Awaitable[None]]


@asynccontextmanager
async def connected(host: str, **options: Any) -> AsyncIterator[HttpClient]:
    client = HttpClient(host, **options)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[str]:
    writers: list[Writer] = []

    async def handle(reader: Reader, writer: Writer) -> None:
        writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):  # the client has hung up
            await handler(reader, writer)

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def read_request(reader: Reader) -> tuple[str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lengths = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
    return head, await reader.readexactly(int(lengths[0].split(":")[1]) if lengths else 0)


def answer(body: bytes, status: int = 200, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def post(client: HttpClient, body: bytes = b"{}") -> Any:
    return await client.request("POST", "/", (), [body])


class TestConnections:
    def test_are_kept(self) -> None:
        seen: list[int] = []

        async def handler(reader: Reader, writer: Writer) -> None:
            number = len(seen)
            while True:
                await read_request(reader)
                seen.append(number)
                writer.write(answer(b"ok"))

        async def main() -> None:
            async with listening(handler) as host, connected(host) as client:
                for _ in range(5):
                    assert (await post(client)).body == b"ok"

        run(main())
        assert seen == [0] * 5

    def test_one_that_the_server_closed_is_replaced(self) -> None:
        """The server ends the kept connection just as the next request is on its way."""
        connections = 0

        async def handler(reader: Reader, writer: Writer) -> None:
            nonlocal connections
            connections += 1
            await read_request(reader)
            writer.write(answer(b"ok"))
            if connections == 1:
                await read_request(reader)
                writer.transport.abort()

        async def main() -> list[int]:
            async with listening(handler) as host, connected(host) as client:
                return [(await post(client)).status for _ in range(2)]

        assert run(main()) == [200, 200]
        assert connections == 2

    def test_one_more_try_and_no_more(self) -> None:
        requests = 0

        async def handler(reader: Reader, writer: Writer) -> None:
            nonlocal requests
            await read_request(reader)
            requests += 1
            writer.transport.abort()

        async def main() -> None:
            async with listening(handler) as host, connected(host) as client:
                with pytest.raises(UpstreamFailed, match=f"{host} does not answer"):
                    await post(client)

        run(main())
        assert requests == 2

    def test_no_second_try_once_an_answer_has_begun(self) -> None:
        requests = 0

        async def handler(reader: Reader, writer: Writer) -> None:
            nonlocal requests
            await read_request(reader)
            requests += 1
            writer.write(answer(b"whole")[:-2])
            writer.close()

        async def main() -> None:
            async with listening(handler) as host, connected(host) as client:
                with pytest.raises(UpstreamFailed, match="within its answer"):
                    await post(client)

        run(main())
        assert requests == 1

    def test_are_bounded(self) -> None:
        connections = 0

        async def handler(reader: Reader, writer: Writer) -> None:
            nonlocal connections
            connections += 1
            while True:
                await read_request(reader)
                writer.write(answer(b"ok"))

        async def main() -> None:
            async with listening(handler) as host, connected(host, most_connections=2) as client:
                replies = await asyncio.gather(*(post(client) for _ in range(9)))
                assert [reply.body for reply in replies] == [b"ok"] * 9

        run(main())
        assert connections == 2

    def test_a_cancelled_request_takes_its_connection_along(self) -> None:
        """Or its late answer would be given to the next request."""
        asked = asyncio.Event()
        connections = 0

        async def handler(reader: Reader, writer: Writer) -> None:
            nonlocal connections
            connections += 1
            _, body = await read_request(reader)
            asked.set()
            if body == b"slow":
                assert await reader.read() == b""  # the client hangs up
            writer.write(answer(body))

        async def main() -> Any:
            async with listening(handler) as host, connected(host, most_connections=1) as client:
                slow = asyncio.create_task(post(client, b"slow"))
                await asked.wait()
                slow.cancel()
                return await post(client, b"quick")

        assert run(main()).body == b"quick"
        assert connections == 2

    def test_share_nothing_but_the_host(self) -> None:
        """No cookies, no redirects, no compression: all of it takes time for nothing."""
        heads: list[str] = []

        async def handler(reader: Reader, writer: Writer) -> None:
            while True:
                head, _ = await read_request(reader)
                heads.append(head.lower())
                writer.write(answer(b"", 307, "set-cookie: a=b; path=/", "location: /elsewhere"))

        async def main() -> list[int]:
            async with listening(handler) as host, connected(host) as client:
                return [(await post(client)).status for _ in range(2)]

        assert run(main()) == [307, 307]
        assert not any("cookie:" in head or "accept-encoding:" in head for head in heads)

    def test_what_is_not_http(self) -> None:
        async def handler(reader: Reader, writer: Writer) -> None:
            await read_request(reader)
            writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")

        async def main() -> None:
            async with listening(handler) as host, connected(host) as client:
                with pytest.raises(UpstreamFailed, match="not HTTP"):
                    await post(client)

        run(main())


def v2_answers(*replies: bytes) -> tuple[Handler, list[tuple[str, bytes]]]:
    """A V2 predictor without metadata that gives these answers to infer requests, in order."""
    seen: list[tuple[str, bytes]] = []
    left = list(replies)

    async def handler(reader: Reader, writer: Writer) -> None:
        while True:
            head, body = await read_request(reader)
            if head.startswith("GET"):
                writer.write(answer(b'{"name": "m", "extensions": []}'))
                continue
            seen.append((head, body))
            writer.write(left.pop(0))

    return handler, seen


def ask_raw(handler: Handler, timeout: float = 20.0, **context: Any) -> Any:
    async def main() -> Any:
        async with listening(handler) as host:
            predictor = RemotePredictor(host, "v2", use_ssl=False, timeout=timeout)
            try:
                return await predictor.infer({"x": np.array([1.0])}, (), Context("a b", **context))
            finally:
                await predictor.close()

    return run(main())


@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (400, (), InvalidInput),
        (422, (), InvalidInput),
        (401, (), Unauthenticated),
        (404, (), ModelNotFound),
        (413, (), PayloadTooLarge),
        (500, (), PredictionFailed),
        (501, (), NotSupported),
        (502, (), UpstreamFailed),
        (503, (), ModelNotReady),
        (503, ("retry-after: 1",), Overloaded),
        (504, (), DeadlineExceeded),
    ],
)
def test_error_codes(status: int, headers: tuple[str, ...], error: type[ServingError]) -> None:
    handler, _ = v2_answers(answer(b'{"error": "its words"}', status, *headers))
    with pytest.raises(ServingError, match=r"^its words$") as caught:
        ask_raw(handler)
    assert type(caught.value) is error


def test_what_a_predictor_is_told() -> None:
    handler, seen = v2_answers(answer(V2_ANSWER))
    headers = {
        "traceparent": "00-1-2-01",
        "authorization": "Bearer t",
        "cookie": "secret",
        "host": "transformer",
    }
    answers = ask_raw(handler, request_id="r 1", headers=headers, model_version="2")
    assert answers["y"].tolist() == [1.5]
    lines = seen[0][0].split("\r\n")
    assert lines[0] == "POST /v2/models/a%20b/versions/2/infer HTTP/1.1"
    assert {"traceparent: 00-1-2-01", "authorization: Bearer t", "x-request-id: r 1"} <= {*lines}
    assert not any(line.startswith(("cookie", "host: transformer")) for line in lines)


def test_a_request_id_cannot_add_headers() -> None:
    handler, seen = v2_answers(answer(V2_ANSWER))
    ask_raw(handler, request_id="r\r\nx-evil: 1")
    assert "x-evil" not in seen[0][0]


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"outputs": 1}',
        b'{"outputs": [1]}',
        b'{"outputs": [{"name": "y"}]}',
        b'{"outputs": [{"name": "y", "datatype": "X", "shape": [1], "data": [1]}]}',
        b'{"outputs": [{"name": "y", "datatype": "INT8", "shape": [3], "data": [1]}]}',
    ],
)
def test_an_answer_that_is_none(body: bytes) -> None:
    handler, _ = v2_answers(answer(body))
    with pytest.raises(UpstreamFailed):
        ask_raw(handler)


def test_bytes_need_a_predictor_that_takes_binary_tensors() -> None:
    handler, _ = v2_answers()

    async def main() -> None:
        async with listening(handler) as host:
            predictor = RemotePredictor(host, "v2", use_ssl=False, timeout=20)
            inputs = {"image": np.array([b"\xff"], object)}
            with pytest.raises(InvalidInput, match="'image' holds bytes"):
                await predictor.infer(inputs, (), Context("m"))
            await predictor.close()

    run(main())


@pytest.mark.parametrize("given", ["timeout", "deadline"])
def test_no_answer_in_time(given: str) -> None:
    hung_up = asyncio.Event()

    async def handler(reader: Reader, writer: Writer) -> None:  # noqa: ARG001 - says nothing
        await reader.read()
        hung_up.set()

    async def main() -> None:
        async with listening(handler) as host:
            timeout = 0.1 if given == "timeout" else 20.0
            predictor = RemotePredictor(host, "v1", use_ssl=False, timeout=timeout)
            loop = asyncio.get_running_loop()
            deadline = loop.time() + (20.0 if given == "timeout" else 0.1)
            with pytest.raises(DeadlineExceeded, match=host):
                await predictor.infer({"x": np.array([1.0])}, (), Context("m"), deadline)
            await asyncio.wait_for(hung_up.wait(), 10)
            await predictor.close()

    run(main())


def test_hosts() -> None:
    assert address_of("predictor", 80) == "predictor:80"
    assert address_of("predictor:8080", 80) == "predictor:8080"
    assert address_of("[::1]:8080", 80) == "[::1]:8080"
    assert address_of("::1", 443) == "[::1]:443"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("host", ["", ":80", "http://h", "h/a?b", "me@h", "h:65536", "a b"])
def test_what_is_no_host(host: str, protocol: str) -> None:
    with pytest.raises(StartFailed, match="is a host or"):
        RemotePredictor(host, protocol, use_ssl=False, timeout=1)
