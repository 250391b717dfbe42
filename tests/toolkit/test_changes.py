"""Changes of an object: each leaves the given one as it was."""

from copy import deepcopy

import pytest

from modelport import changes
from modelport.errors import UsageError


@pytest.fixture
def service():
    return {
        "metadata": {"name": "tumor", "annotations": {"a": "b"}},
        "spec": {
            "predictor": {
                "name": "one",
                "minReplicas": 2,
                "maxReplicas": 4,
                "model": {"storageUri": "/one"},
            },
            "canary": [
                {
                    "trafficPercent": 5,
                    "predictor": {"name": "two", "model": {"storageUri": "/two"}},
                },
                {"trafficPercent": 1, "predictor": {"name": "three", "minReplicas": 1}},
            ],
        },
    }


@pytest.fixture(autouse=True)
def _untouched(service):
    before = deepcopy(service)
    yield
    assert service == before


@pytest.mark.parametrize(
    ("least", "most", "bounds"),
    [(3, None, (3, 4)), (6, None, (6, 6)), (None, 8, (2, 8)), (0, 1, (0, 1))],
)
def test_scaled(service, least, most, bounds):
    predictor = changes.scaled(service, "predictor", least=least, most=most)["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == bounds


def test_no_upper_bound_is_made_up(service):
    plain = deepcopy(service)
    del plain["spec"]["predictor"]["maxReplicas"]
    assert "maxReplicas" not in changes.scaled(plain, "predictor", least=3)["spec"]["predictor"]


def test_what_cannot_be_scaled(service):
    with pytest.raises(UsageError, match="no explainer: it has: predictor"):
        changes.scaled(service, "explainer", least=1)
    with pytest.raises(UsageError, match="2 replicas are more than 1 at most"):
        changes.scaled(service, "predictor", most=1)


def test_stopped_and_started(service):
    stopped = changes.stopped(service)
    assert changes.is_stopped(stopped)
    assert not changes.is_stopped(service)
    assert changes.started(stopped) == service


def test_a_canary_of_the_latest_revision(service):
    plain = deepcopy(service)
    del plain["spec"]["canary"]
    shared = changes.with_canary(plain, 10)
    assert shared["spec"]["predictor"]["canaryTrafficPercent"] == 10
    assert changes.promoted(shared) == plain
    with pytest.raises(UsageError, match=r"spec.canary\[\] shares the traffic out already"):
        changes.with_canary(service, 10)


def test_an_entry_takes_the_stable_place_within_the_stable_one_s_replicas(service):
    spec = changes.promoted(service, "two")["spec"]
    assert spec["predictor"] == {
        "name": "two",
        "minReplicas": 2,
        "maxReplicas": 4,
        "model": {"storageUri": "/two"},
    }
    assert [one["predictor"]["name"] for one in spec["canary"]] == ["three"]
    last = changes.promoted(changes.promoted(service, "two"), "three")["spec"]
    assert "canary" not in last
    assert last["predictor"]["minReplicas"] == 2


def test_what_cannot_be_promoted(service):
    with pytest.raises(UsageError, match=r"no canaryTrafficPercent: .* --canary two, three"):
        changes.promoted(service)
    with pytest.raises(UsageError, match="no canary 'four': name one of these: two, three"):
        changes.promoted(service, "four")
