"""r2d2 report: an evaluation as one HTML page."""

from __future__ import annotations

from pathlib import Path

import typer

__all__ = ["report"]


def report(
    dataset: Path = typer.Option(..., help="Prepared dataset that was evaluated."),
    prediction: Path = typer.Option(..., help="Folder of predicted label maps."),
    evaluation: Path = typer.Option(..., help="Folder written by 'r2d2 evaluate'."),
    out: Path = typer.Option(..., help="HTML file to write."),
    run_dir: Path = typer.Option(None, help="Run folder for the training curves; by default that of the model."),
) -> None:
    """Draw an evaluation: contours on slices, training curves, a table of every case.

    Example: r2d2 report --dataset work/hippocampus --prediction work/predictions --evaluation work/evaluation
    --out work/report.html
    """
    from imgmed import PreparedDataset
    from r2d2.reporting import report_on_dataset

    path = report_on_dataset(
        PreparedDataset.read(dataset), evaluation=evaluation, prediction=prediction, out=out, run_dir=run_dir
    )
    typer.echo(f"wrote {path}", err=True)
