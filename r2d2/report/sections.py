"""The parts of the report that are words and tables."""

from __future__ import annotations

import math
from html import escape

from r2d2.report.formatting import case_score, interval, millilitres, millimetres, plural, share, status_words
from r2d2.report.page import Html, section, table
from segeval import Conventions, EvaluatedCase, Evaluation, LabelScore, describe_conventions

__all__ = ["cases_section", "headline", "labels_section", "method_section", "provenance_section", "worst_first"]

_METRIC_NAMES = {"dice": "Dice", "jaccard": "IoU", "hd95_mm": "HD95, mm", "assd_mm": "ASSD, mm"}


def worst_first(evaluation: Evaluation) -> list[EvaluatedCase]:
    """Order cases by their mean Dice over labels, the worst first, those without any value last."""

    def key(case: EvaluatedCase) -> tuple[bool, float, str]:
        score = case_score(tuple(score["dice"] for score in case.scores))
        return math.isnan(score), 0.0 if math.isnan(score) else score, case.case_id

    return sorted(evaluation.cases, key=key)


def headline(evaluation: Evaluation) -> Html:
    """State the mean foreground Dice with its interval and what it is a mean of."""
    score = evaluation.foreground["dice"]
    if math.isnan(score.low):
        bounds = "no confidence interval (fewer than two patients)"
    else:
        bounds = f"95 % confidence interval {interval(score)}"
    of = (
        f"{plural(len(evaluation.cases), 'case')} of {plural(len({c.patient_id for c in evaluation.cases}), 'patient')}"
    )
    labels = plural(len(evaluation.labels), "label")
    left_out = f"; {plural(score.left_out, 'score')} left out, structure in neither" if score.left_out else ""
    return Html(
        f'<div class="headline"><span class="value">{share(score.mean)}</span>'
        f'<span class="what"><strong>Mean foreground Dice</strong>{escape(bounds)}<br>'
        f"{escape(of)}, {escape(labels)} (n = {score.n} scores{escape(left_out)})</span></div>"
    )


def labels_section(evaluation: Evaluation) -> Html:
    """Tabulate the means per label with their intervals and counts."""
    rows = []
    for name in evaluation.labels:
        row = [name]
        for metric in _METRIC_NAMES:
            score = evaluation.means[metric][name]
            is_distance = metric.endswith("_mm")
            row += [(millimetres if is_distance else share)(score.mean), interval(score, is_distance)]
        counts = evaluation.means["dice"][name]
        rows.append([*row, str(counts.n), str(counts.left_out)])
    headers = ["Label", *(heading for _ in _METRIC_NAMES for heading in ("mean", "95 % CI")), "n", "left out"]
    groups = [("", 1), *((name, 2) for name in _METRIC_NAMES.values()), ("Cases", 2)]
    pooled = evaluation.pooled
    figures = (
        ("Pixel accuracy", pooled.image["pixel_accuracy"].mean),
        ("Mean accuracy", pooled.image["mean_accuracy"].mean),
        ("Mean IoU", pooled.image["mean_iou"].mean),
        ("Frequency-weighted IoU", pooled.image["frequency_weighted_iou"].mean),
    )
    return section(
        "Scores of each label",
        table(headers, rows, caption="Means over cases; whole volumes, not slices.", groups=groups),
        table(
            ["Pooled over all voxels, background included", "value"],
            [[name, share(value)] for name, value in figures],
            caption=f"Definitions of Long et al. 2015; {pooled.classes} classes with an IoU.",
        ),
    )


def cases_section(evaluation: Evaluation) -> Html:
    """Tabulate every case, worst first."""
    names = list(evaluation.labels)
    has_patients = any(case.patient_id != case.case_id for case in evaluation.cases)
    has_notes = any(case.note for case in evaluation.cases)
    rows = []
    for case in worst_first(evaluation):
        row: list[str] = [case.case_id]
        row += [case.patient_id] if has_patients else []
        for score in case.scores:
            row += _score_cells(score)
        row += [case.note or ""] if has_notes else []
        rows.append(row)
    first = ["Case", "Patient"] if has_patients else ["Case"]
    headers = [*first, *(text for _ in names for text in ("Dice", "HD95, mm", "Volume, ml"))]
    groups = [("", len(first)), *((name, 3) for name in names)]
    if has_notes:
        headers.append("Note")
        groups.append(("", 1))
    words = {*range(len(first)), *({len(headers) - 1} if has_notes else ())}
    return section(
        "Every case, worst first",
        table(
            headers,
            rows,
            caption="Sorted by Dice, averaged over labels. Volumes: reference → prediction.",
            text_columns=words,
            groups=groups,
        ),
    )


def method_section(conventions: Conventions) -> Html:
    """Say in words how each number is made."""
    entries = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>" for name, words in describe_conventions(conventions).items()
    )
    return section("How the numbers are made", Html(f"<dl>{entries}</dl>"))


def provenance_section(entries: list[tuple[str, str]]) -> Html:
    """List where evaluation and model come from."""
    rows = [[name, Html(f"<code>{escape(value)}</code>")] for name, value in entries]
    return section(
        "Where this comes from", table(["What", "Value"], rows, caption="Evaluation and model.", text_columns=(0, 1))
    )


def _score_cells(score: LabelScore) -> list[str]:
    words = status_words(score)
    status = f'<span class="status">{escape(words)}</span>' if words else ""
    return [
        Html(f"{share(score['dice'])}{status}"),
        millimetres(score["hd95_mm"]),
        f"{millilitres(score.reference_ml)} → {millilitres(score.prediction_ml)}",
    ]
