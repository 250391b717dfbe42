"""Numbers as people read them; the same words in the notebook and in the terminal."""

from __future__ import annotations

import math

TIMES = "\N{MULTIPLICATION SIGN}"
NOTHING = "\N{EM DASH}"  # stands where there is no value

_KIB = 1024.0
_EIGHTHS = " ▏▎▍▌▋▊▉"
_SAME = 1.05  # measured ratios closer to one than this are noise


def significant(value: float, digits: int = 3) -> str:
    """Return `value` with that many significant digits, never in exponent form."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:,.{max(0, decimals)}f}"


def signed(value: float, digits: int = 3) -> str:
    """Return `value` with its sign and that many significant digits: `+0.12`, `0`."""
    sign = "+" if value > 0 else "\N{MINUS SIGN}" if value < 0 else ""
    return sign + significant(abs(value), digits)


def difference(value: float) -> str:
    """Return a difference between two predictions: `0`, `1.2e-7` or `0.034`."""
    if value == 0 or not math.isfinite(value) or abs(value) >= 1e-3:
        return significant(value, 2)
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def metric(value: float) -> str:
    """Return a metric: four decimals for scores, four significant digits for large errors."""
    if value == 0 or 1e-3 <= abs(value) < 10:
        return f"{value:.4f}"
    return significant(value, 4)


def seconds(value: float) -> str:
    """Return a duration in seconds as `3.1 ms`, `0.42 s`, `9.4 s` or `2 min 05 s`."""
    if value < 0.1:
        return f"{significant(value * 1000, 2)} ms"
    if value < 1:
        return f"{value:.2f} s"
    if round(value, 1) < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s"


def size(value: float) -> str:
    """Return bytes in binary units: `812 B`, `412 KiB`, `1.40 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if abs(value) < _KIB:
            return f"{value:.0f} B" if unit == "B" else f"{significant(value)} {unit}"
        value /= _KIB
    return f"{significant(value)} GiB"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return `1 row`, `2 rows`, `1,200 rows`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def times(ratio: float) -> str:
    """Return a ratio as `240x` or `1.3x`, with a multiplication sign."""
    return f"{ratio:,.0f}{TIMES}" if ratio >= 10 else f"{ratio:.1f}{TIMES}"


def change(before: float, after: float, better: str, worse: str) -> str:
    """Return how much `after` is smaller (`better`) or larger (`worse`) than `before`.

    Empty where a ratio says nothing: a value is zero or negative.
    """
    if before <= 0 or after <= 0:
        return ""
    ratio = before / after
    if 1 / _SAME < ratio < _SAME:
        return "same"
    return f"{times(ratio)} {better}" if ratio > 1 else f"{times(1 / ratio)} {worse}"


def shift(before: float, after: float) -> str:
    """Return a metric's change with its sign: `same`, `+0.0018`."""
    moved = after - before
    if moved == 0:
        return "same"
    shown = metric(abs(moved)) if abs(moved) >= 1e-4 else difference(abs(moved))
    return ("+" if moved > 0 else "\N{MINUS SIGN}") + shown


def bar(share: float, width: int) -> str:
    """Return a bar of `share` (0 to 1) times `width` columns, to an eighth of a column."""
    whole, eighths = divmod(round(share * width * 8), 8)
    return ("█" * whole + _EIGHTHS[eighths]).rstrip() or _EIGHTHS[1]


def printable(text: str) -> str:
    """Return `text` on one line without control characters, safe to write to a terminal."""
    return "".join(char if char.isprintable() else " " for char in text)
