from __future__ import annotations

import pytest

from modelport.render import figures


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.020384, "0.0204"),
        (4.8123, "4.81"),
        (12345.6, "12,346"),
        (0.0, "0"),
        (float("nan"), "nan"),
    ],
)
def test_significant_never_uses_an_exponent(value: float, shown: str) -> None:
    assert figures.significant(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0"), (1.1920929e-07, "1.2e-7"), (1e-5, "1e-5"), (0.034, "0.034")]
)
def test_difference(value: float, shown: str) -> None:
    assert figures.difference(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.9561403, "0.9561"), (1.0, "1.0000"), (12345.678, "12,346")]
)
def test_metric(value: float, shown: str) -> None:
    assert figures.metric(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.00312, "3.1 ms"),
        (0.418, "0.42 s"),
        (9.44, "9.4 s"),
        (59.97, "1 min 00 s"),
        (125.2, "2 min 05 s"),
    ],
)
def test_seconds(value: float, shown: str) -> None:
    assert figures.seconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(812, "812 B"), (421_888, "412 KiB"), (3 << 20, "3.00 MiB"), (5 << 30, "5.00 GiB")],
)
def test_size(value: int, shown: str) -> None:
    assert figures.size(value) == shown


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (4.8, 0.02, "240\N{MULTIPLICATION SIGN} faster"),
        (1.0, 1.5, "1.5\N{MULTIPLICATION SIGN} slower"),
        (1.0, 1.01, "same"),
        (0.0, 1.0, ""),
        (1.0, -5.0, ""),
    ],
)
def test_change_says_nothing_that_the_figures_do_not(
    before: float, after: float, said: str
) -> None:
    assert figures.change(before, after, "faster", "slower") == said


@pytest.mark.parametrize(
    ("after", "said"),
    [(0.95, "same"), (0.9518, "+0.0018"), (0.94, "\N{MINUS SIGN}0.0100"), (0.95001, "+1e-5")],
)
def test_shift(after: float, said: str) -> None:
    assert figures.shift(0.95, after) == said


def test_printable_disarms_terminal_sequences() -> None:
    assert figures.printable("a\x1b[31mb\nc") == "a [31mb c"
