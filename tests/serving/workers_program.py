"""A server with workers whose models are lines of text, which say how their loading goes wrong.

It takes the real command line; `model_dir` is a folder of files. A file's text is what is served,
once it is loaded, unless it is an order:

    broken                    it cannot be loaded
    broken_in NUMBER            it cannot be loaded in this worker on request, only at its start
    die_in NUMBER               the worker dies when it is to load it on request
    die                       the worker dies
    wait PATH                 loading lasts until PATH exists
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from modelport_serving import workers
from modelport_serving.errors import ModelLoadFailed, ModelNotFound, ServingError
from modelport_serving.settings import PROGRAM, Settings, parse
from modelport_serving.workers import supervisor


class Texts:
    """The models of one worker."""

    def __init__(self, folder: Path, number: int, unloaded: frozenset[str]) -> None:
        self.served: dict[str, str] = {}
        self._folder = folder
        self._number = number
        self._unloaded = unloaded

    async def start(self) -> None:
        for path in self._folder.iterdir():
            if path.name not in self._unloaded:
                self.served[path.name] = await self._read(path.name, at_start=True)

    async def load(self, name: str) -> None:
        self.served[name] = await self._read(name)

    async def unload(self, name: str) -> None:
        if self.served.pop(name, None) is None:
            raise ModelNotFound(f"no model {name!r}")

    async def _read(self, name: str, *, at_start: bool = False) -> str:
        path = self._folder / name
        if not path.exists():
            raise ModelNotFound(f"no model {name!r}")
        text = path.read_text()
        match text.split():
            case ["broken"]:
                raise ModelLoadFailed(f"{name} is broken")
            case ["broken_in", number] if int(number) == self._number and not at_start:
                raise ModelLoadFailed(f"{name} is broken")
            case ["die_in", number] if int(number) == self._number and not at_start:
                os.kill(os.getpid(), signal.SIGKILL)
            case ["die"]:
                os.kill(os.getpid(), signal.SIGKILL)
            case ["wait", sign]:
                await until(Path(sign))
        return text


async def until(sign: Path) -> None:
    while not sign.exists():
        await asyncio.sleep(0.005)


class Worker:
    """Answers one request a connection."""

    def __init__(self, settings: Settings, link: workers.SupervisorLink) -> None:
        assert settings.model_dir
        self._settings = settings
        self._link = link
        self._texts = Texts(settings.model_dir, link.number, link.unloaded)
        self._open = 0

    async def run(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, stop.set)
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            server = starting.result()
            await stopping
            server.close()
        while self._open:
            await asyncio.sleep(0.005)

    async def _start(self) -> asyncio.Server:
        await self._texts.start()
        await self._link.open(self._texts)
        server = await asyncio.start_server(
            self._answer, self._settings.host, self._settings.http_port, reuse_port=True
        )
        self._link.ready()
        return server

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            try:
                status, content = 200, await self._do(*head.split()[1].decode()[1:].split("/", 1))
            except ServingError as error:
                status, content = 500, {"error": type(error).__name__, "message": str(error)}
            body = json.dumps(content).encode()
            writer.write(b"HTTP/1.1 %d -\r\nContent-Length: %d\r\n" % (status, len(body)))
            writer.write(b"Connection: close\r\n\r\n" + body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the caller has gone
        finally:
            writer.close()
            self._open -= 1

    async def _do(self, what: str, argument: str = "") -> Any:
        match what:
            case "load":
                await self._link.load(argument)
            case "unload":
                await self._link.unload(argument)
            case "until":
                await until(Path("/" + argument))
            case "hang":
                asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return {
            "pid": os.getpid(),
            "number": self._link.number,
            "open": self._open,
            "texts": self._texts.served,
            "metrics_directory": str(self._link.metrics_directory),
        }


def main() -> int:
    settings = parse()
    link = workers.link() if workers.is_worker() else None
    logging.basicConfig(level=logging.INFO, format=f"{PROGRAM}: %(message)s")
    supervisor._STOP_MARGIN = 0.0
    try:
        if link is None:
            return workers.supervise(settings)
        asyncio.run(Worker(settings, link).run())
    except ServingError as error:
        if link:
            link.failed(error)
        else:
            print(f"{PROGRAM}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    os._exit(status)
