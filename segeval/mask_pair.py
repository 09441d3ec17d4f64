"""One structure in reference and prediction: all that a metric may look at, each thing computed at most once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segeval.lesions import LesionMatch, match_lesions
from segeval.overlap import overlap_scores
from segeval.surface import SurfaceDistances, image_diagonal_mm, surface_distances

if TYPE_CHECKING:
    from segeval.conventions import Conventions

__all__ = ["STATUSES", "MaskPair"]

STATUSES = ("measured", "both_empty", "reference_empty", "prediction_empty", "prediction_missing")
"""What a score is: measured on two structures, or what the convention gives where one or both are empty, or where
the file of the prediction is missing."""


@dataclass(frozen=True)
class MaskPair:
    """A structure in reference and prediction.

    Attributes:
        reference: boolean, cut to a box that holds the structure in both.
        prediction: boolean of the same shape.
        tp: voxels in both, of the whole image.
        fp: voxels in the prediction only.
        fn: voxels in the reference only.
        tn: voxels in neither.
        spacing_mm: voxel size along each array axis.
        image_shape: shape of the whole image.
        conventions: the choices that metrics leave open.
        tolerance_mm: tolerance of nsd.
    """

    reference: NDArray[np.bool_]
    prediction: NDArray[np.bool_]
    tp: int
    fp: int
    fn: int
    tn: int
    spacing_mm: tuple[float, ...]
    image_shape: tuple[int, ...]
    conventions: Conventions
    tolerance_mm: float

    @property
    def status(self) -> str:
        """Which of the two is empty, in a word of `STATUSES`."""
        n_ref, n_pred = self.tp + self.fn, self.tp + self.fp
        if n_ref and n_pred:
            return "measured"
        if n_ref:
            return "prediction_empty"
        return "reference_empty" if n_pred else "both_empty"

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in ml; NaN for an image that is not of three axes, as a plane has no volume."""
        return math.prod(self.spacing_mm) / 1000 if len(self.spacing_mm) == 3 else math.nan

    @property
    def image_ml(self) -> float:
        """Volume of the image in ml; NaN where a voxel has none."""
        return math.prod(self.image_shape) * self.voxel_ml

    @property
    def diagonal_mm(self) -> float:
        """Diagonal of the image in mm."""
        return image_diagonal_mm(self.image_shape, self.spacing_mm)

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Counts as a confusion matrix of two classes, row and column 1 the structure."""
        return np.array([[self.tn, self.fp], [self.fn, self.tp]], dtype=np.int64)

    @cached_property
    def overlap(self) -> dict[str, NDArray[np.float64]]:
        """Overlap metrics by name; those of a class have the structure's at index 1."""
        return overlap_scores(self.confusion)

    @cached_property
    def distances(self) -> SurfaceDistances:
        """Distances between the two surfaces."""
        return surface_distances(
            self.reference,
            self.prediction,
            self.spacing_mm,
            surface=self.conventions.surface,
            image_shape=self.image_shape,
        )

    @cached_property
    def lesions(self) -> LesionMatch:
        """Connected components and how they match."""
        return match_lesions(
            self.reference,
            self.prediction,
            connectivity=self.conventions.lesion_connectivity,
            match=self.conventions.lesion_match,
        )
