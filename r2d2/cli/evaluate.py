"""r2d2 evaluate: label maps against references."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from r2d2.cli.predict import SplitName

if TYPE_CHECKING:
    from segeval import Evaluation

__all__ = ["echo_scores", "evaluate"]


def evaluate(
    prediction: Path = typer.Option(..., help="Folder of predicted label maps."),
    out: Path = typer.Option(..., help="Folder for summary.json and cases.csv."),
    dataset: Path = typer.Option(None, help="Prepared dataset whose source labels are the reference."),
    split: SplitName = typer.Option(SplitName.test, help="Which of the dataset's cases."),
    reference: Path = typer.Option(None, help="Folder of reference label maps of the same names."),
) -> None:
    """Score label maps as whole volumes: Dice, IoU, surface distances, each with its confidence interval.

    Example: r2d2 evaluate --dataset work/hippocampus --split test --prediction work/predictions --out work/evaluation
    """
    from imgmed import PreparedDataset
    from r2d2.cli.progress import stages
    from r2d2.evaluation import evaluate_dataset, evaluate_prediction_folder

    if (dataset is None) == (reference is None):
        raise typer.BadParameter("give either --dataset (with --split) or --reference, to say what to compare with")
    with stages() as report:
        if dataset is not None:
            result = evaluate_dataset(PreparedDataset.read(dataset), split.value, prediction, out, report)
        else:
            result = evaluate_prediction_folder(reference, prediction, out, report)
    echo_scores(result)
    typer.echo(f"wrote {out / 'summary.json'} and {out / 'cases.csv'}", err=True)


def echo_scores(evaluation: Evaluation) -> None:
    """Print the means with their intervals, and the warnings that belong beside them."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(evaluation.cases)} cases; mean over cases [95 % interval over patients]")
    table.add_column("label")
    for column in ("Dice", "IoU", "HD95 (mm)", "ASSD (mm)", "n"):
        table.add_column(column, justify="right")
    rows = {name: {metric: evaluation.means[metric][name] for metric in evaluation.means} for name in evaluation.labels}
    rows["mean of the labels"] = evaluation.foreground
    for name, scores in rows.items():
        cells = [_cell(scores[metric], digits) for metric, digits in _COLUMNS]
        table.add_row(name, *cells, str(scores["dice"].n))
    Console(stderr=True).print(table)
    for warning in evaluation.warnings:
        typer.echo(f"warning: {warning}", err=True)


_COLUMNS = (("dice", 3), ("jaccard", 3), ("hd95_mm", 2), ("assd_mm", 2))


def _cell(score: object, digits: int) -> str:
    mean, low, high = (getattr(score, name) for name in ("mean", "low", "high"))
    if math.isnan(mean):
        return "-"
    interval = "" if math.isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{mean:.{digits}f}{interval}"
