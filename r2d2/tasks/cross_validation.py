"""Cross-validation: every fold trained in processes of its own, and one evaluation over all patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from dist_training.checkpoints import read_latest_checkpoint
from dist_training.errors import CheckpointError
from dist_training.record.run_folder import RunFolder
from imgmed import PreparedDataset
from r2d2.errors import LaunchError
from r2d2.launching.plan import dataset_of, free_run_folder
from r2d2.prediction.manifest import read_manifest
from r2d2.prediction.settings import PredictionSettings
from r2d2.tasks.evaluation import evaluate_folds, split_case_ids
from r2d2.tasks.prediction import PredictSettings, predict
from r2d2.tasks.reporting import REPORT, report_on_dataset
from r2d2.tasks.training import TrainingResult, TrainSettings, plan_training, resolve_training, run_plan
from r2d2_base.errors import ConfigurationError
from r2d2_base.files import remove
from segeval import Evaluation

if TYPE_CHECKING:
    from dist_training.record.events import Event
    from r2d2_base.progress import Progress, StopRequest

__all__ = [
    "CrossValidationResult",
    "cross_validate",
    "evaluate_trained_folds",
    "fold_folder",
    "predict_once",
    "predict_trained_folds",
    "train_folds",
]

INTERRUPTED = 130
_EACH_ITS_OWN = ("run_dir", "dataset")


@dataclass(frozen=True)
class CrossValidationResult:
    """A network a fold, and what they say together.

    Attributes:
        folder: that of the folds' run folders.
        evaluation: over the patients of all folds, each case by the network that had not seen it.
        report: HTML file.
    """

    folder: Path
    evaluation: Evaluation
    report: Path


def fold_folder(run_dir: Path, fold: int) -> Path:
    """Name the run folder of one fold.

    >>> fold_folder(Path("runs/a"), 2).as_posix()
    'runs/a/fold-2'
    """
    return run_dir / f"fold-{fold}"


def cross_validate(
    settings: TrainSettings,
    *,
    on_event: Callable[[Event], None] = lambda event: None,
    on_notice: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> CrossValidationResult:
    """Train a network for each fold of a dataset, and evaluate all of them together.

    Args:
        settings: as for a training; ``run_dir`` gets a run folder a fold, and ``evaluation/``. Without ``config``, a
            cross-validation that is resumed goes on as it was begun.
        on_event: called with every event of each run.
        on_notice: called with a line for the user.
        progress: told of the cases that are predicted and evaluated.
        stop: asks the run in progress to stop, with a checkpoint.

    Returns:
        The scores, and where everything lies.

    Raises:
        ConfigurationError: settings that cannot work.
        LaunchError: a fold failed, or was stopped; with ``resume`` the same call goes on.
    """
    if settings.resume and settings.run_dir is None:
        raise ConfigurationError("--resume needs --run-dir, the folder of the folds to go on with")
    begun = _begun_configuration(settings.run_dir) if settings.resume and settings.run_dir is not None else None
    config = settings.config or begun  # as the folds before were asked for, not as the working folder has it now
    asked = settings.model_copy(update={"config": config, "resume": False})
    configuration = resolve_training(asked, progress=progress).configuration
    if configuration.fold is not None and (begun is None or config != begun):
        raise ConfigurationError(f"--fold all contradicts fold={configuration.fold}; use one of them")
    dataset = dataset_of(configuration.model_copy(update={"fold": None}))
    run_dir = settings.run_dir or configuration.run_dir or free_run_folder(dataset)
    train_folds(
        dataset,
        run_dir,
        asked.model_copy(update={"dataset": dataset.folder}),
        epochs=configuration.training.epochs,
        is_resumed=settings.resume,
        on_event=on_event,
        on_notice=on_notice,
        stop=stop,
    )
    return evaluate_trained_folds(dataset, run_dir, progress, stop)


def _begun_configuration(run_dir: Path) -> Path | None:
    """Give the configuration of a fold that was begun, by which the others are to be trained; None where none was."""
    return min(run_dir.glob("fold-*/config.yaml"), default=None)


def train_folds(
    dataset: PreparedDataset,
    run_dir: Path,
    settings: TrainSettings,
    *,
    epochs: int,
    is_resumed: bool,
    on_event: Callable[[Event], None] = lambda event: None,
    on_notice: Callable[[str], None] = lambda text: None,
    stop: StopRequest | None = None,
    again: str | None = None,
) -> None:
    """Train every fold of a dataset, one after the other; those that have their epochs or were stopped are passed over.

    Args:
        dataset: the prepared dataset.
        run_dir: folder for the folds' run folders.
        settings: of each training, besides fold and folder.
        epochs: that each fold is to have.
        is_resumed: whether ``run_dir`` may hold folds that are completed or begun.
        on_event: called with every event of each run.
        on_notice: called with a line for the user.
        stop: asks the run in progress to stop, with a checkpoint.
        again: what goes on with them, for the user, where all of them must have their epochs: then a fold that somebody
            stopped goes on too. None: the command of a cross-validation, which passes such a fold over.

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
    words = tuple(word for word in settings.settings if word.partition("=")[0].strip() not in _EACH_ITS_OWN)
    for fold in folds:
        folder = RunFolder(fold_folder(run_dir, fold))
        of, status = f"fold {fold} (0 to {len(folds) - 1})", folder.status()
        if status.is_done:
            _check_held_out(dataset.with_fold(fold), folder)
            done = _epochs_done(folder)
            is_wanted_so = status.reason is not None and (again is None or status.stopped_by != "request")
            if is_wanted_so or done is None or done >= epochs:
                kept = "it has no checkpoint to go on from" if done is None else f"{done} epochs"
                reason = "" if status.reason is None else f"; {status.reason}"
                on_notice(f"{of} is trained: {folder.path} ({kept}{reason})")
                continue
            on_notice(f"{of} has {done} of {epochs} epochs and goes on")
        else:
            on_notice(f"{of}: {len(dataset.splits.folds[fold].validation)} cases are held out")
        of_fold = {"fold": fold, "run_dir": folder.path, "settings": words, "resume": status.has_learned}
        if status.has_learned and settings.config == _begun_configuration(run_dir):
            of_fold["config"] = None  # that of the fold itself
        plan = plan_training(settings.model_copy(update=of_fold), on_notice=on_notice)
        result = run_plan(
            plan, on_event=on_event, on_notice=on_notice, max_restarts=settings.max_restarts, stop=stop, is_apart=True
        )
        _check_trained(fold, result, again or f"r2d2 train --fold all --run-dir {quote(str(run_dir))} --resume")


def _check_trained(fold: int, result: TrainingResult, again: str) -> None:
    """End where a fold was interrupted: the others would be begun in its place."""
    if result.run.status().is_done and result.stopped_by != "request":
        return
    raise LaunchError(f"fold {fold} was stopped ({result.reason}); go on with: {again}", INTERRUPTED)


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


def _epochs_done(folder: RunFolder) -> int | None:
    """Count the epochs of a fold; None where no checkpoint can be gone on from."""
    try:
        checkpoint = read_latest_checkpoint(folder.checkpoints)
    except CheckpointError:
        return None
    return None if checkpoint is None else checkpoint.progress.epoch


def evaluate_trained_folds(
    dataset: PreparedDataset, run_dir: Path, progress: Progress | None = None, stop: StopRequest | None = None
) -> CrossValidationResult:
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
    predictions = predict_trained_folds(dataset, [run_dir], run_dir, progress, stop)
    out = run_dir / "evaluation"
    evaluation = evaluate_folds(dataset, predictions, out, progress=progress, stop=stop)
    report = report_on_dataset(dataset, evaluation=out, prediction=None, out=out / REPORT)
    return CrossValidationResult(run_dir, evaluation, report)


def predict_trained_folds(
    dataset: PreparedDataset,
    members: Sequence[Path],
    out: Path,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> dict[int, Path]:
    """Let the networks of each fold segment the cases that they were not trained on; what is predicted stays.

    Args:
        dataset: the prepared dataset.
        members: folders with a completed run for each fold; several are asked together, fold by fold.
        out: gets a folder a fold, with ``predictions/``.
        progress: told of each case.
        stop: ends the work where it is made.

    Returns:
        The folder of label maps of each fold.
    """
    predictions = {}
    for fold in range(len(dataset.splits.folds)):
        models = [fold_folder(folder, fold) for folder in members]
        predictions[fold] = fold_folder(out, fold) / "predictions"
        held_out = split_case_ids(dataset.with_fold(fold), "validation")
        predict_once(dataset, models, held_out, predictions[fold], progress, stop)
    return predictions


def predict_once(
    dataset: PreparedDataset,
    models: Sequence[Path],
    case_ids: Sequence[str],
    out: Path,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> None:
    """Let networks that were trained here segment cases together, unless they have done so already.

    Args:
        dataset: the prepared dataset.
        models: run folders, whose code, if they have any of their own, is run.
        case_ids: the cases.
        out: folder for the label maps; those of other networks are removed from it.
        progress: told of each case.
        stop: ends the work where it is made.
    """
    from dist_training.inference.model_card import read_model_card

    manifest = read_manifest(out) if out.exists() else None
    if manifest is not None:
        made_by = tuple(member.model_sha256 for member in manifest.ensemble) or (manifest.model_sha256,)
        if made_by == tuple(read_model_card(model)[1].model_sha256 for model in models):
            return
        remove(out)
    settings = PredictSettings(
        model=tuple(models),
        dataset=dataset.folder,
        case_ids=tuple(case_ids),
        out=out,
        scans=PredictionSettings(on_error="stop"),
        trust_code=True,
    )
    predict(settings, progress=progress, stop=stop)
