"""Which number of SegEval, made under which conventions, is which number of a library; and whether they agree."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

import segeval
from tests.segeval.peers.differences import DIFFERENCES, has_interior
from tests.segeval.peers.masks import MaskPair, mask_pairs

__all__ = ["COMPARISONS", "Comparison", "Recorded", "largest_difference"]

Recorded = Mapping[str, np.ndarray]
Convert = Callable[[Recorded, Sequence[MaskPair]], np.ndarray]

EXACT = 1e-12
"""Counts and their ratios in float64."""
DISTANCE = 1e-9
"""Distances in float64: sums run in another order."""
SINGLE = 1e-5
"""float32, in which MONAI also finds the rank of a percentile."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of SegEval beside one of a library.

    Attributes:
        library: name of the distribution.
        metric: SegEval's name.
        theirs: name of the recorded array, or a function that makes SegEval's quantity of several.
        choices: conventions of SegEval that are the library's.
        tolerance: difference allowed, relative to the value, absolute below 1.
        is_comparable: pairs that the library measures in SegEval's sense; None: all.
    """

    library: str
    metric: str
    theirs: str | Convert
    choices: tuple[tuple[str, str], ...]
    tolerance: float
    is_comparable: Callable[[MaskPair], bool] | None = None

    @property
    def name(self) -> str:
        """Library, SegEval's metric and, where conventions have two names, which."""
        return " ".join((self.library, self.metric, *(value for _, value in self.choices)))

    def our_values(self) -> np.ndarray:
        """What `segeval.evaluate` gives, float64, one for each pair; see DIFFERENCES for images one voxel thick."""
        return _evaluate(self.choices, self.is_comparable)[self.metric]

    def their_values(self, recorded: Recorded) -> np.ndarray:
        """The library's numbers in SegEval's unit, float64, one for each pair."""
        if isinstance(self.theirs, str):
            return np.asarray(recorded[self.theirs], np.float64)
        return np.asarray(self.theirs(recorded, mask_pairs()), np.float64)

    def compared(self) -> np.ndarray:
        """Which pairs are compared: without those of DIFFERENCES that no convention reproduces."""
        left_out = [
            difference.where
            for difference in DIFFERENCES
            if difference.library == self.library and difference.metric == self.metric and not difference.is_reproduced
        ]
        return np.array(
            [
                (self.is_comparable is None or self.is_comparable(pair)) and not any(where(pair) for where in left_out)
                for pair in mask_pairs()
            ]
        )


def largest_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference, relative to the value and absolute below 1; inf where only one is NaN or inf."""
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    if same.all():
        return 0.0
    with np.errstate(invalid="ignore"):
        difference = np.abs(ours - theirs)[~same] / np.maximum(1.0, np.abs(theirs[~same]))
    return float(np.where(np.isfinite(difference), difference, np.inf).max())


Choices = tuple[tuple[str, str], ...]


@functools.cache
def _evaluate(choices: Choices, is_comparable: Callable[[MaskPair], bool] | None) -> dict[str, np.ndarray]:
    """Evaluate the comparable pairs, all metrics that are compared under these choices at once; NaN elsewhere.

    Where both structures are there `on_empty` decides nothing: every tenth such pair shows it, the others are shared.
    """
    metrics = _metrics(lambda other: (other.choices, other.is_comparable) == (choices, is_comparable))
    values = {metric: np.full(len(mask_pairs()), np.nan) for metric in metrics}
    for index, pair in enumerate(mask_pairs()):
        if is_comparable is None or is_comparable(pair):
            is_shared = pair.emptiness == "measured" and index % 10 != 0
            scores = _measured(_without_on_empty(choices))[index] if is_shared else _scores(pair, metrics, choices)
            for metric in metrics:
                values[metric][index] = scores[metric]
    return values


@functools.cache
def _measured(choices: Choices) -> dict[int, dict[str, float]]:
    """Evaluate the pairs of two structures, all metrics that are compared under these choices and any `on_empty`."""
    metrics = _metrics(lambda other: _without_on_empty(other.choices) == choices)
    return {
        index: _scores(pair, metrics, choices)
        for index, pair in enumerate(mask_pairs())
        if pair.emptiness == "measured" and index % 10 != 0
    }


def _without_on_empty(choices: Choices) -> Choices:
    return tuple(choice for choice in choices if choice[0] != "on_empty")


def _metrics(takes: Callable[[Comparison], bool]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(comparison.metric for comparison in COMPARISONS if takes(comparison)))


def _scores(pair: MaskPair, metrics: tuple[str, ...], choices: Choices) -> dict[str, float]:
    """Evaluate a pair; in an image one voxel thick, the surfaces as in a larger image (see DIFFERENCES)."""
    on_surface = tuple(metric for metric in metrics if segeval.METRICS[metric].family == "surface")
    parts = [((pair.reference, pair.prediction), metrics)]
    if pair.is_slice and on_surface:
        parts.append((pair.in_larger_image(), on_surface))
    scores: dict[str, float] = {}
    for images, names in parts:
        case = segeval.evaluate(*images, {"structure": pair.label}, pair.spacing_mm, metrics=names, **dict(choices))
        scores |= case.scores[0].values
    return scores


def _mean_of(*names: str) -> Convert:
    return lambda recorded, _: np.mean([recorded[name] for name in names], axis=0, dtype=np.float64)


def _ml(voxels: np.ndarray, pairs: Sequence[MaskPair]) -> np.ndarray:
    return voxels * np.array([np.prod(pair.spacing_mm) / 1000 for pair in pairs])


def _monai_volume(recorded: Recorded, pairs: Sequence[MaskPair]) -> np.ndarray:
    return _ml(recorded["absolute_volume_difference"].astype(np.float64), pairs)


def _medpy_volume(recorded: Recorded, pairs: Sequence[MaskPair]) -> np.ndarray:
    """Its relative volume difference, times the reference's volume."""
    return _ml(np.abs(recorded["ravd"]) * [np.count_nonzero(pair.reference) for pair in pairs], pairs)


def _unsigned_similarity(recorded: Recorded, _: Sequence[MaskPair]) -> np.ndarray:
    """SimpleITK's is 2 (V_ref - V_pred) / (V_ref + V_pred)."""
    return 1 - np.abs(recorded["volume_similarity"]) / 2


def _found(recorded: Recorded, _: Sequence[MaskPair]) -> np.ndarray:
    return 1 - recorded["false_negative_error"]


def _group(
    library: str,
    tolerance: tuple[float, float],
    metrics: Mapping[str, str | Convert],
    is_comparable: Mapping[str, Callable[[MaskPair], bool]] | None = None,
    **choices: str,
) -> list[Comparison]:
    """Comparisons under one set of conventions; tolerances of shares and volumes, and of what distances make."""
    on_surface = {name for name, metric in segeval.METRICS.items() if metric.family == "surface"}
    return [
        Comparison(
            library,
            metric,
            theirs,
            tuple(choices.items()),
            tolerance[metric in on_surface],
            (is_comparable or {}).get(metric),
        )
        for metric, theirs in metrics.items()
    ]


def has_three_axes(pair: MaskPair) -> bool:
    """Whether the image has a volume."""
    return pair.reference.ndim == 3


def has_reference(pair: MaskPair) -> bool:
    """Whether there is something to find."""
    return bool(pair.reference.any())


def has_reference_volume(pair: MaskPair) -> bool:
    """Whether a relative difference of volumes exists."""
    return has_three_axes(pair) and has_reference(pair)


def is_plane(pair: MaskPair) -> bool:
    """Whether the image has two axes."""
    return pair.reference.ndim == 2


def is_all_surface(pair: MaskPair) -> bool:
    """Whether every voxel of both masks is a border voxel: sets of voxels and surfaces are then the same."""
    return not has_interior(pair)


COMPARISONS: tuple[Comparison, ...] = (
    *_group(
        "monai",
        (1e-7, SINGLE),
        {
            "dice": "dice",
            "jaccard": "iou",
            "precision": "precision",
            "sensitivity": "sensitivity",
            "specificity": "specificity",
            "absolute_volume_difference_ml": _monai_volume,
            "hausdorff_mm": "hausdorff",
            "hd95_mm": "hd95",
            "assd_mm": "assd",
            "masd_mm": _mean_of("asd", "asd_swapped"),
            "nsd": "nsd",
        },
        {"absolute_volume_difference_ml": has_three_axes},
        on_empty="monai",
    ),
    *_group(
        "monai",
        (1e-7, SINGLE),
        {"dice": "dice_include_empty", "jaccard": "iou_include_empty"},
        on_empty="monai_include_empty",
    ),
    *_group(
        "surface-distance",
        (EXACT, DISTANCE),
        {
            "dice": "dice",
            "hausdorff_mm": "hausdorff",
            "hd95_mm": "hd95",
            "masd_mm": _mean_of("asd_reference_to_prediction", "asd_prediction_to_reference"),
            "nsd": "nsd",
        },
        on_empty="deepmind",
        surface="area_weighted",
    ),
    *_group(
        "MedPy",
        (EXACT, DISTANCE),
        {
            "dice": "dc",
            "jaccard": "jc",
            "precision": "precision",
            "sensitivity": "recall",
            "specificity": "specificity",
            "absolute_volume_difference_ml": _medpy_volume,
            "hausdorff_mm": "hd",
            "hd95_mm": "hd95",
            "assd_mm": "assd",
            "masd_mm": _mean_of("asd", "asd_swapped"),
        },
        {"absolute_volume_difference_ml": has_reference_volume},
        on_empty="medpy",
        hd95="pooled",
    ),
    *_group(
        "scikit-learn",
        (EXACT, DISTANCE),
        {
            "dice": "f1_score",
            "jaccard": "jaccard_score",
            "precision": "precision_score",
            "sensitivity": "recall_score",
            "specificity": "recall_score_of_background",
        },
        on_empty="sklearn",
    ),
    *_group("nnunetv2", (EXACT, DISTANCE), {"dice": "Dice", "jaccard": "IoU"}, on_empty="nnunet"),
    *_group(
        "torchmetrics",
        (1e-7, SINGLE),
        {
            "dice": "dice_score",
            "jaccard": "mean_iou",
            "precision": "precision",
            "sensitivity": "recall",
            "specificity": "specificity",
            "hausdorff_mm": "hausdorff_distance",
        },
        {"hausdorff_mm": is_plane},
        on_empty="torchmetrics",
    ),
    *_group(
        "simpleitk",
        (EXACT, DISTANCE),
        {
            "dice": "dice",
            "jaccard": "jaccard",
            "sensitivity": _found,
            "volume_similarity": _unsigned_similarity,
            "hausdorff_mm": "hausdorff",
        },
        {"sensitivity": has_reference, "volume_similarity": has_reference, "hausdorff_mm": is_all_surface},
        on_empty="simpleitk",
    ),
)
"""Every number compared."""
