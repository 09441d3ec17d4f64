"""Lesions: the connected components of two masks, which of them match, and how well they were detected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from segeval.by_value import ByValue
from segeval.confusion import check_same_shape
from segeval.errors import MetricArgumentError
from segeval.masks import as_mask, union_box

__all__ = [
    "Connectivity",
    "LesionMatch",
    "Matching",
    "lesion_f1",
    "lesion_precision",
    "lesion_recall",
    "match_lesions",
    "panoptic_quality",
]

Connectivity = Literal["face", "edge", "vertex"]
"""Which voxels are neighbours: those that share a face, also an edge, also a vertex (6, 18, 26 in three axes)."""

Matching = Literal["iou", "overlap"]
"""When a lesion counts as detected: matched one to one with IoU > 0.5, or with any voxel in common."""


@dataclass(frozen=True, slots=True, eq=False)
class LesionMatch(ByValue):
    """The lesions of two masks and which of them were detected.

    Attributes:
        reference_lesions: number of lesions in the reference.
        prediction_lesions: number of lesions in the prediction.
        found: how many lesions of the reference were found.
        confirmed: how many lesions of the prediction are true. With "iou" as many as found, as matches are one to
            one; with "overlap" one predicted lesion may find several, and several may lie in one.
        ious: float64 (pairs with IoU > 0.5,): their IoU, whatever `match` was.
    """

    reference_lesions: int
    prediction_lesions: int
    found: int
    confirmed: int
    ious: NDArray[np.float64]


def match_lesions(
    reference: ArrayLike,
    prediction: ArrayLike,
    *,
    connectivity: Connectivity = "vertex",
    match: Matching = "iou",
) -> LesionMatch:
    """Take both masks apart into connected components and match those.

    Args:
        reference: boolean mask of any number of axes; integers 0 and 1 will do.
        prediction: boolean mask of the same shape.
        connectivity: which voxels are neighbours, a word of `Connectivity`.
        match: "iou": a lesion of the reference and one of the prediction match where their IoU is greater than 0.5,
            which at most one can (Kirillov et al. 2019, section 4.1). "overlap": a lesion of the reference is found
            where any voxel of it was predicted, and a predicted lesion is true where any voxel of it is in the
            reference; each side is counted for itself.

    Returns:
        The counts, and the IoU of every pair above 0.5.

    Raises:
        ShapeMismatchError: the shapes differ.
        ArrayTypeError: a mask holds something other than false and true, 0 and 1.
        MetricArgumentError: connectivity or match is none of the words.

    Example:
        >>> match_lesions([1, 1, 0, 1, 0, 0], [1, 1, 0, 0, 0, 1])
        LesionMatch(reference_lesions=2, prediction_lesions=2, found=1, confirmed=1, ious=array([1.]))
    """
    _check_word("connectivity", connectivity, get_args(Connectivity))
    _check_word("match", match, get_args(Matching))
    reference_mask, prediction_mask = as_mask(reference, "reference"), as_mask(prediction, "prediction")
    check_same_shape(reference_mask, prediction_mask)
    box = union_box(reference_mask.view(np.uint8), prediction_mask.view(np.uint8))
    reference_mask, prediction_mask = reference_mask[box], prediction_mask[box]
    reference_labels, n_ref = _components(reference_mask, connectivity)
    prediction_labels, n_pred = _components(prediction_mask, connectivity)
    pairs, shared = _shared_voxels(reference_labels, prediction_labels, n_pred)
    reference_sizes = np.bincount(reference_labels[reference_mask], minlength=n_ref + 1)
    prediction_sizes = np.bincount(prediction_labels[prediction_mask], minlength=n_pred + 1)
    ious = shared / (reference_sizes[pairs[0]] + prediction_sizes[pairs[1]] - shared)
    is_match = ious > 0.5 if match == "iou" else np.ones(shared.size, dtype=bool)
    found, confirmed = (np.unique(side[is_match]).size for side in pairs)
    return LesionMatch(n_ref, n_pred, found, confirmed, ious[ious > 0.5])


def lesion_precision(match: LesionMatch) -> float:
    """Share of the predicted lesions that are true, TP / (TP + FP).

    Args:
        match: from `match_lesions`.

    Returns:
        A number in [0, 1]; NaN without any lesion, 0 where only one mask has lesions.

    Example:
        >>> lesion_precision(match_lesions([1, 1, 0, 0, 0], [1, 1, 0, 0, 1]))
        0.5
    """
    return _share(match, match.confirmed, match.prediction_lesions)


def lesion_recall(match: LesionMatch) -> float:
    """Share of the reference's lesions that were found, TP / (TP + FN); also called lesion-wise sensitivity.

    Args:
        match: from `match_lesions`.

    Returns:
        A number in [0, 1]; NaN without any lesion, 0 where only one mask has lesions.

    Example:
        >>> lesion_recall(match_lesions([1, 1, 0, 0, 0], [1, 1, 0, 0, 1]))
        1.0
    """
    return _share(match, match.found, match.reference_lesions)


def lesion_f1(match: LesionMatch) -> float:
    """Harmonic mean of lesion precision and recall; with "iou" TP / (TP + FP / 2 + FN / 2).

    That is the recognition quality of Kirillov et al. (2019), equation 2.

    Args:
        match: from `match_lesions`.

    Returns:
        A number in [0, 1]; NaN without any lesion, 0 where none was detected.

    Example:
        >>> round(lesion_f1(match_lesions([1, 1, 0, 0, 0], [1, 1, 0, 0, 1])), 3)
        0.667
    """
    precision, recall = lesion_precision(match), lesion_recall(match)
    return 2 * precision * recall / (precision + recall) if precision + recall != 0 else 0.0


def panoptic_quality(match: LesionMatch) -> float:
    """Sum of the IoU of the matched lesions / (TP + FP / 2 + FN / 2) (Kirillov et al. 2019, equation 1).

    It is the mean IoU of the matched pairs times `lesion_f1` of match "iou". Matched are always pairs with IoU > 0.5,
    also where detection was counted by "overlap".

    Args:
        match: from `match_lesions`.

    Returns:
        A number in [0, 1]; NaN without any lesion, 0 where none matches.

    Example:
        >>> panoptic_quality(match_lesions([1, 1, 0, 1, 1, 1], [1, 1, 0, 1, 1, 0]))
        0.8333333333333333
    """
    return _share(match, float(match.ious.sum()), (match.reference_lesions + match.prediction_lesions) / 2)


def _share(match: LesionMatch, part: float, whole: float) -> float:
    if match.reference_lesions == match.prediction_lesions == 0:
        return float("nan")
    return part / whole if whole else 0.0


def _check_word(name: str, word: str, words: tuple[str, ...]) -> None:
    if word not in words:
        raise MetricArgumentError(f"{name} must be one of {', '.join(words)}; received {word!r}")


def _components(mask: NDArray[np.bool_], connectivity: Connectivity) -> tuple[NDArray[np.int32], int]:
    """Number the connected components of a mask from 1 on."""
    reach = {"face": 1, "edge": 2, "vertex": mask.ndim}[connectivity]
    labels, count = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, reach))
    return labels, int(count)


def _shared_voxels(
    reference: NDArray[np.int32], prediction: NDArray[np.int32], n_pred: int
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]:
    """Count the voxels that each pair of components shares, for all pairs that share any, in one pass."""
    both = (reference > 0) & (prediction > 0)
    codes = reference[both] * np.int64(n_pred + 1) + prediction[both]
    pairs, shared = np.unique(codes, return_counts=True)
    return np.divmod(pairs, n_pred + 1), shared
