"""The server's settings: KServe's own command-line arguments, read once."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

PROGRAM = "modelport-serving"
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """What a server is started with. Every field is a command-line argument of the same name."""

    model_name: str
    model_dir: Path
    host: str
    http_port: int
    max_threads: int
    max_body_bytes: int
    enable_docs_url: bool
    allow_pickle: bool


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """Read the arguments; an unknown or impossible one ends the program with one line."""
    given = vars(_parser().parse_args(arguments))
    del given["workers"]
    return Settings(**given)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line instead of the whole usage."""
        self.exit(2, f"{PROGRAM}: {message}: see --help for the arguments of this server\n")


def _parser() -> _Parser:
    # No abbreviations: an argument of KServe that we do not honour must not be taken for ours.
    parser = _Parser(
        prog=PROGRAM,
        description="Serve an MLflow model folder over KServe's V1 and V2 protocols.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--model_name", default="model", type=_name, help="name in URLs (default: model)")
    add("--model_dir", required=True, type=Path, help="the MLflow model folder")
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 in a pod")
    add("--http_port", default=8080, type=_port, help="port to listen on (default: 8080)")
    add(
        "--max_threads",
        default=len(os.sched_getaffinity(0)),
        type=_positive,
        help="threads for models slower than 1 ms (default: the CPUs that this process has)",
    )
    add("--workers", default=1, type=_one_worker, help="1: one process serves one replica")
    add(
        "--max_body_bytes",
        default=100 * _MIB,
        type=_positive,
        help="largest request body in bytes (default: 104857600)",
    )
    add(
        "--enable_docs_url",
        default=False,
        nargs="?",
        const=True,
        type=_boolean,
        help="serve the OpenAPI docs at /docs",
    )
    add(
        "--allow-pickle",
        action="store_true",
        help="also serve models whose loading can run any code in them",
    )
    return parser


def _name(text: str) -> str:
    if not text or "/" in text:
        raise argparse.ArgumentTypeError(f"a model's name has no slash and is not empty: {text!r}")
    return text


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, not {text!r}")
    return int(text)


def _port(text: str) -> int:
    port = _positive(text)
    if port > 65535:
        raise argparse.ArgumentTypeError(f"a port is at most 65535, not {port}")
    return port


def _one_worker(text: str) -> int:
    if text != "1":
        raise argparse.ArgumentTypeError(
            f"{text} workers are not available, one process serves one replica: "
            "start more replicas instead"
        )
    return 1


def _boolean(text: str) -> bool:
    """Read KServe's `--enable_docs_url true`."""
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, not {text!r}")
