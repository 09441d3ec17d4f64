"""r2d2 demo: the main job on generated scans, from nothing to a report; and the shipped model on a real one."""

from __future__ import annotations

import os
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from r2d2.cli.environment import quiet_tensorflow

if TYPE_CHECKING:
    from dist_training.inference.model_card import ModelCard

__all__ = ["demo", "show_model"]

SHIPPED = "zoo:hippocampus-unet"
REAL_SCANS = "../shared/data"


def demo(
    out: Path = typer.Option(None, help="Folder for everything; by default r2d2-demo, the next free one."),
    workers: int = typer.Option(2, min=1, help="Horovod workers."),
    seed: int = typer.Option(0, min=0, help="Seed of the phantoms, the split and the training."),
    epochs: int = typer.Option(None, min=1, help="Epochs of training; by default as many as suit the study."),
) -> None:
    """Generate a phantom study, prepare it, train on two workers, predict, evaluate, report; then use a shipped model.

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
    _head(6, "a trained network, zoo:hippocampus-unet, on a scan that it has never seen")
    scans = Path(os.environ.get("R2D2_REAL_DATA") or REAL_SCANS) / "hippocampus_msd"
    show_model(SHIPPED, scans, folder / "hippocampus")
    _close(folder, result.foreground["dice"].mean, time.monotonic() - started)


def show_model(model: str | Path, scans: Path, out: Path) -> None:
    """Predict and score a scan that a model has not learned from, or say in a line why not.

    Args:
        model: a name of the zoo, or a folder.
        scans: holds imagesTr and labelsTr, as the Medical Segmentation Decathlon has them; it need not be there.
        out: folder for the label map and its scores.
    """
    from dist_training.inference.model_card import read_model_card
    from r2d2.cli.progress import stages
    from r2d2.cli.scores import echo_scores
    from r2d2.prediction.model import resolve_model
    from r2d2.tasks.evaluation import EvaluateSettings, evaluate
    from r2d2.tasks.prediction import PredictSettings, predict
    from r2d2_base.errors import R2D2Error
    from segeval import EvaluationSettings

    try:
        _, card = read_model_card(resolve_model(model))
    except R2D2Error as error:
        typer.echo(f"left out: {error}", err=True)
        return
    scan = _unseen_scan(card, scans)
    if scan is None:
        typer.echo(
            f"no such scan is at hand ({scans}); with one of yours: "
            f"r2d2 predict --model {model} --input SCAN.nii.gz --out PREDICTIONS",
            err=True,
        )
        return
    with stages() as reporter:
        predict(PredictSettings(model=model, inputs=(scan,), out=out / "predictions"), progress=reporter)
        judged = EvaluateSettings(
            prediction=out / "predictions" / scan.name,
            reference=scans / "labelsTr" / scan.name,
            images=scan,
            out=out / "evaluation",
            scoring=EvaluationSettings(labels={name: value for name, value in card.labels.items() if value}),
        )
        result = evaluate(judged, progress=reporter)
    echo_scores(result.evaluation)
    typer.echo(f"{scan.name} with both outlines: {result.report}", err=True)


def _unseen_scan(card: ModelCard, scans: Path) -> Path | None:
    """Find a scan with a label map that a model was neither trained on nor chosen by."""
    from r2d2_base.files import sha256_of

    labelled = (path for path in sorted(scans.glob("imagesTr/*.nii.gz")) if (scans / "labelsTr" / path.name).is_file())
    return next((path for path in labelled if card.split_of((sha256_of(path),)) in (None, "test")), None)


def _next_free(name: str) -> Path:
    first = Path(name)
    return first if not first.exists() else next(p for n in count(2) if not (p := Path(f"{name}-{n}")).exists())


def _head(number: int, text: str) -> None:
    typer.echo(f"\n[{number}/6] {text}", err=True)


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
