import pytest

from modelport import gates
from modelport.errors import UsageError
from modelport.reports import Evaluation, Latency

LATENCY = Latency(
    subject="converted",
    batch_size=1,
    concurrency=1,
    requests=100,
    p50_ms=1.0,
    p90_ms=1.5,
    p95_ms=2.0,
    p99_ms=3.0,
    max_ms=4.0,
    throughput=900.0,
)
MEASURED = Evaluation(measured=True, task="classification", rows=10)
UNMEASURED = Evaluation(measured=False, reason="no labelled data were given")


def judged(slo, metrics=None, evaluation=MEASURED):
    return gates.judge(gates.parse(slo), LATENCY, evaluation, metrics or {}, "before")


@pytest.mark.parametrize(
    ("slo", "passed"),
    [
        ("p99<3.1ms", True),
        ("p99<3ms", False),
        ("p99<=3ms", True),
        ("p95<0.002s", False),
        ("p95<=2000us", True),
        ("throughput>899", True),
        ("throughput>=901rps", False),
        ("accuracy>=90%", True),
        ("accuracy>=0.91", False),
        ("ACCURACY > 0.8", True),
    ],
)
def test_a_gate_compares_in_its_unit(slo, passed):
    (verdict,) = judged(slo, {"accuracy": 0.9})
    assert verdict.passed is passed


def test_a_verdict_says_by_how_much():
    (verdict,) = judged("p99<2ms")
    assert (verdict.measured, verdict.reason) == ("3 ms", "1 ms above the bound")


def test_what_was_not_measured_does_not_pass():
    (verdict,) = judged("accuracy>=0", evaluation=UNMEASURED)
    assert not verdict.passed
    assert verdict.measured is None
    assert verdict.reason == "not measured: no labelled data were given"


def test_a_metric_of_the_other_task_does_not_pass():
    (verdict,) = judged("rmse<1", {"accuracy": 0.9})
    assert not verdict.passed
    assert "classification" in verdict.reason


def test_several_slos_are_judged_in_order():
    assert [v.gate for v in judged(" p99<50ms, accuracy>=0.9 ,")] == ["p99<50ms", "accuracy>=0.9"]
    assert judged(None) == ()


@pytest.mark.parametrize(
    ("slo", "word"),
    [
        ("p99", "does not read"),
        ("p99=3ms", "does not read"),
        ("speed<3", "no known metric"),
        ("p99<3", "wrong unit"),
        ("accuracy>90ms", "wrong unit"),
        ("p99<50ms; accuracy>0.9", "does not read"),
    ],
)
def test_a_wrong_slo_names_its_clause(slo, word):
    with pytest.raises(UsageError, match=word):
        gates.parse(slo)
