"""Agreement of volumes: Bland-Altman plots with mean difference and limits of agreement."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from r2d2.reports.formatting import millilitres, plural, shorten
from r2d2.reports.page import Html, figures, paragraph, section
from r2d2.reports.picture import COLOURS, Picture, encode, new_figure
from segeval import Evaluation

__all__ = ["Agreement", "agreement_section", "draw_agreement", "limits_of_agreement"]

_FEWEST = 3
"""Cases from which limits of agreement are given."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far predictions of a quantity are from its reference.

    Attributes:
        n: number of cases.
        bias: mean of prediction minus reference.
        low: lower 95 % limit of agreement; NaN with fewer than three cases.
        high: upper limit; likewise.
    """

    n: int
    bias: float
    low: float
    high: float


def limits_of_agreement(reference: ArrayLike, prediction: ArrayLike) -> Agreement:
    """Compute mean difference and 95 % limits of agreement, bias ± 1.96 standard deviations (Bland and Altman 1986).

    Args:
        reference: float64 (cases,), at least one.
        prediction: float64 (cases,), in the same unit.

    Returns:
        The agreement, in that unit.

    Example:
        >>> agreement = limits_of_agreement([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
        >>> agreement.bias, round(agreement.low, 2), round(agreement.high, 2)
        (0.0, -1.96, 1.96)
    """
    difference = np.asarray(prediction, np.float64) - np.asarray(reference, np.float64)
    bias = float(difference.mean())
    half = 1.96 * float(difference.std(ddof=1)) if difference.size >= _FEWEST else math.nan
    return Agreement(difference.size, bias, bias - half, bias + half)


def agreement_section(evaluation: Evaluation) -> Html:
    """Draw a Bland-Altman plot for each label; images of two axes have no volumes, and the section says so."""
    heading = "Agreement of volumes (Bland–Altman)"
    if all(math.isnan(score.reference_ml) for case in evaluation.cases for score in case.scores):
        return section(heading, paragraph("These are images of two axes: a plane has no volume.", "note"))
    explanation = (
        "Each point is a case: prediction minus reference over the mean of both, in ml. Solid line: mean difference; "
        "dashed lines: 95 % limits of agreement, mean difference ± 1.96 standard deviations (Bland and Altman 1986). A "
        "cross is a structure that only one side has. Cases with the structure in neither, or without a prediction, "
        "are not in it."
    )
    pictures, empty = [], []
    for name in evaluation.labels:
        picture = draw_agreement(evaluation, name)
        pictures += [picture] if picture is not None else []
        empty += [name] if picture is None else []
    nowhere = [paragraph(f"No case has volumes to compare of: {', '.join(empty)}.", "note")] if empty else []
    return section(heading, paragraph(explanation, "note"), figures(pictures, "small"), *nowhere)


def draw_agreement(evaluation: Evaluation, label_name: str) -> Picture | None:
    """Draw the Bland-Altman plot of a label's volumes.

    Args:
        evaluation: the evaluation.
        label_name: one of its labels.

    Returns:
        The picture; None where no case has the structure on either side.
    """
    column = list(evaluation.labels).index(label_name)
    scores = [case.scores[column] for case in evaluation.cases]
    compared = [
        score
        for score in scores
        if score.status not in ("both_empty", "prediction_missing") and not math.isnan(score.reference_ml)
    ]
    if not compared:
        return None
    reference = np.array([score.reference_ml for score in compared])
    prediction = np.array([score.prediction_ml for score in compared])
    is_measured = np.array([score.status == "measured" for score in compared])
    agreement = limits_of_agreement(reference, prediction)
    words = _words(agreement, len(scores) - len(compared))
    return _draw(label_name, (reference + prediction) / 2, prediction - reference, is_measured, agreement, words)


def _draw(
    name: str,
    means: NDArray[np.float64],
    differences: NDArray[np.float64],
    is_measured: NDArray[np.bool_],
    agreement: Agreement,
    words: str,
) -> Picture:
    figure = new_figure(4.2, 2.9)
    axes = figure.add_subplot()
    axes.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=1)
    axes.axhline(agreement.bias, color="#111111", linewidth=1.4, zorder=2)
    for limit in (agreement.low, agreement.high):
        if not math.isnan(limit):
            axes.axhline(limit, color="#111111", linewidth=1.1, linestyle="--", zorder=2)
    size, opacity = (18, 0.8) if means.size <= 60 else (9, 0.45)
    axes.scatter(
        means[is_measured], differences[is_measured], size, color=COLOURS[0], alpha=opacity, linewidths=0, zorder=3
    )
    axes.scatter(
        means[~is_measured], differences[~is_measured], 1.6 * size, color=COLOURS[1], marker="x", linewidths=1.3
    )
    axes.set_title(shorten(name, 40), fontsize=10, loc="left").set_parse_math(False)
    axes.set_xlabel("Mean of both volumes, ml", fontsize=9)
    axes.set_ylabel("Prediction − reference, ml", fontsize=9)
    axes.tick_params(labelsize=9)
    axes.margins(x=0.08, y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    return encode(figure, f"Bland-Altman plot of the volumes of {name}: {words}", f"{name}: {words}")


def _words(agreement: Agreement, left_out: int) -> str:
    count = f"n = {agreement.n}" + (f", {left_out} left out" if left_out else "")
    bias = f"mean difference {_signed(agreement.bias)} ml"
    if math.isnan(agreement.low):
        return f"{bias}; no limits of agreement from {plural(agreement.n, 'case')}; {count}."
    return f"{bias}, limits {_signed(agreement.low)} to {_signed(agreement.high)} ml; {count}."


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+' if value > 0 else ''}{millilitres(abs(value))}"
