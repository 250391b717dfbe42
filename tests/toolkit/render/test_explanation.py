from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest

from modelport.explaining.pictures import _png
from modelport.render import as_text, explanation_page, waterfall_html, waterfall_renderable
from modelport.render.axis import Axis
from modelport.render.html_explanation import feature_effects, top_features
from modelport.reports import Explanation, Feature, ImageExplanation, RowExplanation, Swarm

MINUS = "\N{MINUS SIGN}"
FEATURES = tuple(f"feature {place}" for place in range(14))


def example(row: int = 7) -> RowExplanation:
    values = tuple((-1) ** place * 0.2 * 0.7**place for place in range(14))
    return RowExplanation(
        row=row,
        base_value=0.4,
        output_value=0.4 + sum(values),
        values=values,
        shown=("3.5", "Rome & <b>Oslo</b>", *map(str, range(12))),
        residual=2e-16,
    )


@pytest.fixture
def explanation() -> Explanation:
    random = np.random.default_rng(0)
    shades = (None, *np.linspace(0, 1, 49).round(2).tolist())
    return Explanation(
        explained=True,
        method="tree",
        output="probability of malignant",
        rows=50,
        sampled="50 of 4,000 rows",
        base_value=0.4,
        residual=2e-16,
        features=tuple(
            Feature(name=name, importance=0.2 * 0.7**place) for place, name in enumerate(FEATURES)
        ),
        beeswarm=tuple(
            Swarm(feature=name, values=tuple(random.normal(size=50).tolist()), shades=shades)
            for name in FEATURES
        ),
        examples={"typical output": example(), "highest output": example(9)},
    )


def parsed(markup: str) -> ET.Element:
    """Read markup as XML, which is stricter than HTML: everything nests and is escaped."""
    return ET.fromstring(f"<div>{markup}</div>")  # noqa: S314 - our own


def said(root: ET.Element) -> list[str]:
    return [one.attrib["aria-label"] for one in root.iter() if one.get("role") == "listitem"]


def test_a_waterfall_leads_from_the_base_value_to_the_output() -> None:
    row = example()
    root = parsed(waterfall_html(FEATURES, row, "probability of malignant"))
    lines = said(root)
    assert lines[0] == "base value: 0.400"
    assert lines[1:3] == [
        "feature 0 = 3.5: +0.200",
        f"feature 1 = Rome & <b>Oslo</b>: {MINUS}0.140",
    ]
    assert lines[-2].startswith("4 other features: ")
    assert lines[-1] == f"output: {row.output_value:.3f}"
    moved = sum(float(line.split(": ")[-1].replace(MINUS, "-")) for line in lines[1:-1])
    assert 0.4 + moved == pytest.approx(row.output_value, abs=0.006)
    bars = list(root.iter("rect"))
    assert [bar.attrib["class"] for bar in bars[:3]] == ["mp-up", "mp-down", "mp-up"]
    assert all(0 <= float(bar.attrib["x"].rstrip("%")) <= 100 for bar in bars)
    assert "additivity residual 2e-16" in "".join(root.itertext())


def test_every_bar_begins_where_the_one_before_ended() -> None:
    bars = list(parsed(waterfall_html(FEATURES, example())).iter("rect"))
    ends = []
    for bar in bars:
        left, width = (float(bar.attrib[name].rstrip("%")) for name in ("x", "width"))
        ends.append((left, left + width) if bar.get("class") == "mp-up" else (left + width, left))
    for (_, end), (start, _) in pairwise(ends):
        assert start == pytest.approx(end, abs=0.2)


def test_a_beeswarm_has_every_row_as_a_dot(explanation: Explanation) -> None:
    markup = feature_effects(explanation)
    assert markup is not None
    root = parsed(markup)
    plots = [svg for svg in root.iter("svg") if svg.get("class") == "mp-dots"]
    assert len(plots) == 10
    for plot in plots:
        dots = "".join(path.attrib["d"] for path in plot.iter("path"))
        places = re.findall(r"M([\d.]+) ([\d.]+)h0", dots)
        assert len(places) == 50
        assert all(0 <= float(x) <= 100 and 0 <= float(y) <= 30 for x, y in places)
        unshaded = [path for path in plot.iter("path") if "style" not in path.attrib]
        assert len(unshaded) == 1  # the missing value has no colour
    assert said(root)[0].startswith(f"feature 0: SHAP values from {MINUS}")
    assert "Typical output: row 7" in "".join(root.itertext())


def test_the_page_says_what_was_sampled_and_fetches_nothing(explanation: Explanation) -> None:
    page = explanation_page(explanation, "tumor")
    assert "explained 50 of 4,000 rows" in page
    assert "output probability of malignant" in page
    assert "4 more features, each less important" in page
    assert not re.search(r"<script|<img|url\(|@import|src=", page)
    assert len(page) < 100_000


def test_what_is_not_explained_says_why() -> None:
    markup = top_features(Explanation(explained=False, reason="no data <were> given"))
    assert "not explained: no data &lt;were&gt; given" in str(markup)
    assert feature_effects(Explanation(explained=False)) is None


def test_an_image_shows_its_superpixels() -> None:
    image = ImageExplanation(
        row=3,
        output="probability of cat",
        base_value=0.1,
        output_value=0.9,
        values=((0.0, 0.6), (-0.1, 0.3)),
        residual=0.0,
        thumbnail="iVBORw0KGgo=",
    )
    root = parsed(str(top_features(Explanation(explained=True, rows=1, images=(image,)))))
    (drawn,) = root.iter("svg")
    assert drawn.attrib["aria-label"] == (
        "Image 3: probability of cat 0.900; raised most, by 0.600, by row 1, column 2"
    )
    cells = list(drawn.iter("rect"))
    assert [cell.attrib["fill-opacity"] for cell in cells] == ["0.00", "0.75", "0.13", "0.38"]
    assert [cell.attrib["class"] for cell in cells] == ["mp-up", "mp-up", "mp-down", "mp-up"]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_thumbnail_is_a_png(channels: int) -> None:
    image = pytest.importorskip("PIL.Image")
    from io import BytesIO

    pixels = np.arange(6 * 4 * channels, dtype=np.uint8).reshape(6, 4, channels)
    opened = np.asarray(image.open(BytesIO(_png(pixels))))
    assert (opened.reshape(pixels.shape) == pixels).all()


def test_the_terminal_shows_the_same_without_colour() -> None:
    shown = as_text(waterfall_renderable(FEATURES, example(), "probability"), width=80).splitlines()
    assert len(max(shown, key=len)) <= 80
    assert shown[1].startswith("feature 0 = 3.5")
    assert "█" in shown[1]
    assert "▒" in shown[2]
    assert shown[2].endswith(f"{MINUS}0.140")
    assert shown[-1] == "probability · additivity residual 2e-16"


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.02, 0.98, ["0.2", "0.4", "0.6", "0.8"]),
        (-3.1, 2.2, [f"{MINUS}3", f"{MINUS}2", f"{MINUS}1", "0", "1", "2"]),
        (0.0, 1200.0, ["0", "200", "400", "600", "800", "1,000", "1,200"]),
        (0.1, 0.105, ["0.100", "0.101", "0.102", "0.103", "0.104", "0.105"]),
        (0.0, 12.6, ["0.0", "2.5", "5.0", "7.5", "10.0", "12.5"]),
    ],
)
def test_an_axis_has_round_ticks(low: float, high: float, labels: list[str]) -> None:
    assert [label for _, label in Axis(low, high).ticks()] == labels


def test_an_axis_holds_its_values_even_when_all_are_the_same() -> None:
    for values in ([0.0], [5.0, 5.0], [-1e-9, 1e9], [float("nan"), 2.0]):
        axis = Axis.around(values)
        assert all(0 <= axis.at(value) <= 100 for value in values if value == value)
        assert 1 <= len(axis.ticks()) <= 7
