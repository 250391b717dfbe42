"""A certificate as people read it: on its own, and in a release report."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from modelport.render import (
    as_text,
    certificate_html,
    certificate_renderable,
    release_html,
    release_renderable,
)

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion

    from modelport.reports import Certificate, ReleaseReport

each = pytest.mark.parametrize("name", ["passed", "explained", "failed"])


def terminal(certificate: Certificate, width: int = 80) -> str:
    return as_text(certificate_renderable(certificate), width)


def words(markup: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]*>", " ", markup, flags=re.S))


def line(shown: str, start: str) -> str:
    return next(one for one in shown.splitlines() if one.strip().startswith(start))


@each
def test_reads_well_at_80_columns(
    name: str, request: pytest.FixtureRequest, snapshot: SnapshotAssertion
) -> None:
    shown = terminal(request.getfixturevalue(name))

    assert shown == snapshot
    assert max(map(len, shown.splitlines())) <= 80


def test_rows_within_the_tolerance_are_not_called_different(passed: Certificate) -> None:
    assert "Rows that differ" not in terminal(passed)
    assert "data 17 \N{EM DASH} 1, [0.32 0.68] 1, [0.32 0.68] 1.2e-7" in words(
        certificate_html(passed)
    )


def test_the_terminal_shows_five_rows_the_unexplained_first(failed: Certificate) -> None:
    rows = [one for one in terminal(failed).splitlines() if one.strip().startswith("trees ")]

    assert len(rows) == 5 + 1  # and the first of them with its values
    assert "unexplained" in rows[0]
    assert "unexplained" in rows[1]
    assert "mean radius=13.98, mean texture=15.260000228881836" in rows[-1]


def test_long_answers_are_cut_and_nothing_else(failed: Certificate) -> None:
    long = "0, [0.1111 0.2222 0.3333 0.4444 0.5555]"
    worst = tuple(
        one.model_copy(update={"native": long, "origin": "unseen categories"})
        for one in failed.worst
    )

    shown = terminal(failed.model_copy(update={"worst": worst}))

    row = line(shown, "unseen categories 98 ")
    assert "…" in row
    assert "unexplained" in row
    assert row.endswith("0.36")
    assert long in line(shown, "native  ")


def test_html_shows_every_row_that_is_kept(failed: Certificate) -> None:
    markup = certificate_html(failed)
    shown = words(markup)

    assert "Certificate failed" in shown
    assert "3 more rows" in shown
    assert all(f"trees {row} " in shown for row in (98, 12, *range(110, 116)))
    assert shown.count("mean texture=15.260000228881836") == 8


def test_nothing_in_a_row_becomes_markup(failed: Certificate) -> None:
    evil = "<script>alert(1)</script>\x1b[2J"
    worst = tuple(
        one.model_copy(update={"inputs": evil, "native": evil, "converted": evil, "origin": evil})
        for one in failed.worst
    )
    spoiled = failed.model_copy(update={"worst": worst, "flips": (), "reason": evil})

    assert "<script" not in certificate_html(spoiled)
    assert "\x1b" not in terminal(spoiled)


def test_a_failed_release_shows_the_rows(stopped: ReleaseReport, failed: Certificate) -> None:
    report = stopped.model_copy(update={"certificate": failed})

    for shown in (as_text(release_renderable(report), 80), words(release_html(report))):
        assert "trees 98" in shown
        assert "1, [0.32 0.68]" in shown


def test_the_precisions_that_were_tried(narrowed: ReleaseReport) -> None:
    shown = as_text(release_renderable(narrowed), 80)

    assert "✓ chosen: all 2,014 rows agree" in line(shown, "int8")
    assert "✗ 31 of 2,014 rows" in line(shown, "float16")
    assert line(shown, "computed in").split() == ["computed", "in", "int8"]
    told = words(release_html(narrowed))
    assert "Precisions that were tried" in told
    assert "✗ 31 of 2,014 rows are answered differently" in told


def test_without_a_choice_no_precision_is_told_of(deployed: ReleaseReport) -> None:
    assert "Precisions" not in words(release_html(deployed))
    assert "computed in" not in as_text(release_renderable(deployed), 80)
