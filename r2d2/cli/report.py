"""r2d2 report: a dataset, or an evaluation on it, as one HTML page."""

from __future__ import annotations

from pathlib import Path

import typer

__all__ = ["report"]


def report(
    dataset: Path = typer.Option(..., help="Prepared dataset; alone: what is in it and what is odd."),
    prediction: Path = typer.Option(None, help="Folder of predicted label maps, with --evaluation."),
    evaluation: Path = typer.Option(None, help="Folder written by 'r2d2 evaluate', with --prediction."),
    out: Path = typer.Option(None, help="HTML file to write; by default dataset.html in the dataset's folder."),
    run_dir: Path = typer.Option(None, help="Run folder for the training curves; by default that of the model."),
) -> None:
    """Draw a dataset: its splits, odd cases and distributions; or an evaluation: contours, curves, every case.

    Example: r2d2 report --dataset work/hippocampus --prediction work/predictions --evaluation work/evaluation
    --out work/report.html
    """
    from imgmed import PreparedDataset
    from r2d2.errors import ConfigurationError
    from r2d2.proposal import propose_here
    from r2d2.report import build_dataset_report
    from r2d2.reporting import report_on_dataset

    prepared = PreparedDataset.read(dataset)
    if prediction is None and evaluation is None:
        if run_dir is not None:
            raise ConfigurationError("--run-dir belongs to an evaluation; give --evaluation and --prediction with it")
        path = build_dataset_report(prepared, out or dataset / "dataset.html", propose_here(prepared))
    elif prediction is None or evaluation is None or out is None:
        raise ConfigurationError(
            "the report of an evaluation needs --evaluation, --prediction and --out together; without the first two "
            "the dataset itself is reported on"
        )
    else:
        path = report_on_dataset(prepared, evaluation=evaluation, prediction=prediction, out=out, run_dir=run_dir)
    typer.echo(f"wrote {path}", err=True)
