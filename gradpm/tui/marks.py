"""Signs and numbers: each status is a symbol, a word and a role, so that none needs colour."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradpm.diagnose.finding import Severity
from gradpm.trace.schema import GradState

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Mark:
    """How one status looks."""

    symbol: str
    word: str
    role: str


SEVERITY = {
    Severity.ERROR: Mark("✖", "error", "error"),
    Severity.WARNING: Mark("▲", "warning", "warning"),
    Severity.NOTE: Mark("●", "note", "note"),
}

STATE = {
    GradState.NONE: Mark("✖", "None", "none"),
    GradState.FINITE: Mark("✔", "ok", "ok"),
    GradState.ZERO: Mark("○", "zero", "warning"),
    GradState.NAN: Mark("✖", "NaN", "error"),
    GradState.INF: Mark("✖", "Inf", "error"),
    GradState.SPARSE: Mark("✔", "sparse", "ok"),
    GradState.UNREAD: Mark("·", "unread", "dim"),
}
FROZEN = Mark("❄", "frozen", "dim")
ABSENT = Mark("·", "absent", "faint")


def number(value: float) -> str:
    """A norm or a loss in at most seven characters."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    if value == 0:
        return "0"
    if 0.01 <= abs(value) < 1000:
        return f"{value:.3g}"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def count(amount: int, noun: str) -> str:
    """`1 node`, `1,234 nodes`."""
    return f"{amount:,} {noun}" if amount == 1 else f"{amount:,} {noun}s"


def bar(value: float, low: float, high: float, width: int = 5) -> str:
    """A bar on a logarithmic scale from `low` (one eighth of a cell) to `high` (full)."""
    if not value > 0 or not math.isfinite(value):
        return " " * width
    span = math.log(high / low) if high > low > 0 else 0.0
    share = math.log(value / low) / span if span else 1.0
    eighths = max(1, min(width * 8, round(share * width * 8)))
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def sparkline(values: list[float], width: int) -> str:
    """Values as block characters, at most `width`; gaps (NaN) as `×`, each bucket by its largest.

    Downsampled here: Textual's own widget needs 100 ms for a million points.
    """
    if not values or width <= 0:
        return ""
    finite = [v for v in values if math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    span = high - low
    found = []
    buckets = min(width, len(values))
    for bucket in range(buckets):
        first = bucket * len(values) // buckets
        part = values[first : max((bucket + 1) * len(values) // buckets, first + 1)]
        good = [v for v in part if math.isfinite(v)]
        if len(good) < len(part) or not good:
            found.append("×")
        else:
            found.append(_LEVELS[round((max(good) - low) / span * 7) if span else 0])
    return "".join(found)
