"""The scores of an evaluation in a terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from segeval import Evaluation, MeanScore

__all__ = ["echo_scores"]

_SHOWN = ("dice", "jaccard", "hd95_mm", "nsd")
_WIDTH = 100
"""Columns from which four metrics fit; a narrower terminal gets three."""


def echo_scores(evaluation: Evaluation) -> None:
    """Print the means with their intervals, what they leave out, and the warnings that belong beside them."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from r2d2.reports.formatting import heading, plural
    from segeval import METRICS

    console = Console(stderr=True)
    console = console if console.is_terminal else Console(stderr=True, width=max(_WIDTH, console.width))
    measured = evaluation.conventions.metrics
    names = [name for name in _SHOWN if name in measured] or list(measured)
    names = names[: 4 if console.width >= _WIDTH else 3]
    table = Table(title=f"{plural(len(evaluation.cases), 'case')}; mean over cases [95 % interval over patients]")
    table.add_column("label", min_width=8, overflow="fold")
    for name in names:
        table.add_column(heading(METRICS[name]), justify="right", no_wrap=True)
    table.add_column("n", justify="right")
    table.add_column("left out", justify="right")
    rows = {label: {name: evaluation.means[name][label] for name in names} for label in evaluation.labels}
    for label, scores in rows.items():
        table.add_row(Text(label), *_cells(scores, names))
    if len(rows) > 1:
        table.add_section()
        table.add_row("mean of the labels", *_cells(evaluation.foreground, names))
    console.print(table)
    for line in (*_statuses(evaluation), *_choices(evaluation, names), _image_figures(evaluation)):
        typer.echo(line, err=True)
    for warning in evaluation.warnings:
        typer.echo(f"warning: {warning}", err=True)


def _cells(scores: Mapping[str, MeanScore], names: Sequence[str]) -> list[str]:
    """Give a cell for each metric, and the counts; where these differ, each cell has its own."""
    from r2d2.reports.formatting import measure
    from segeval import METRICS

    counts = [(scores[name].n, scores[name].left_out) for name in names]
    is_same = len(set(counts)) == 1
    cells = []
    for name in names:
        score, metric = scores[name], METRICS[name]
        lines = [measure(score.mean, metric)]
        if not math.isnan(score.low):
            lines.append(f"\\[{measure(score.low, metric)}, {measure(score.high, metric)}]")
        if not is_same:
            lines.append(f"n {score.n}, left out {score.left_out}")
        cells.append("\n".join(lines))
    return [*cells, *(map(str, counts[0]) if is_same else ("", ""))]


def _statuses(evaluation: Evaluation) -> list[str]:
    """Say which values were not measured, label by label."""
    from r2d2.reports.formatting import STATUS_WORDS

    lines = []
    for column, label in enumerate(evaluation.labels):
        found = Counter(case.scores[column].status for case in evaluation.cases)
        words = [f"{found[status]} {said}" for status, said in STATUS_WORDS.items() if said and found[status]]
        if words:
            lines.append(f"not measured: {label}: {', '.join(words)}")
    if lines:
        lines.append(f"  what those are worth: --on-empty {evaluation.conventions.on_empty} (see summary.json)")
    return lines


def _choices(evaluation: Evaluation, names: Sequence[str]) -> list[str]:
    """Say what the figures of the table rest on."""
    from segeval import METRICS, describe_conventions

    words = describe_conventions(evaluation.conventions)
    wanted = {"hd95_mm": "hd95_mm variant", "nsd": "nsd tolerance"}
    said = [f"{METRICS[name].title}: {words[key]}" for name, key in wanted.items() if name in names]
    return [". ".join(said) + "."] if said else []


def _image_figures(evaluation: Evaluation) -> str:
    image = evaluation.pooled.image
    figures = ", ".join(f"{name.replace('_', ' ').replace('iou', 'IoU')} {image[name].mean:.3f}" for name in image)
    return (
        "The background is not in these means. It is in the figures of the whole image (Long et al. 2015), pooled over "
        f"all voxels: {figures}."
    )
