"""Validation shared among the ranks: counts are summed over them, then divided."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dist_training.inference.outputs import NetworkOutputs
from dist_training.inference.windows import Windows
from dist_training.inputs.feed import IGNORED, SliceFeed, Step, prefetch, rank_share
from dist_training.inputs.patches import patch_of
from dist_training.ranks.communicator import Communicator
from segeval import class_counts, dice_from_counts

__all__ = ["OVERLAP", "ValidationScore", "validate", "validate_volumes"]

OVERLAP = 0.5
"""Of the windows by which volumes are validated, as of those by which they are predicted."""


@dataclass(frozen=True)
class ValidationScore:
    """Dice over the validation cases, in the prepared grid.

    Attributes:
        dice: mean over the foreground labels, or the regions; NaN where no case has any.
        dice_per_class: for each foreground class, or region, the mean over the cases.
    """

    dice: float
    dice_per_class: np.ndarray


def validate(
    predict: Callable[[np.ndarray], np.ndarray],
    feed: SliceFeed,
    *,
    num_classes: int,
    regions: np.ndarray | None = None,
    batch_size: int,
    communicator: Communicator,
    on_predicted: Callable[[int, np.ndarray], None] | None = None,
) -> ValidationScore | None:
    """Score the network on whole validation volumes; each rank predicts its share of their slices.

    The counts of voxels are integers, so the score is the same on any number of workers.

    Args:
        predict: maps images (n, height, width, channels) to class indices (n, height, width).
        feed: the validation slices.
        num_classes: classes including the background.
        regions: bool (num_classes, r), the regions that each class belongs to, where these are scored; None: classes.
        batch_size: slices predicted at a time.
        communicator: the ranks; a rank whose share is empty joins the sum with zeros.
        on_predicted: called with the index of each slice of this rank's share, and its class indices (height, width).

    Returns:
        The score, equal on every rank; None where there are no validation slices.
    """
    if len(feed) == 0:
        return None
    counts = _no_counts(feed, num_classes, regions)
    mine = np.arange(len(feed))[rank_share(len(feed), communicator.rank, communicator.world_size)]
    chunks = [mine[start : start + batch_size] for start in range(0, mine.size, batch_size)]
    batches = prefetch(feed, [Step(chunk, chunk.size) for chunk in chunks])
    for chunk, batch in zip(chunks, batches, strict=True):
        predicted = predict(batch.images)
        for index, reference, prediction in zip(chunk, batch.classes, predicted, strict=True):
            real = reference != IGNORED
            counts[feed.case_index(index)] += _counts(reference[real], prediction[real], num_classes, regions)
            if on_predicted is not None:
                on_predicted(int(index), prediction)
    return _score(communicator.sum_array(counts))


def validate_volumes(
    network: Callable[[np.ndarray], np.ndarray],
    feed: SliceFeed,
    window: tuple[int, int, int],
    outputs: NetworkOutputs,
    *,
    batch_size: int,
    communicator: Communicator,
    on_predicted: Callable[[int, np.ndarray], None] | None = None,
) -> ValidationScore | None:
    """Score a network of volumes on whole validation volumes by overlapping windows; each rank has its share of them.

    Args:
        network: maps images (n, *window, channels) to probabilities (n, *window, outputs).
        feed: the slices of the validation volumes, all of them.
        window: (slices, rows, columns).
        outputs: what the network's outputs mean.
        batch_size: windows predicted at a time.
        communicator: the ranks; a rank whose share is empty joins the sum with zeros.
        on_predicted: called with the index of each slice of this rank's share, and its class indices (height, width).

    Returns:
        The score, equal on every rank; None where there are no validation slices.
    """
    if len(feed) == 0:
        return None
    counts = _no_counts(feed, outputs.num_classes, outputs.loss_regions)
    share = range(len(feed.case_ids))[rank_share(len(feed.case_ids), communicator.rank, communicator.world_size)]
    steps = [Step(feed.indices_of(case), len(feed.indices_of(case))) for case in share]
    for case, step, batch in zip(share, steps, prefetch(feed, steps, ahead=1), strict=True):
        predicted = _by_windows(network, batch.images, window, outputs, batch_size)
        real = batch.classes != IGNORED
        counts[case] = _counts(batch.classes[real], predicted[real], outputs.num_classes, outputs.loss_regions)
        if on_predicted is not None:
            for index, prediction in zip(step.indices, predicted, strict=True):
                on_predicted(int(index), prediction)
    return _score(communicator.sum_array(counts))


def _by_windows(
    network: Callable[[np.ndarray], np.ndarray],
    volume: np.ndarray,
    window: tuple[int, int, int],
    outputs: NetworkOutputs,
    batch_size: int,
) -> np.ndarray:
    """Predict the classes of a volume (slices, height, width, channels), in zeros where it is smaller than a window."""

    def said(corners: list[tuple[int, ...]]) -> np.ndarray:
        places = [(first, row, column) for first, row, column in corners]
        return network(np.stack([patch_of(volume, place, window, outside=0) for place in places]))

    bands = Windows(window, OVERLAP).bands(volume.shape[:3], said, outputs.num_outputs, batch_size)
    return np.concatenate([outputs.decode_probabilities(band) for band in bands])


def _no_counts(feed: SliceFeed, num_classes: int, regions: np.ndarray | None) -> np.ndarray:
    scored = num_classes - 1 if regions is None else regions.shape[1]
    return np.zeros((len(feed.case_ids), scored, 3), dtype=np.int64)


def _counts(reference: np.ndarray, prediction: np.ndarray, num_classes: int, regions: np.ndarray | None) -> np.ndarray:
    """Count pixels of each foreground class or region: in both, in the reference, in the prediction."""
    if regions is None:
        return class_counts(reference, prediction, num_classes)[1:]
    ours, theirs = regions[reference], regions[prediction]
    return np.stack([part.sum(axis=0) for part in (ours & theirs, ours, theirs)], axis=1)


def _score(counts: np.ndarray) -> ValidationScore:
    dice = np.stack([dice_from_counts(case) for case in counts])
    per_class = np.array([_mean(column) for column in dice.T])
    return ValidationScore(_mean(per_class), per_class)


def _mean(values: np.ndarray) -> float:
    """Average what is defined: a class in neither reference nor prediction has no Dice."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
