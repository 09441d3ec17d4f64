"""Cross-validation: every fold trained in a process of its own, and one evaluation over all patients."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from dist_training.checkpoints import read_latest_checkpoint
from dist_training.errors import CheckpointError
from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset
from r2d2.errors import LaunchError
from r2d2.prediction.predict import predict_dataset, read_manifest
from r2d2.tasks.evaluation import REPORT, evaluate_folds, split_case_ids
from r2d2.tasks.reporting import report_on_dataset
from r2d2_base.errors import ConfigurationError
from r2d2_base.progress import Progress, StopRequest
from segeval import Evaluation

__all__ = ["begun_configuration", "cross_validate", "fold_folder", "fold_number", "train_folds"]

_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def fold_number(text: str) -> int | None:
    """Read what ``--fold`` was given: a number, or None for all.

    Raises:
        ConfigurationError: neither.

    >>> fold_number("2"), fold_number("all")
    (2, None)
    """
    if text == "all":
        return None
    if text.isdecimal():
        return int(text)
    raise ConfigurationError(f"--fold must be the number of a fold, from 0, or all; received {text!r}")


def fold_folder(run_dir: Path, fold: int) -> Path:
    """Name the run folder of one fold.

    >>> fold_folder(Path("runs/a"), 2).as_posix()
    'runs/a/fold-2'
    """
    return run_dir / f"fold-{fold}"


def begun_configuration(run_dir: Path) -> Path | None:
    """Give the configuration of a fold that was begun, by which the others are to be trained; None where none was.

    Args:
        run_dir: folder of the folds' run folders.
    """
    return min(run_dir.glob("fold-*/config.yaml"), default=None)


def train_folds(
    dataset: PreparedDataset,
    run_dir: Path,
    arguments: Sequence[str],
    *,
    epochs: int,
    is_resumed: bool,
    on_notice: Callable[[str], None] = lambda text: None,
) -> None:
    """Train every fold of a dataset, one after the other; those that have their epochs or were stopped are passed over.

    Args:
        dataset: the prepared dataset.
        run_dir: folder for the folds' run folders.
        arguments: what else ``r2d2 train`` is told.
        epochs: that each fold is to have.
        is_resumed: whether ``run_dir`` may hold folds that are completed or begun.
        on_notice: called with a line for the user.

    Raises:
        ConfigurationError: the dataset has no folds, the folder holds runs and is not to be resumed, or a fold was
            trained on cases that it is to be judged by.
        LaunchError: a fold failed, or was stopped.
    """
    folds = range(len(dataset.splits.folds))
    if not folds:
        raise ConfigurationError(f"{dataset.folder} has no folds; prepare it again, with preparation.folds=5")
    if not is_resumed and run_dir.exists() and any(run_dir.iterdir()):
        raise ConfigurationError(f"{run_dir} is not empty; go on with its folds by --resume, or give another --run-dir")
    for fold in folds:
        folder = RunFolder(fold_folder(run_dir, fold))
        of = f"fold {fold} (0 to {len(folds) - 1})"
        if _is_trained(folder):
            _check_held_out(dataset.with_fold(fold), folder)
            done, reason = _epochs_done(folder), (folder.read_exit() or {}).get("reason")
            if reason is not None or done is None or done >= epochs:
                kept = "it has no checkpoint to go on from" if done is None else f"{done} epochs"
                on_notice(f"{of} is trained: {folder.path} ({kept}{'' if reason is None else f'; {reason}'})")
                continue
            on_notice(f"{of} has {done} of {epochs} epochs and goes on")
        else:
            on_notice(f"{of}: {len(dataset.splits.folds[fold].validation)} cases are held out")
        options = ["--fold", str(fold), "--run-dir", str(folder.path), *(["--resume"] if folder.holds_run() else [])]
        code = _run([sys.executable, "-P", "-m", "r2d2", "train", *options, *arguments])
        if code != 0 or not _is_trained(folder):
            ended = (folder.read_exit() or {}).get("state", "not started")
            raise LaunchError(
                f"fold {fold} is {ended}; go on with: r2d2 train --fold all --run-dir {run_dir} --resume", code or 1
            )


def _check_held_out(dataset: PreparedDataset, folder: RunFolder) -> None:
    """Refuse a network that has learned from cases its fold holds out: one of other folds, or of another dataset."""
    from dist_training.inference.model_card import read_model_card

    seen = {case.image_sha256 for case in read_model_card(folder.path)[1].cases if case.split == "train"}
    known = [case_id for case_id in dataset.splits.validation if dataset.case(case_id).image_sha256 in seen]
    if known:
        raise ConfigurationError(
            f"the network in {folder.path} was trained on {len(known)} of the cases that this fold of {dataset.folder} "
            f"holds out ({', '.join(known[:3])}): it is of other folds; give another --run-dir"
        )


def _is_trained(folder: RunFolder) -> bool:
    """Tell whether a fold ended by itself, or was told to: one that a signal interrupted is to go on."""
    ended = folder.read_exit() or {}
    is_stopped = ended.get("state") == "stopped_early" and not str(ended.get("reason")).startswith("signal")
    return ended.get("state") == "completed" or is_stopped


def _epochs_done(folder: RunFolder) -> int | None:
    """Count the epochs of a fold; None where no checkpoint can be gone on from."""
    try:
        checkpoint = read_latest_checkpoint(folder.checkpoints)
    except CheckpointError:
        return None
    return None if checkpoint is None else checkpoint.progress.epoch


def _run(command: Sequence[str]) -> int:
    """Run a command to its end: a terminal's Ctrl-C reaches it by itself, other signals are passed on."""
    process = subprocess.Popen(command)

    def forward(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    previous = {number: signal.signal(number, forward) for number in _FORWARDED}
    previous[signal.SIGINT] = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        return process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def cross_validate(
    dataset: PreparedDataset, run_dir: Path, progress: Progress | None = None, stop: StopRequest | None = None
) -> Evaluation:
    """Let each fold's network segment the cases that it was not trained on, and evaluate all of them together.

    Args:
        dataset: the prepared dataset.
        run_dir: folder with a completed run for each fold; gets ``evaluation/`` with scores and report, and each
            fold's folder ``predictions/``.
        progress: told of each case.
        stop: ends the work where it is made; folds that are predicted stay so.

    Returns:
        The evaluation over the patients of all folds.
    """
    predictions = {}
    for fold in range(len(dataset.splits.folds)):
        folder = fold_folder(run_dir, fold)
        predictions[fold] = folder / "predictions"
        _predict(dataset.with_fold(fold), folder, predictions[fold], progress, stop)
    out = run_dir / "evaluation"
    evaluation = evaluate_folds(dataset, predictions, out, progress=progress, stop=stop)
    report_on_dataset(dataset, evaluation=out, prediction=None, out=out / REPORT)
    return evaluation


def _predict(
    dataset: PreparedDataset, model: Path, out: Path, progress: Progress | None, stop: StopRequest | None
) -> None:
    """Segment a fold's validation cases, unless its network has done so already."""
    from dist_training.inference.model_card import read_model_card

    manifest = read_manifest(out) if out.exists() else None
    if manifest is not None and manifest.model_sha256 == read_model_card(model)[1].model_sha256:
        return
    if manifest is not None:  # of another network of this fold
        shutil.rmtree(out)
    predict_dataset(model, dataset, split_case_ids(dataset, "validation"), out, progress, stop)
