"""What the fuzzer is made of: models, requests, damage, and callers that judge the answers."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import re
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hpack import Decoder, Encoder, HPACKError
from tritonclient.grpc import service_pb2 as messages

PATIENCE_SECONDS = 20.0
"""A request that is not answered in this time, on a shared machine, never is."""

_SHOWN_BYTES = 1500

FINE = frozenset({100, 200, 400, 404, 405, 413, 431, 501, 504})
"""What a damaged HTTP request may be answered with."""

FINE_GRPC = frozenset({0, 3, 4, 5, 8, 12})
"""The same for gRPC: INTERNAL, UNKNOWN and UNAVAILABLE are not among them."""

DATATYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}


# Models: no training, so that the program starts at once.


def save_graph(folder: Path, nodes: Sequence[Any], tensors: Any, columns: Any = None) -> None:
    """Save an ONNX graph as MLflow does. `tensors` are its inputs, outputs and constants."""
    import mlflow
    from onnx import helper

    inputs, outputs, constants = tensors
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    signature = columns and mlflow.models.ModelSignature(inputs=mlflow.types.Schema(columns))
    mlflow.onnx.save_model(model, folder, signature=signature, pip_requirements=[])


def save_times(folder: Path, times: float) -> None:
    """Save a model that answers `y`: its input `x`, FP32 of any [N, M], times a number."""
    from onnx import TensorProto, helper

    describe = helper.make_tensor_value_info
    save_graph(
        folder,
        [helper.make_node("Mul", ["x", "times"], ["y"])],
        (
            [describe("x", TensorProto.FLOAT, [None, None])],
            [describe("y", TensorProto.FLOAT, [None, None])],
            [helper.make_tensor("times", TensorProto.FLOAT, [], [times])],
        ),
    )


def save_mirror(folder: Path, datatype: str) -> None:
    """Save a model that answers its input `x`, of any [N, M], as `y`."""
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(DATATYPES[datatype]))
    describe = helper.make_tensor_value_info
    save_graph(
        folder,
        [helper.make_node("Concat", ["x"], ["y"], axis=1)],
        ([describe("x", kind, [None, None])], [describe("y", kind, [None, None])], []),
    )


def save_columns(folder: Path) -> None:
    """Save a model of a text and a number per row, that answers both."""
    from mlflow.types import ColSpec
    from onnx import TensorProto, helper

    kinds = {"colour": TensorProto.STRING, "size": TensorProto.FLOAT}
    describe = helper.make_tensor_value_info
    save_graph(
        folder,
        [helper.make_node("Identity", [name], [f"same_{name}"]) for name in kinds],
        (
            [describe(name, kind, [None, 1]) for name, kind in kinds.items()],
            [describe(f"same_{name}", kind, [None, 1]) for name, kind in kinds.items()],
            [],
        ),
        [ColSpec("string", "colour"), ColSpec("double", "size")],
    )


def save_table(folder: Path) -> None:
    """Save a model of three named columns in one tensor, that answers it."""
    from mlflow.types import ColSpec
    from onnx import TensorProto, helper

    describe = helper.make_tensor_value_info
    save_graph(
        folder,
        [helper.make_node("Identity", ["features"], ["same"])],
        (
            [describe("features", TensorProto.FLOAT, [None, 3])],
            [describe("same", TensorProto.FLOAT, [None, 3])],
            [],
        ),
        [ColSpec("double", name) for name in "abc"],
    )


def save_models(root: Path) -> Path:
    """Save a repository of all of these; `double` has two versions, of which 1 answers 2x."""
    for datatype in DATATYPES:
        save_mirror(root / datatype.lower(), datatype)
    save_times(root / "double" / "1", 2)
    save_columns(root / "columns")
    save_table(root / "table")
    return root


# Valid requests.


class Question(NamedTuple):
    """An HTTP request."""

    path: str
    body: bytes = b""
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()

    def wire(self, length: int | str | None = None) -> bytes:
        """Return it as it is sent, with its own Content-Length unless told otherwise."""
        size = len(self.body) if length is None else length
        given = (("Host", "x"), ("Content-Length", str(size)), *self.headers)
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{n}: {v}" for n, v in given), "", ""]
        return "\r\n".join(lines).encode() + self.body


def sample(datatype: str, shape: Sequence[int], chance: random.Random) -> Any:
    """Return an array of a datatype with values that JSON can carry."""
    count = int(np.prod(shape))
    if datatype == "BYTES":
        values: Any = np.empty(count, np.object_)
        values[:] = [f"t{chance.randrange(99)}é" for _ in range(count)]
    else:
        values = np.array([chance.randrange(2) for _ in range(count)])
    return values.astype(DATATYPES[datatype]).reshape(shape)


def tensor(array: Any, datatype: str, name: str = "x") -> dict[str, Any]:
    """Return a tensor as JSON has it."""
    data = array.ravel().tolist()
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": data}


def to_json(datatype: str, chance: random.Random, rows: int = 2) -> Question:
    """Ask a mirror over V2 in JSON."""
    array = sample(datatype, (rows, 3), chance)
    body = {"id": "7", "inputs": [tensor(array, datatype)], "outputs": [{"name": "y"}]}
    return Question(f"/v2/models/{datatype.lower()}/infer", json.dumps(body).encode())


def raw_bytes(array: Any) -> bytes:
    """Return a tensor in the binary extension's bytes."""
    if array.dtype != np.object_:
        return bytes(array.tobytes())
    texts = [text.encode() for text in array.ravel()]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def to_binary(datatype: str, chance: random.Random, rows: int = 2) -> Question:
    """Ask a mirror over V2 with binary tensors."""
    array = sample(datatype, (rows, 3), chance)
    blob = raw_bytes(array)
    described = tensor(array, datatype) | {"parameters": {"binary_data_size": len(blob)}}
    del described["data"]
    document = {"parameters": {"binary_data_output": True}, "inputs": [described]}
    head = json.dumps(document).encode()
    length = ("Inference-Header-Content-Length", str(len(head)))
    return Question(f"/v2/models/{datatype.lower()}/infer", head + blob, headers=(length,))


def valid_questions(chance: random.Random) -> list[Question]:
    """Return requests of every kind that the server answers with 200."""
    table = "/v1/models/table:predict"
    rows = json.dumps({"instances": [[1, 2.5, 3]] * 3}).encode()
    objects = json.dumps({"instances": [{"a": 1, "b": 2, "c": 3}]}).encode()
    columns = json.dumps({"instances": [{"colour": "red", "size": 1.5}, ["blue", 2]]}).encode()
    raw = ("Inference-Header-Content-Length", "0")
    is_json = ("Content-Type", "application/json")
    return [
        *(to_json(datatype, chance) for datatype in DATATYPES),
        *(to_binary(datatype, chance) for datatype in DATATYPES),
        to_json("FP32", chance, rows=2000),  # large enough for the SIMD parser
        to_json("INT64", chance, rows=4000),
        to_binary("FP32", chance, rows=500),
        Question("/v2/models/double/versions/1/infer", to_json("FP32", chance).body),
        Question("/v1/models/fp32:predict", json.dumps({"instances": [[1, 2]]}).encode()),
        Question(table, rows),
        Question(table, objects),
        Question("/v1/models/columns:predict", columns),
        Question(table, gzip.compress(rows), headers=(("Content-Encoding", "gzip"),)),
        Question("/v2/repository/index", b'{"ready": true}', headers=(is_json,)),
        Question("/v2/models/table/infer", bytes(24), headers=(raw,)),
        *(
            Question(path, method="GET")
            for path in (
                "/",
                "/v1/models",
                "/v1/models/table",
                "/v2",
                "/v2/health/live",
                "/v2/health/ready",
                "/v2/models/double",
                "/v2/models/double/versions/1/ready",
            )
        ),
    ]


# Damage.

_TOKENS = (
    *(b"[" * 3000, b"[[" * 40 + b"1" + b"]]" * 40, b'{"a":' * 1200, b"9" * 5000, b"0" * 5000),
    *(b"-1", b"-0", b"1e999", b"1e-999", b"1.5", b"2", b"NaN", b"null", b"true", b"{}", b"[]"),
    *(b"18446744073709551616", b"9223372036854775807", b"4611686018427387904", b"[0,1]"),
    *(b'"', b'"x"', b"\\ud800", b"\\u0000", b"\xff\xfe", b"\x00"),
    *(b"\xef\xbb\xbf", b"\xed\xa0\x80"),
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b" ",
        b"\t",
        b":",
        b",",
        b"%00",
        b"%ff",
        b"..",
        b"/",
        b"?",
        b"#",
    ),
    *(b"Content-Length: 5\r\n", b"Content-Length: 99999999999999999999\r\n", b"0\r\n\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip\r\n", b"5\r\nhello\r\n"),
    *(b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Content-Encoding: gzip\r\n"),
    *(b"Upgrade: h2c\r\nConnection: Upgrade\r\n", b"Inference-Header-Content-Length: 0\r\n"),
    *(b"x: y\r\n" * 3000, b"x" * 70_000, b"X-Request-Id: \xff\r\n", b"Accept-Encoding: gzip\r\n"),
    *(b"timeout", b"binary_data_size", b"parameters", b"outputs", b"shape", b"BYTES", b"FP16"),
)


def damaged(data: bytes, chance: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Return bytes that were flipped, cut, doubled, spliced or interspersed, once to four times."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(changed))
        end = min(len(changed), at + chance.choice((1, 1, 2, 4, 9, 30, 200)))
        match chance.randrange(7):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << chance.randrange(8)
            case 1 if changed:
                changed[at % len(changed)] = chance.randrange(256)
            case 2:
                del changed[at:end]
            case 3:
                changed[at:at] = changed[at:end] * chance.randint(1, 3)
            case 4:
                del changed[at:]
            case 5 if others:
                other = chance.choice(others)
                changed[at:] = other[chance.randint(0, len(other)) :]
            case _:
                changed[at:at] = chance.choice(_TOKENS)
    return bytes(changed)


_SHAPES = ([2**62, 2], [0, 2**62], [2**63], [2**64], [-1], [True], [1.5], [[1]], [1] * 70, [], None)
_VALUES = (0, 1, -1, 300, 2**31, 2**53 + 1, 2**63, 2**65, 1.5, 1e300, True, None, "1", "", [1], {})


def odd_question(chance: random.Random) -> Question:
    """Return an infer request that is JSON, and means anything."""
    pick = chance.choice
    datatype = pick([*DATATYPES, "FP8", None, 1])
    count = pick((0, 1, 2, 6, 6, 6, 6000))
    data: Any = [pick(_VALUES) for _ in range(min(count, 6))] if chance.random() < 0.5 else [1]
    data = (data or [1]) * (count // max(1, len(data)))
    for _ in range(pick((0, 0, 0, 1, 2, 40, 500))):
        data = [data]
    item = {
        "name": pick(("x", "x", "x", "y", "", None, "é\0")),
        "datatype": datatype,
        "shape": pick(_SHAPES) if chance.random() < 0.4 else [len(data) // 3, 3],
        "data": data if chance.random() < 0.95 else pick(_VALUES),
    }
    if chance.random() < 0.2:
        item["parameters"] = pick(({"binary_data_size": pick(_VALUES)}, {}, [], None, 1))
    document = {
        "inputs": [item] * pick((0, 1, 1, 1, 1, 2)),
        "id": pick(("7", None, 7)),
        "outputs": pick(([], None, [{"name": "y"}], [{"name": "q"}], {}, [1])),
        "parameters": pick(({}, None, {"timeout": pick(_VALUES)}, {"binary_data_output": True})),
    }
    body = json.dumps(document).encode()
    if chance.random() < 0.1:
        body = body.replace(b'"id"', b'"inputs"')
    model = pick([*DATATYPES, "columns", "table"]).lower()
    return Question(f"/v2/models/{model}/infer", body)


def odd_rows(chance: random.Random) -> Question:
    """Return a V1 request that is JSON, and means anything."""
    pick = chance.choice
    width = pick((0, 1, 2, 3, 3, 3, 4))
    row: Any = [pick(_VALUES) for _ in range(width)]
    kind = pick(("list", "list", "object", "plain", "columns", "mixed"))
    if kind == "object":
        row = dict(zip("abcd", row, strict=False))
    elif kind == "plain":
        row = pick(_VALUES)
    elif kind == "columns":
        row = {"colour": pick(_VALUES), "size": pick(_VALUES)}
    rows = [row] * pick((0, 1, 1, 2, 100))
    if kind == "mixed":
        rows = [row, pick(_VALUES), {"a": 1}]
    body = json.dumps({pick(("instances", "instances", "inputs", "rows")): rows}).encode()
    model = pick(("table", "table", "columns", "fp32", "bytes", "int8", "bool", "nobody"))
    return Question(f"/v1/models/{model}:predict", body)


# Callers.


@dataclass
class Counts:
    """What came of a campaign. `failures` say what was sent, and what was wrong with the answer."""

    sent: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def judge(self, sent: bytes, codes: Sequence[int], fine: frozenset[int], kind: str) -> None:
        """Count the codes that came; those that are not fine are failures."""
        self.answers.update(f"{kind} {code}" for code in codes)
        if not set(codes) <= fine:
            self.fail(sent, f"answered {codes}")

    def fail(self, sent: bytes, what: str) -> None:
        """Note a failure."""
        self.failures.append(f"{what}: {sent[:_SHOWN_BYTES]!r}")


_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]+\r\n")


def split_answers(data: bytes) -> Iterator[int]:
    """Return the status codes of HTTP answers; ValueError when they are not whole and in order."""
    position = 0
    while position < len(data):
        start = _STATUS.match(data, position)
        end = data.find(b"\r\n\r\n", position)
        if start is None or end < 0:
            raise ValueError(data[position : position + 200])
        length = re.search(rb"\ncontent-length: (\d+)", data[position:end])
        position = end + 4 + (int(length[1]) if length else 0)
        if position > len(data):
            raise ValueError("the last answer is cut short")
        yield int(start[1])


class HttpCaller:
    """Sends bytes on connections of their own, and judges everything that comes back."""

    def __init__(self, port: int, counts: Counts) -> None:
        self._port = port
        self._counts = counts

    async def send(self, data: bytes, whole: int = 0) -> None:
        """Send, close the sending side, and read to the end.

        The first so many requests are whole: their answers come first, and are 200.
        """
        self._counts.sent += 1
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                answer = await self._exchange(data)
        except (TimeoutError, OSError) as error:
            self._counts.fail(data, f"{type(error).__name__} {error}")
            return
        try:
            codes = list(split_answers(answer))
        except ValueError as error:
            self._counts.fail(data, f"is answered with what is not HTTP ({error})")
            return
        self._counts.judge(data, codes, FINE, "HTTP")
        if codes[:whole] != [200] * whole:
            self._counts.fail(data, f"{whole} whole requests are answered with {codes}")

    async def _exchange(self, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(data)
            writer.write_eof()
            return await reader.read(-1)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


class KeptHttpCaller:
    """Sends well-formed HTTP on a connection that it keeps: each request has one answer."""

    def __init__(self, port: int, counts: Counts) -> None:
        self._port = port
        self._counts = counts
        self._streams: Any = None

    async def send(self, data: bytes) -> None:
        """Send a request, and read its answer."""
        self._counts.sent += 1
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                code = await self._exchange(data)
        except (TimeoutError, OSError, EOFError, ValueError) as error:
            self._counts.fail(data, f"{type(error).__name__} {error}")
            self.close()
            return
        self._counts.judge(data, [code], FINE, "HTTP")

    async def _exchange(self, data: bytes) -> int:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        (code,) = split_answers(head.replace(b"content-length", b"length"))
        length = re.search(rb"\ncontent-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        if b"\nconnection: close" in head:
            self.close()
        return code

    def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Repeater:
    """Sends whole requests in arbitrary pieces; each must be answered, with its own number."""

    def __init__(self, port: int, counts: Counts) -> None:
        self._port = port
        self._counts = counts

    async def send(self, pieces: Sequence[Sequence[bytes]]) -> None:
        """Send the pieces, some after a pause, some right after one another."""
        self._counts.sent += 1
        data = b"".join(part for piece in pieces for part in piece)
        expected = re.findall(rb'"id": "(\d+)"', data)
        answers = b""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                for number, piece in enumerate(pieces):
                    for part in piece:
                        writer.write(part)
                        await asyncio.sleep(0.002 * (number % 2))
                writer.write_eof()
                answers = await reader.read(-1)
                writer.close()
        except (TimeoutError, OSError) as error:
            self._counts.fail(data, f"{type(error).__name__} {error}")
        if re.findall(rb'"id":"(\d+)"', answers) != expected:
            self._counts.fail(data, f"answered {answers!r}")
        self._counts.judge(data, list(split_answers(answers)), frozenset({200}), "HTTP")


def _like_requests(chance: random.Random) -> list[bytes]:
    """Return requests whose heads are the same, in the pieces in which they are sent."""
    wires = []
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        number = chance.choice((1111, 1111, chance.randint(1000, 9999)))
        item = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [number]}
        body = json.dumps({"id": str(number), "inputs": [item]}).encode()
        wires.append(Question("/v2/models/double/infer", body).wire())
    if chance.random() < 0.2:
        wires.insert(0, Question("/v2/health/live", method="GET").wire())
    data = b"".join(wires)
    if chance.random() < 0.3:
        cut = chance.randint(0, len(data))
        return [data[:cut], data[cut:]]
    return [data]


_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
_PING = b"\0\0\x08\x06\0\0\0\0\0goodbye!"
_SERVICE = "/inference.GRPCInferenceService/"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return an HTTP/2 frame."""
    size = len(payload)
    return struct.pack(">BHBBI", size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def call_frames(
    method: str, message: bytes, encoder: Encoder, stream: int = 1, **metadata: str
) -> bytes:
    """Return the frames of one call: headers, and the message in pieces of 16 KiB."""
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", _SERVICE + method),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *((name.replace("_", "-"), value) for name, value in metadata.items()),
    ]
    data = struct.pack(">BI", 0, len(message)) + message
    pieces = [data[at : at + 16_384] for at in range(0, len(data), 16_384)]
    last = len(pieces) - 1
    return frame(1, 4, stream, encoder.encode(headers)) + b"".join(
        frame(0, int(number == last), stream, piece) for number, piece in enumerate(pieces)
    )


def infer_message(datatype: str, chance: random.Random, *, raw: bool, model: str = "") -> Any:
    """Return a ModelInferRequest for a mirror."""
    array = sample(datatype, (2, 3), chance)
    message = messages.ModelInferRequest(model_name=model or datatype.lower(), id="7")
    item = message.inputs.add(name="x", datatype=datatype, shape=array.shape)
    if raw or datatype == "FP16":
        message.raw_input_contents.append(raw_bytes(array))
        return message
    values = array.ravel().tolist()
    kind = np.dtype(DATATYPES[datatype]).kind
    if datatype == "BYTES":
        item.contents.bytes_contents.extend(value.encode() for value in values)
    elif kind in "fb":
        name = {"BOOL": "bool", "FP32": "fp32", "FP64": "fp64"}[datatype]
        getattr(item.contents, f"{name}_contents").extend(values)
    else:
        wide = "64" if datatype.endswith("64") else ""
        name = ("uint" if kind == "u" else "int") + wide
        getattr(item.contents, f"{name}_contents").extend(values)
    return message


def valid_messages(chance: random.Random) -> list[tuple[str, bytes]]:
    """Return calls of every kind that the server answers with OK: method and message."""
    infers = [
        infer_message(datatype, chance, raw=raw) for datatype in DATATYPES for raw in (True, False)
    ]
    named = messages.ModelMetadataRequest(name="table")
    return [
        *(("ModelInfer", infer.SerializeToString()) for infer in infers),
        ("ServerLive", b""),
        ("ServerReady", b""),
        ("ServerMetadata", b""),
        ("ModelReady", messages.ModelReadyRequest(name="fp32").SerializeToString()),
        ("ModelMetadata", named.SerializeToString()),
        ("RepositoryIndex", b""),
    ]


class GrpcCaller:
    """Sends HTTP/2 frames on connections of their own, and judges the statuses that come back."""

    def __init__(self, port: int, counts: Counts) -> None:
        self._port = port
        self._counts = counts

    async def call(self, method: str, message: bytes, **metadata: str) -> None:
        """Make a call whose frames are right: it must end with a status."""
        data = call_frames(method, message, Encoder(), **metadata)
        statuses = await self._exchange(data, until=1)
        if len(statuses) == 1:
            self._counts.judge(data, statuses, FINE_GRPC, "gRPC")
        else:
            self._counts.fail(data, f"has {len(statuses)} statuses")

    async def send(self, data: bytes) -> None:
        """Send what may be no HTTP/2: whatever status comes must be fine."""
        self._counts.judge(data, await self._exchange(data), FINE_GRPC, "gRPC")

    async def _exchange(self, data: bytes, until: int | None = None) -> list[int]:
        """Return the statuses that came before the ping's answer or the end, or so many."""
        self._counts.sent += 1
        statuses: list[int] = []
        writer = None
        try:
            async with asyncio.timeout(PATIENCE_SECONDS if until else 0.05):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                greeting = b"" if data.startswith(b"PRI") or until is None else _PREFACE + _SETTINGS
                writer.write(greeting + data + (b"" if until else _PING))
                async for status in _statuses(reader):
                    statuses.append(status)
                    if len(statuses) == until:
                        break
        except TimeoutError:
            # Damaged frames may leave the server waiting for the rest of one.
            if until:
                self._counts.fail(data, "is not answered")
        except (ConnectionError, EOFError):
            pass
        except (HPACKError, OSError) as error:
            self._counts.fail(data, f"{type(error).__name__} {error}")
        finally:
            if writer is not None:
                writer.close()
        return statuses


async def _statuses(reader: asyncio.StreamReader) -> Any:
    """Yield each grpc-status of a connection, until the ping is answered or it ends."""
    decoder = Decoder()
    while True:
        high, low, kind, flags, _ = struct.unpack(">BHBBI", await reader.readexactly(9))
        payload = await reader.readexactly(high << 16 | low)
        if kind == 1:
            headers = dict(decoder.decode(payload))
            if "grpc-status" in headers:
                yield int(headers["grpc-status"])
        elif kind == 7 or (kind == 6 and flags & 1 and payload == b"goodbye!"):
            return


# Campaigns.

KINDS = (
    *("http", "pipelines", "repeats", "bodies", "lengths", "tensors", "rows"),
    *("messages", "frames"),
)


class Gun:
    """Fires damaged requests at a server. Its methods are the `KINDS`."""

    def __init__(self, http_port: int, grpc_port: int, counts: Counts) -> None:
        self._caller = HttpCaller(http_port, counts)
        self._kept = KeptHttpCaller(http_port, counts)
        self._repeater = Repeater(http_port, counts)
        self._grpc = GrpcCaller(grpc_port, counts)
        seeds = random.Random(0)
        self._questions = valid_questions(seeds)
        self._wires = [question.wire() for question in self._questions]
        self._bodies = [question.body for question in self._questions]
        self._messages = valid_messages(seeds)
        self._encoded = [message for _, message in self._messages]
        self._frames = [
            _PREFACE + _SETTINGS + call_frames(method, message, Encoder())
            for method, message in self._messages
        ]

    async def fire(self, kind: str, chance: random.Random) -> None:
        """Send one request of a kind."""
        await getattr(self, kind)(chance)

    def close(self) -> None:
        """Close what is kept."""
        self._kept.close()

    async def http(self, chance: random.Random) -> None:
        """Damage anything, from the first line to the last byte."""
        await self._caller.send(damaged(chance.choice(self._wires), chance, self._wires))

    async def pipelines(self, chance: random.Random) -> None:
        """Send whole requests at once, and a damaged one after them."""
        wires = chance.choices(self._wires, k=chance.randint(1, 20))
        last = damaged(chance.choice(self._wires), chance, self._wires)
        await self._caller.send(b"".join([*wires, last]), whole=len(wires))

    async def repeats(self, chance: random.Random) -> None:
        """Send like requests one after the other, whole, in pieces and together."""
        await self._repeater.send([_like_requests(chance) for _ in range(chance.randint(2, 8))])

    async def bodies(self, chance: random.Random) -> None:
        """Damage the body alone."""
        question = chance.choice(self._questions)
        body = damaged(question.body, chance, self._bodies)
        await self._kept.send(question._replace(body=body, method="POST").wire())

    async def lengths(self, chance: random.Random) -> None:
        """Let the lengths lie: of the body, of the JSON, of a tensor."""
        question = chance.choice([q for q in self._questions if q.headers])
        lies = (0, 1, -1, 2, len(question.body) + 1, 2**31, 2**64, "0x10", "0" * 5000, "5,5", "+5")
        if chance.random() < 0.5:
            await self._caller.send(question.wire(chance.choice(lies)))
            return
        name, length = question.headers[0]
        body = re.sub(rb'size": \d+', b'size": %d' % chance.choice((0, 1, 7, 2**31)), question.body)
        lie = str(chance.choice((*lies, length, length)))
        await self._kept.send(question._replace(body=body, headers=((name, lie),)).wire())

    async def tensors(self, chance: random.Random) -> None:
        """Send V2 requests that are JSON, and mean anything."""
        await self._kept.send(odd_question(chance).wire())

    async def rows(self, chance: random.Random) -> None:
        """Send V1 requests that are JSON, and mean anything."""
        await self._kept.send(odd_rows(chance).wire())

    async def messages(self, chance: random.Random) -> None:
        """Damage the message of a call whose frames are right."""
        method, message = chance.choice(self._messages)
        if chance.random() < 0.3:
            method = chance.choice((method, "ModelInfer", "Nothing", "ModelReady"))
        timeout = chance.choice(("20S", "20S", "20S", "1n", "99999999H", "x", ""))
        data = damaged(message, chance, self._encoded)
        await self._grpc.call(method, data, grpc_timeout=timeout)

    async def frames(self, chance: random.Random) -> None:
        """Damage anything of a connection: greeting, frames, headers."""
        data = chance.choice(self._frames)
        if chance.random() < 0.5:  # the greeting stays whole: what follows is read
            start = len(_PREFACE + _SETTINGS)
            data = data[:start] + damaged(data[start:], chance, self._frames)
        else:
            data = damaged(data, chance, self._frames)
        await self._grpc.send(data)


async def campaign(
    http_port: int,
    grpc_port: int,
    requests: int,
    *,
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
    at_once: int = 24,
) -> Counts:
    """Send so many damaged requests of these kinds, in turn, from several callers at once."""
    counts = Counts()
    left = iter(range(requests))

    async def caller(number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        gun = Gun(http_port, grpc_port, counts)
        for turn in left:
            await gun.fire(kinds[turn % len(kinds)], chance)
        gun.close()

    await asyncio.gather(*(caller(number) for number in range(at_once)))
    return counts


async def good_requests(http_port: int, grpc_port: int, seed: int = 0) -> Counts:
    """Ask what the server must answer rightly, whatever came before: V1, V2, binary and gRPC."""
    counts = Counts()
    chance = random.Random(seed)
    for question in valid_questions(chance):
        answer = await _ask(http_port, question)
        counts.sent += 1
        counts.judge(question.wire(), list(split_answers(answer)), frozenset({200}), "HTTP")
    number = float(chance.randrange(1 << 20))
    rows = {"instances": [[number, 1.0]]}
    question = Question("/v1/models/double:predict", json.dumps(rows).encode())
    answer = await _ask(http_port, question)
    if json.loads(answer.partition(b"\r\n\r\n")[2]) != {"predictions": [[2 * number, 2.0]]}:
        counts.fail(question.wire(), f"answered {answer!r}")
    caller = GrpcCaller(grpc_port, counts)
    for method, message in valid_messages(chance):
        await caller.call(method, message)
    if counts.answers["gRPC 0"] != len(valid_messages(chance)):
        counts.fail(b"gRPC", f"answered {counts.answers}")
    return counts


async def _ask(port: int, question: Question) -> bytes:
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(question._replace(headers=(*question.headers, ("Connection", "close"))).wire())
        try:
            return await reader.read(-1)
        finally:
            writer.close()
