"""What a metric is worth where a structure is missing: our convention, and those of other libraries by name.

A ratio over an empty mask, or a distance to it, has no value of its own, so every library chooses one, mostly
in silence. The choices here were found by running each library (`tests/segeval/peers/record.py`; the versions
are in `tests/segeval/peers/recorded/versions.json`) and are checked against its recorded output. Where a
library raises instead of giving a number, the value here is NaN; docs/science/conventions.md says which ones raise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["ON_EMPTY", "EmptyPolicy", "EmptyValue"]

EmptyValue = float | Literal["worst", "measured"]
"""A number (NaN: left out of the mean), "worst" or "measured"; see `EmptyPolicy`."""


@dataclass(frozen=True, slots=True)
class EmptyPolicy:
    """The value of one metric in the three cases where a mask is empty.

    Each is a number, NaN and inf included, or "worst": by the metric's direction 0 or 1 for a share, the image
    diagonal (the norm of shape × spacing) in mm for a distance, the image's volume for a volume; or "measured":
    what the definition gives without division by zero, such as the volume of a structure that was missed.

    Attributes:
        both_empty: neither reference nor prediction has the structure.
        reference_empty: something was predicted that the reference does not have.
        prediction_empty: the structure was missed.
    """

    both_empty: EmptyValue
    reference_empty: EmptyValue
    prediction_empty: EmptyValue


_NAN, _INF = math.nan, math.inf
_SHARES = ("dice", "jaccard", "precision", "sensitivity", "nsd")
_DISTANCES = ("hausdorff_mm", "hd95_mm", "assd_mm", "masd_mm")
_LESIONS = ("lesion_precision", "lesion_recall", "lesion_f1", "panoptic_quality")
_WORST = EmptyPolicy(_NAN, "worst", "worst")
_MEASURED = EmptyPolicy(_NAN, "measured", "measured")
_LEFT_OUT_OR_ZERO = EmptyPolicy(_NAN, 0.0, 0.0)
_ALWAYS_ZERO = EmptyPolicy(0.0, 0.0, 0.0)
_ONE_OR_ZERO = EmptyPolicy(1.0, 0.0, 0.0)
_RAISES = EmptyPolicy(_NAN, _NAN, _NAN)
_INFINITE = EmptyPolicy(_NAN, _INF, _INF)
# TN / (TN + FP) is defined as long as the reference does not fill the image; 1 where nothing is there.
_SPECIFICITY = EmptyPolicy(1.0, "measured", "measured")

_PENALISE = {
    **dict.fromkeys((*_SHARES, *_DISTANCES, *_LESIONS), _WORST),
    **dict.fromkeys(("specificity", "volume_similarity", "absolute_volume_difference_ml"), _MEASURED),
}

_MONAI = {
    "dice": EmptyPolicy(_NAN, _NAN, 0.0),
    "jaccard": EmptyPolicy(_NAN, _NAN, 0.0),
    "precision": EmptyPolicy(_NAN, 0.0, _NAN),
    "sensitivity": EmptyPolicy(_NAN, _NAN, 0.0),
    "specificity": _SPECIFICITY,
    "absolute_volume_difference_ml": EmptyPolicy(_NAN, _NAN, "measured"),
    "hausdorff_mm": _INFINITE,
    "hd95_mm": EmptyPolicy(_NAN, _NAN, _NAN),  # a quantile of infinities is inf - inf: MONAI#9095
    "assd_mm": _INFINITE,
    "masd_mm": _INFINITE,
    "nsd": _LEFT_OUT_OR_ZERO,
}

ON_EMPTY: dict[str, dict[str, EmptyPolicy]] = {
    "penalise": _PENALISE,
    "infinite": {**_PENALISE, **dict.fromkeys(_DISTANCES, _INFINITE)},
    "monai": _MONAI,
    "monai_include_empty": {**_MONAI, "dice": _ONE_OR_ZERO, "jaccard": _ONE_OR_ZERO},
    "nnunet": {"dice": _LEFT_OUT_OR_ZERO, "jaccard": _LEFT_OUT_OR_ZERO},
    "deepmind": {
        "dice": _LEFT_OUT_OR_ZERO,
        "hausdorff_mm": EmptyPolicy(_INF, _INF, _INF),
        "hd95_mm": EmptyPolicy(_INF, _INF, _INF),
        "masd_mm": EmptyPolicy(_NAN, _NAN, _NAN),  # the mean of the pair that it returns, of which one is 0 / 0
        "nsd": _LEFT_OUT_OR_ZERO,
    },
    "medpy": {
        "dice": _ONE_OR_ZERO,
        "jaccard": _ONE_OR_ZERO,
        "precision": _ALWAYS_ZERO,
        "sensitivity": _ALWAYS_ZERO,
        "specificity": _SPECIFICITY,
        **dict.fromkeys(_DISTANCES, _RAISES),
    },
    "torchmetrics": {
        "dice": _LEFT_OUT_OR_ZERO,
        "jaccard": _LEFT_OUT_OR_ZERO,  # segmentation.MeanIoU leaves the class out and marks it -1
        "precision": _ALWAYS_ZERO,
        "sensitivity": _ALWAYS_ZERO,
        "specificity": _SPECIFICITY,
        "hausdorff_mm": _INFINITE,
    },
    "sklearn": {
        "dice": _ALWAYS_ZERO,  # f1_score
        "jaccard": _ALWAYS_ZERO,
        "precision": _ALWAYS_ZERO,
        "sensitivity": _ALWAYS_ZERO,
        "specificity": _SPECIFICITY,  # recall_score of the background
    },
    "keras": {
        "jaccard": _LEFT_OUT_OR_ZERO,  # MeanIoU
        "precision": _ALWAYS_ZERO,
        "sensitivity": _ALWAYS_ZERO,
    },
    "fcn": {
        "jaccard": _LEFT_OUT_OR_ZERO,
        "sensitivity": EmptyPolicy(_NAN, _NAN, 0.0),  # the accuracy of a class
    },
    "simpleitk": {
        "dice": _ALWAYS_ZERO,
        "jaccard": _ALWAYS_ZERO,
        "hausdorff_mm": _RAISES,
    },
}
"""Convention → metric → `EmptyPolicy`. A metric that a library lacks is absent from its dictionary.

Example:
    >>> ON_EMPTY["monai"]["dice"].prediction_empty, ON_EMPTY["penalise"]["dice"].prediction_empty
    (0.0, 'worst')
"""
