"""Cases of an evaluation: their order, those to be shown, and the table of them all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from r2d2.reports.formatting import STATUS_WORDS, case_score, heading, measure, millilitres, status_words
from r2d2.reports.page import Html, section, table
from r2d2.reports.scores import leading_metric
from segeval import METRICS, EvaluatedCase, Evaluation, LabelScore, Metric

__all__ = ["cases_section", "choose_cases", "score_words", "worst_first"]

_WIDE_TABLE = 4
"""Labels up to which each has columns of its own in the table of cases."""

_LOWEST = 3


def worst_first(evaluation: Evaluation) -> list[EvaluatedCase]:
    """Order cases by their mean over labels of the leading metric, the worst first, those without any value last."""
    metric = leading_metric(evaluation)
    sign = 1.0 if metric.better == "higher" else -1.0

    def key(case: EvaluatedCase) -> tuple[bool, float, str]:
        score = _case_mean(case, metric)
        return math.isnan(score), 0.0 if math.isnan(score) else sign * score, case.case_id

    return sorted(evaluation.cases, key=key)


def choose_cases(evaluation: Evaluation) -> list[tuple[str, EvaluatedCase]]:
    """Choose cases to be shown: the three worst, one at the lower quartile, the median and the best, each once.

    Args:
        evaluation: the evaluation; cases without any score are passed over.

    Returns:
        What each stands for, and the case, the worst first.
    """
    metric = leading_metric(evaluation)
    ranked = [case for case in worst_first(evaluation) if not math.isnan(_case_mean(case, metric))]
    last = len(ranked) - 1
    wanted = {
        "Worst": 0,
        "Best": last,
        "Median": round(last / 2),
        "Second worst": 1,
        "Third worst": 2,
        "Lower quartile": round(last / 4),
    }
    names: dict[int, str] = {}
    for name, position in wanted.items():
        if 0 <= position <= last:
            names.setdefault(position, name)
    return [(names[position], ranked[position]) for position in sorted(names)]


def score_words(case: EvaluatedCase, evaluation: Evaluation) -> str:
    """Say a case's scores in a line: for each label Dice and HD95, or why there are none; of many, the worst."""
    metrics = [METRICS[name] for name in ("dice", "hd95_mm") if name in evaluation.conventions.metrics]
    metrics = metrics or [leading_metric(evaluation)]
    scores = case.scores
    if len(scores) > _WIDE_TABLE:
        scores = tuple(_worst_labels(case, leading_metric(evaluation)))
    parts = []
    for score in scores:
        values = ", ".join(_with_unit(score[metric.name], metric) for metric in metrics)
        parts.append(f"{score.label_name} {status_words(score) or values}")
    lowest = f"worst of {len(case.scores)} labels: " if len(scores) < len(case.scores) else ""
    return lowest + "; ".join(parts)


def cases_section(evaluation: Evaluation) -> Html:
    """Tabulate every case, worst first."""
    has_patients = any(case.patient_id != case.case_id for case in evaluation.cases)
    has_notes = any(case.note for case in evaluation.cases)
    first = ["Case", *(["Patient"] if has_patients else [])]
    if len(evaluation.labels) <= _WIDE_TABLE:
        groups, headers, cells = _columns_of_labels(evaluation)
        words = set[int]()
    else:
        groups, headers, cells = _columns_of_statuses(evaluation)
        words = set(range(len(first) + 1, len(first) + len(headers)))
    rows = [
        [case.case_id, *([case.patient_id] if has_patients else []), *row, *([case.note or ""] if has_notes else [])]
        for case, row in zip(worst_first(evaluation), cells, strict=True)
    ]
    headers = [*first, *headers, *(["Note"] if has_notes else [])]
    metric = leading_metric(evaluation)
    return section(
        "Every case, worst first",
        table(
            headers,
            rows,
            caption=f"Sorted by {metric.title}, averaged over labels. Every value of every label is in cases.csv.",
            text_columns={*range(len(first)), *words, *({len(headers) - 1} if has_notes else ())},
            groups=[("", len(first)), *groups, *([("", 1)] if has_notes else [])] if groups else (),
            kind="scores",
        ),
    )


_Columns = tuple[list[tuple[str, int]], list[str], list[list[str]]]


def _columns_of_labels(evaluation: Evaluation) -> _Columns:
    """Give each label the leading metric, a distance and its volumes: groups, headings, cells of each case."""
    measured = evaluation.conventions.metrics
    metrics = [leading_metric(evaluation)]
    metrics += [METRICS[name] for name in ("hd95_mm",) if name in measured and name != metrics[0].name]
    has_volumes = not all(math.isnan(score.reference_ml) for case in evaluation.cases for score in case.scores)
    each = [*(heading(metric) for metric in metrics), *(["Volume, ml"] if has_volumes else [])]
    cells = []
    for case in worst_first(evaluation):
        row: list[str] = []
        for score in case.scores:
            row += [_value_cell(score, metric, is_first=metric is metrics[0]) for metric in metrics]
            row += [f"{millilitres(score.reference_ml)} → {millilitres(score.prediction_ml)}"] if has_volumes else []
        cells.append(row)
    return [(name, len(each)) for name in evaluation.labels], each * len(evaluation.labels), cells


def _columns_of_statuses(evaluation: Evaluation) -> _Columns:
    """Name the worst labels of each case, and those that were not measured: for many labels."""
    metric = leading_metric(evaluation)
    present = {score.status for case in evaluation.cases for score in case.scores}
    statuses = [status for status in STATUS_WORDS if status != "measured" and status in present]
    cells = []
    for case in worst_first(evaluation):
        worst = [f"{score.label_name} {measure(score[metric.name], metric)}" for score in _worst_labels(case, metric)]
        row = [measure(_case_mean(case, metric), metric), ", ".join(worst)]
        row += [_names_with(case.scores, status, len(evaluation.labels)) for status in statuses]
        cells.append(row)
    titles = [STATUS_WORDS[status].capitalize() for status in statuses]
    return [], [f"Mean {heading(metric)}", "Worst labels", *titles], cells


def _worst_labels(case: EvaluatedCase, metric: Metric) -> list[LabelScore]:
    valued = [score for score in case.scores if not math.isnan(score[metric.name])]
    return sorted(valued, key=lambda score: score[metric.name], reverse=metric.better == "lower")[:_LOWEST]


def _names_with(scores: Sequence[LabelScore], status: str, labels: int) -> str:
    names = [score.label_name for score in scores if score.status == status]
    return f"all {labels} labels" if len(names) == labels else ", ".join(names)


def _case_mean(case: EvaluatedCase, metric: Metric) -> float:
    return case_score(tuple(score[metric.name] for score in case.scores))


def _with_unit(value: float, metric: Metric) -> str:
    return f"{metric.title} {measure(value, metric)}{f' {metric.unit}' if metric.unit else ''}"


def _value_cell(score: LabelScore, metric: Metric, *, is_first: bool) -> Html:
    words = status_words(score) if is_first else ""
    status = f'<span class="status">{escape(words)}</span>' if words else ""
    return Html(f"{measure(score[metric.name], metric)}{status}")
