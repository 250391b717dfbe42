"""The public surface: what is exported, documented and cheap to import."""

import subprocess
import sys

import pytest

import modelport
from modelport import errors
from modelport.errors import ModelportError


def test_everything_exported_exists_and_is_documented():
    for name in modelport.__all__:
        assert getattr(modelport, name).__doc__, name
    assert modelport.__all__ == sorted(modelport.__all__)
    with pytest.raises(AttributeError):
        modelport.nothing  # noqa: B018 - the access is what is tested


def test_every_error_is_exported_and_in_the_tree():
    own = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, ModelportError)
    }
    assert own <= set(modelport.__all__)
    assert all(name in errors.__doc__ for name in own)


def test_an_error_is_one_line():
    assert str(ModelportError("it\nbroke", "mend   it")) == "it broke: mend it"
    assert str(errors.MissingExtra("kfp", "release")).endswith("pip install 'modelport[release]'")


def test_importing_modelport_imports_nothing_heavy():
    heavy = "{'mlflow', 'kfp', 'shap', 'sklearn', 'pandas', 'numpy', 'onnxruntime', 'pydantic'}"
    code = f"import sys, modelport; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
