"""Numbers and words as the report prints them."""

from __future__ import annotations

import math

from segeval import LabelScore, MeanScore

__all__ = ["case_score", "interval", "millilitres", "millimetres", "plural", "share", "status_words"]

_STATUS_WORDS = {
    "measured": "",
    "both_empty": "in neither",
    "reference_empty": "not in the reference",
    "prediction_empty": "missed",
}
MISSING = "–"


def share(value: float | None) -> str:
    """Print a number between 0 and 1.

    >>> share(0.86666), share(float("nan"))
    ('0.867', '–')
    """
    return MISSING if value is None or math.isnan(value) else f"{value:.3f}"


def millimetres(value: float) -> str:
    """Print a distance in mm, without the unit.

    >>> millimetres(1.414), millimetres(123.4)
    ('1.41', '123')
    """
    if math.isnan(value):
        return MISSING
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def millilitres(value: float) -> str:
    """Print a volume in ml to three significant figures, without the unit.

    >>> millilitres(1523.4), millilitres(1.5234), millilitres(0.012345), millilitres(0.0)
    ('1523', '1.52', '0.0123', '0')
    """
    if math.isnan(value):
        return MISSING
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def interval(score: MeanScore, is_distance: bool = False) -> str:
    """Print a confidence interval, or say that there is none.

    >>> interval(MeanScore(0.85, 20, 0, 20, 0.81, 0.88, 0.95))
    '0.810 to 0.880'
    >>> interval(MeanScore(0.85, 1, 0, 1, float("nan"), float("nan"), 0.95))
    'none'
    """
    if math.isnan(score.low) or math.isnan(score.high):
        return "none"
    write = millimetres if is_distance else share
    return f"{write(score.low)} to {write(score.high)}"


def status_words(score: LabelScore) -> str:
    """Say in words what a score is where it was not measured on two structures; else nothing."""
    return _STATUS_WORDS.get(score.status, score.status)


def case_score(dices: tuple[float, ...]) -> float:
    """Average a case's Dice over its labels, those without a value left out; NaN where none has one.

    >>> case_score((0.5, float("nan"), 1.0))
    0.75
    """
    valid = [value for value in dices if not math.isnan(value)]
    return math.fsum(valid) / len(valid) if valid else math.nan


def plural(count: int, noun: str) -> str:
    """Print a count with its noun.

    >>> plural(1, "case"), plural(20, "case")
    ('1 case', '20 cases')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"
