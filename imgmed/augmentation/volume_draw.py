"""What happens to one patch of a volume, drawn from (seed, epoch, patch) and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, floor, radians, sin
from typing import Any

import numpy as np

from imgmed.augmentation.draw import STREAM, between, elastic_basis, symmetric
from imgmed.augmentation.settings import AugmentationSettings

__all__ = ["VolumeDraw", "draw_patch"]

Size = tuple[int, int, int]
UNIFORMS = 40  # numbers drawn for every patch, used or not: one more transform leaves the others as they were


@dataclass(frozen=True, eq=False)
class VolumeDraw:
    """The changes of one patch.

    Attributes:
        matrix: float64 (3, 4): voxel (slice, row, column, 1) of the patch -> the place in the volume that it shows.
        size: (slices, rows, columns) of the patch.
        elastic: control values in voxels, see `elastic_basis`: float64 (3, j, k, l), or (2, k, l) where all slices
            are deformed alike; None: no deformation.
        elastic_sigmas: standard deviations in voxels along each axis of `elastic`.
        gamma, inverted_gamma, contrast, factor, brightness: see the settings; 1, 1, 1, 1 and 0 change nothing.
        blur: standard deviations in voxels along the axes; 0: none.
        coarsening: factor along the axes; 1: none.
        noise: float32 (*size, channels) to be added; None: nothing.
    """

    matrix: np.ndarray
    size: Size
    elastic: np.ndarray | None = None
    elastic_sigmas: tuple[float, ...] = ()
    gamma: float = 1.0
    inverted_gamma: float = 1.0
    contrast: float = 1.0
    factor: float = 1.0
    brightness: float = 0.0
    blur: tuple[float, float, float] = (0.0, 0.0, 0.0)
    coarsening: tuple[float, float, float] = (1.0, 1.0, 1.0)
    noise: np.ndarray | None = None

    @property
    def is_copy(self) -> bool:
        """Whether voxels are copied, at most shifted by whole voxels and mirrored, and nothing is resampled."""
        linear, offset = self.matrix[:, :3], self.matrix[:, 3]
        is_mirror = np.array_equal(np.abs(linear), np.eye(3)) and np.array_equal(offset, np.floor(offset))
        return bool(is_mirror and self.elastic is None)

    @property
    def is_planar(self) -> bool:
        """Whether every slice shows one slice of the volume, and all are moved alike."""
        step, *mixed, first = self.matrix[0].tolist()
        is_flat = abs(step) == 1 and not any(mixed) and first == floor(first) and not self.matrix[1:, 0].any()
        return bool(is_flat and (self.elastic is None or len(self.elastic) == 2))


def draw_patch(
    settings: AugmentationSettings,
    key: Sequence[int],
    corner: Size,
    size: Size,
    *,
    channels: int = 1,
    slice_distance_px: float = 1.0,
) -> VolumeDraw:
    """Draw the changes of one patch: a pure function of its arguments.

    Where slices are farther apart than pixels, patches turn in the patient's space: shapes stay as they are.

    Args:
        settings: what may change, and how far.
        key: non-negative integers that tell the patch: (seed, epoch, patch).
        corner: (slice, row, column) of the volume where the patch begins; may lie outside.
        size: of the patch.
        channels: of the image.
        slice_distance_px: how far slices are apart, in pixels of a slice.

    >>> draw = draw_patch(AugmentationSettings(slice_flip_probability=1), (0, 0, 7), (4, 5, 6), (3, 2, 2))
    >>> draw.matrix.tolist()
    [[-1.0, 0.0, 0.0, 6.0], [0.0, 1.0, 0.0, 5.0], [0.0, 0.0, 1.0, 6.0]]
    """
    generator = np.random.default_rng([*key, STREAM])
    u = generator.random(UNIFORMS).tolist()
    across = settings.moves_across(slice_distance_px)
    rotated, zoomed, shifted, deformed, noisy = (
        gate < probability
        for gate, probability in zip(
            u[:5],
            (
                settings.rotation_probability,
                settings.zoom_probability,
                settings.translation_probability,
                settings.elastic_probability,
                settings.noise_probability,
            ),
            strict=True,
        )
    )
    sigmas = _sigmas(settings.elastic_sigma_px, across, slice_distance_px)
    elastic, noise = None, None
    if deformed and settings.elastic_alpha_px:
        elastic = settings.elastic_alpha_px * _controls(generator, size, sigmas)
        if across:
            elastic[0] /= slice_distance_px
    if noisy and settings.noise_std:
        noise = generator.standard_normal((*size, channels), dtype=np.float32)
        noise *= np.float32(settings.noise_std * u[5])
    tilts = [symmetric(x, settings.tilt_degrees) if rotated and across else 0.0 for x in u[6:8]]
    zoom = between(u[8], settings.zoom) if zoomed else 1.0
    flips = (settings.slice_flip_probability, settings.vertical_flip_probability, settings.horizontal_flip_probability)
    return VolumeDraw(
        matrix=_matrix(
            turn=_turn([symmetric(u[9], settings.rotation_degrees) if rotated else 0.0, *tilts]),
            zooms=(zoom if across else 1.0, zoom, zoom),
            shift=(0.0, *(symmetric(x, settings.translation_px) if shifted else 0.0 for x in u[10:12])),
            flips=[gate < probability for gate, probability in zip(u[12:15], flips, strict=True)],
            corner=corner,
            size=size,
            slice_distance_px=slice_distance_px,
        ),
        size=size,
        elastic=elastic,
        elastic_sigmas=sigmas,
        noise=noise,
        **_intensities(settings, u[15:30], across),
    )


def _intensities(settings: AugmentationSettings, u: Sequence[float], across: bool) -> dict[str, Any]:
    """Draw how intensities change, from pairs of numbers: whether, and how much."""
    blur = between(u[1], settings.blur_sigma_px) if u[0] < settings.blur_probability else 0.0
    coarsening = between(u[3], settings.low_resolution) if u[2] < settings.low_resolution_probability else 1.0
    return {
        "blur": (blur if across else 0.0, blur, blur),
        "coarsening": (coarsening if across else 1.0, coarsening, coarsening),
        "gamma": between(u[5], settings.gamma) if u[4] < settings.gamma_probability else 1.0,
        "inverted_gamma": between(u[7], settings.gamma) if u[6] < settings.inverted_gamma_probability else 1.0,
        "contrast": between(u[9], settings.contrast) if u[8] < settings.contrast_probability else 1.0,
        "factor": between(u[11], settings.intensity_factor) if u[10] < settings.intensity_factor_probability else 1.0,
        "brightness": symmetric(u[13], settings.brightness) if u[12] < settings.brightness_probability else 0.0,
    }


def _sigmas(sigma_px: float, across: bool, slice_distance_px: float) -> tuple[float, ...]:
    """Give the standard deviations that smooth a deformation, in voxels along its axes."""
    return (sigma_px / slice_distance_px, sigma_px, sigma_px) if across else (sigma_px, sigma_px)


def _controls(generator: np.random.Generator, size: Size, sigmas: Sequence[float]) -> np.ndarray:
    """Draw control values of variance 1 for each axis that they move along."""
    lengths = size[-len(sigmas) :]
    counts = [elastic_basis(length, sigma).shape[1] for length, sigma in zip(lengths, sigmas, strict=True)]
    return generator.standard_normal((len(sigmas), *counts))


def _turn(angles_degrees: Sequence[float]) -> np.ndarray:
    """Give the rotation (3, 3) by angles about the axis of slices (counter-clockwise as seen), of rows, of columns."""
    turn = np.eye(3)
    for axis, degrees in enumerate(angles_degrees):
        first, second = [other for other in range(3) if other != axis]
        step, angle = np.eye(3), radians(degrees)
        step[[first, second], [first, second]] = cos(angle)
        step[first, second], step[second, first] = -sin(angle), sin(angle)
        turn = turn @ step
    return turn


def _matrix(
    *,
    turn: np.ndarray,
    zooms: Sequence[float],
    shift: Sequence[float],
    flips: Sequence[bool],
    corner: Size,
    size: Size,
    slice_distance_px: float,
) -> np.ndarray:
    """Invert content -> flip -> zoom -> rotate -> shift, all about the patch's centre."""
    pixels = np.array([slice_distance_px, 1.0, 1.0])
    signs = np.where(flips, -1.0, 1.0)
    # the inverse of a rotation is its transpose; slices count in pixels while they turn; no zero is negative
    linear = (signs / zooms)[:, np.newaxis] * turn.T * (pixels / pixels[:, np.newaxis]) + 0.0
    middle = (np.array(size) - 1) / 2
    offset = np.array(corner) + middle - linear @ (middle + np.array(shift))
    return np.column_stack([linear, offset])
