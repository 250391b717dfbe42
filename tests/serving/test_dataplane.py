"""Where a prediction runs: a slow one must never hold up the event loop."""

from pathlib import Path

import numpy as np
import pytest

from modelport_serving.dataplane import Model
from modelport_serving.errors import PredictionFailed
from modelport_serving.runtimes.base import Runtime
from modelport_serving.runtimes.pyfunc import PyfuncRuntime

INPUTS = {"x": np.ones((1, 2), np.float32)}


class Echo(Runtime):
    """A runtime that answers at once, or fails at once."""

    may_run_inline = True
    fails = False

    def load(self):
        pass

    def predict(self, inputs, outputs):  # noqa: ARG002 - the base class's signature
        if self.fails:
            raise ValueError("no")
        return inputs

    def unload(self):
        pass


@pytest.fixture
def model():
    model = Model("m", Path())
    model.runtime = Echo()
    return model


def test_nothing_runs_inline_before_an_answer_was_timed(model):
    assert not model.is_quick(INPUTS)
    model.predict(INPUTS)
    assert model.is_quick(INPUTS)


def test_a_failure_is_no_quick_answer(model):
    model.runtime.fails = True
    with pytest.raises(PredictionFailed):
        model.predict(INPUTS)
    assert not model.is_quick(INPUTS)


def test_one_slow_answer_counts_at_once(model):
    model.predict(INPUTS)
    model._seconds_per_element = 10.0  # as after an answer of 20 s
    model.predict(INPUTS)
    assert not model.is_quick(INPUTS)
    assert model._seconds_per_element < 10.0


def test_python_code_never_runs_in_the_event_loop():
    assert not PyfuncRuntime.may_run_inline
