from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from modelport.render import curl_line, release_html, release_page
from modelport.reports import ReleaseReport, StepRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTILE = "<script>alert('x')</script>\" onmouseover=\"alert(1)"
ASSETS = {"src", "srcset", "data", "poster"}


class Document(HTMLParser):
    """Checks that elements nest, and keeps text, elements and attributes."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(markup)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def having(self, attribute: str) -> Iterator[str | None]:
        return (attrs[attribute] for _, attrs in self.elements if attribute in attrs)


def read(report: ReleaseReport, example: object = None) -> Document:
    return Document(release_html(report, example))


def test_a_deployed_release_says_all_that_matters(deployed: ReleaseReport) -> None:
    text = read(deployed).text

    for said in (
        "Deployed · tumor",
        "models:/breast-cancer/3 → tumor-predictor-00002",
        "9.4 s",
        "http://127.0.0.1:8080/serving/default/tumor",
        "faster than native, p50 236\N{MULTIPLICATION SIGN}",
        "2,014 (114 data, 5 input example, 1,024 synthetic, 49 extremes, 822 trees)",
        "1e-5 + 1e-4 \N{MULTIPLICATION SIGN} |native|: float32 carries 7 digits",
        "p99<50ms ✓ 0.0371 ms ✓ 1.51 ms",
        "ONNX (opset 21), converted from sklearn by skl2onnx, 412 KiB",
        "intra_op_num_threads 1 · inter_op_num_threads 1 · sequential",
        "114 rows replayed, none differs, 0 label flips, largest difference 1.2e-7",
        "method TreeExplainer",
        "additivity residual 2.2e-16",
        "benchmark 2.6 s",
    ):
        assert said in re.sub(r"(?<=✓) +", " ", text)


def test_links_to_the_run_and_the_service(deployed: ReleaseReport) -> None:
    assert deployed.registration is not None
    assert deployed.deployment is not None

    links = set(read(deployed).having("href"))

    assert links == {deployed.registration.run_url, deployed.deployment.url}


def test_a_run_without_an_address_shows_its_id(deployed: ReleaseReport) -> None:
    assert deployed.registration is not None
    registration = deployed.registration.model_copy(update={"run_url": "javascript:alert(1)"})

    shown = read(deployed.model_copy(update={"registration": registration}))

    assert "MLflow run 0b5c9f2e7d1448c0a3a9" in shown.text
    assert not any("javascript" in (link or "") for link in shown.having("href"))


def test_the_curl_line_is_whole(deployed: ReleaseReport) -> None:
    row = list(range(30))
    assert deployed.deployment is not None

    assert curl_line(deployed.deployment.url, "tumor", row) in read(deployed, row).words
    assert f"curl -s {deployed.deployment.url}/v2/models/tumor" in read(deployed).words


def test_features_are_bars_with_words(deployed: ReleaseReport) -> None:
    shown = read(deployed)
    labels = [attrs["aria-label"] for _, attrs in shown.elements if attrs.get("role") == "listitem"]

    assert labels[0] == "worst fractal dimension: 0.0712"
    assert len(labels) == 10
    widths = [style for style in shown.having("style") if style and style.startswith("width:")]
    assert widths[0] == "width:100.0%"
    assert len(widths) == 10
    assert "20 more features, each less important" in shown.text


def test_a_failed_gate_stands_out(stopped: ReleaseReport) -> None:
    shown = read(stopped)

    assert shown.text.strip().startswith("Stopped by gate p99<0.01ms · tumor")
    assert "gate p99<0.01ms is missed by 0.0271 ms: relax it or" in shown.text
    assert "✗ 0.0371 ms" in shown.text
    assert "what tumor served before, it serves still" in shown.text
    assert "alert" in set(shown.having("role"))
    assert "curl" not in shown.text


def test_a_gate_of_which_the_error_does_not_tell_is_added(stopped: ReleaseReport) -> None:
    text = read(stopped.model_copy(update={"error": "the release was stopped"})).text

    assert "✗ p99<0.01ms p99 0.0371 ms. 0.0271 ms over the limit" in text


def test_what_was_not_measured_is_said_and_not_invented(stopped: ReleaseReport) -> None:
    text = read(stopped).text

    assert "not measured: no data was given (--data), so there are no labels" in text
    assert "0.9561" not in text


def test_a_failed_certificate_says_why(stopped: ReleaseReport) -> None:
    assert stopped.certificate is not None
    failed = stopped.certificate.model_copy(
        update={"verdict": "failed", "reason": "3 labels flip", "label_flips": 3}
    )

    text = read(stopped.model_copy(update={"certificate": failed, "gates": None})).text

    assert "Stopped by the certificate" in text
    assert "3 labels flip" in text


def test_a_model_in_its_own_flavour_says_why(own_flavour: ReleaseReport) -> None:
    text = read(own_flavour).text

    assert (
        "its own sklearn flavour because no converter takes a HistogramTransformer; "
        "pickle is allowed for this service"
    ) in text
    assert "not explained: the model gives no numeric output" in text


def test_an_early_failure_needs_no_later_report() -> None:
    report = ReleaseReport(
        release_id="1",
        model="models:/x/1",
        service="x",
        namespace="default",
        started_at="now",
        seconds=0.2,
        outcome="failed",
        error="MLflow does not answer at http://127.0.0.1:5000: start it",
        steps=(StepRecord(name="resolve", state="failed", seconds=0.2),),
    )

    text = read(report).text

    assert "Failed in step resolve · x" in text
    assert "MLflow does not answer" in text
    assert "Accuracy" not in text


def hostile(report: ReleaseReport) -> ReleaseReport:
    """The report with every text in it replaced; literals keep their few allowed values."""

    def spoil(value: object, key: str = "") -> object:
        if isinstance(value, dict):
            return {name: spoil(inner, name) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [spoil(inner, key) for inner in value]
        free = isinstance(value, str) and key not in {
            *("outcome", "state", "verdict", "task", "subject", "stage", "execution_mode"),
            *("precision", "cause", "fault"),
        }
        return HOSTILE if free else value

    return ReleaseReport.model_validate(spoil(report.model_dump()))


@pytest.mark.parametrize("name", ["deployed", "stopped", "own_flavour"])
def test_no_text_of_a_report_becomes_markup(name: str, request: pytest.FixtureRequest) -> None:
    report = hostile(request.getfixturevalue(name))

    shown = read(report, {HOSTILE: HOSTILE})

    assert "script" not in {tag for tag, _ in shown.elements}
    assert list(shown.having("onmouseover")) == []
    assert HOSTILE in " ".join(shown.words)


@pytest.mark.parametrize("name", ["deployed", "stopped", "own_flavour"])
def test_needs_nothing_from_elsewhere(name: str, request: pytest.FixtureRequest) -> None:
    markup = release_html(request.getfixturevalue(name))
    shown = Document(markup)

    tags = {tag for tag, _ in shown.elements}
    assert tags.isdisjoint({"script", "link", "img", "iframe"})
    assert not any(ASSETS & attrs.keys() for _, attrs in shown.elements)
    assert "url(" not in markup
    assert "@import" not in markup
    # JupyterLab lists an output's headings in the notebook's table of contents.
    assert tags.isdisjoint({"h1", "h2", "h3", "h4", "h5", "h6"})


def test_a_page_stands_alone(deployed: ReleaseReport) -> None:
    page = release_page(deployed, [1.0])

    assert page.startswith("<!doctype html>")
    shown = Document(page.removeprefix("<!doctype html>"))
    assert "tumor: Deployed" in shown.words
    assert release_html(deployed, [1.0]) in page
