"""The plan of a preparation: choices derived from the training cases, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imgmed.geometry import canonical_shape, canonical_spacing, orientation_of
from imgmed.intensity import Bounds, Clipping, NormalisationKind
from imgmed.resampling import resampled_size
from imgmed.scan import KEPT_WITHIN, ScanPreparation
from imgmed.settings import PreparationSettings
from imgmed.survey import SurveyedCase

__all__ = ["Plan", "choose_slice_axis", "derive_plan"]

NEARLY_EQUAL = 1.5  # spacings within this factor of the largest do not decide the slice axis
SIZE_MULTIPLE = 16
AIR_HU = -500.0
PERCENTILES = (0.5, 99.5)
AXIS_NAMES = ("left-right", "back-front", "foot-head")


@dataclass(frozen=True)
class Plan:
    """How a study is prepared: the steps, the kind of normalisation, a sentence of reason for each choice."""

    scan_preparation: ScanPreparation
    normalisation: NormalisationKind
    reasons: dict[str, str]
    fingerprint: dict[str, list[float] | float | int]


def derive_plan(
    train: Sequence[SurveyedCase],
    everyone: Sequence[SurveyedCase],
    channels: tuple[str, ...],
    settings: PreparationSettings,
) -> Plan:
    """Choose slice axis, in-plane spacing, slice size, normalisation and clipping.

    Args:
        train: the training cases; all numbers come from them alone.
        everyone: all cases, only to recognise CT by its air.
        channels: channel names, which may declare CT.
        settings: choices already made by the user.
    """
    shapes = np.array([canonical_shape(case.shape, orientation_of(case.affine)) for case in train])
    spacings = np.array([canonical_spacing(case.affine) for case in train])
    axis, axis_reason = _slice_axis(shapes, spacings, settings)
    plane = [other for other in range(3) if other != axis]
    spacing, spacing_reason = _plane_spacing(spacings[:, plane], plane, settings)
    size = _slice_size(shapes[:, plane], spacings[:, plane], spacing)
    kind, kind_reason = _normalisation_kind(everyone, channels, settings)
    clipping, clipping_reason = _clipping(kind, train)
    return Plan(
        scan_preparation=ScanPreparation(
            channels=channels, slice_axis=axis, spacing_mm=spacing, clipping=clipping, slice_size=size
        ),
        normalisation=kind,
        reasons={
            "slice_axis": axis_reason,
            "spacing_mm": spacing_reason,
            "slice_size": f"{size[0]} x {size[1]}, multiples of {SIZE_MULTIPLE}, hold every training slice",
            "normalisation": kind_reason,
            "clipping": clipping_reason,
        },
        fingerprint=_summary(shapes, spacings),
    )


def choose_slice_axis(shape: Sequence[float], spacing_mm: Sequence[float]) -> int:
    """Return the axis to cut across: the coarsest, or among nearly equal ones that with the largest slices.

    Args:
        shape: typical voxels along three axes.
        spacing_mm: typical spacing along them.

    >>> choose_slice_axis((100, 100, 30), (1.0, 1.0, 3.0)), choose_slice_axis((35, 50, 36), (1.0, 1.0, 1.0))
    (2, 0)
    """
    coarse = [axis for axis in range(3) if spacing_mm[axis] * NEARLY_EQUAL >= max(spacing_mm)]
    # The slices are largest where the axis across them has the fewest voxels.
    return min(coarse, key=lambda axis: (shape[axis], -axis))


def _slice_axis(shapes: np.ndarray, spacings: np.ndarray, settings: PreparationSettings) -> tuple[int, str]:
    if settings.slice_axis is not None:
        return settings.slice_axis, "set by the user"
    shape, spacing = np.median(shapes, axis=0), np.median(spacings, axis=0)
    axis = choose_slice_axis(shape.tolist(), spacing.tolist())
    others = [spacing[other] for other in range(3) if other != axis]
    if spacing[axis] > NEARLY_EQUAL * max(others):
        why = f"the spacing is largest there by far ({spacing[axis]:.3g} mm, others {_joined(others)} mm)"
    else:
        why = (
            f"of the axes with nearly the largest spacing ({_joined(spacing)} mm) it gives the largest slices"
            f" (typical volume {_joined(shape)} voxels)"
        )
    return axis, f"slices are cut across {AXIS_NAMES[axis]}: {why}"


def _plane_spacing(
    spacings: np.ndarray, plane: list[int], settings: PreparationSettings
) -> tuple[tuple[float, float], str]:
    if settings.spacing_mm is not None:
        return (settings.spacing_mm[plane[0]], settings.spacing_mm[plane[1]]), "set by the user"
    height, width = (float(value) for value in np.median(spacings, axis=0))
    same = bool((np.abs(spacings / (height, width) - 1) <= KEPT_WITHIN).all())
    if same:
        return (height, width), (
            f"all training cases have {height:.4g} x {width:.4g} mm within 1 %: they are not resampled, other scans are"
        )
    return (height, width), (
        f"median of the training cases, whose spacings range from {_joined(spacings.min(axis=0))} to"
        f" {_joined(spacings.max(axis=0))} mm"
    )


def _slice_size(shapes: np.ndarray, spacings: np.ndarray, wanted: tuple[float, float]) -> tuple[int, int]:
    sizes = []
    for axis in range(2):
        largest = max(
            int(size) if abs(old / wanted[axis] - 1) <= KEPT_WITHIN else resampled_size(int(size), old, wanted[axis])
            for size, old in zip(shapes[:, axis], spacings[:, axis], strict=True)
        )
        sizes.append(-(-largest // SIZE_MULTIPLE) * SIZE_MULTIPLE)
    return sizes[0], sizes[1]


def _normalisation_kind(
    everyone: Sequence[SurveyedCase], channels: tuple[str, ...], settings: PreparationSettings
) -> tuple[NormalisationKind, str]:
    if settings.normalisation != "auto":
        return settings.normalisation, "set by the user"
    if all(channel.strip().upper() == "CT" for channel in channels):
        return "zscore_dataset", "the study declares CT, whose numbers mean the same in every scan"
    if all(lowest <= AIR_HU for case in everyone for lowest in case.lowest):
        return (
            "zscore_dataset",
            f"every volume reaches {AIR_HU:g} or below, like CT, whose numbers mean the same",
        )
    return "zscore_case", "intensities have no unit common to all scans, so each case is normalised by itself"


def _clipping(kind: NormalisationKind, train: Sequence[SurveyedCase]) -> tuple[Clipping, str]:
    low, high = PERCENTILES
    if kind == "zscore_case":
        return Clipping(percentiles=PERCENTILES), f"each case at its own {low:g} and {high:g} percentiles"
    foreground = np.concatenate([case.foreground for case in train if case.foreground is not None])
    if not len(foreground):
        return Clipping(percentiles=PERCENTILES), (
            f"no training case has a labelled voxel, so each case at its own {low:g} and {high:g} percentiles"
        )
    bounds: Bounds = tuple(
        (float(first), float(last))
        for first, last in np.percentile(foreground.astype(np.float64), PERCENTILES, axis=0).T
    )
    return Clipping(percentiles=PERCENTILES, bounds=bounds), (
        f"{low:g} and {high:g} percentiles of the labelled voxels of the training cases"
    )


def _summary(shapes: np.ndarray, spacings: np.ndarray) -> dict[str, list[float] | float | int]:
    return {
        "training_cases": len(shapes),
        "median_shape": np.median(shapes, axis=0).tolist(),
        "smallest_shape": shapes.min(axis=0).tolist(),
        "largest_shape": shapes.max(axis=0).tolist(),
        "median_spacing_mm": np.median(spacings, axis=0).tolist(),
        "smallest_spacing_mm": spacings.min(axis=0).tolist(),
        "largest_spacing_mm": spacings.max(axis=0).tolist(),
    }


def _joined(values: Sequence[float] | np.ndarray) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
