"""Numbers and words as the report prints them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segeval import LabelScore, MeanScore, Metric

__all__ = [
    "STATUS_WORDS",
    "case_score",
    "heading",
    "interval",
    "measure",
    "millilitres",
    "millimetres",
    "plural",
    "share",
    "shorten",
    "status_words",
]

STATUS_WORDS = {
    "measured": "",
    "both_empty": "in neither",
    "reference_empty": "not in the reference",
    "prediction_empty": "missed",
    "prediction_missing": "no prediction",
}
"""What a status says to a reader; "prediction_missing": its file was not there."""

MISSING, INFINITE = "–", "∞"


def share(value: float | None) -> str:
    """Print a number between 0 and 1.

    >>> share(0.86666), share(float("nan"))
    ('0.867', '–')
    """
    if value is None or math.isnan(value):
        return MISSING
    return INFINITE if math.isinf(value) else f"{value:.3f}"


def millimetres(value: float) -> str:
    """Print a distance in mm, without the unit: two decimals, below 0.01 two figures, as of microscopy.

    >>> millimetres(1.414), millimetres(123.4), millimetres(0.00127), millimetres(0.0), millimetres(float("inf"))
    ('1.41', '123', '0.0013', '0.00', '∞')
    """
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return INFINITE
    decimals = 0 if value >= 100 else 2 if value >= 0.01 or value == 0 else 1 - math.floor(math.log10(value))
    return f"{value:.{decimals}f}"


def millilitres(value: float) -> str:
    """Print a volume in ml to three significant figures, without the unit.

    >>> millilitres(1523.4), millilitres(1.5234), millilitres(0.012345), millilitres(0.0)
    ('1523', '1.52', '0.0123', '0')
    """
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return INFINITE
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def measure(value: float, metric: Metric) -> str:
    """Print a value of a metric, without its unit.

    >>> from segeval import METRICS
    >>> measure(0.86666, METRICS["dice"]), measure(1.414, METRICS["hd95_mm"])
    ('0.867', '1.41')
    """
    return _WRITERS[metric.unit](value)


def heading(metric: Metric) -> str:
    """Name a metric with its unit.

    >>> from segeval import METRICS
    >>> heading(METRICS["dice"]), heading(METRICS["hd95_mm"])
    ('Dice', 'HD95, mm')
    """
    return f"{metric.title}, {metric.unit}" if metric.unit else metric.title


def interval(score: MeanScore, metric: Metric) -> str:
    """Print a confidence interval, or say that there is none.

    >>> from segeval import METRICS, MeanScore
    >>> interval(MeanScore(0.85, 20, 0, 20, 0.81, 0.88, 0.95), METRICS["dice"])
    '0.810 to 0.880'
    >>> interval(MeanScore(0.85, 1, 0, 1, float("nan"), float("nan"), 0.95), METRICS["dice"])
    'none'
    """
    if math.isnan(score.low) or math.isnan(score.high):
        return "none"
    return f"{measure(score.low, metric)} to {measure(score.high, metric)}"


def status_words(score: LabelScore) -> str:
    """Say in words what a score is where it was not measured on two structures; else nothing."""
    return STATUS_WORDS.get(score.status, score.status)


def case_score(values: tuple[float, ...]) -> float:
    """Average a case's values over its labels, those without a value left out; NaN where none has one.

    >>> case_score((0.5, float("nan"), 1.0))
    0.75
    """
    valid = [value for value in values if not math.isnan(value)]
    return math.fsum(valid) / len(valid) if valid else math.nan


def plural(count: int, noun: str, several: str | None = None) -> str:
    """Print a count with its noun, or with another word for several.

    >>> plural(1, "case"), plural(20, "case"), plural(2, "class", "classes")
    ('1 case', '20 cases', '2 classes')
    """
    return f"{count} {noun if count == 1 else several or f'{noun}s'}"


def and_list(words: Sequence[str]) -> str:
    """Join words as in a sentence.

    >>> and_list(["a"]), and_list(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def shorten(text: str, characters: int) -> str:
    """Cut a name that is too long for its place.

    >>> shorten("adrenal_gland_right", 12)
    'adrenal_gla…'
    """
    return text if len(text) <= characters else text[: characters - 1] + "…"


_WRITERS = {"": share, "mm": millimetres, "ml": millilitres}
