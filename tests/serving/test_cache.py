"""The response cache: keys, memory, and a real Redis that comes and goes."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from modelport_serving.cache import Keys, identity, open_cache
from modelport_serving.cache.memory import MemoryCache
from modelport_serving.cache.packing import pack, unpack
from modelport_serving.cache.redis import RedisCache
from modelport_serving.errors import StartFailed

KEY, OTHER = b"k" * 32, b"o" * 32
ANSWER = {
    "label": np.array([1, 2]),
    "texts": np.array(["é", ""], object),
    "bytes": np.array([[b"\xff"]], object),
    "flags": np.array([True, False]),
    "half": np.array([[1.5]], np.float16),
    "none": np.zeros((0, 3), np.float32),
    "scalar": np.array(3.5),
}


def same(one: Any, other: Any) -> bool:
    return list(one) == list(other) and all(
        one[name].dtype == other[name].dtype
        and one[name].shape == other[name].shape
        and one[name].tolist() == other[name].tolist()
        for name in one
    )


def now(cache: Any, key: bytes = KEY) -> Any:
    """Look up a key that is answered at once."""
    answers: list[Any] = []
    cache.get(key, answers.append)
    (answer,) = answers
    return answer


async def look(cache: Any, key: bytes = KEY) -> Any:
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    cache.get(key, answered.set_result)
    return await asyncio.wait_for(answered, 10)


class TestKeys:
    def key(self, inputs: Any, outputs: Any = (), name: str = "m", version: Any = "1") -> bytes:
        return Keys(name, version, "content").key(inputs, outputs)

    def test_the_same_request_has_the_same_key(self) -> None:
        x = np.arange(12.0).reshape(3, 4)
        assert self.key({"x": x}) == self.key({"x": np.asfortranarray(x)})
        assert self.key({"x": x}) == self.key({"x": x.copy()})

    def test_all_that_makes_another_answer_makes_another_key(self) -> None:
        x = np.arange(4, dtype=np.int32)
        s = np.array
        keys = [
            self.key({"x": x}),
            self.key({"y": x}),
            self.key({"x": x.reshape(2, 2)}),
            self.key({"x": x.view(np.float32)}),
            self.key({"x": x[::-1]}),
            self.key({"x": x}, ["a"]),
            self.key({"x": x}, ["a", "b"]),
            self.key({"x": x}, ["b", "a"]),
            self.key({"x": x}, ["ab"]),
            self.key({"x": x}, ["a', 'b"]),
            self.key({"x": x}, name="m1", version=""),
            self.key({"x": x}, name="m", version="11"),
            Keys("m", "1", "changed").key({"x": x}, ()),
            self.key({"x": x, "y": x}),
            self.key({"x": s(["ab", "c"], object)}),
            self.key({"x": s(["a", "bc"], object)}),
            self.key({"x": s(["asb", "c"], object)}),
            self.key({"x": s(["a", "bsc"], object)}),
            self.key({"x": s([b"ab", "c"], object)}),
            self.key({"x": s(["ab", None], object)}),
            self.key({"x": s(["ab", "None"], object)}),
            self.key({"x": s(["a", "b"], object), "y": s(["c"], object)}),
            self.key({"x": s(["a"], object), "y": s(["b", "c"], object)}),
        ]
        assert len(set(keys)) == len(keys)

    @given(st.lists(st.one_of(st.none(), st.text(), st.binary()), max_size=4), st.data())
    def test_texts_of_any_kind(self, items: list[Any], data: st.DataObject) -> None:
        others = data.draw(st.lists(st.one_of(st.none(), st.text(), st.binary()), max_size=4))

        def key(values: list[Any]) -> bytes:
            array = np.empty(len(values), object)
            array[:] = values
            return self.key({"x": array})

        assert (key(items) == key(others)) == (items == others)

    def test_identity_is_the_content(self, tmp_path: Path) -> None:
        one, two = tmp_path / "one", tmp_path / "two"
        (one / "sub").mkdir(parents=True)
        (one / "MLmodel").write_text("a")
        (one / "sub" / "model").write_bytes(b"b")
        shutil.copytree(one, two)
        before = identity(one)
        assert identity(two) == before
        (two / "sub" / "model").write_bytes(b"c")  # of the same size
        changed = identity(two)
        (two / "sub" / "model").write_bytes(b"b")
        (two / "sub" / "model").rename(two / "sub" / "other")
        assert len({before, changed, identity(two)}) == 3


class TestMemory:
    def test_hits(self) -> None:
        cache = MemoryCache(1 << 20, 60)
        assert now(cache) is None
        cache.put(KEY, ANSWER)
        assert same(now(cache), ANSWER)
        assert now(cache, OTHER) is None

    def test_what_is_kept_cannot_be_changed(self) -> None:
        cache = MemoryCache(1 << 20, 60)
        batch = np.arange(1000.0)
        cache.put(KEY, {"x": batch[:2]})
        batch[0] = 9
        hit = now(cache)
        assert hit["x"].tolist() == [0, 1]
        assert hit["x"].base is None  # not a slice that keeps the batch
        with pytest.raises(ValueError, match="read-only"):
            hit["x"][0] = 9
        del hit["x"]
        assert list(now(cache)) == ["x"]

    def test_bytes_are_bounded_and_the_least_used_goes_first(self) -> None:
        cache = MemoryCache(10_000, 60)
        keys = [bytes([number]) for number in range(9)]
        for key in keys:
            cache.put(key, {"x": np.zeros(256)})  # about 2.6 KB each
            assert now(cache, keys[0]) is not None
            assert 0 < cache.size <= 10_000
        kept = [key for key in keys if now(cache, key) is not None]
        assert kept == [keys[0], *keys[-len(kept) + 1 :]]
        cache.put(OTHER, {"x": np.zeros(10_000)})
        assert now(cache, OTHER) is None
        assert now(cache, keys[0]) is not None

    def test_an_answer_is_counted_once(self) -> None:
        cache = MemoryCache(10_000, 60)
        cache.put(KEY, {"x": np.zeros(1)})
        size = cache.size
        cache.put(KEY, {"x": np.zeros(1)})
        assert cache.size == size
        cache.close()
        assert cache.size == 0
        assert now(cache) is None

    def test_texts_count(self) -> None:
        cache = MemoryCache(10_000, 60)
        cache.put(KEY, {"x": np.array(["a" * 20_000], object)})
        assert now(cache) is None

    def test_time_to_live(self, wait_until: Any) -> None:
        cache = MemoryCache(10_000, 0.05)
        cache.put(KEY, ANSWER)
        wait_until(lambda: now(cache) is None, "the answer is too old")
        assert cache.size == 0


class TestPacking:
    def test_comes_back(self) -> None:
        packed = pack(ANSWER)
        assert packed is not None
        unpacked = unpack(packed)
        assert unpacked is not None
        assert same(unpacked, ANSWER)
        assert not any(array.flags.writeable for array in unpacked.values())

    @pytest.mark.parametrize("items", [["a", b"b"], ["a", None], [{"a": 1}], [1]])
    def test_what_would_come_back_changed_is_not_packed(self, items: list[Any]) -> None:
        assert pack({"x": np.array(items, object)}) is None

    def test_every_cut_is_noticed(self) -> None:
        packed = pack(ANSWER)
        assert packed is not None
        assert not any(unpack(packed[:length]) for length in range(len(packed)))
        assert unpack(packed + b"\0") is None

    @given(st.binary(max_size=80), st.integers(0, 200))
    def test_garbage_is_none(self, garbage: bytes, position: int) -> None:
        unpack(garbage)
        packed = pack(ANSWER)
        assert packed is not None
        assert unpack(b"MPT1\x10\0\0\0" + garbage) is None
        unpack(packed[:position] + garbage + packed[position + len(garbage) :])  # never raises


class Redis:
    """A real Redis process."""

    def __init__(self, *arguments: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.folder = tempfile.mkdtemp()
        self.arguments = arguments
        self.url = f"redis://127.0.0.1:{self.port}"
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        self.process = subprocess.Popen(
            [
                "redis-server",
                *("--port", str(self.port), "--dir", self.folder),
                *("--save", "", "--daemonize", "no"),
                *self.arguments,
            ],
            stdout=subprocess.DEVNULL,
        )
        end = time.monotonic() + 20
        while not self.is_up():
            assert time.monotonic() < end
            time.sleep(0.01)
        return self.process

    def is_up(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def cli(self, *words: str) -> str:
        command = ["redis-cli", "-p", str(self.port), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def start_redis() -> Iterator[Callable[..., Redis]]:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    started: list[Redis] = []

    def start(*arguments: str) -> Redis:
        started.append(Redis(*arguments))
        return started[-1]

    yield start
    for redis in started:
        redis.kill()
        shutil.rmtree(redis.folder)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.01)


async def stored(cache: RedisCache, key: bytes = KEY) -> Any:
    """Put the answer until it can be read back: Redis is reached in the background."""
    found: Any = None

    async def is_there() -> bool:
        nonlocal found
        cache.put(key, ANSWER)
        found = await look(cache, key)
        return found is not None

    await until(is_there)
    return found


# On a machine that has much else to do, Redis may answer late; only where that is the point, it
# must not.
PATIENT = {"answer_seconds": 20.0}


def use(url: str, work: Callable[[RedisCache], Awaitable[Any]], **bounds: Any) -> Any:
    async def main() -> Any:
        cache = RedisCache(url, **{"max_bytes": 1 << 20, "ttl_seconds": 60.0, **PATIENT} | bounds)
        try:
            return await work(cache)
        finally:
            cache.close()

    return uvloop.run(main())


class TestRedis:
    def test_hits(self, start_redis: Any) -> None:
        redis = start_redis()

        async def work(cache: RedisCache) -> None:
            assert await look(cache) is None
            assert same(await stored(cache), ANSWER)
            assert await look(cache, OTHER) is None

        use(redis.url, work)
        # Another process, such as another worker, finds it too; here, another cache.
        assert same(use(redis.url, lambda cache: later(cache)), ANSWER)
        ttl = int(redis.cli("PTTL", "modelport:" + KEY.hex()))
        assert 0 < ttl <= 60_000

    def test_time_to_live(self, start_redis: Any) -> None:
        async def work(cache: RedisCache) -> None:
            await stored(cache)

            async def is_gone() -> bool:
                return await look(cache) is None

            await until(is_gone)

        use(start_redis().url, work, ttl_seconds=0.2)

    def test_large_answers_are_not_sent(self, start_redis: Any) -> None:
        redis = start_redis()

        async def work(cache: RedisCache) -> None:
            await stored(cache)
            cache.put(OTHER, {"x": np.zeros(1000)})
            assert await look(cache, OTHER) is None

        use(redis.url, work, max_bytes=1000)
        assert redis.cli("DBSIZE") == "1"

    def test_many_at_once_and_large_ones(self, start_redis: Any) -> None:
        large = {"x": np.arange(300_000.0)}

        async def work(cache: RedisCache) -> None:
            await stored(cache)
            keys = [bytes([number]) * 32 for number in range(100)]
            for number, key in enumerate(keys):
                cache.put(key, {"n": np.array([number])})
            cache.put(OTHER, large)
            answers = await asyncio.gather(*(look(cache, key) for key in [*keys, OTHER]))
            assert [int(answer["n"][0]) for answer in answers[:-1]] == list(range(100))
            assert same(answers[-1], large)

        use(start_redis().url, work, max_bytes=1 << 23)

    @pytest.mark.parametrize("garbage", ["", "garbage", "MPT1garbage!", "list"])
    def test_garbage_under_our_key_is_a_miss(self, start_redis: Any, garbage: str) -> None:
        redis = start_redis()
        name = "modelport:" + KEY.hex()

        async def work(cache: RedisCache) -> None:
            await stored(cache)
            redis.cli("DEL", name)
            redis.cli(*(("RPUSH", name, "x") if garbage == "list" else ("SET", name, garbage)))
            assert await look(cache) is None
            assert same(await stored(cache), ANSWER)  # and is replaced

        use(redis.url, work)

    def test_killed_and_started_again(self, start_redis: Any, caplog: Any) -> None:
        redis = start_redis()

        async def work(cache: RedisCache) -> None:
            await stored(cache)
            redis.kill()

            async def misses() -> bool:
                return await look(cache) is None

            await until(misses)
            await asyncio.sleep(0)
            assert [now(cache, OTHER) for _ in range(100)] == [None] * 100  # at once
            cache.put(KEY, ANSWER)
            await asyncio.to_thread(redis.start)
            assert same(await stored(cache), ANSWER)

        with caplog.at_level(logging.WARNING, "modelport_serving"):
            use(redis.url, work)
        away, back = (record.getMessage() for record in caplog.records)
        assert away.startswith(f"no cache at {redis.url}/0")
        assert back == f"the cache at {redis.url}/0 is back"

    def test_one_that_hangs_is_left_alone(self, start_redis: Any) -> None:
        redis = start_redis()

        async def work(cache: RedisCache) -> None:
            await stored(cache)
            redis.process.send_signal(signal.SIGSTOP)
            try:
                answers = await asyncio.gather(*(look(cache) for _ in range(10)))
                assert answers == [None] * 10
                assert now(cache) is None  # and nobody waits for it any more
            finally:
                redis.process.send_signal(signal.SIGCONT)
            assert same(await stored(cache), ANSWER)

        use(redis.url, work, answer_seconds=0.1)

    def test_a_busy_event_loop_is_not_its_fault(self, start_redis: Any) -> None:
        async def work(cache: RedisCache) -> None:
            await stored(cache)
            for _ in range(2):
                looking = asyncio.create_task(look(cache))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                time.sleep(0.8)  # a model that computes in the event loop
                assert same(await looking, ANSWER)

        use(start_redis().url, work, answer_seconds=0.5)

    def test_password_and_database(self, start_redis: Any) -> None:
        redis = start_redis("--requirepass", "s:cret@1")

        async def work(cache: RedisCache) -> None:
            assert same(await stored(cache), ANSWER)

        use(f"redis://:s%3Acret%401@127.0.0.1:{redis.port}/3", work)
        use(f"redis://default:s%3Acret%401@127.0.0.1:{redis.port}", work)
        assert redis.cli("-a", "s:cret@1", "-n", "3", "DBSIZE") == "1"

    @pytest.mark.parametrize(
        ("login", "why"),
        [("", "Authentication required"), (":wrong-secret@", "invalid username-password")],
    )
    def test_a_wrong_password(self, start_redis: Any, caplog: Any, login: str, why: str) -> None:
        redis = start_redis("--requirepass", "right")

        async def work(cache: RedisCache) -> None:
            async def is_reported() -> bool:
                assert await look(cache) is None
                return bool(caplog.records)

            await until(is_reported)

        with caplog.at_level(logging.DEBUG):
            use(f"redis://{login}127.0.0.1:{redis.port}", work)
        assert why in caplog.text
        assert "secret" not in caplog.text

    def test_a_full_one_says_so_once(self, start_redis: Any, caplog: Any) -> None:
        redis = start_redis("--maxmemory", "1", "--maxmemory-policy", "noeviction")

        async def work(cache: RedisCache) -> None:
            async def is_reported() -> bool:
                cache.put(KEY, ANSWER)
                assert await look(cache) is None
                return bool(caplog.records)

            await until(is_reported)
            for _ in range(3):
                cache.put(KEY, ANSWER)
                assert await look(cache) is None

        use(redis.url, work)
        (record,) = caplog.records
        assert "keeps no answer: command not allowed when used memory" in record.getMessage()

    def test_what_is_not_redis(self, caplog: Any) -> None:
        async def handler(_: Any, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async def main() -> None:
            server = await asyncio.start_server(handler, "127.0.0.1", 0)
            cache = RedisCache(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", 1000, 60)

            async def is_reported() -> bool:
                assert await look(cache) is None
                return bool(caplog.records)

            await until(is_reported)
            cache.close()
            server.close()

        uvloop.run(main())
        assert "no cache at redis://127.0.0.1" in caplog.text

    def test_closing_answers_who_waits(self, start_redis: Any) -> None:
        redis = start_redis()

        async def work(cache: RedisCache) -> None:
            await stored(cache)
            redis.process.send_signal(signal.SIGSTOP)
            try:
                sent = asyncio.create_task(look(cache))
                await asyncio.sleep(0.05)
                queued = asyncio.create_task(look(cache))
                await asyncio.sleep(0)
                cache.close()
                assert await asyncio.gather(sent, queued) == [None, None]
                assert now(cache) is None
            finally:
                redis.process.send_signal(signal.SIGCONT)

        use(redis.url, work)


async def later(cache: RedisCache) -> Any:
    """Look up until there is a connection."""
    found: Any = None

    async def is_there() -> bool:
        nonlocal found
        found = await look(cache)
        return found is not None

    await until(is_there)
    return found


class TestUrls:
    def test_no_text_of_it_has_the_password(self, caplog: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = f"127.0.0.1:{listener.getsockname()[1]}/2"

        async def work(cache: RedisCache) -> None:
            async def is_reported() -> bool:
                assert await look(cache) is None
                return "no cache" in caplog.text

            await until(is_reported)

        with caplog.at_level(logging.DEBUG):
            use(f"rediss://me:pass%21@{address}", work)
        assert f"no cache at rediss://{address} until" in caplog.text
        assert "pass" not in caplog.text

    @pytest.mark.parametrize(
        "url",
        [
            "http://secret@h",
            "redis://",
            "redis://:secret@h/x",
            "redis://:secret@h:99999",
            "redis://:secret@h?ssl=1",
            "secret",
        ],
    )
    def test_what_is_none(self, url: str) -> None:
        with pytest.raises(StartFailed, match="redis://") as caught:
            open_cache(url, 1000, 60)
        assert "secret" not in str(caught.value)
        assert caught.value.__cause__ is None

    def test_none_is_memory(self) -> None:
        assert isinstance(open_cache(None, 1000, 60), MemoryCache)
