"""What is chosen for volumes: the spacing along all three axes, how images grow to it, and what is cropped away.

Source: F. Isensee et al., nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation,
Nature Methods 18 (2021) 203-211, with its supplement: the median spacing of the training cases; where voxels are over
three times as long along one axis as along the others and it has under a third of their voxels, the 10th percentile
along that axis; and along an axis of such long voxels the nearest value in place of an interpolated one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Self

import numpy as np

from imgmed.intensity_settings import NormalisationKind
from imgmed.operations import CropToContent, Resample
from imgmed.operations.maps import KEPT_WITHIN
from imgmed.settings import PreparationSettings

__all__ = ["AIR_HU", "AXIS_NAMES", "SET", "VolumeSpacing", "content_crop", "joined", "kind_reason", "volume_resampling"]

AIR_HU = -500.0
AXIS_NAMES = ("left-right", "back-front", "foot-head")
SET = "set by the user"
ANISOTROPY = 3.0  # times as long as along the others, of so many times fewer voxels
FINE_PERCENTILE = 10
LEAST_VOXELS = 16  # along an axis: two poolings leave 4
Growth = Literal[0, 3]
Rows = Sequence[Sequence[float]] | np.ndarray


class VolumeSpacing(NamedTuple):
    """A spacing along right, anterior, superior.

    Args:
        spacing_mm: what volumes are resampled to.
        median_mm: of the training cases.
        long_axis: along which voxels are over three times as long as along the others; None: along none.
    """

    spacing_mm: tuple[float, float, float]
    median_mm: tuple[float, float, float]
    long_axis: int | None

    @classmethod
    def of(cls, shapes: Rows, spacings_mm: Rows) -> Self:
        """Choose the spacing by the published rule.

        Args:
            shapes: (cases, 3) voxels along right, anterior, superior.
            spacings_mm: (cases, 3) along the same axes.

        >>> VolumeSpacing.of([(512, 512, 100)] * 3, [(0.7, 0.7, 1.0), (0.8, 0.8, 2.0), (0.9, 0.9, 5.0)]).spacing_mm
        (0.8, 0.8, 2.0)
        >>> VolumeSpacing.of([(320, 320, 20)] * 3, [(0.6, 0.6, 2.0), (0.6, 0.6, 3.0), (0.6, 0.6, 4.0)])
        VolumeSpacing(spacing_mm=(0.6, 0.6, 2.2), median_mm=(0.6, 0.6, 3.0), long_axis=2)
        """
        every = np.asarray(spacings_mm, np.float64)
        median, size = np.median(every, axis=0), np.median(np.asarray(shapes, np.float64), axis=0)
        wanted, axis = median.copy(), long_axis(median.tolist())
        if axis is not None:
            others = [other for other in range(3) if other != axis]
            if size[axis] * ANISOTROPY < size[others].min():
                fine = float(np.percentile(every[:, axis], FINE_PERCENTILE))
                wanted[axis] = max(float(median[others].max()), fine)
        return cls(_rounded(wanted), _rounded(median), axis)

    @property
    def is_finer(self) -> bool:
        """Whether the axis of long voxels gets less than the median."""
        return self.spacing_mm != self.median_mm


def long_axis(spacing_mm: Sequence[float]) -> int | None:
    """Return the axis along which voxels are over three times as long as along both others; None: there is none.

    >>> long_axis((0.6, 0.6, 3.0)), long_axis((0.6, 0.9, 2.0))
    (2, None)
    """
    middle, longest = sorted(spacing_mm)[1:]
    return list(spacing_mm).index(longest) if longest > ANISOTROPY * middle else None


def volume_resampling(shapes: np.ndarray, spacings: np.ndarray, settings: PreparationSettings) -> tuple[Resample, str]:
    """Choose the resampling of volumes along all three axes, and say why.

    Args:
        shapes: (cases, 3) voxels of the training cases along right, anterior, superior.
        spacings: (cases, 3) in mm along the same axes.
        settings: may have the spacing.
    """
    chosen = VolumeSpacing.of(shapes, spacings)
    wanted = settings.spacing_mm or chosen.spacing_mm
    axis = chosen.long_axis if chosen.long_axis is not None else long_axis(wanted)
    first, second, third = (_growth(other == axis) for other in range(3))
    resampling = Resample(spacing_mm=wanted, order=3 if axis is None else (first, second, third))
    nearest = "" if axis is None else f"; along {AXIS_NAMES[axis]}, where voxels are long, images take the nearest ones"
    if settings.spacing_mm is not None:
        return resampling, f"{SET}{nearest}"
    if bool((np.abs(spacings / chosen.spacing_mm - 1) <= KEPT_WITHIN).all()):
        return resampling, (
            f"all training cases have {joined(wanted)} mm within 1 %: they are not resampled, other scans are"
        )
    extent = f"{joined(spacings.min(axis=0))} to {joined(spacings.max(axis=0))} mm"
    reason = f"median of the training cases along all three axes, whose spacings range from {extent}"
    if chosen.is_finer and axis is not None:
        reason += (
            f"; along {AXIS_NAMES[axis]}, over {ANISOTROPY:g} times as long ({chosen.median_mm[axis]:.4g} mm) with"
            f" under a third of the voxels, the {FINE_PERCENTILE}th percentile (Isensee et al. 2021)"
        )
    return resampling, f"{reason}{nearest}"


def content_crop(kind: NormalisationKind, everyone_has_air: bool) -> tuple[CropToContent, str]:
    """Choose what is cropped away around the body, and say why.

    Args:
        kind: of the normalisation.
        everyone_has_air: whether every volume reaches the numbers that air has in CT.
    """
    if kind == "zscore_dataset" and everyone_has_air:
        return CropToContent(above=AIR_HU), f"to the smallest box with all that is denser than air, {AIR_HU:g} HU"
    return CropToContent(), "to the smallest box with all voxels that are not 0; a scan without zeros is kept whole"


def kind_reason(shapes: np.ndarray, spacings: np.ndarray, settings: PreparationSettings, are_pictures: bool) -> str:
    """Say whether slices or volumes suit, by what a volume would be after resampling."""
    is_asked = settings.kind == "volumes"
    if are_pictures:
        return SET if is_asked else "slices, as pictures have no size in millimetres"
    spacing = VolumeSpacing.of(shapes, spacings).spacing_mm
    typical = np.maximum(1, np.rint(np.median(shapes * spacings / spacing, axis=0)))
    thin = int(np.argmin(typical))
    what = f"a typical volume is {joined(typical)} voxels of {joined(spacing)} mm"
    if typical[thin] >= LEAST_VOXELS:
        return SET if is_asked else f"slices unless asked otherwise; preparation.kind=volumes would suit too: {what}"
    why = f"{what}, under {LEAST_VOXELS} along {AXIS_NAMES[thin]}, where a network of volumes has little to look along"
    return f"{SET}, though {why}" if is_asked else f"slices: {why}"


def joined(values: Sequence[float] | np.ndarray) -> str:
    """Return numbers as text.

    >>> joined((1.0, 0.33333))
    '1 x 0.3333'
    """
    return " x ".join(f"{value:.4g}" for value in values)


def _rounded(values: np.ndarray) -> tuple[float, float, float]:
    right, anterior, superior = (float(f"{value:.6g}") for value in values)
    return right, anterior, superior


def _growth(is_long: bool) -> Growth:
    return 0 if is_long else 3
