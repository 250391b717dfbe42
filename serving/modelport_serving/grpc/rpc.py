"""One unary call: its metadata, its message as it comes, and its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from modelport_serving.grpc import frames

if TYPE_CHECKING:
    from modelport_serving.grpc.connection import Connection
    from modelport_serving.grpc.status import Code

_MESSAGE_HEAD = frames.MESSAGE.size


class Handler(Protocol):
    """What answers calls; called in the event loop, and never to raise."""

    max_receive_message_length: int
    """The largest message that is read, in bytes."""

    def admit(self, rpc: Rpc) -> None:
        """Refuse a call by its metadata with `rpc.fail`, before its message is read, or not."""

    def handle(self, rpc: Rpc, message: memoryview) -> None:
        """Answer a whole call with `rpc.answer` or `rpc.fail`, now or later."""


class Rpc:
    """One call. `metadata` has its headers, by lower-case name; times are the event loop's."""

    __slots__ = (
        "_chunks",
        "_connection",
        "deadline",
        "id",
        "is_compressed",
        "is_whole",
        "metadata",
        "on_gone",
        "output",
        "request_id",
        "size",
        "unread",
        "window",
    )

    def __init__(self, connection: Connection, number: int, metadata: Mapping[str, str]) -> None:
        self._connection = connection
        self._chunks: list[bytes] = []
        self.size = 0
        """Of what came of its message, in bytes."""
        self.id = number
        self.metadata = metadata
        self.deadline = float("inf")
        self.is_compressed = False
        self.is_whole = False
        self.on_gone: Callable[[], None] | None = None
        """Called when the caller gives up before the answer."""
        self.request_id: str | None = None
        """What the answer calls the request, if anything."""
        self.output: memoryview | None = None
        self.unread = 0
        self.window = connection.peer_window

    @property
    def path(self) -> str:
        """The method's full name: `/inference.GRPCInferenceService/ModelInfer`."""
        return self.metadata.get(":path", "")

    def answer(self, parts: Sequence[Any], size: int) -> None:
        """Send the message of `size` bytes that these buffers make, in one copy at most.

        A caller that is gone is not an error.
        """
        self._connection.answer(self, parts, size)

    def fail(self, code: Code, message: str) -> None:
        """Send a failure."""
        self._connection.fail(self, code, message)

    def feed(self, chunk: bytes, limit: int) -> bool:
        """Keep a piece of the message; whether it is within the limit still."""
        self._chunks.append(chunk)
        size = self.size = self.size + len(chunk)
        if size < _MESSAGE_HEAD:
            return True
        if len(chunk) == size or size - len(chunk) < _MESSAGE_HEAD:
            return self._announced() <= limit
        return size <= limit + _MESSAGE_HEAD

    def message(self) -> memoryview | None:
        """Return the one message of the call; None when it was anything else."""
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks = []
        if len(data) < _MESSAGE_HEAD:
            return None
        compressed, length = frames.MESSAGE.unpack_from(data)
        self.is_compressed = compressed == 1
        if compressed > 1 or length != len(data) - _MESSAGE_HEAD:
            return None
        return memoryview(data)[_MESSAGE_HEAD:]

    def _announced(self) -> int:
        """Return the length that the message says it has."""
        if len(self._chunks) > 1:
            self._chunks = [b"".join(self._chunks)]
        length: int = frames.MESSAGE.unpack_from(self._chunks[0])[1]
        return length
