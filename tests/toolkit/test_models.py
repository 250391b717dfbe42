import pytest

from modelport.errors import UsageError
from modelport.models import ModelRef, check_service_name


@pytest.mark.parametrize(
    ("text", "uri", "name", "version", "alias"),
    [
        ("models:/churn@champion", "models:/churn@champion", "churn", None, "champion"),
        ("models:/churn/3", "models:/churn/3", "churn", "3", None),
        ("models:/churn/latest", "models:/churn/latest", "churn", "latest", None),
        ("mlflow://models/churn/3", "models:/churn/3", "churn", "3", None),
        ("runs:/abc/model", "runs:/abc/model", None, None, None),
        ("models:/m-0a1b2c", "models:/m-0a1b2c", None, None, None),
    ],
)
def test_known_forms_are_read(text, uri, name, version, alias):
    ref = ModelRef.parse(text)
    assert (ref.uri, ref.name, ref.version, ref.alias) == (uri, name, version, alias)


def test_a_model_folder_is_a_reference(tmp_path):
    (tmp_path / "MLmodel").write_text("flavors: {}")
    ref = ModelRef.parse(tmp_path.as_uri())
    assert (ref.kind, ref.uri) == ("folder", str(tmp_path))


@pytest.mark.parametrize(
    "text",
    ["", "models:/churn", "models:/churn/three", "models:/@champion", "runs:/abc", "s3://x/y", "/"],
)
def test_other_forms_are_refused_with_the_known_ones(text):
    with pytest.raises(UsageError, match="models:/NAME@ALIAS"):
        ModelRef.parse(text)


@pytest.mark.parametrize(
    ("uri", "service"),
    [("models:/Churn Model_v2/1", "churn-model-v2"), ("models:/2fast/1", "m-2fast")],
)
def test_a_service_name_comes_from_the_models(uri, service):
    assert check_service_name(ModelRef.parse(uri).service_name) == service


@pytest.mark.parametrize("name", ["", "Tumor", "-x", "x-", "a" * 64, "a.b", "../etc", "a b"])
def test_names_that_kubernetes_refuses_are_refused(name):
    with pytest.raises(UsageError, match="no valid service name"):
        check_service_name(name)
