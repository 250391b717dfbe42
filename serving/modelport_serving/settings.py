"""The server's settings: KServe's own command-line arguments, and ours, read once."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

PROGRAM = "modelport-serving"
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """What a server is started with. Every field is a command-line argument of the same name."""

    model_name: str
    model_dir: Path | None
    model_format: str | None
    model_version_policy: str
    model_warmup: bool
    allow_pickle: bool
    host: str
    http_port: int
    grpc_port: int
    enable_grpc: bool
    workers: int
    max_threads: int
    max_body_bytes: int
    grpc_max_send_message_length: int
    grpc_max_receive_message_length: int
    max_batch_size: int
    max_batch_latency_ms: float
    max_queue_length: int
    max_queue_seconds: float
    request_timeout_seconds: float
    shutdown_seconds: float
    cache_bytes: int
    cache_ttl_seconds: float
    cache_url: str | None
    predictor_host: str | None
    predictor_protocol: str
    predictor_use_ssl: bool
    predictor_request_timeout_seconds: float
    transformer: str | None
    explainer: str | None
    auth_token_file: Path | None
    tls_cert_file: Path | None
    tls_key_file: Path | None
    enable_docs_url: bool
    log_format: str
    configure_logging: bool
    log_config_file: Path | None
    enable_latency_logging: bool
    otlp_endpoint: str | None
    logger_url: str | None
    logger_mode: str


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """Read the arguments; an unknown or impossible one ends the program with one line."""
    parser = _parser()
    given = vars(parser.parse_args(arguments))
    del given["access_log_format"]  # never given: parsing it fails
    if given["max_threads"] is None:
        given["max_threads"] = max(1, len(os.sched_getaffinity(0)) // given["workers"])
    settings = Settings(**given)
    if problem := _conflict(settings):
        parser.error(problem)
    return settings


def _conflict(settings: Settings) -> str | None:
    """Say which arguments do not go together."""
    if settings.model_dir is None and settings.predictor_host is None:
        return "--model_dir is missing (or, for a transformer or explainer, --predictor_host)"
    if settings.predictor_host and not (settings.transformer or settings.explainer):
        return "--predictor_host needs --transformer or --explainer"
    if (settings.tls_cert_file is None) != (settings.tls_key_file is None):
        return "--tls_cert_file and --tls_key_file go together"
    if settings.cache_url and not settings.cache_bytes:
        return "--cache_url needs --cache_bytes, the most that one answer or the memory may take"
    return None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line instead of the whole usage."""
        self.exit(2, f"{PROGRAM}: {message}: see --help for the arguments of this server\n")


def _parser() -> _Parser:
    # No abbreviations: an argument of KServe that we do not honour must not be taken for ours.
    parser = _Parser(
        prog=PROGRAM,
        description="Serve MLflow model folders over KServe's V1 and V2 protocols and gRPC.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    _add_model(parser.add_argument_group("model").add_argument)
    _add_network(parser.add_argument_group("network").add_argument)
    _add_bounds(parser.add_argument_group("batching and bounds").add_argument)
    _add_cache(parser.add_argument_group("response cache").add_argument)
    _add_roles(parser.add_argument_group("transformer and explainer").add_argument)
    _add_observation(parser.add_argument_group("logs, traces and docs").add_argument)
    return parser


_Add = Callable[..., Any]


def _add_model(add: _Add) -> None:
    add("--model_name", default="model", type=_name, help="name in URLs, of a single model")
    add(
        "--model_dir",
        type=Path,
        help="an MLflow model folder, a plain model file or its folder (model.joblib, model.bst, "
        "model.onnx, ...), or a repository of <model>/<version>/ folders; with --predictor_host, "
        "what the transformer or explainer reads",
    )
    add(
        "--model_format",
        help="format of plain model files, where their names do not tell it: onnx, sklearn, "
        "xgboost, lightgbm or pytorch; MLflow model folders say it themselves",
    )
    add(
        "--model_version_policy",
        default="latest",
        type=_policy,
        help="versions to serve: latest, all, or a list such as 1,3",
    )
    _add_switch(
        add, "--model_warmup", "predict the model's input example before it is ready", on=True
    )
    add(
        "--allow-pickle",
        action="store_true",
        help="also serve models whose loading can run any code in them",
    )


def _add_network(add: _Add) -> None:
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 in a pod")
    add("--http_port", default=8080, type=_port, help="port of REST")
    add("--grpc_port", default=8081, type=_port, help="port of gRPC")
    _add_switch(add, "--enable_grpc", "serve gRPC too", on=True)
    add("--workers", default=1, type=_positive, help="processes that share the ports")
    add(
        "--max_threads",
        type=_positive,
        help="threads of a worker for models slower than 1 ms; by default its share of the CPUs",
    )
    add("--auth_token_file", type=Path, help="callers must show the bearer token in this file")
    add("--tls_cert_file", type=Path, help="serve TLS with this certificate (PEM)")
    add("--tls_key_file", type=Path, help="the certificate's key (PEM)")


def _add_bounds(add: _Add) -> None:
    add("--max_body_bytes", default=128 * _MIB, type=_positive, help="largest request body")
    for direction in ("send", "receive"):
        add(
            f"--grpc_max_{direction}_message_length",
            default=128 * _MIB,
            type=_positive,
            help=f"largest gRPC message to {direction}, in bytes",
        )
    add("--max_batch_size", default=64, type=_positive, help="rows in a batch; 1: no batching")
    add(
        "--max_batch_latency_ms",
        default=50.0,
        type=_seconds,
        help="a batch takes in no more rows than the model answers in this time",
    )
    add("--max_queue_length", default=1000, type=_positive, help="requests that may wait (503)")
    add("--max_queue_seconds", default=30.0, type=_seconds, help="how long they may wait (503)")
    add("--request_timeout_seconds", default=600.0, type=_seconds, help="time for an answer (504)")
    add(
        "--shutdown_seconds",
        default=20.0,
        type=_seconds,
        help="time for requests in flight when the server is told to stop",
    )


def _add_cache(add: _Add) -> None:
    add("--cache_bytes", default=0, type=_count, help="bytes of answers to keep; 0: no cache")
    add("--cache_ttl_seconds", default=60.0, type=_seconds, help="how long an answer is kept")
    add("--cache_url", help="keep answers in Redis: redis://[user:password@]host:port/db")


def _add_roles(add: _Add) -> None:
    add("--transformer", help="module:Class of a Transformer")
    add("--explainer", help="module:Class of an Explainer, or shap")
    add(
        "--predictor_host",
        help="host:port of the predictor, or host:port/path; with --transformer or --explainer",
    )
    add("--predictor_protocol", default="v1", choices=("v1", "v2", "grpc-v2"), help="to speak")
    _add_switch(add, "--predictor_use_ssl", "speak TLS with the predictor", on=False)
    add("--predictor_request_timeout_seconds", default=600.0, type=_seconds, help="for its answer")


def _add_observation(add: _Add) -> None:
    _add_switch(add, "--enable_docs_url", "serve the OpenAPI docs at /docs", on=False)
    add("--log_format", default="text", choices=("text", "json"), help="of the log on stderr")
    _add_switch(add, "--configure_logging", "set up logging at all", on=True)
    add("--access_log_format", type=_no_format, help="not supported: see --enable_latency_logging")
    add("--log_config_file", type=Path, help="logging configuration (YAML or JSON dictConfig)")
    _add_switch(add, "--enable_latency_logging", "log the times of every request", on=False)
    add("--otlp_endpoint", help="send traces there (OTLP over HTTP), http://host:4318")
    add("--logger_url", help="send requests and responses there as CloudEvents")
    add("--logger_mode", default="all", choices=("all", "request", "response"), help="which")


def _add_switch(add: _Add, name: str, text: str, *, on: bool) -> None:
    """Add a boolean as KServe writes them: `--enable_grpc`, `--enable_grpc=false`."""
    add(name, default=on, nargs="?", const=True, type=_boolean, help=text)


def _name(text: str) -> str:
    if not text or "/" in text:
        raise argparse.ArgumentTypeError(f"a model's name has no slash and is not empty: {text!r}")
    return text


def _policy(text: str) -> str:
    if text in ("latest", "all") or all(part.isdecimal() for part in text.split(",")):
        return text
    raise argparse.ArgumentTypeError(f"expected latest, all or versions such as 1,3, not {text!r}")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number, not {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if _count(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, not {text!r}")
    return seconds


def _no_format(_: str) -> None:
    raise argparse.ArgumentTypeError(
        "the log of requests has one format: use --enable_latency_logging, or --log_config_file"
    )


def _port(text: str) -> int:
    port = _positive(text)
    if port > 65535:
        raise argparse.ArgumentTypeError(f"a port is at most 65535, not {port}")
    return port


def _boolean(text: str) -> bool:
    """Read KServe's `--enable_docs_url true`."""
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, not {text!r}")
