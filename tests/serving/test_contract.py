from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from modelport_serving import contract
from modelport_serving.errors import ContractError

if TYPE_CHECKING:
    from conftest import Trained


def onnx_folder(folder: Path, flavour: dict[str, Any] | None = None, **document: Any) -> Path:
    (folder / "model.onnx").write_bytes(b"")
    document.setdefault("flavors", {"onnx": {"data": "model.onnx", **(flavour or {})}})
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    return folder


def test_reads_what_mlflow_wrote(tumor: Trained) -> None:
    served = contract.read(tumor.folder)

    assert served.flavour == "onnx"
    assert not served.needs_pickle
    assert served.model_file == tumor.folder / "model.onnx"
    assert len(served.inputs) == 30
    assert served.inputs[0] == contract.Column("mean radius", "double")
    assert served.outputs == (contract.Column(None, "tensor(int64)", shape=(-1,)),)
    assert served.session_options == contract.SessionOptions(intra_op_num_threads=1)
    assert [p.name for p in served.providers] == ["CUDAExecutionProvider", "CPUExecutionProvider"]


def test_a_pickle_is_known_by_its_flavour(pickled: Trained) -> None:
    served = contract.read(pickled.folder)

    assert served.flavour == "sklearn"
    assert served.needs_pickle
    assert served.model_file == pickled.folder / "model.pkl"
    assert served.inputs == (contract.Column("a", "double"), contract.Column("n", "long"))


def test_reads_session_options_and_providers(tmp_path: Path) -> None:
    options = {
        "intra_op_num_threads": 3,
        "inter_op_num_threads": 2,
        "execution_mode": "PARALLEL",
        "graph_optimization_level": 1,
        "extra_session_config": {"session.intra_op.allow_spinning": 0},
    }
    providers = [["CUDAExecutionProvider", {"device_id": 1}], "CPUExecutionProvider"]
    flavour = {"onnx_session_options": options, "providers": providers}

    served = contract.read(onnx_folder(tmp_path, flavour, metadata={"release": "r1"}))

    assert served.session_options == contract.SessionOptions(
        3, 2, "parallel", 1, {"session.intra_op.allow_spinning": "0"}
    )
    assert served.providers[0] == contract.Provider("CUDAExecutionProvider", {"device_id": 1})
    assert served.metadata == {"release": "r1"}


def test_columns_in_the_metadata_stand_for_those_of_the_signature(tmp_path: Path) -> None:
    columns = [{"name": "a", "type": "double"}, {"name": "b", "type": "long", "required": False}]
    metadata = {contract.METADATA_KEY: {contract.COLUMNS_KEY: columns}}
    tensor = {"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}
    signature = {"inputs": json.dumps([tensor])}

    with_columns = onnx_folder(tmp_path, metadata=metadata, signature=signature)
    assert contract.read(with_columns).inputs == (
        contract.Column("a", "double"),
        contract.Column("b", "long", required=False),
    )
    without = onnx_folder(tmp_path, signature=signature)
    assert contract.read(without).inputs == (
        contract.Column(None, "tensor(float64)", shape=(-1, 2)),
    )


def test_reads_what_a_runtime_needs_to_know(tmp_path: Path) -> None:
    for name in ("code", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "input_example.json").touch()
    flavour = {"model_data": "data", "code": "code", "pytorch_version": "2.6"}
    document = {
        "flavors": {"pytorch": flavour},  # MLflow leaves python_function out for some of them
        "saved_input_example_info": {"artifact_path": "input_example.json"},
        "signature": {"inputs": '[{"name": 0, "type": "long"}]'},
    }
    (tmp_path / "MLmodel").write_text(yaml.safe_dump(document))

    served = contract.read(tmp_path)

    assert served.model_file == tmp_path / "data"
    assert served.code == tmp_path / "code"
    assert served.example == tmp_path / "input_example.json"
    assert served.config == flavour
    assert served.inputs == (contract.Column("0", "long"),)


@pytest.mark.parametrize(
    "document",
    [
        {"saved_input_example_info": {"artifact_path": "../secret.json"}},
        {"flavors": {"sklearn": {"code": "../code"}, "python_function": {}}},
    ],
)
def test_no_path_leaves_the_folder(tmp_path: Path, document: dict[str, Any]) -> None:
    with pytest.raises(ContractError, match="outside the model folder"):
        contract.read(onnx_folder(tmp_path, **document))


@pytest.mark.parametrize(
    ("flavour", "fragment"),
    [
        ({"data": "../secret.onnx"}, "outside the model folder"),
        ({"data": "/etc/hostname"}, "outside the model folder"),
        ({"data": "link.onnx"}, "outside the model folder"),
        ({"data": "absent.onnx"}, "no file absent.onnx"),
        ({"data": None}, "does not name the model file"),
        ({"onnx_session_options": {"intra_op_num_threads": "many"}}, "whole number, not 'many'"),
        ({"onnx_session_options": {"execution_mode": "fast"}}, "sequential or parallel"),
        ({"onnx_session_options": {"graph_optimization_level": 7}}, "one of 0, 1, 2, 3, 99"),
        ({"onnx_session_options": [1]}, "must be a mapping, not list"),
        ({"providers": [{"a": 1}]}, "unknown entry"),
        ({"providers": {"a": 1}}, "must be a list"),
    ],
)
def test_refuses_an_onnx_flavour(tmp_path: Path, flavour: dict[str, Any], fragment: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.onnx").write_bytes(b"")
    (folder / "link.onnx").symlink_to(tmp_path / "secret.onnx")

    with pytest.raises(ContractError) as refusal:
        contract.read(onnx_folder(folder, flavour))

    assert fragment in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("document", "fragment"),
    [
        ({"flavors": {"sklearn": {}}}, "its flavours are sklearn"),
        ({"flavors": None}, "its flavours are none"),
        ({"flavors": []}, "flavors must be a mapping"),
        ({"signature": {"inputs": "[{]"}}, "signature.inputs is not a list"),
        ({"signature": {"inputs": '[{"name": "x"}]'}}, "signature.inputs is not a list"),
        ({"metadata": {"modelport": [1]}}, "metadata.modelport must be a mapping"),
        ({"signature": {"outputs": "3"}}, "signature.outputs is not a list"),
    ],
)
def test_refuses_an_mlmodel(tmp_path: Path, document: dict[str, Any], fragment: str) -> None:
    with pytest.raises(ContractError, match=fragment):
        contract.read(onnx_folder(tmp_path, **document))


@pytest.mark.parametrize("text", ["{", "- a list", "\x00"])
def test_refuses_an_mlmodel_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    (tmp_path / "MLmodel").write_text(text)

    with pytest.raises(ContractError, match="MLmodel"):
        contract.read(tmp_path)


def test_refuses_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="no file MLmodel"):
        contract.read(tmp_path / "absent")


def test_imports_no_heavy_library() -> None:
    code = (
        "import sys, modelport_serving.contract; "
        "print({'numpy', 'mlflow', 'onnxruntime', 'granian'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert result.stdout.strip() == "set()", result.stderr
