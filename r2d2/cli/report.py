"""r2d2 report: a dataset, or an evaluation, as one HTML page."""

from __future__ import annotations

from pathlib import Path

import typer

__all__ = ["report"]


def report(
    dataset: Path = typer.Option(None, help="Prepared dataset; alone: what is in it and what is odd."),
    evaluation: Path = typer.Option(None, help="Folder written by 'r2d2 evaluate'."),
    prediction: Path = typer.Option(None, help="Folder of the label maps; by default where they were evaluated."),
    images: Path = typer.Option(None, help="Folder of the scans, named like the label maps; not with --dataset."),
    out: Path = typer.Option(None, help="HTML file; by default dataset.html or report.html in the folder reported on."),
    run_dir: Path = typer.Option(None, help="Run folder for the training curves; by default that of the model."),
) -> None:
    """Draw a dataset: its splits, odd cases and distributions; or an evaluation: scores, worst cases, curves.

    Example: r2d2 report --dataset work/hippocampus --prediction work/predictions --evaluation work/evaluation
    --out work/report.html
    """
    from imgmed import PreparedDataset
    from r2d2.proposal import propose_here
    from r2d2.report import build_dataset_report
    from r2d2.tasks.evaluation import REPORT
    from r2d2.tasks.reporting import report_on_dataset, report_on_evaluation
    from r2d2_base.errors import ConfigurationError

    if evaluation is None:
        if any(path is not None for path in (run_dir, prediction, images)):
            raise ConfigurationError("--run-dir, --prediction and --images belong to an evaluation; give --evaluation")
        if dataset is None:
            raise ConfigurationError("give --dataset, --evaluation or both, to say what to report on")
        prepared = PreparedDataset.read(dataset)
        path = build_dataset_report(prepared, out or dataset / "dataset.html", propose_here(prepared))
    elif dataset is not None:
        if images is not None:
            raise ConfigurationError("--dataset has the scans already; give either it or --images")
        path = report_on_dataset(
            PreparedDataset.read(dataset),
            evaluation=evaluation,
            prediction=prediction,
            out=out or evaluation / REPORT,
            run_dir=run_dir,
        )
    else:
        path = report_on_evaluation(
            evaluation=evaluation, prediction=prediction, images=images, out=out or evaluation / REPORT, run_dir=run_dir
        )
    typer.echo(f"wrote {path}", err=True)
