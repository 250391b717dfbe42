"""What a user installs."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_every_package_and_nothing_else(tmp_path):
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--no-build-isolation", "--wheel-dir", str(tmp_path), str(ROOT)),
        ],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"modelport", "modelport_engine", "modelport_pipelines", "modelport_serving"}
    for package in tops:
        assert f"{package}/py.typed" in names
    assert "modelport/render/style.css" in names


def test_the_runtime_and_the_client_import_nothing_heavy():
    heavy = "{'mlflow', 'kfp', 'shap', 'sklearn', 'pandas', 'IPython', 'modelport'}"
    code = (
        "import sys, modelport_serving.server, modelport_serving.contract\n"
        "import modelport_engine.client\n"
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_extras_that_errors_name_exist():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"serving", "engine", "release", "lab", "all", "dev"} <= set(
        extras["optional-dependencies"]
    )
