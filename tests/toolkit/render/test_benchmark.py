from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from modelport.render import as_text, benchmark_html, benchmark_renderable
from modelport.render.figures import TIMES
from modelport.render.latency_plot import LogAxis, latency_plot
from modelport.render.loads import in_order, warnings
from modelport.reports import Benchmark, Footprint, Latency, ReleaseReport


def live(batch_size: int, concurrency: int, **changed: object) -> Latency:
    p50 = 0.4 * concurrency**0.8 * batch_size**0.2
    one = Latency(
        subject="live",
        batch_size=batch_size,
        concurrency=concurrency,
        requests=900,
        p50_ms=p50,
        p90_ms=p50 * 1.2,
        p95_ms=p50 * 1.4,
        p99_ms=p50 * 2,
        max_ms=p50 * 5,
        throughput=950 * concurrency / p50,
        spread=0.03,
        ceiling=90_000.0,
    )
    return one.model_copy(update=changed)


@pytest.fixture
def endpoint() -> Benchmark:
    return Benchmark(
        target="http://127.0.0.1:8080/serving/default/tumor/v2/models/tumor/infer",
        protocol="v2",
        measurements=tuple(live(size, callers) for callers in (1, 4, 16) for size in (1, 16)),
        footprints={"live": Footprint(load_seconds=0.11, memory_bytes=102_000_000)},
        best_batch_size=16,
    )


def plot(benchmark: Benchmark) -> ET.Element:
    drawn = latency_plot(benchmark)
    assert drawn is not None
    return ET.fromstring(drawn)  # noqa: S314 - our own markup, which must be well-formed


def texts(element: ET.Element) -> list[str]:
    return [one.text or "" for one in element.iter("text")]


def test_the_plot_has_a_curve_for_each_batch_size_and_a_mark_for_each_load(
    endpoint: Benchmark,
) -> None:
    drawn = plot(endpoint)
    svg = drawn.find("svg")
    assert svg is not None
    assert len(svg.findall("g")) == 2
    told = [title.text or "" for title in svg.iter("title")]
    assert len(told) == 6
    assert told[0].startswith(f"live, 1 row {TIMES} 1 caller: p50 0.400 ms, p99 0.800 ms")
    assert {"throughput, rows/s", "latency, ms"} <= set(texts(svg))
    assert [text for text in texts(svg) if text in {"1", "4", "16"}].count("16") >= 2
    legend = " ".join("".join(entry.itertext()) for entry in drawn.findall("div/span"))
    assert "live, 1 row a request" in legend
    assert "live, 16 rows a request" in legend


def test_the_plot_lies_within_its_axes(endpoint: Benchmark) -> None:
    svg = plot(endpoint).find("svg")
    assert svg is not None
    width, height = (float(size) for size in svg.attrib["viewBox"].split()[2:])
    for line in svg.iter("polyline"):
        for place in line.attrib["points"].split():
            x, y = (float(number) for number in place.split(","))
            assert 0 < x < width
            assert 0 < y < height


def test_more_throughput_lies_to_the_right_and_less_latency_below() -> None:
    axis = LogAxis.around([1.0, 1000.0], 0.0, 300.0)
    assert axis.at(1.0) < axis.at(10.0) < axis.at(1000.0)
    assert axis.at(10.0) - axis.at(1.0) == pytest.approx(axis.at(100.0) - axis.at(10.0), abs=0.2)
    assert {1.0, 10.0, 100.0, 1000.0} <= set(axis.ticks())
    assert LogAxis.around([5.0], 0.0, 100.0).at(5.0) == pytest.approx(50.0, abs=0.1)


def test_marks_that_lie_close_share_one_label(endpoint: Benchmark) -> None:
    same = (live(1, 1), live(1, 4, p50_ms=0.4, throughput=2375.0), live(1, 16))
    svg = plot(endpoint.model_copy(update={"measurements": same})).find("svg")
    assert svg is not None
    assert "1, 4" in texts(svg)


def test_one_load_makes_no_plot(endpoint: Benchmark) -> None:
    assert latency_plot(endpoint.model_copy(update={"measurements": (live(1, 1),)})) is None


def test_both_views_tell_the_same_figures(endpoint: Benchmark) -> None:
    html, text = benchmark_html(endpoint), as_text(benchmark_renderable(endpoint))
    for figure in ("0.400", "0.800", "2,375", "21,800", "90,000", "97.3 MiB"):
        assert figure in html, figure
        assert figure in text, figure
    for told in ("over HTTP, V2", "best batch", f"16 rows {TIMES} 16 callers", "3%"):
        assert told in html, told
        assert told in text, told
    assert all(len(line) <= 100 for line in text.splitlines())


def test_loads_are_listed_by_batch_size_and_then_concurrency(endpoint: Benchmark) -> None:
    listed = [(one.batch_size, one.concurrency) for one in in_order(endpoint)]
    assert listed == [(1, 1), (1, 4), (1, 16), (16, 1), (16, 4), (16, 16)]


def test_what_weakens_a_figure_is_said(endpoint: Benchmark) -> None:
    assert warnings(endpoint) == ()
    weak = (
        live(1, 1, spread=0.5),
        live(1, 4, failures=7, first_error="status 503: <full>"),
        live(1, 16, throughput=7_200.0, ceiling=10_000.0),
    )
    failed, near, noisy = warnings(endpoint.model_copy(update={"measurements": weak}))
    assert failed == f"7 requests failed, at 1 row {TIMES} 4 callers first: status 503: <full>"
    assert "near its own ceiling at 1 load" in near
    assert f"7,200 of 10,000 requests/s at 1 row {TIMES} 16 callers" in near
    assert "at 1 of 3 loads" in noisy
    assert "50%" in noisy
    html = benchmark_html(endpoint.model_copy(update={"measurements": weak}))
    assert "status 503: &lt;full&gt;" in html


def test_the_table_says_what_the_settings_were_chosen_from(deployed: ReleaseReport) -> None:
    measured = deployed.benchmark
    assert measured is not None

    told = as_text(benchmark_renderable(measured))

    assert re.search(r"intra_op_num_threads 1 .* 0\.0204 +45,400 +✓ chosen", told)
    assert "the graph is a chain" in " ".join(told.split())
    assert f"236{TIMES}" in benchmark_html(measured)
