"""SimpleITK: LabelOverlapMeasures and HausdorffDistance (between sets of voxels, not between surfaces)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from tests.segeval.peers.masks import MaskPair


def measure_masks(pairs: Sequence[MaskPair]) -> dict[str, np.ndarray]:
    import SimpleITK as sitk  # noqa: N813

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    values: dict[str, list[float]] = defaultdict(list)
    for pair in pairs:
        reference, prediction = (sitk.GetImageFromArray(array) for array in (pair.reference, pair.prediction))
        for image in (reference, prediction):
            image.SetSpacing(pair.spacing_mm[::-1])
        overlap = sitk.LabelOverlapMeasuresImageFilter()
        overlap.Execute(prediction, reference)  # source and target: errors are shares of the target
        values["dice"].append(overlap.GetDiceCoefficient(pair.label))
        values["jaccard"].append(overlap.GetJaccardCoefficient(pair.label))
        values["volume_similarity"].append(overlap.GetVolumeSimilarity(pair.label))
        values["false_negative_error"].append(overlap.GetFalseNegativeError(pair.label))
        distance = sitk.HausdorffDistanceImageFilter()
        try:
            distance.Execute(reference, prediction)
            values["hausdorff"].append(distance.GetHausdorffDistance())
        except RuntimeError:  # "pixelcount is equal to 0"
            values["hausdorff"].append(math.nan)
    return {name: np.array(column, np.float64) for name, column in values.items()}
