"""r2d2 demo: the main job on generated scans, from nothing to a report."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path

import typer

from r2d2.cli.environment import quiet_tensorflow

__all__ = ["demo"]


def demo(
    out: Path = typer.Option(None, help="Folder for everything; by default r2d2-demo, the next free one."),
    workers: int = typer.Option(2, min=1, help="Horovod workers."),
    seed: int = typer.Option(0, min=0, help="Seed of the phantoms, the split and the training."),
    epochs: int = typer.Option(None, min=1, help="Epochs of training; by default as many as suit the study."),
) -> None:
    """Generate a phantom study, prepare it, train on two workers, predict, evaluate and report.

    Example: r2d2 demo
    """
    quiet_tensorflow(False)
    from imgmed import PreparedDataset
    from r2d2.cli.progress import stages, training_display
    from r2d2.cli.scores import echo_scores
    from r2d2.cli.train import say_end
    from r2d2.tasks.evaluation import evaluate_dataset
    from r2d2.tasks.preparation import phantom_dataset
    from r2d2.tasks.reporting import report_on_dataset
    from r2d2.tasks.training import TrainSettings, train
    from r2d2_base.folders import check_absent

    started = time.monotonic()
    folder = out if out is not None else _next_free("r2d2-demo")
    check_absent(folder)
    run, predictions, evaluation, report = (folder / n for n in ("run", "predictions", "evaluation", "report.html"))
    _head(1, "prepare: phantom volumes become slices, split by patient")
    with stages() as reporter:
        dataset = phantom_dataset(folder, reporter, seed)
    _head(2, f"train: Dist-U-Net on {workers} worker{'s' if workers > 1 else ''}")
    words = [f"training.seed={seed}", *([] if epochs is None else [f"training.epochs={epochs}"])]
    with training_display() as display:
        say_end(
            train(
                TrainSettings(
                    dataset=dataset.folder,
                    run_dir=run,
                    config=dataset.folder / "r2d2.yaml",
                    workers=workers,
                    settings=tuple(words),
                ),
                on_event=display,
                on_notice=display.notice,
            )
        )
    _head(3, "predict: volumes that the network has not seen")
    from r2d2.tasks.prediction import PredictSettings
    from r2d2.tasks.prediction import predict as predict_scans

    with stages() as reporter:
        predict_scans(PredictSettings(model=run, dataset=dataset.folder, out=predictions), progress=reporter)
    _head(4, "evaluate: whole volumes, in their own voxels")
    with stages() as reporter:
        prepared = PreparedDataset.read(dataset.folder)
        result = evaluate_dataset(prepared, "test", predictions, evaluation, progress=reporter)
    echo_scores(result)
    _head(5, "report: contours on slices, training curves, every case")
    report_on_dataset(dataset, evaluation=evaluation, prediction=predictions, out=report, run_dir=run)
    _close(folder, result.foreground["dice"].mean, time.monotonic() - started)


def _next_free(name: str) -> Path:
    first = Path(name)
    return first if not first.exists() else next(p for n in count(2) if not (p := Path(f"{name}-{n}")).exists())


def _head(number: int, text: str) -> None:
    typer.echo(f"\n[{number}/5] {text}", err=True)


def _close(folder: Path, dice: float, seconds: float) -> None:
    typer.echo(
        f"""
Done in {seconds:.0f} s. Mean foreground Dice on volumes never seen in training: {dice:.3f}

  report       {folder / "report.html"}
  model        {folder / "run" / "model.keras"}
  predictions  {folder / "predictions"}
  scores       {folder / "evaluation" / "summary.json"}

Next, with scans of your own (a Medical Segmentation Decathlon folder, or images/ and labels/):
  r2d2 prepare SCANS --out work/dataset
  r2d2 train --dataset work/dataset --run-dir work/run --workers 2""",
        err=True,
    )
