"""Evaluating label maps against references, with what the model has seen of them."""

from __future__ import annotations

from pathlib import Path

from dist_training.model_card import Split
from imgmed import PreparedDataset
from imgmed.progress import Progress
from r2d2.predict import PredictionManifest, prediction_name, read_manifest
from segeval import CasePair, Evaluation, evaluate_folder, evaluate_pairs, write_evaluation

__all__ = ["evaluate_dataset", "evaluate_prediction_folder", "split_case_ids"]


_NOTES = {
    "train": "training case of this model",
    "validation": "validation case of this model, which chose its weights",
}


def split_case_ids(dataset: PreparedDataset, split: Split) -> tuple[str, ...]:
    """Give the cases of "train", "validation" or "test", without augmented copies: those are no scans."""
    case_ids: tuple[str, ...] = getattr(dataset.original_splits, split)
    return case_ids


def evaluate_dataset(
    dataset: PreparedDataset, split: Split, prediction: Path, out: Path, progress: Progress | None = None
) -> Evaluation:
    """Evaluate predictions of a split against the dataset's reference label maps, as whole volumes.

    Args:
        dataset: the prepared dataset.
        split: "train", "validation" or "test".
        prediction: folder of label maps, named like the scans.
        out: folder for summary.json and cases.csv.
        progress: told of each case.

    Returns:
        The evaluation.

    Raises:
        NotADatasetError: the dataset has no reference label maps: it is of another task.
        SegEvalError: missing predictions, other grids, other labels: all of them listed.
    """
    notes = _notes(read_manifest(prediction))
    pairs = []
    for case_id in split_case_ids(dataset, split):
        case = dataset.case(case_id)
        path = prediction / prediction_name(case_id, Path(case.images[0].path))
        pairs.append(CasePair(case_id, dataset.reference(case_id), path, case.patient_id, notes.get(case_id)))
    evaluation = evaluate_pairs(pairs, dataset.labels, progress=progress)
    write_evaluation(evaluation, out)
    return evaluation


def evaluate_prediction_folder(
    reference: Path, prediction: Path, out: Path, progress: Progress | None = None
) -> Evaluation:
    """Evaluate a folder of label maps against a folder of references of the same names.

    Args:
        reference: folder of reference label maps.
        prediction: folder of predicted label maps; where R2D2 made them, they know their labels and which of
            their scans the model was trained on.
        out: folder for summary.json and cases.csv.
        progress: told of each case.

    Returns:
        The evaluation.
    """
    manifest = read_manifest(prediction)
    labels = manifest.labels if manifest is not None else None
    evaluation = evaluate_folder(reference, prediction, labels, notes=_notes(manifest), progress=progress)
    write_evaluation(evaluation, out)
    return evaluation


def _notes(manifest: PredictionManifest | None) -> dict[str, str]:
    cases = manifest.cases if manifest is not None else ()
    return {case.case_id: _NOTES[case.split] for case in cases if case.split in _NOTES}
