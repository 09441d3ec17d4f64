"""The plan of a preparation: choices derived from the training cases, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from imgmed.errors import InvalidVolumeError
from imgmed.geometry import canonical_shape, canonical_spacing, orientation_of
from imgmed.intensity_settings import Bounds, NormalisationKind
from imgmed.operations import Clip, Operation, Resample
from imgmed.operations.maps import KEPT_WITHIN
from imgmed.preparation.volume_plan import (
    AIR_HU,
    AXIS_NAMES,
    SET,
    content_crop,
    joined,
    kind_reason,
    volume_resampling,
)
from imgmed.scan import ScanPreparation, grid_for
from imgmed.settings import PreparationSettings
from imgmed.volume import Volume

__all__ = ["AXIS_NAMES", "MeasuredCase", "Plan", "choose_slice_axis", "derive_plan", "slice_size_for"]

NEARLY_EQUAL = 1.5  # spacings within this factor of the largest do not decide the slice axis
SIZE_MULTIPLE = 16
PAGES = 2  # the axis across the pictures of a stack
PERCENTILES = (0.5, 99.5)


class MeasuredCase(Protocol):
    """What a plan asks of a case: voxels along i, j, k; a volume of that shape and place without memory; affine;
    whether it is a picture, without a size in millimetres and a place in a patient; lowest intensity of each channel;
    a sample of the labelled intensities (n, channels).
    """

    @property
    def shape(self) -> tuple[int, int, int]: ...  # noqa: D102

    @property
    def placeholder(self) -> Volume: ...  # noqa: D102

    @property
    def affine(self) -> np.ndarray: ...  # noqa: D102

    @property
    def is_picture(self) -> bool: ...  # noqa: D102

    @property
    def lowest(self) -> tuple[float, ...]: ...  # noqa: D102

    @property
    def foreground(self) -> np.ndarray | None: ...  # noqa: D102


@dataclass(frozen=True)
class Plan:
    """How a study is prepared.

    Args:
        scan_preparation: the steps.
        normalisation: its kind.
        reasons: a sentence for each choice.
        fingerprint: numbers of the training cases.
        misfits: {index of a case: why the steps cannot be applied to it}; with any, the plan is a draft.
    """

    scan_preparation: ScanPreparation
    normalisation: NormalisationKind
    reasons: dict[str, str]
    fingerprint: dict[str, list[float] | float | int]
    misfits: dict[int, str]

    def with_slices(self, stack_shapes: Sequence[tuple[int, int, int]]) -> Plan:
        """Return the plan with the slice size of stacks (slices, height, width) that were cropped as they are."""
        size = slice_size_for(stack_shapes)
        preparation = self.scan_preparation.model_copy(update={"slice_size": size})
        reasons = self.reasons | {"slice_size": _size_reason(size)}
        return replace(self, scan_preparation=preparation, reasons=reasons)


def derive_plan(
    train: Sequence[MeasuredCase],
    everyone: Sequence[MeasuredCase],
    channels: tuple[str, ...],
    settings: PreparationSettings,
    channel_indices: tuple[int, ...] | None = None,
    source_channels: tuple[str, ...] | None = None,
) -> Plan:
    """Choose slice axis, operations, slice size and normalisation.

    Args:
        train: the training cases; all numbers come from them alone.
        everyone: all cases, to recognise CT by its air, and those whose size after the steps would be absurd.
        channels: channel names, which may declare CT.
        settings: choices already made by the user.
        channel_indices: which channels of the source these are; None: all.
        source_channels: names of all of them, where some are chosen.
    """
    shapes = np.array([canonical_shape(case.shape, orientation_of(case.affine)) for case in train])
    spacings = np.array([canonical_spacing(case.affine) for case in train])
    are_pictures = all(case.is_picture for case in everyone)
    axis, axis_reason = _slice_axis(shapes, spacings, settings, are_pictures)
    normalisation, normalisation_reason = _normalisation_kind(everyone, channels, settings)
    if settings.operations is not None:
        operations, reasons = settings.operations, {"operations": SET}
    elif settings.kind == "volumes" and not are_pictures:
        operations, reasons = _steps(
            crop=content_crop(normalisation, _all_reach_air(everyone)),
            spacing_mm=volume_resampling(shapes, spacings, settings),
            clipping=_clip(normalisation, train),
        )
    else:
        operations, reasons = _steps(
            spacing_mm=_resampling(spacings, axis, settings, are_pictures), clipping=_clip(normalisation, train)
        )
    preparation = ScanPreparation(
        channels=channels,
        channel_indices=channel_indices,
        source_channels=source_channels,
        operations=operations,
        slice_axis=axis,
        neighbours=settings.neighbours,
        slice_size=(1, 1),
    )
    misfits = _misfits(everyone, preparation) | (_flat_cases(everyone) if settings.kind == "volumes" else {})
    fitting = [case for case in train if case not in [everyone[number] for number in misfits]]
    size = slice_size_for([_grid_shape(case, preparation) for case in fitting] or [(1, 1, 1)])
    return Plan(
        scan_preparation=preparation.model_copy(update={"slice_size": size}),
        normalisation=normalisation,
        reasons={
            "kind": kind_reason(shapes, spacings, settings, are_pictures),
            "slice_axis": axis_reason,
            **reasons,
            "slice_size": _size_reason(size),
            "normalisation": normalisation_reason,
        },
        fingerprint=_summary(shapes, spacings),
        misfits=misfits,
    )


def _misfits(cases: Sequence[MeasuredCase], preparation: ScanPreparation) -> dict[int, str]:
    """Why the steps cannot be applied to some cases, found without their voxels."""
    found = {}
    for number, case in enumerate(cases):
        try:
            grid_for(case.placeholder, preparation)
        except InvalidVolumeError as error:
            found[number] = str(error)
    return found


def _steps(**chosen: tuple[Operation, str]) -> tuple[tuple[Operation, ...], dict[str, str]]:
    """Operations in their order, and the reasons for them."""
    return tuple(step for step, _ in chosen.values()), {name: reason for name, (_, reason) in chosen.items()}


def _flat_cases(cases: Sequence[MeasuredCase]) -> dict[int, str]:
    """Why some cases are no volumes."""
    return {
        number: f"{case.placeholder.origin}: a single slice ({' x '.join(map(str, case.shape))} voxels), which is no"
        " volume; leave such cases out (preparation.on_error=skip), or prepare slices (preparation.kind=slices)"
        for number, case in enumerate(cases)
        if min(case.shape) == 1
    }


def _all_reach_air(everyone: Sequence[MeasuredCase]) -> bool:
    return all(lowest <= AIR_HU for case in everyone for lowest in case.lowest)


def slice_size_for(stack_shapes: Sequence[tuple[int, int, int]]) -> tuple[int, int]:
    """Return (height, width) in multiples of 16 that hold every slice of stacks (slices, height, width).

    >>> slice_size_for([(9, 40, 50), (5, 33, 64)])
    (48, 64)
    """
    height, width = (-(-max(shape[axis] for shape in stack_shapes) // SIZE_MULTIPLE) for axis in (1, 2))
    return height * SIZE_MULTIPLE, width * SIZE_MULTIPLE


def _size_reason(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}, multiples of {SIZE_MULTIPLE}, hold every training slice"


def _grid_shape(case: MeasuredCase, preparation: ScanPreparation) -> tuple[int, int, int]:
    return grid_for(case.placeholder, preparation).stack_shape


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


def _slice_axis(
    shapes: np.ndarray, spacings: np.ndarray, settings: PreparationSettings, are_pictures: bool
) -> tuple[int, str]:
    if settings.slice_axis is not None:
        return settings.slice_axis, SET
    if are_pictures:
        is_single = bool((shapes[:, PAGES] == 1).all())
        return PAGES, "every case is a single picture" if is_single else "slices are the pictures of a stack"
    shape, spacing = np.median(shapes, axis=0), np.median(spacings, axis=0)
    axis = choose_slice_axis(shape.tolist(), spacing.tolist())
    others = [spacing[other] for other in range(3) if other != axis]
    if (shapes[:, axis] == 1).all():
        return axis, "every case is a single slice"
    if spacing[axis] > NEARLY_EQUAL * max(others):
        why = f"the spacing is largest there by far ({spacing[axis]:.3g} mm, others {joined(others)} mm)"
    else:
        why = (
            f"of the axes with nearly the largest spacing ({joined(spacing)} mm) it gives the largest slices"
            f" (typical volume {joined(shape)} voxels)"
        )
    return axis, f"slices are cut across {AXIS_NAMES[axis]}: {why}"


def _resampling(
    spacings: np.ndarray, axis: int, settings: PreparationSettings, are_pictures: bool
) -> tuple[Resample, str]:
    """Resampling in the plane of the slices."""
    plane = [other for other in range(3) if other != axis]
    wanted: list[float | None] = [None, None, None]
    if settings.spacing_mm is not None:
        for other in plane:
            wanted[other] = settings.spacing_mm[other]
        return Resample(spacing_mm=(wanted[0], wanted[1], wanted[2])), SET
    in_plane = spacings[:, plane]
    height, width = (float(value) for value in np.median(in_plane, axis=0))
    wanted[plane[0]], wanted[plane[1]] = height, width
    resampling = Resample(spacing_mm=(wanted[0], wanted[1], wanted[2]))
    if are_pictures:
        return resampling, "pictures have no size in millimetres: their pixels are kept"
    if bool((np.abs(in_plane / (height, width) - 1) <= KEPT_WITHIN).all()):
        return resampling, (
            f"all training cases have {height:.4g} x {width:.4g} mm within 1 %: they are not resampled, other scans are"
        )
    return resampling, (
        f"median of the training cases, whose spacings range from {joined(in_plane.min(axis=0))} to"
        f" {joined(in_plane.max(axis=0))} mm"
    )


def _normalisation_kind(
    everyone: Sequence[MeasuredCase], channels: tuple[str, ...], settings: PreparationSettings
) -> tuple[NormalisationKind, str]:
    if settings.normalisation != "auto":
        return settings.normalisation, SET
    if all(channel.strip().upper() == "CT" for channel in channels):
        return "zscore_dataset", "the study declares CT, whose numbers mean the same in every scan"
    if _all_reach_air(everyone):
        return (
            "zscore_dataset",
            f"every volume reaches {AIR_HU:g} or below, like CT, whose numbers mean the same",
        )
    return "zscore_case", "intensities have no unit common to all scans, so each case is normalised by itself"


def _clip(kind: NormalisationKind, train: Sequence[MeasuredCase]) -> tuple[Clip, str]:
    low, high = PERCENTILES
    own = Clip(percentiles=PERCENTILES, of="source")
    if kind != "zscore_dataset":
        return own, f"each case at its own {low:g} and {high:g} percentiles"
    foreground = np.concatenate([case.foreground for case in train if case.foreground is not None])
    if not len(foreground):
        return own, f"no training case has a labelled voxel, so each case at its own {low:g} and {high:g} percentiles"
    bounds: Bounds = tuple(
        (float(first), float(last))
        for first, last in np.percentile(foreground.astype(np.float64), PERCENTILES, axis=0).T
    )
    return Clip(bounds=bounds), f"{low:g} and {high:g} percentiles of the labelled voxels of the training cases"


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
