"""MedPy: border voxels, both directions of distances pooled; raises where a mask is empty."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from tests.segeval.peers.masks import MaskPair

OVERLAP = ("dc", "jc", "precision", "recall", "specificity", "ravd")
DISTANCES = ("hd", "hd95", "assd")


def measure_masks(pairs: Sequence[MaskPair]) -> dict[str, np.ndarray]:
    """It takes any values: 255 for the foreground goes in as it is."""
    from medpy.metric import binary

    values: dict[str, list[float]] = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 0 / 0 under NumPy 2.4; see differences.py
        for pair in pairs:
            reference, prediction, spacing = pair.reference, pair.prediction, pair.spacing_mm
            for name in OVERLAP:
                values[name].append(_or_nan(getattr(binary, name), prediction, reference))
            for name in DISTANCES:
                values[name].append(_or_nan(getattr(binary, name), prediction, reference, spacing))
            values["asd"].append(_or_nan(binary.asd, prediction, reference, spacing))
            values["asd_swapped"].append(_or_nan(binary.asd, reference, prediction, spacing))
    return {name: np.array(column, np.float64) for name, column in values.items()}


def _or_nan(metric: Callable[..., float], *arguments: object) -> float:
    try:
        return float(metric(*arguments))
    except RuntimeError:  # "... does not contain any binary object"
        return math.nan
