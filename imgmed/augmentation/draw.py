"""What happens to one slice, drawn from (seed, epoch, sample) and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, cos, floor, radians, sin

import numpy as np

from imgmed.augmentation.settings import AugmentationSettings
from imgmed.slices import centred_start

__all__ = ["Draw", "draw_sample", "elastic_basis"]

Size = tuple[int, int]
# The last word of every seed, so that no other draw of a run (slice order, dropout) shares the stream:
# NumPy pads short seeds with zeros, and [seed, epoch] alone orders the slices.
STREAM = 0x4155474D
UNIFORMS = 24  # numbers drawn for every sample, used or not: one more transform leaves the others as they were


@dataclass(frozen=True, eq=False)
class Draw:
    """The changes of one slice.

    Attributes:
        matrix: float64 (2, 3): output pixel (row, column, 1) -> (row, column) in the slice that it shows.
        size: (height, width) of the output.
        elastic: float64 (2, k, l), control values in slice pixels, see `elastic_basis`; None: no deformation.
        gamma, contrast, brightness: see the settings; 1, 1 and 0 change nothing.
        noise: float32 (height, width, channels) to be added; None: nothing.
    """

    matrix: np.ndarray
    size: Size
    elastic: np.ndarray | None = None
    gamma: float = 1.0
    contrast: float = 1.0
    brightness: float = 0.0
    noise: np.ndarray | None = None

    @property
    def shift(self) -> tuple[int, int] | None:
        """The (rows, columns) added to an output pixel, where nothing but a whole shift happens; else None."""
        (a, b, row), (c, d, column) = self.matrix.tolist()
        is_shift = (a, b, c, d) == (1, 0, 0, 1) and row == floor(row) and column == floor(column)
        return (int(row), int(column)) if is_shift and self.elastic is None else None

    @property
    def keeps_intensities(self) -> bool:
        """Whether intensities stay as they are."""
        return (self.gamma, self.contrast, self.brightness) == (1.0, 1.0, 0.0) and self.noise is None


def draw_sample(
    settings: AugmentationSettings, key: Sequence[int], size: Size, canvas: Size, channels: int = 1
) -> Draw:
    """Draw the changes of one slice: a pure function of its arguments.

    Args:
        settings: what may change, and how far.
        key: non-negative integers that tell the sample: (seed, epoch, sample).
        size: (height, width) of the slice.
        canvas: (height, width) of the output; the slice is centred in it, or cut at random where
            `settings.crop_size` makes the canvas smaller.
        channels: channels of the image.

    >>> draw_sample(AugmentationSettings(), (0, 0, 7), (4, 4), (6, 6)).shift
    (-1, -1)
    >>> first, again = (draw_sample(AugmentationSettings(zoom=(0.5, 2)), (0, 1, 7), (4, 4), (6, 6)) for _ in range(2))
    >>> bool((first.matrix == again.matrix).all())
    True
    """
    generator = np.random.default_rng([*key, STREAM])
    u = generator.random(UNIFORMS).tolist()
    has = [gate < probability for gate, probability in zip(u[:10], _probabilities(settings), strict=True)]
    rotated, zoomed, shifted, flipped_rows, flipped_columns, deformed, gamma, contrast, brightness, noisy = has
    elastic, noise = None, None
    if deformed and settings.elastic_alpha_px:
        sigma = settings.elastic_sigma_px
        shape = (2, _controls(canvas[0], sigma), _controls(canvas[1], sigma))
        elastic = settings.elastic_alpha_px * generator.standard_normal(shape)
    if noisy and settings.noise_std:
        noise = generator.standard_normal((*canvas, channels), dtype=np.float32)
        noise *= np.float32(settings.noise_std * u[18])
    return Draw(
        matrix=_matrix(
            angle=radians(symmetric(u[10], settings.rotation_degrees)) if rotated else 0.0,
            zoom=between(u[11], settings.zoom) if zoomed else 1.0,
            shift=[symmetric(x, settings.translation_px) if shifted else 0.0 for x in u[12:14]],
            flips=(flipped_rows, flipped_columns),
            size=size,
            first=[_first_pixel(*pair) for pair in zip(size, canvas, u[19:21], strict=True)],
        ),
        size=canvas,
        elastic=elastic,
        gamma=between(u[14], settings.gamma) if gamma else 1.0,
        contrast=between(u[15], settings.contrast) if contrast else 1.0,
        brightness=symmetric(u[16], settings.brightness) if brightness else 0.0,
        noise=noise,
    )


@lru_cache(maxsize=64)
def elastic_basis(length: int, sigma_px: float) -> np.ndarray:
    """Return the weights (length, controls) float64 of control values, `sigma_px` apart, for each pixel of an axis.

    Gaussians of standard deviation `sigma_px`, scaled so that independent control values of variance 1 give
    every pixel, also at the border, a displacement of variance 1: white noise smoothed, at the cost of a few
    products (Simard, Steinkraus, Platt 2003, smooth a whole field instead). The displacement of an image is
    rows @ control values @ columns.T.

    >>> np.square(elastic_basis(50, 8.0)).sum(axis=1).round(9).tolist() == [1.0] * 50
    True
    """
    count = _controls(length, sigma_px)
    centres = (length - 1) / 2 + sigma_px * (np.arange(count) - (count - 1) / 2)
    weights = np.exp(-0.5 * ((np.arange(length)[:, None] - centres) / sigma_px) ** 2)
    weights /= np.sqrt(np.square(weights).sum(axis=1, keepdims=True))
    weights.flags.writeable = False
    return weights


def _controls(length: int, sigma_px: float) -> int:
    return ceil((length - 1) / sigma_px) + 7  # three beyond either end


def _probabilities(settings: AugmentationSettings) -> tuple[float, ...]:
    return (
        settings.rotation_probability,
        settings.zoom_probability,
        settings.translation_probability,
        settings.vertical_flip_probability,
        settings.horizontal_flip_probability,
        settings.elastic_probability,
        settings.gamma_probability,
        settings.contrast_probability,
        settings.brightness_probability,
        settings.noise_probability,
    )


def symmetric(uniform: float, bound: float) -> float:
    return bound * (2 * uniform - 1)


def between(uniform: float, bounds: tuple[float, float]) -> float:
    low, high = bounds
    return low if low == high else low + uniform * (high - low)


def _first_pixel(size: int, canvas: int, uniform: float) -> int:
    """Where the output begins, in pixels of the slice: anywhere in a larger slice, so that a smaller one is centred."""
    return floor(uniform * (size - canvas + 1)) if size > canvas else -centred_start(size, canvas)


def _matrix(
    *, angle: float, zoom: float, shift: Sequence[float], flips: tuple[bool, bool], size: Size, first: Sequence[int]
) -> np.ndarray:
    """Invert content -> flip -> zoom -> rotate (counter-clockwise as seen) -> shift, all about the slice's centre."""
    signs = np.array([[-1.0 if flip else 1.0] for flip in flips])
    turn_back = np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])
    linear = signs * turn_back / zoom
    centre = (np.array(size) - 1) / 2
    offset = centre + linear @ (np.array(first) - centre - shift)
    return np.column_stack([linear, offset])
