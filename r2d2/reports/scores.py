"""The scores of an evaluation in words and tables: headline, means of each label, named averages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from r2d2.reports.formatting import heading, interval, measure, plural
from r2d2.reports.page import Html, paragraph, section, subheading, table
from segeval import METRICS, Evaluation, MeanScore, Metric, describe_conventions

__all__ = ["FAMILIES", "averages_section", "headline", "labels_section", "leading_metric"]

FAMILIES = {"overlap": "Overlap", "surface": "Surfaces", "volume": "Volumes", "lesion": "Lesions"}
_SHARE = METRICS["dice"]
_IMAGE_TITLES = {
    "pixel_accuracy": "Pixel accuracy",
    "mean_accuracy": "Mean accuracy",
    "mean_iou": "Mean IoU",
    "frequency_weighted_iou": "Frequency-weighted IoU",
}


def leading_metric(evaluation: Evaluation) -> Metric:
    """Give the metric that stands at the top and orders the cases: Dice, or the first where Dice was not measured."""
    metrics = evaluation.conventions.metrics
    return METRICS["dice" if "dice" in metrics else metrics[0]]


def headline(evaluation: Evaluation) -> Html:
    """State the mean of the leading metric with its interval and what it is a mean of."""
    metric = leading_metric(evaluation)
    score = evaluation.foreground[metric.name]
    if math.isnan(score.low):
        bounds = "no confidence interval (fewer than two patients)"
    else:
        bounds = f"95 % confidence interval {interval(score, metric)}"
    patients = len({case.patient_id for case in evaluation.cases})
    of = f"{plural(len(evaluation.cases), 'case')} of {plural(patients, 'patient')}"
    labels = plural(len(evaluation.labels), "label")
    left_out = f"; {plural(score.left_out, 'score')} without a value left out" if score.left_out else ""
    return Html(
        f'<div class="headline"><span class="value">{measure(score.mean, metric)}</span>'
        f'<span class="what"><strong>Mean foreground {escape(heading(metric))}</strong>{escape(bounds)}<br>'
        f"{escape(of)}, {escape(labels)} (n = {score.n} scores{escape(left_out)}). For each label over cases, then "
        "over labels; the background is not in it.</span></div>"
    )


def labels_section(evaluation: Evaluation) -> Html:
    """Tabulate the means per label, a table for each family of metrics, with intervals and counts."""
    parts = [
        paragraph(
            "Each case counts once, with one value from the whole of it; the background is no label. Intervals are "
            "over patients. n counts the values in a mean; values that do not exist, such as those of a structure "
            "in neither reference nor prediction, are left out and counted beside it.",
            "note",
        )
    ]
    for family, title in FAMILIES.items():
        names = [name for name in evaluation.conventions.metrics if METRICS[name].family == family]
        if names:
            remark = _remark(evaluation, names)
            parts += [subheading(title), *([paragraph(remark, "note")] if remark else [])]
            parts.append(_family_table(evaluation, names))
    return section("Scores of each label", *parts)


def _family_table(evaluation: Evaluation, names: Sequence[str]) -> Html:
    """Tabulate metrics, each group of those with the same counts followed by its n."""
    groups = _same_counts(evaluation, names)
    headers = ["Label"]
    for group in groups:
        headers += [*(heading(METRICS[name]) for name in group), "n", "left out"]
    rows = []
    for label in evaluation.labels:
        row = [label]
        for group in groups:
            row += [_mean_cell(evaluation.means[name][label], METRICS[name]) for name in group]
            counts = evaluation.means[group[0]][label]
            row += [str(counts.n), str(counts.left_out)]
        rows.append(row)
    return table(headers, rows, caption="Mean over cases, 95 % confidence interval below it.", kind="scores")


def _remark(evaluation: Evaluation, names: Sequence[str]) -> str:
    """Say beside a family's table what its numbers depend on."""
    words = describe_conventions(evaluation.conventions)
    keys = {"surface": "Surface", "hd95_mm variant": "HD95", "nsd tolerance": "NSD tolerance", "lesions": "Lesions"}
    family = METRICS[names[0]].family
    of_family = {"surface": ("surface", "hd95_mm variant", "nsd tolerance"), "lesion": ("lesions",)}.get(family, ())
    parts = [f"{keys[key]}: {words[key]}." for key in of_family if key in words]
    return " ".join(parts)


def _same_counts(evaluation: Evaluation, names: Sequence[str]) -> list[list[str]]:
    """Group neighbouring metrics whose counts are the same for every label."""
    groups: list[list[str]] = []
    before = None
    for name in names:
        counts = [(score.n, score.left_out) for score in evaluation.means[name].values()]
        if counts == before:
            groups[-1].append(name)
        else:
            groups.append([name])
        before = counts
    return groups


def averages_section(evaluation: Evaluation) -> Html:
    """Tabulate every other average by its name: over labels in both orders, and pooled over voxels."""
    parts = [
        subheading("Over labels and cases"),
        paragraph(
            "The two orders differ where labels are missing from cases. The background is not in these means.", "note"
        ),
        _orders_table(evaluation),
    ]
    if any(evaluation.pooled.labels.values()):
        parts += [subheading("Pooled over all voxels"), _pooled_table(evaluation)]
    return section(
        "Averages, by their names",
        *parts,
        subheading("Figures of the whole image, background included"),
        paragraph(
            "Definitions of Long et al. 2015. The background is one of the classes here, so that these figures are not "
            f"comparable with those above. {plural(evaluation.pooled.classes, 'class', 'classes')} with an IoU.",
            "note",
        ),
        _images_table(evaluation),
    )


def _orders_table(evaluation: Evaluation) -> Html:
    rows = []
    for name in evaluation.conventions.metrics:
        row = [heading(METRICS[name])]
        for score in (evaluation.foreground[name], evaluation.per_case[name]):
            row += [_mean_cell(score, METRICS[name]), str(score.n), str(score.left_out)]
        rows.append(row)
    groups = [("", 1), ("Cases, then labels (nnU-Net’s order)", 3), ("Labels, then cases (MONAI’s order)", 3)]
    return table(
        ["Metric", "mean", "n scores", "left out", "mean", "n cases", "left out"],
        rows,
        caption="For each label the mean over cases, then over labels; for each case the mean over labels, then over "
        "cases.",
        groups=groups,
        kind="scores",
    )


def _pooled_table(evaluation: Evaluation) -> Html:
    names = list(next(iter(evaluation.pooled.labels.values())))
    rows = [
        [label, *(measure(values[name], METRICS[name]) for name in names)]
        for label, values in evaluation.pooled.labels.items()
    ]
    return table(
        ["Label", *(METRICS[name].title for name in names)],
        rows,
        caption=f"One value from the summed counts of all {plural(len(evaluation.cases), 'case')}: large structures "
        "weigh most, a structure in few cases is not left out. No interval.",
        kind="scores",
    )


def _images_table(evaluation: Evaluation) -> Html:
    rows = []
    for name, title in _IMAGE_TITLES.items():
        each, pooled = evaluation.images[name], evaluation.pooled.image[name]
        rows.append([title, _mean_cell(each, _SHARE), str(each.n), _mean_cell(pooled, _SHARE), str(pooled.n)])
    return table(
        ["Background included", "mean", "n cases", "value", "n cases"],
        rows,
        caption="Each image by itself, then the mean over images; or all voxels of all images together.",
        groups=[("", 1), ("Per image", 2), ("Pooled", 2)],
        kind="scores",
    )


def _mean_cell(score: MeanScore, metric: Metric) -> Html:
    """Print a mean with its interval below it."""
    below = "" if math.isnan(score.low) else f'<span class="interval">{interval(score, metric)}</span>'
    return Html(f"{measure(score.mean, metric)}{below}")
