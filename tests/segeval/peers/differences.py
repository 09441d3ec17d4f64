"""Where SegEval differs on purpose: what a library does, who reported it, and on which pairs it shows.

An entry that `is_reproduced` is a choice of SegEval's conventions: under that choice the numbers are the
library's, and the comparison covers these pairs. The others are not followed under any name: the comparison
leaves these pairs out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.segeval.peers.masks import MaskPair

__all__ = ["DIFFERENCES", "Difference"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that a library does otherwise.

    Attributes:
        issue: where it was reported; "" where no report is known.
        library: name of the distribution.
        metric: SegEval's metric.
        theirs: name of the recorded array.
        what: what the library does, and what SegEval does.
        where: pairs on which it may show.
        is_reproduced: whether some convention of SegEval gives the library's number.
        choices: conventions of SegEval's value that differs; empty: the defaults.
    """

    issue: str
    library: str
    metric: str
    theirs: str
    what: str
    where: Callable[[MaskPair], bool]
    is_reproduced: bool = False
    choices: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """Library, metric and issue."""
        return " ".join(filter(None, (self.library, self.metric, self.issue)))


def is_one_empty(pair: MaskPair) -> bool:
    return pair.emptiness in ("reference_empty", "prediction_empty")


def is_both_empty(pair: MaskPair) -> bool:
    return pair.emptiness == "both_empty"


def is_reference_empty(pair: MaskPair) -> bool:
    return pair.emptiness in ("reference_empty", "both_empty")


def is_prediction_empty(pair: MaskPair) -> bool:
    return pair.emptiness in ("prediction_empty", "both_empty")


def is_measured(pair: MaskPair) -> bool:
    return pair.emptiness == "measured"


def is_reference_full(pair: MaskPair) -> bool:
    return bool(pair.masks[0].all() and not pair.masks[1].all())


def is_both_full(pair: MaskPair) -> bool:
    return bool(pair.masks[0].all() and pair.masks[1].all())


def is_oblong(pair: MaskPair) -> bool:
    return pair.reference.ndim == 2 and pair.reference.shape[0] != pair.reference.shape[1]


def is_slice(pair: MaskPair) -> bool:
    return pair.is_slice and pair.emptiness == "measured"


def has_interior(pair: MaskPair) -> bool:
    """Whether some voxel of either structure is no border voxel."""
    from segeval.surface import border_voxels

    return any(bool((mask & ~border_voxels(mask)).any()) for mask in pair.masks)


_SPECIFICITY_OF_FULL = "the reference fills the image and the prediction does not: NaN; SegEval gives 0"
_ZERO_OF_FULL = "both masks fill the image: 0; SegEval gives no value (NaN)"
_ALL_SURFACE = (
    "all voxels of a volume of one slice are surface; SegEval measures the contour of the picture, and gives the"
    " library's number where the slice lies between two empty ones"
)
_NUMPY_2 = "written to give {} for 0 / 0, gives NaN under this NumPy, whose counts are no Python integers"

DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "MONAI#9095",
        "monai",
        "hd95_mm",
        "hd95",
        "a structure that was missed or made up has no HD95 and leaves the mean, which so improves; SegEval gives the"
        " diagonal of the image",
        is_one_empty,
        is_reproduced=True,
    ),
    Difference(
        "MONAI#4103",
        "monai",
        "nsd",
        "nsd",
        "border voxels count alike, whatever area they stand for; so do SegEval's, unless surface='area_weighted'",
        is_measured,
        is_reproduced=True,
        choices=(("surface", "area_weighted"),),
    ),
    Difference("", "monai", "nsd", "nsd", _ALL_SURFACE, is_slice, is_reproduced=True),
    Difference("", "MedPy", "assd_mm", "assd", _ALL_SURFACE, is_slice, is_reproduced=True),
    Difference(
        "",
        "surface-distance",
        "nsd",
        "nsd",
        _ALL_SURFACE,
        is_slice,
        is_reproduced=True,
        choices=(("surface", "area_weighted"),),
    ),
    Difference(
        "",
        "monai",
        "dice",
        "dice",
        "a structure made up where the reference has none is left out, and so costs nothing; SegEval gives 0",
        lambda pair: pair.emptiness == "reference_empty",
        is_reproduced=True,
    ),
    Difference("", "monai", "specificity", "specificity", _SPECIFICITY_OF_FULL, is_reference_full),
    Difference(
        "medpy#138",
        "MedPy",
        "hd95_mm",
        "hd95",
        "one percentile of both directions together: a small false part hides behind a large surface; SegEval gives"
        " the larger of two percentiles",
        is_measured,
        is_reproduced=True,
    ),
    Difference("", "MedPy", "dice", "dc", _NUMPY_2.format(1), is_both_empty, choices=(("on_empty", "medpy"),)),
    Difference(
        "", "MedPy", "precision", "precision", _NUMPY_2.format(0), is_prediction_empty, choices=(("on_empty", "medpy"),)
    ),
    Difference(
        "", "MedPy", "sensitivity", "recall", _NUMPY_2.format(0), is_reference_empty, choices=(("on_empty", "medpy"),)
    ),
    Difference("", "MedPy", "specificity", "specificity", _SPECIFICITY_OF_FULL, is_reference_full),
    Difference("", "scikit-learn", "specificity", "recall_score_of_background", _ZERO_OF_FULL, is_both_full),
    Difference("", "torchmetrics", "specificity", "specificity", _ZERO_OF_FULL, is_both_full),
    Difference(
        "torchmetrics#3300",
        "torchmetrics",
        "hausdorff_mm",
        "hausdorff_distance",
        "wrong on an image wider than high, raises (here NaN) on one higher than wide",
        is_oblong,
    ),
    Difference(
        "",
        "torchmetrics",
        "jaccard",
        "mean_iou",
        "-1 marks a class that is in neither; SegEval gives NaN",
        is_both_empty,
        choices=(("on_empty", "torchmetrics"),),
    ),
    Difference(
        "torchmetrics#2846",
        "torchmetrics",
        "jaccard",
        "jaccard_index",
        "the classification metric scores a class that is in neither 0 (segmentation.MeanIoU leaves it out)",
        is_both_empty,
    ),
    Difference(
        "",
        "surface-distance",
        "hausdorff_mm",
        "hausdorff",
        "infinite where neither mask has a voxel; SegEval gives no value (NaN)",
        is_both_empty,
        is_reproduced=True,
    ),
    Difference(
        "",
        "simpleitk",
        "hausdorff_mm",
        "hausdorff",
        "between the sets of voxels: one inside the other mask is at distance 0; SegEval's is between the surfaces",
        has_interior,
    ),
    Difference(
        "",
        "simpleitk",
        "dice",
        "dice",
        "0 where neither mask has a voxel; SegEval gives no value (NaN)",
        is_both_empty,
        is_reproduced=True,
    ),
)
"""Every deliberate difference that shows in the recorded values of masks."""
