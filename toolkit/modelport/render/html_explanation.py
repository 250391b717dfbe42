"""SHAP plots as HTML: words in a grid that wraps, marks in SVG that stretches with the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelport.render import facts, figures
from modelport.render.axis import typeset
from modelport.render.beeswarm import SHADES, beeswarm
from modelport.render.layout import folded, fragment, page, part
from modelport.render.markup import Html, join, tag
from modelport.render.waterfall import Step, waterfall

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from modelport.render.axis import Axis
    from modelport.render.beeswarm import Line
    from modelport.reports import Explanation, Feature, ImageExplanation, RowExplanation

_LINE = 24.0  # pixels from one line of a plot to the next
_BAR = 14.0
_SWARM = 30.0  # pixels from one line of a beeswarm to the next
_STRONGEST = 0.75  # opacity of the superpixel that matters most


def explanation_page(explanation: Explanation, service: str) -> str:
    """Return all plots of a model's explanation as a whole HTML document that stands alone."""
    title = f"What the answers of {service} rest on"
    parts = (top_features(explanation), feature_effects(explanation))
    return page(title, fragment(title, *parts))


def top_features(explanation: Explanation | None) -> Html | None:
    """Return the most important features as bars, or why there are none."""
    if explanation is None:
        return None
    if not explanation.explained:
        reason = explanation.reason or "no reason given"
        return part("Top features", tag("p", f"not explained: {reason}"))
    if explanation.images:
        return _images(explanation)
    rest = facts.rest_of_features(explanation)
    basis = facts.joined(facts.explanation_facts(explanation))
    return part(
        "Top features",
        _bars(facts.top_features(explanation)),
        tag("p", f"{rest} · {basis}" if rest else basis, class_="mp-soft"),
        note="mean |SHAP value|",
    )


def feature_effects(explanation: Explanation | None) -> Html | None:
    """Return the beeswarm with the example rows' waterfalls folded below it, if there are any."""
    if explanation is None or not explanation.beeswarm:
        return None
    names = [feature.name for feature in explanation.features]
    examples = (
        folded(
            f"{name.capitalize()}: row {row.row}, {typeset(figures.significant(row.output_value))}",
            waterfall_html(names, row, explanation.output or ""),
        )
        for name, row in explanation.examples.items()
    )
    note = f"SHAP values of {explanation.output}" if explanation.output else "SHAP values"
    return part("What each feature does", _beeswarm(explanation), *examples, note=note)


def waterfall_html(features: Sequence[str], row: RowExplanation, output: str = "") -> Html:
    """Return one row's SHAP values as a waterfall: from the base value to the model's output.

    Args:
        features: Names in the order of the row's values.
        row: What is shown.
        output: What the model's output is, such as `probability of malignant`.
    """
    found = waterfall(features, row)
    axis = found.axis
    said = (output, f"additivity residual {figures.difference(row.residual)}")
    plot = tag(
        "div",
        _end("base value", found.base, found.base_text, axis, above=False),
        *(_step(step, axis) for step in found.steps),
        _end("output", found.output, found.output_text, axis, above=True),
        _scale(axis),
        class_="mp-plot",
        role="list",
        aria_label=f"How row {row.row} comes to its output {found.output_text}",
    )
    return tag("div", plot, tag("p", " · ".join(filter(None, said)), class_="mp-soft"))


def _bars(features: tuple[Feature, ...]) -> Html:
    """Return a bar per feature, as a list that reads `name: value` without the bars."""
    largest = max((one.importance for one in features), default=0.0) or 1.0
    return tag(
        "div",
        *(_bar(one, 100 * one.importance / largest) for one in features),
        class_="mp-bars",
        role="list",
        aria_label="Features by mean absolute SHAP value",
    )


def _bar(feature: Feature, percent: float) -> Html:
    value = figures.significant(feature.importance)
    bar = tag("span", style=f"width:{percent:.1f}%")
    return tag(
        "div",
        tag("span", feature.name, class_="mp-name", title=feature.name),
        tag("span", bar, class_="mp-track", aria_hidden="true"),
        tag("span", value),
        role="listitem",
        aria_label=f"{feature.name}: {value}",
    )


def _beeswarm(explanation: Explanation) -> Html:
    lines, axis = beeswarm(explanation.beeswarm[: facts.TOP_FEATURES], _SWARM)
    plot = tag(
        "div",
        *(_swarm(line, axis) for line in lines),
        _scale(axis),
        class_="mp-plot",
        role="list",
        aria_label="SHAP values of every row, by feature",
    )
    return tag("div", plot, _legend())


def _swarm(line: Line, axis: Axis) -> Html:
    """Return a feature's dots: a path of points for each shade, which keeps the page small."""
    dots = (
        tag("path", d=path, style=None if shade is None else f"--mp-shade:{shade / SHADES:.0%}")
        for shade, path in line.paths.items()
    )
    title = tag("title", line.said)
    # The inner coordinates are percent across, pixels down; strokes keep their size.
    inner = tag(
        "svg",
        title,
        *dots,
        viewBox=f"0 0 100 {_SWARM:g}",
        preserveAspectRatio="none",
        class_="mp-dots",
    )
    strip = _strip(axis, [inner], _SWARM)
    return _lined(tag("span", line.feature), strip, tag("span"), line.said)


def _legend() -> Html:
    scale = tag("span", class_="mp-shades")
    said = ("Each dot is a row: left of zero it lowers the output, right it raises it. ", "Its ")
    return tag(
        "p", *said, "colour is the feature's own value: low", scale, "high.", class_="mp-soft"
    )


def _end(name: str, value: float, text: str, axis: Axis, *, above: bool) -> Html:
    """Return the line where a waterfall begins or, with the link from above, where it ends."""
    place = axis.at(value)
    link = _link(place, 0, _LINE / 2) if above else _link(place, _LINE / 2, _LINE)
    mark = _line(place, 4, _LINE - 4, "mp-end")
    return _lined(tag("b", name), _strip(axis, [link, mark]), tag("b", text), f"{name}: {text}")


def _step(step: Step, axis: Axis) -> Html:
    start, end = axis.at(step.start), axis.at(step.end)
    said = f"{step.what}: {step.moved}"
    bar = tag(
        "rect",
        tag("title", said),
        x=f"{min(start, end)}%",
        y=f"{(_LINE - _BAR) / 2:g}",
        width=f"{max(abs(end - start), 0.15):.2f}%",
        height=f"{_BAR:g}",
        rx="2",
        class_="mp-up" if step.rises else "mp-down",
    )
    links = [_link(start, 0, _LINE / 2), _link(end, _LINE / 2, _LINE)]
    value = tag("span", f" = {step.shown}", class_="mp-soft") if step.shown else None
    name = tag("span", step.name, value)
    return _lined(name, _strip(axis, [*links, bar]), tag("span", step.moved), said)


def _lined(name: Html, strip: Html, value: Html, said: str) -> Html:
    """Return one line of a plot, which a screen reader says in words."""
    return tag("div", name, strip, value, role="listitem", aria_label=said)


def _strip(axis: Axis, marks: Iterable[Html], height: float = _LINE) -> Html:
    """Return marks over the axis's grid; only heights are pixels, places are percentages."""
    grid = (
        _line(axis.at(value), 0, height, "mp-grid" if value else "mp-zero")
        for value, _ in axis.ticks()
    )
    return tag("svg", *grid, *marks, width="100%", height=f"{height:g}", aria_hidden="true")


def _scale(axis: Axis) -> Html:
    """Return the axis's labels, under the strips."""
    labels = (tag("text", label, x=f"{axis.at(value)}%", y="13") for value, label in axis.ticks())
    strip = tag("svg", *labels, width="100%", height="18", class_="mp-scale")
    return tag("div", tag("span"), strip, tag("span"), aria_hidden="true")


def _link(place: float, top: float, bottom: float) -> Html:
    return _line(place, top, bottom, "mp-step")


def _line(place: float, top: float, bottom: float, kind: str) -> Html:
    x = f"{place}%"
    return tag("line", x1=x, x2=x, y1=f"{top:g}", y2=f"{bottom:g}", class_=kind)


def _images(explanation: Explanation) -> Html:
    basis = facts.joined(facts.explanation_facts(explanation))
    said = "Orange superpixels raise the output, blue ones lower it."
    return part(
        "What the model looks at",
        tag("div", *(_image(one) for one in explanation.images), class_="mp-images"),
        tag("p", f"{said} {basis}", class_="mp-soft"),
        note="SHAP values of superpixels",
    )


def _image(image: ImageExplanation) -> Html:
    down, across = len(image.values), len(image.values[0])
    largest = max(abs(value) for line in image.values for value in line) or 1.0
    cells = (
        _cell(x, y, value, _STRONGEST * abs(value) / largest)
        for y, line in enumerate(image.values)
        for x, value in enumerate(line)
    )
    pixels = tag(
        "image",
        href=f"data:image/png;base64,{image.thumbnail}",
        width=str(across),
        height=str(down),
        preserveAspectRatio="none",
    )
    output = f"{image.output} {figures.significant(image.output_value)}"
    base, residual = figures.significant(image.base_value), figures.difference(image.residual)
    drawn = tag(
        "svg",
        pixels,
        *cells,
        viewBox=f"0 0 {across} {down}",
        role="img",
        aria_label=f"Image {image.row}: {output}; {_where(image)}",
    )
    told = join([tag("b", output), f" · image {image.row} · base value {base}"])
    more = tag("div", f"additivity residual {residual}", class_="mp-soft")
    return tag("figure", drawn, tag("figcaption", told, more))


def _cell(x: int, y: int, value: float, opacity: float) -> Html:
    return tag(
        "rect",
        tag("title", f"row {y + 1}, column {x + 1}: {figures.signed(value)}"),
        x=str(x),
        y=str(y),
        width="1",
        height="1",
        fill_opacity=f"{opacity:.2f}",
        class_="mp-up" if value >= 0 else "mp-down",
    )


def _where(image: ImageExplanation) -> str:
    """Name the superpixel that raises the output most."""
    value, y, x = max((v, y, x) for y, line in enumerate(image.values) for x, v in enumerate(line))
    return f"raised most, by {figures.significant(value)}, by row {y + 1}, column {x + 1}"
