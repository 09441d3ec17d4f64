"""r2d2 report: a dataset, a training, or an evaluation, as one HTML page."""

from __future__ import annotations

from pathlib import Path

import typer

__all__ = ["report"]


def report(
    dataset: Path = typer.Option(None, help="Prepared dataset; alone: what is in it and what is odd."),
    evaluation: Path = typer.Option(None, help="Folder written by 'r2d2 evaluate'."),
    prediction: Path = typer.Option(None, help="Folder of the label maps; by default where they were evaluated."),
    images: Path = typer.Option(None, help="Folder of the scans, named like the label maps; not with --dataset."),
    out: Path = typer.Option(
        None, help="HTML file; by default dataset.html, training.html or report.html in the folder reported on."
    ),
    run_dir: Path = typer.Option(
        None, help="Run folder for the training curves; by default that of the model. Alone: the training."
    ),
    against: Path = typer.Option(
        None, help="Run folder of the same training from nothing: what the start of --run-dir gained."
    ),
) -> None:
    """Draw a dataset: its splits, odd cases and distributions; a training: curves, and what its machines did; or an
    evaluation: scores, worst cases, curves.

    With --run-dir and --against: the epochs that a start from a trained network spared.

    Example: r2d2 report --dataset work/hippocampus --prediction work/predictions --evaluation work/evaluation
    --out work/report.html
    """
    from r2d2.tasks.reporting import ReportSettings
    from r2d2.tasks.reporting import report as write_report

    path = write_report(
        ReportSettings(
            dataset=dataset,
            evaluation=evaluation,
            prediction=prediction,
            images=images,
            out=out,
            run_dir=run_dir,
            against=against,
        )
    )
    typer.echo(f"wrote {path}", err=True)
