from __future__ import annotations

from modelport.render.comparison import compare, main_latencies
from modelport.reports import Benchmark, Latency, ReleaseReport


def latency(batch_size: int, concurrency: int, p50_ms: float) -> Latency:
    return Latency(
        subject="native",
        batch_size=batch_size,
        concurrency=concurrency,
        requests=10,
        p50_ms=p50_ms,
        p90_ms=p50_ms,
        p95_ms=p50_ms,
        p99_ms=p50_ms,
        max_ms=p50_ms,
        throughput=1000 / p50_ms,
    )


def bare(report: ReleaseReport) -> ReleaseReport:
    empty = dict.fromkeys(("evaluation", "benchmark", "verification"))
    return report.model_copy(update=empty)


def test_sets_what_each_subject_measured_side_by_side(deployed: ReleaseReport) -> None:
    compared = compare(deployed)

    assert compared.subjects == ("native", "converted", "live")
    accuracy, latencies, footprint = compared.groups
    assert accuracy.lines[0].values == dict.fromkeys(compared.subjects, "0.9561")
    assert latencies.lines[0].values == {"native": "4.81", "converted": "0.0204", "live": "0.830"}
    assert latencies.lines[0].change == "236\N{MULTIPLICATION SIGN} faster"
    assert latencies.lines[3].change == "236\N{MULTIPLICATION SIGN} more"
    assert "live" not in footprint.lines[0].values


def test_the_lightest_load_stands_for_a_subject(deployed: ReleaseReport) -> None:
    loads = (latency(64, 1, 9.0), latency(1, 8, 5.0), latency(1, 1, 4.0))
    report = bare(deployed).model_copy(update={"benchmark": Benchmark(measurements=loads)})

    assert main_latencies(report)["native"].p50_ms == 4.0
    assert compare(report).other_loads == loads[:2]


def test_says_each_load_where_they_differ(deployed: ReleaseReport) -> None:
    assert compare(deployed).loads == {}
    assert deployed.verification is not None
    busy = deployed.verification.latencies[0].model_copy(update={"concurrency": 4})
    verification = deployed.verification.model_copy(update={"latencies": (busy,)})

    loads = compare(deployed.model_copy(update={"verification": verification})).loads

    assert loads == {
        "native": "1 row \N{MULTIPLICATION SIGN} 1 caller",
        "converted": "1 row \N{MULTIPLICATION SIGN} 1 caller",
        "live": "1 row \N{MULTIPLICATION SIGN} 4 callers",
    }


def test_invents_no_accuracy(stopped: ReleaseReport) -> None:
    accuracy = compare(stopped).groups[0]

    assert accuracy.lines == ()
    assert accuracy.note == "not measured: no data was given (--data), so there are no labels"


def test_a_release_that_ended_early_has_no_figures(deployed: ReleaseReport) -> None:
    compared = compare(bare(deployed))

    assert compared.subjects == ()
    assert all(not group.lines for group in compared.groups)


def test_a_model_in_its_own_flavour_has_no_converted_column(own_flavour: ReleaseReport) -> None:
    compared = compare(own_flavour)

    assert compared.subjects == ("native", "live")
    assert not any(line.change for group in compared.groups for line in group.lines)
