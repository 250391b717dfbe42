"""Faults under load: `python tests/serving/faults.py --seconds 20` prints what came of each.

Callers send numbers over V1, V2 and gRPC, and check that each answer is that of their own number.
Meanwhile something goes wrong. No answer may be wrong, and no request that the server has accepted
may be lost; what else may happen is said by each case. Ends with 1 when that is not so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import psutil
from fuzz_support import Question, campaign, save_times
from fuzz_support import save_models as save_fuzzed
from tritonclient.grpc import service_pb2 as messages

Serving = Callable[..., AbstractContextManager[Any]]
INFER = "/inference.GRPCInferenceService/ModelInfer"
PATIENCE_SECONDS = 20.0
CALLERS = 3
"""Of each protocol."""

MOST_GROWTH_MIB = 16
MOST_NEW_THREADS = 4
DAMAGED = 600


class Gone(Exception):
    """The server has ended: nobody listens any more."""


@dataclass
class Tally:
    """What came of the requests of one case."""

    sent: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    refused: int = 0

    @property
    def answered(self) -> int:
        """How many have an answer, whatever it says."""
        return sum(self.answers.values())

    @property
    def right(self) -> int:
        """How many have the answer to their own number."""
        return sum(n for code, n in self.answers.items() if code.endswith((" 200", " OK")))

    def check(self, *allowed: str, may_lose: int = 0) -> list[str]:
        """Say what should not have been: other codes than 200, OK and those allowed, or losses."""
        odd = [code for code in self.answers if not code.endswith((" 200", " OK", *allowed))]
        bad = [*self.wrong, *(f"answer {code}" for code in odd)]
        if len(self.lost) > may_lose:
            bad += self.lost
        if not self.right:
            bad.append("nothing was answered")
        if self.sent != self.answered + self.refused + len(self.lost) + len(self.wrong):
            bad.append(f"{self.sent} sent, and not as many accounted for")
        return bad


def is_times(
    given: float, answer: float, version: str | None, times: dict[str | None, int]
) -> bool:
    """Whether an answer is that of the version that it names."""
    return answer == times.get(version, 0) * given


class Caller:
    """Asks one number after the other, and checks what comes. `times` are the model's, by version.

    With `anew` every request has a connection of its own.
    """

    def __init__(
        self,
        server: Any,
        tally: Tally,
        *,
        model: str = "m",
        times: dict[str | None, int] | None = None,
        anew: bool = False,
    ) -> None:
        self.http_port, self.grpc_port = server.port, server.grpc_port
        self.tally = tally
        self.model = model
        self.times = times or {None: 2}
        self.anew = anew
        self._streams: Any = None
        self._channel: Any = None

    async def v1(self, number: float) -> None:
        """Ask over V1, which tells no version."""
        body = json.dumps({"instances": [[number]]}).encode()
        reply = await self._http("V1", Question(f"/v1/models/{self.model}:predict", body))
        if reply is not None:
            self._judge("V1", number, reply["predictions"][0][0], set(self.times))

    async def v2(self, number: float) -> None:
        """Ask over V2."""
        item = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [number]}
        body = json.dumps({"id": str(number), "inputs": [item]}).encode()
        reply = await self._http("V2", Question(f"/v2/models/{self.model}/infer", body))
        if reply is not None:
            if reply["id"] != str(number):
                self.tally.wrong.append(f"V2 {number}: the answer to {reply['id']}")
                return
            self._judge("V2", number, reply["outputs"][0]["data"][0], {reply.get("model_version")})

    async def grpc(self, number: float) -> None:
        """Ask over gRPC."""
        message = messages.ModelInferRequest(model_name=self.model, id=str(number))
        message.inputs.add(name="x", datatype="FP32", shape=[1, 1])
        message.raw_input_contents.append(struct.pack("<f", number))
        self.tally.sent += 1
        if self._channel is None:
            # Each channel has its own connection. Calls that were never sent are retried.
            options = [("grpc.use_local_subchannel_pool", 1)]
            self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.grpc_port}", options)
        call = self._channel.unary_unary(INFER)
        try:
            data = await call(message.SerializeToString(), timeout=PATIENCE_SECONDS)
        except grpc.aio.AioRpcError as error:
            await self._not_answered(error)
            return
        reply = messages.ModelInferResponse.FromString(data)
        (answer,) = struct.unpack("<f", reply.raw_output_contents[0])
        if reply.id != str(number):
            self.tally.wrong.append(f"gRPC {number}: the answer to {reply.id}")
            return
        self._judge("gRPC", number, answer, {reply.model_version or None})
        if self.anew:
            await self.close()

    async def _not_answered(self, error: Any) -> None:
        status = error.code().name
        if status != "UNAVAILABLE" or "model" in error.details():
            self.tally.answers[f"gRPC {status}"] += 1
            return
        await self.close()
        if "ailed to connect" in error.details():  # it was never accepted
            self.tally.refused += 1
            if "refused" in error.details():
                raise Gone
            return
        self.tally.lost.append(f"gRPC: {error.details()}")

    def _judge(self, protocol: str, number: float, answer: float, versions: set[Any]) -> None:
        if any(is_times(number, answer, version, self.times) for version in versions):
            code = "OK" if protocol == "gRPC" else "200"
            named = (
                f" v{next(iter(versions))}" if len(self.times) > 1 and len(versions) == 1 else ""
            )
            self.tally.answers[f"{protocol}{named} {code}"] += 1
        else:
            self.tally.wrong.append(f"{protocol} {number}: {answer} of versions {versions}")

    async def _http(self, protocol: str, question: Question) -> Any:
        """Send a request; return the answer if it is 200, else count it."""
        self.tally.sent += 1
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                reader, writer = await self._connected()
        except ConnectionError:
            self.tally.refused += 1
            raise Gone from None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                writer.write(question.wire())
                status, headers, body = await read_answer(reader)
        except (OSError, EOFError, TimeoutError) as error:
            self.tally.lost.append(f"{protocol}: {type(error).__name__} {error}")
            await self.close()
            return None
        if self.anew or headers.get("connection") == "close":
            await self.close()
        if status != 200:
            self.tally.answers[f"{protocol} {status}"] += 1
            return None
        return json.loads(body)

    async def _connected(self) -> Any:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.http_port)
        return self._streams

    async def close(self) -> None:
        """Close the connections."""
        if self._streams is not None:
            self._streams[1].close()
            with suppress(OSError):
                await self._streams[1].wait_closed()
            self._streams = None
        if self._channel is not None:
            await self._channel.close()
            self._channel = None


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Read one HTTP answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    return (
        int(head[0].split()[1]),
        headers,
        await reader.readexactly(int(headers["content-length"])),
    )


class Load:
    """Callers of all protocols that ask until they are told to stop, or the server has gone."""

    def __init__(
        self,
        server: Any,
        tally: Tally,
        *,
        protocols: str = "v1 v2 grpc",
        distinct: int = 1 << 20,  # what a 32-bit float holds exactly, also times a model's factor
        **options: Any,
    ) -> None:
        self.tally = tally
        self._stopping = False
        self._distinct = distinct
        self._numbers = count(1)
        self._make = lambda: Caller(server, tally, **options)
        self._tasks = [
            asyncio.create_task(self._ask(protocol))
            for protocol in protocols.split()
            for _ in range(CALLERS)
        ]

    async def _ask(self, protocol: str) -> None:
        caller = self._make()
        try:
            while not self._stopping:
                await getattr(caller, protocol)(float(next(self._numbers) % self._distinct))
        except Gone:
            return
        finally:
            await caller.close()

    async def more(self, seconds: float, least: int = 100) -> None:
        """Go on for a time, until so many more requests were answered at least."""
        before, end = self.tally.answered, time.monotonic() + seconds
        give_up = end + PATIENCE_SECONDS
        while time.monotonic() < end or self.tally.answered < before + least:
            if time.monotonic() > give_up:
                self.tally.lost.append("the load has come to a standstill")
                return
            await asyncio.sleep(0.01)

    async def end(self) -> None:
        """Stop, and wait for the last answers."""
        self._stopping = True
        await asyncio.gather(*self._tasks)


@asynccontextmanager
async def load_on(server: Any, tally: Tally, **options: Any) -> AsyncIterator[Load]:
    """Keep a server busy, also before and after what happens in the block."""
    load = Load(server, tally, **options)
    await load.more(0)
    yield load
    await load.end()


async def post(server: Any, path: str, body: bytes = b"") -> tuple[int, dict[str, str], Any]:
    """Send one request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            writer.write(Question(path, body).wire())
            status, headers, answer = await read_answer(reader)
            return status, headers, json.loads(answer)
    finally:
        writer.close()


# The cases. Each says what may happen beside right answers; `seconds` is for each part of it.

Outcome = tuple[Tally, list[str]]
Case = Callable[[Serving, Path, float], Awaitable[Outcome]]


def serves(root: Path, name: str = "m") -> tuple[str, ...]:
    """Return the arguments that serve one model of the folder."""
    return ("--model_name", name, "--model_dir", str(root / name))


async def sigterm(serving: Serving, root: Path, seconds: float) -> Outcome:
    """The server gets SIGTERM, with kept and with new connections: in the end they are refused."""
    tally = Tally()
    with serving(*serves(root)) as server:
        async with load_on(server, tally) as load, load_on(server, tally, anew=True):
            await load.more(seconds)
            status = await asyncio.to_thread(server.stop)
    return tally, [*tally.check(), *([f"it ended with {status}"] if status else [])]


async def worker_killed(serving: Serving, root: Path, seconds: float) -> Outcome:
    """One of two workers is killed: each of its callers loses one request at most."""
    tally = Tally()
    with serving(*serves(root), "--workers", "2") as server:
        workers = await both_listening(server)
        async with load_on(server, tally) as load:
            await load.more(seconds)
            workers[0].kill()
            await load.more(seconds)
    return tally, tally.check(may_lose=3 * CALLERS)


async def redis_killed(serving: Serving, root: Path, seconds: float) -> Outcome:
    """The cache dies and comes back: hits are lost, and nothing else."""
    tally = Tally()
    with redis_server() as redis:
        cache = ("--cache_bytes", "1000000", "--cache_url", f"redis://127.0.0.1:{redis.port}")
        with serving(*serves(root), *cache) as server:
            async with load_on(server, tally, distinct=50) as load:
                await load.more(seconds)
                hits = await until_hits(server, load, above=0)
                redis.kill()
                await load.more(seconds)
                redis.start()
                await until_hits(server, load, above=hits)
    return tally, tally.check()


async def unloaded(serving: Serving, root: Path, seconds: float) -> Outcome:
    """The model is unloaded and loaded again and again: 404 or 503 meanwhile."""
    tally, statuses = Tally(), set()
    path = "/v2/repository/models/m/"
    with serving(*serves(root)) as server:
        async with load_on(server, tally) as load:
            end = time.monotonic() + seconds
            while not statuses or time.monotonic() < end:
                statuses.add((await post(server, f"{path}unload"))[0])
                await load.more(0.05, least=30)
                statuses.add((await post(server, f"{path}load"))[0])
                await load.more(0.05, least=30)
    problems = tally.check(" 404", " 503", " NOT_FOUND", " UNAVAILABLE")
    if not tally.answers["V2 404"]:
        problems.append("no request has met the unloaded model")
    return tally, [*problems, *([f"statuses {statuses}"] if statuses != {200} else [])]


async def new_version(serving: Serving, root: Path, seconds: float) -> Outcome:
    """A new version replaces the old one: every request is answered, by one of the two."""
    tally, times = Tally(), {"1": 2, "2": 3}
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        shutil.copytree(root / "m", repository / "m" / "1")
        with serving("--model_dir", str(repository)) as server:
            async with load_on(server, tally, times=times) as load:
                await load.more(seconds)
                shutil.copytree(root / "times3", repository / "staged")
                (repository / "staged").rename(repository / "m" / "2")
                status, _, _ = await post(server, "/v2/repository/models/m/load")
                after = Tally()
                caller = Caller(server, after, times={"2": 3}, anew=True)
                await caller.v2(7)
                await load.more(seconds)
    seen = {code.split()[1] for code in tally.answers if " v" in code}
    problems = [*tally.check(), *after.check()]
    return tally, [
        *problems,
        *([f"{status}, {seen}"] if (status, seen) != (200, {"v1", "v2"}) else []),
    ]


async def slow_callers(serving: Serving, root: Path, seconds: float) -> Outcome:
    """Some send a byte now and then, some read nothing: they are in nobody's way."""
    tally = Tally()
    item = {"name": "x", "datatype": "FP32", "shape": [2000, 1], "data": [1.0] * 2000}
    body = json.dumps({"inputs": [item]}).encode()
    wire = Question("/v2/models/m/infer", body).wire()
    with serving(*serves(root)) as server:
        lines = [Line(server.port) for _ in range(20)]
        deaf = [Line(server.port) for _ in range(5)]
        async with load_on(server, tally) as load:
            for line in deaf:
                line.fill(wire * 50)
            end, position = time.monotonic() + 2 * seconds, 0
            while time.monotonic() < end:
                for line in lines:
                    line.send(wire[position % len(wire)].to_bytes())
                position += 1
                await load.more(0.05, least=30)
        stuck = [line for line in deaf if line.is_full]
        for line in (*lines, *deaf):
            line.close()
    return tally, [*tally.check(), *([] if len(stuck) == len(deaf) else ["it reads on unread"])]


async def full_queue(serving: Serving, root: Path, _: float) -> Outcome:
    """More come than may wait: 503 with Retry-After at once, right answers for those accepted."""
    tally = Tally()
    order: list[int] = []
    counts = [100_000 + number for number in range(40)]

    async def ask(server: Any, number: int) -> None:
        tally.sent += 1
        status, headers, reply = await post(server, "/v1/models/counter:predict", rows(number))
        order.append(status)
        if status == 503 and "retry-after" not in headers:
            tally.wrong.append("503 without Retry-After")
        elif status == 200 and reply != {"predictions": [number]}:
            tally.wrong.append(f"V1 {number}: {reply}")
        else:
            tally.answers[f"V1 {status}"] += 1

    bounds = ("--max_queue_length", "4", "--max_threads", "1")
    with serving(*serves(root, "counter"), *bounds) as server:
        await asyncio.gather(*(ask(server, number) for number in counts))
        await ask(server, counts[0])
    problems = tally.check(" 503")
    if tally.answers["V1 200"] < 6 or tally.answers["V1 503"] < 20:
        problems.append("it does not take what may wait, or takes more")
    if order[-6:] != [200] * 6:
        problems.append(f"refusals came late: {order}")
    return tally, problems


async def deadlines(serving: Serving, root: Path, _: float) -> Outcome:
    """Callers that cannot wait get 504 or DEADLINE_EXCEEDED; the others their answers."""
    tally = Tally()
    with serving(*serves(root, "counter"), "--max_threads", "1") as server:
        busy = asyncio.create_task(post(server, "/v1/models/counter:predict", rows(600_000)))
        await asyncio.sleep(0)
        item = {"name": "count", "datatype": "INT64", "shape": [1], "data": [600_000]}
        body = json.dumps({"inputs": [item], "parameters": {"timeout": 50_000}}).encode()
        hasty = [post(server, "/v2/models/counter/infer", body) for _ in range(5)]
        patient = [post(server, "/v1/models/counter:predict", rows(n)) for n in range(1, 6)]
        caller = hasty_rpc(server)
        answers = await asyncio.gather(busy, *hasty, *patient)
        tally.answers[f"gRPC {await caller}"] += 1
    for status, _, _ in answers[1:6]:
        tally.answers[f"V2 {status}"] += 1
    for number, (status, _, reply) in zip(
        (600_000, *range(1, 6)), (answers[0], *answers[6:]), strict=True
    ):
        if reply == {"predictions": [number]}:
            tally.answers[f"V1 {status}"] += 1
        else:
            tally.wrong.append(f"V1 {number}: {status} {reply}")
    tally.sent = len(answers) + 1
    problems = tally.check(" 504", " DEADLINE_EXCEEDED")
    if tally.answers["V2 504"] != 5 or tally.answers["gRPC DEADLINE_EXCEEDED"] != 1:
        problems.append("a deadline was not kept")
    return tally, problems


async def disconnects(serving: Serving, root: Path, seconds: float) -> Outcome:
    """Callers go away before their answers, or in the middle of a request."""
    tally = Tally()
    item = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}
    wire = Question("/v2/models/m/infer", json.dumps({"inputs": [item]}).encode()).wire()
    with serving(*serves(root)) as server:
        async with load_on(server, tally) as load:
            end = time.monotonic() + 2 * seconds
            while time.monotonic() < end:
                for cut in range(0, len(wire), 7):
                    for part in (wire[:cut], wire * 3 + wire[:cut]):
                        line = Line(server.port)
                        line.send(part)
                        line.close(reset=cut % 2 == 0)
                await load.more(0.02, least=30)
        waiting = await until_idle(server)
    return tally, [*tally.check(), *waiting]


async def soak(serving: Serving, root: Path, seconds: float) -> Outcome:
    """Good and damaged requests for a while: memory, files and threads stay what they were."""
    tally = Tally()
    with serving("--model_dir", str(root / "fuzzed")) as server:
        at_first = await round_of_soak(server, tally, seconds)
        for seed in (1, 2, 3):
            at_last = await round_of_soak(server, tally, seconds, seed)
        problems = [*tally.check(), *await until_idle(server)]
    if at_last.mib - at_first.mib > MOST_GROWTH_MIB:
        problems.append(f"grew from {at_first.mib:.0f} to {at_last.mib:.0f} MiB")
    # Pools start a thread when they first need it; a leak is one for every so many requests.
    if at_last.files != at_first.files or at_last.threads > at_first.threads + MOST_NEW_THREADS:
        problems.append(f"{at_first} has become {at_last}")
    return tally, problems


CASES: dict[str, Case] = {
    "SIGTERM": sigterm,
    "a worker killed": worker_killed,
    "Redis killed": redis_killed,
    "a model unloaded": unloaded,
    "a new version": new_version,
    "slow callers": slow_callers,
    "a full queue": full_queue,
    "deadlines": deadlines,
    "callers gone": disconnects,
    "soak": soak,
}


# What the cases need.


class Use(NamedTuple):
    """What a server takes when nobody calls: memory, open files, threads."""

    mib: float
    files: int
    threads: int


async def round_of_soak(server: Any, tally: Tally, seconds: float, seed: int = 0) -> Use:
    """Send good requests of all protocols, and damaged ones beside; return what is in use then."""
    async with load_on(server, tally, model="double", times={"1": 2}) as load:
        ports = server.port, server.grpc_port
        damage = await campaign(*ports, DAMAGED, kinds=("bodies", "rows", "messages"), seed=seed)
        tally.wrong += damage.failures
        await load.more(seconds, least=1000)
    process = psutil.Process(server.process.pid)
    server.pool.clear()
    await until_closed(process)
    return Use(process.memory_info().rss / 2**20, process.num_fds(), process.num_threads())


async def until_closed(process: psutil.Process) -> None:
    """Wait until a server has seen that its callers are gone."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        if not [c for c in process.net_connections("tcp") if c.status != "LISTEN"]:
            return
        await asyncio.sleep(0.02)


class Line:
    """A connection that nobody reads from."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.setblocking(False)
        self.is_full = False

    def send(self, data: bytes) -> None:
        """Send what goes; the server may have closed it, or read no more."""
        try:
            self._socket.send(data)
        except BlockingIOError:
            self.is_full = True
        except OSError:
            pass

    def fill(self, data: bytes, most: int = 64 * 1024 * 1024) -> None:
        """Send it again and again until the server takes no more."""
        for _ in range(most // len(data)):
            self.send(data)
            if self.is_full:
                return

    def close(self, *, reset: bool = False) -> None:
        """Close it, with a reset or the usual way."""
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


class Redis:
    """A Redis server of our own, which keeps nothing on disk."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = ["redis-server", "--port", str(self.port), "--save", "", "--bind", "127.0.0.1"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        end = time.monotonic() + PATIENCE_SECONDS
        with socket.socket() as probe:
            while probe.connect_ex(("127.0.0.1", self.port)) and time.monotonic() < end:
                time.sleep(0.01)

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait()


@contextmanager
def redis_server() -> Iterator[Redis]:
    """Run a Redis server."""
    redis = Redis()
    try:
        yield redis
    finally:
        redis.kill()


async def both_listening(server: Any) -> list[psutil.Process]:
    """Return the workers once both take callers."""
    workers = psutil.Process(server.process.pid).children()
    while len(workers) < 2 or not all(is_listening(worker) for worker in workers):
        await asyncio.sleep(0.01)
        workers = psutil.Process(server.process.pid).children()
    return workers


def is_listening(process: psutil.Process) -> bool:
    """Whether a process listens on both ports."""
    try:
        return sum(c.status == "LISTEN" for c in process.net_connections("tcp")) == 2
    except psutil.NoSuchProcess:  # it has just ended
        return False


async def until_idle(server: Any) -> list[str]:
    """Wait until no request is in flight or in a queue; say which never goes."""
    names = ("modelport_requests_in_flight", "modelport_queue_length")
    end = time.monotonic() + 5
    while waits := [name for name, value in metrics(server) if name.startswith(names) and value]:
        if time.monotonic() > end:
            break
        await asyncio.sleep(0.02)
    return waits


async def until_hits(server: Any, load: Load, above: float) -> float:
    """Go on until the cache has answered so many requests and more; return how many."""
    end = time.monotonic() + PATIENCE_SECONDS
    while (hits := sum(v for name, v in metrics(server) if "cache_hits_total" in name)) <= above:
        if time.monotonic() > end:
            load.tally.wrong.append(f"no more than {hits} cache hits")
            break
        await load.more(0.05)
    return hits


def metrics(server: Any) -> list[tuple[str, float]]:
    """Return the server's metrics: name with labels, value."""
    lines = server.get("/metrics").body.decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return [(name, float(value)) for name, value in pairs]


def rows(number: int) -> bytes:
    """Return a V1 request of one row."""
    return json.dumps({"instances": [number]}).encode()


async def hasty_rpc(server: Any) -> str:
    """Ask the counter over gRPC with a deadline that it cannot meet; return the code."""
    message = messages.ModelInferRequest(model_name="counter")
    message.inputs.add(name="count", datatype="INT64", shape=[1])
    message.raw_input_contents.append(struct.pack("<q", 600_000))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        try:
            await channel.unary_unary(INFER)(message.SerializeToString(), timeout=0.05)
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
    return "OK"


def save_counter(folder: Path) -> None:
    """Save a model that counts to its input, one by one, and answers where it has arrived."""
    from fuzz_support import save_graph
    from onnx import TensorProto, helper

    def value(name: str, kind: int = TensorProto.INT64, shape: tuple[int, ...] = (1,)) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["still_going"]),
            helper.make_node("Add", ["before", "one"], ["after"]),
        ],
        "body",
        [value("number", shape=()), value("going", TensorProto.BOOL, ()), value("before")],
        [value("still_going", TensorProto.BOOL, ()), value("after")],
    )
    save_graph(
        folder,
        [
            helper.make_node("Squeeze", ["count"], ["trips"]),
            helper.make_node("Loop", ["trips", "", "zero"], ["done"], body=body),
        ],
        (
            [value("count")],
            [value("done")],
            [
                helper.make_tensor("zero", TensorProto.INT64, [1], [0]),
                helper.make_tensor("one", TensorProto.INT64, [1], [1]),
            ],
        ),
    )


def save_models(root: Path) -> Path:
    """Save `m`, which answers 2x, `times3`, which is to replace it, `counter`, and the fuzzer's."""
    save_times(root / "m", 2)
    save_times(root / "times3", 3)
    save_counter(root / "counter")
    save_fuzzed(root / "fuzzed")
    return root


def row(name: str, tally: Tally, problems: list[str]) -> str:
    """Return a line of the table."""
    codes = ", ".join(f"{code}: {n}" for code, n in sorted(tally.answers.items()))
    verdict = "FAILED" if problems else "passed"
    return (
        f"{name:<17}{tally.sent:>8}{tally.answered:>9}{tally.refused:>8}{len(tally.lost):>6}"
        f"{len(tally.wrong):>6}  {verdict}  {codes}"
    )


def main() -> int:
    """Run all cases and print the table."""
    from conftest import serving

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=10.0, help="of load in each part of a case"
    )
    given = parser.parse_args()
    failed = 0
    print(f"{'case':<17}{'sent':>8}{'answered':>9}{'refused':>8}{'lost':>6}{'wrong':>6}")
    with tempfile.TemporaryDirectory() as folder:
        root = save_models(Path(folder))
        for name, case in CASES.items():
            tally, problems = asyncio.run(case(serving, root, given.seconds))
            print(row(name, tally, problems), flush=True)
            for problem in problems[:5]:
                print(f"    {problem[:300]}")
            failed += bool(problems)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
