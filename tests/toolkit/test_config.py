from pathlib import Path

import pytest

from modelport import config
from modelport.errors import UsageError


def test_home_defaults_to_the_platforms_user_data_folder():
    assert config.read({}).home.name == "modelport"


def test_the_environment_is_read(tmp_path):
    found = config.read(
        {
            "MODELPORT_HOME": str(tmp_path),
            "MODELPORT_GATEWAY_PORT": "8081",
            "MODELPORT_READY_TIMEOUT": "7.5",
        }
    )
    assert found.home == tmp_path
    assert found.local.gateway_port == 8081
    assert found.local.ready_timeout == 7.5
    assert found.releases == tmp_path / "releases"


def test_home_may_be_relative_or_begin_with_a_tilde():
    assert config.read({"MODELPORT_HOME": "x"}).home == Path.cwd() / "x"
    assert config.read({"MODELPORT_HOME": "~/x"}).home == Path.home() / "x"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODELPORT_GATEWAY_PORT", "http"),
        ("MODELPORT_GATEWAY_PORT", "0"),
        ("MODELPORT_GATEWAY_PORT", "70000"),
        ("MODELPORT_READY_TIMEOUT", "soon"),
        ("MODELPORT_READY_TIMEOUT", "-1"),
        ("MODELPORT_READY_TIMEOUT", "nan"),
    ],
)
def test_a_value_that_does_not_parse_names_its_variable(name, value):
    with pytest.raises(UsageError, match=f"{name} is '{value}'"):
        config.read({name: value})
