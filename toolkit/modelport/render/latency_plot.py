"""The plot of latency over throughput: an inline SVG on logarithmic axes, with no script."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelport.render import figures, loads
from modelport.render.markup import Html, join, tag

if TYPE_CHECKING:
    from collections.abc import Iterable

    from modelport.render.loads import Series
    from modelport.reports import Benchmark, Latency

_WIDTH, _HEIGHT = 880, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 30, 12, 46
_COLOURS = 4
_CLOSE = 16  # pixels between marks that share one label
_MARGIN = 0.06  # of an axis, left free at either end
_ROUND = (1, 2, 5)


@dataclass(frozen=True)
class LogAxis:
    """A logarithmic axis from `low` to `high`, drawn from pixel `start` to pixel `end`."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, values: Iterable[float], start: float, end: float) -> LogAxis:
        """Return an axis that holds all values, and at least a factor of two."""
        logs = [math.log10(max(value, 1e-6)) for value in values]
        low, high = min(logs), max(logs)
        short = max(0.0, math.log10(2) - (high - low)) / 2
        margin = _MARGIN * (high - low + 2 * short)
        return cls(10 ** (low - short - margin), 10 ** (high + short + margin), start, end)

    def at(self, value: float) -> float:
        """Return the pixel at which a value lies."""
        share = math.log(max(value, 1e-6) / self.low) / math.log(self.high / self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Return round values on the axis: 1, 2 and 5 of each power of ten, or only the powers."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = _ROUND if self.high / self.low < 300 else (1,)
        marks = (step * 10.0**power for power in powers for step in steps)
        return [mark for mark in marks if self.low <= mark <= self.high]


def latency_plot(benchmark: Benchmark) -> Html | None:
    """Draw p50 over rows a second, with a line up to p99; None where there is but one load."""
    curves = loads.series(benchmark)
    points = [one for curve in curves for one in curve.loads]
    if len(points) < 2:
        return None
    across = LogAxis.around((one.rows_per_second for one in points), _LEFT, _WIDTH - _RIGHT)
    times = [ms for one in points for ms in (one.p50_ms, one.p99_ms)]
    up = LogAxis.around(times, _HEIGHT - _BOTTOM, _TOP)
    drawn = [_curve(curve, _colour(curve, curves), across, up) for curve in curves]
    svg = tag(
        "svg",
        _grid(across, up),
        *drawn,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label="Latency over throughput; the table below holds its figures",
    )
    return tag("div", svg, _legend(curves), class_="mp-latency")


def _colour(curve: Series, curves: tuple[Series, ...]) -> str:
    """Colour by subject, or by batch size where there is one subject."""
    several = len({one.subject for one in curves}) > 1
    return f"mp-c{(curve.subject if several else curve.batch) % _COLOURS}"


def _grid(across: LogAxis, up: LogAxis) -> Html:
    lines = []
    for value in across.ticks():
        x = across.at(value)
        lines += [_line(x, up.start, x, up.end, "mp-grid")]
        lines += [_text(_short(value), x, up.start + 16, "middle")]
    for value in up.ticks():
        y = up.at(value)
        lines += [_line(across.start, y, across.end, y, "mp-grid")]
        lines += [_text(_short(value), across.start - 7, y + 4, "end")]
    middle = (up.start + up.end) / 2
    return join(
        [
            *lines,
            _line(across.start, up.start, across.end, up.start, "mp-axis"),
            _line(across.start, up.start, across.start, up.end, "mp-axis"),
            _text("throughput, rows/s", (across.start + across.end) / 2, _HEIGHT - 8, "middle"),
            _text("latency, ms", 14, middle, "middle", transform=f"rotate(-90 14 {middle})"),
        ]
    )


def _curve(curve: Series, colour: str, across: LogAxis, up: LogAxis) -> Html:
    places = [(across.at(one.rows_per_second), up.at(one.p50_ms)) for one in curve.loads]
    path = " ".join(f"{x},{y}" for x, y in places)
    dashes = {0: None, 1: "5 3", 2: "2 3"}.get(curve.batch, "8 3 2 3")
    parts = [tag("polyline", points=path, class_="mp-line", stroke_dasharray=dashes)]
    for one, (x, y) in zip(curve.loads, places, strict=True):
        top = up.at(one.p99_ms)
        parts += [
            _line(x, y, x, top, "mp-p99"),
            _line(x - 3, top, x + 3, top, "mp-p99"),
            _marker(curve.batch, x, y, _told(one)),
        ]
    parts += [_text(told, x + 7, y + 12, "start") for told, x, y in _labels(curve, places)]
    return tag("g", *parts, class_=colour)


def _labels(curve: Series, places: list[tuple[float, float]]) -> list[tuple[str, float, float]]:
    """Return the numbers of callers, each with its place; marks close together share one."""
    labels: list[tuple[str, float, float]] = []
    for one, (x, y) in zip(curve.loads, places, strict=True):
        told = str(one.concurrency)
        if labels and math.dist(labels[-1][1:], (x, y)) < _CLOSE:
            before, last_x, last_y = labels.pop()
            told, x, y = f"{before}, {told}", max(x, last_x), max(y, last_y)
        labels.append((told, x, y))
    return labels


def _marker(batch: int, x: float, y: float, told: str) -> Html:
    """Return the batch size's own mark: the curves differ without colour too."""
    title = tag("title", told)
    if batch == 0:
        return tag("circle", title, cx=f"{x}", cy=f"{y}", r="4.5", class_="mp-mark")
    corners = {
        1: ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        2: ((0, -6), (6, 0), (0, 6), (-6, 0)),
    }.get(batch, ((0, -6), (5.5, 4), (-5.5, 4)))
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return tag("polygon", title, points=points, class_="mp-mark")


def _told(one: Latency) -> str:
    return (
        f"{loads.label(one)}: p50 {figures.significant(one.p50_ms)} ms, "
        f"p99 {figures.significant(one.p99_ms)} ms, {loads.rate(one.throughput)} requests/s"
    )


def _legend(curves: tuple[Series, ...]) -> Html:
    entries = []
    for curve in curves:
        line = tag("line", x1="0", y1="7", x2="26", y2="7", class_="mp-line")
        mark = tag("svg", line, _marker(curve.batch, 13, 7, curve.name), viewBox="0 0 26 14")
        colour = _colour(curve, curves)
        entries.append(tag("span", tag("span", mark, class_=colour), curve.name))
    how = "marks: p50 · line above: to p99 · number: callers"
    return tag("div", *entries, tag("span", how, class_="mp-soft"), class_="mp-legend")


def _line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Html:
    return tag("line", x1=f"{x1}", y1=f"{y1}", x2=f"{x2}", y2=f"{y2}", class_=class_)


def _text(value: str, x: float, y: float, anchor: str, transform: str | None = None) -> Html:
    return tag("text", value, x=f"{x}", y=f"{y}", text_anchor=anchor, transform=transform)


def _short(value: float) -> str:
    """Return a tick's label: `0.05`, `20`, `5k`, `1M`."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"
