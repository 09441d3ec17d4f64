"""DeepMind's surface-distance: surface elements weighted by their area."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from types import ModuleType

import numpy as np

from tests.segeval.peers.masks import MaskPair


def measure_masks(pairs: Sequence[MaskPair]) -> dict[str, np.ndarray]:
    library = _import()
    values: dict[str, list[float]] = defaultdict(list)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore")  # its use of scipy.ndimage.morphology
        for pair in pairs:
            reference, prediction = pair.masks
            distances = library.compute_surface_distances(reference, prediction, pair.spacing_mm)
            asd = library.compute_average_surface_distance(distances)
            overlap = library.compute_surface_overlap_at_tolerance(distances, 1.0)
            values["dice"].append(library.compute_dice_coefficient(reference, prediction))
            values["hausdorff"].append(library.compute_robust_hausdorff(distances, 100))
            values["hd95"].append(library.compute_robust_hausdorff(distances, 95))
            values["asd_reference_to_prediction"].append(asd[0])
            values["asd_prediction_to_reference"].append(asd[1])
            values["overlap_of_reference"].append(overlap[0])
            values["overlap_of_prediction"].append(overlap[1])
            values["nsd"].append(library.compute_surface_dice_at_tolerance(distances, 1.0))
    return {name: np.array(column, np.float64) for name, column in values.items()}


def _import() -> ModuleType:
    """Release 0.1 uses two names that NumPy 2 took away: they are given back, nothing else is changed."""
    np.Inf, np.NaN = np.inf, np.nan  # type: ignore[attr-defined]
    import surface_distance

    return surface_distance
