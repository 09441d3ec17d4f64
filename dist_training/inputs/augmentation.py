"""Augmentation of a whole batch on the device: what `imgmed.augmentation.apply` does to one slice on the host."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from imgmed import AugmentationSettings
from imgmed.augmentation.draw import Draw, elastic_basis
from imgmed.slices import centred_window

__all__ = ["DeviceAugmentation", "draw_arrays", "draw_shapes", "placed"]

OUTSIDE = -1  # as on the host: imgmed.augmentation.apply
Size = tuple[int, int]


def placed(settings: AugmentationSettings, *, has_gpu: bool) -> AugmentationSettings:
    """Decide where the settings leave it open: on a GPU where there is one that can do it, else on the host.

    >>> placed(AugmentationSettings(), has_gpu=False).where
    'host'
    """
    if settings.where != "auto":
        return settings
    return settings.model_copy(update={"where": "device" if has_gpu and settings.interpolation == "linear" else "host"})


def draw_shapes(settings: AugmentationSettings, input_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """List the shapes, without the batch axis, of the arrays that describe the draws.

    Args:
        settings: those drawn from.
        input_shape: (height, width, channels) that the network is given.

    Returns:
        The matrix (2, 3); the slice's window in its padding, (2, 2): first row and column, height and width;
        gamma, contrast and brightness (3,); then control values (2, k, l) and noise, where these are drawn.

    >>> draw_shapes(AugmentationSettings(zoom=(0.5, 2), noise_std=0.1), (8, 8, 1))
    [(2, 3), (2, 2), (3,), (8, 8, 1)]
    """
    height, width, _ = input_shape
    shapes: list[tuple[int, ...]] = [(2, 3), (2, 2), (3,)]
    if settings.is_elastic:
        shapes.append((2, *(elastic_basis(length, settings.elastic_sigma_px).shape[1] for length in (height, width))))
    if settings.is_noisy:
        shapes.append(input_shape)
    return shapes


def draw_arrays(
    draws: Sequence[tuple[Draw, tuple[int, ...]]],
    settings: AugmentationSettings,
    canvas: Size,
    input_shape: tuple[int, ...],
    dtype: np.dtype,
) -> tuple[np.ndarray, ...]:
    """Stack the draws of a batch as `draw_shapes` says; no draws make one that shows an empty slice.

    Args:
        draws: of each slice, with its (height, width).
        settings: those drawn from.
        canvas: (height, width) that the slices are centred in.
        input_shape: (height, width, channels) that the network is given.
        dtype: of the arrays.
    """
    arrays = [np.zeros((max(1, len(draws)), *shape), dtype) for shape in draw_shapes(settings, input_shape)]
    for number, (draw, size) in enumerate(draws):
        arrays[0][number] = draw.matrix
        arrays[1][number] = [[part.start for part in centred_window(size, canvas)], size]
        arrays[2][number] = draw.gamma, draw.contrast, draw.brightness
        if draw.elastic is not None:
            arrays[3][number] = draw.elastic
        if draw.noise is not None:
            arrays[-1][number] = draw.noise
    return tuple(arrays)


class DeviceAugmentation:
    """Changes a batch as drawn, with Keras's operations: on TensorFlow, JAX or PyTorch, compiled or not.

    It agrees with the host within the rounding of float32: 1e-3 of the image's standard deviation, and labels
    but for the pixels whose place lies within 1e-4 pixel of the border between two.

    Args:
        settings: those drawn from.
        input_shape: (height, width, channels) that the network is given.
        dtype: of the images and of the arithmetic.
    """

    def __init__(self, settings: AugmentationSettings, input_shape: tuple[int, ...], dtype: str) -> None:
        self._settings, self._dtype = settings, dtype
        self._size = input_shape[:2]
        self.draw_shapes = draw_shapes(settings, input_shape)

    def __call__(self, images: Any, classes: Any, draws: Sequence[Any]) -> tuple[Any, Any]:
        """Change a batch.

        Args:
            images: (n, canvas height, canvas width, channels), normalised slices centred in zeros.
            classes: int32 (n, canvas height, canvas width).
            draws: n of each, see ``draw_arrays``.

        Returns:
            (n, height, width, channels) and int32 (n, height, width); 0 and -1 where nothing of a slice is shown.
        """
        from keras import ops

        first, size = draws[1][:, 0, :, None, None], draws[1][:, 1, :, None, None]
        places = self._places(draws)
        nearest = ops.floor(places + 0.5)
        inside = ops.all(ops.logical_and(nearest >= 0, nearest < size), axis=1)
        last = ops.maximum(size - 1, 0)
        places = ops.clip(places, 0, last)
        low = ops.floor(places)
        high = ops.minimum(low + 1, last)
        part = (places - low)[..., None]
        low, high = low + first, high + first
        taken = _Gather(images)
        top = taken(low[:, 0], low[:, 1]) * (1 - part[:, 1]) + taken(low[:, 0], high[:, 1]) * part[:, 1]
        bottom = taken(high[:, 0], low[:, 1]) * (1 - part[:, 1]) + taken(high[:, 0], high[:, 1]) * part[:, 1]
        moved = top * (1 - part[:, 0]) + bottom * part[:, 0]
        nearest = ops.clip(nearest, 0, last) + first
        labels = _Gather(classes[..., None])(nearest[:, 0], nearest[:, 1])[..., 0]
        if self._settings.changes_intensity:
            moved = self._adjust(moved, inside[..., None], draws)
        moved = ops.where(inside[..., None], moved, ops.zeros_like(moved))
        return moved, ops.where(inside, labels, ops.full_like(labels, OUTSIDE))

    def _places(self, draws: Sequence[Any]) -> Any:
        """Give the (row, column) in the slice that each output pixel shows, (n, 2, height, width)."""
        from keras import ops

        height, width = self._size
        down = ops.reshape(ops.arange(height, dtype=self._dtype), (1, 1, height, 1))
        across = ops.reshape(ops.arange(width, dtype=self._dtype), (1, 1, 1, width))
        matrix = draws[0][..., None, None]
        places = matrix[:, :, 0] * down + matrix[:, :, 1] * across + matrix[:, :, 2]
        if self._settings.is_elastic:
            rows, columns = (
                ops.convert_to_tensor(elastic_basis(length, self._settings.elastic_sigma_px), dtype=self._dtype)
                for length in self._size
            )
            places = places + ops.matmul(ops.matmul(rows, draws[3]), ops.transpose(columns))
        return places

    def _adjust(self, images: Any, inside: Any, draws: Sequence[Any]) -> Any:
        """Change the intensities; the figures that this needs are those of the pixels that show the slice."""
        from keras import ops

        settings = self._settings
        gamma, contrast, brightness = (draws[2][:, number, None, None, None] for number in range(3))
        count = ops.sum(ops.cast(inside, self._dtype), axis=(1, 2), keepdims=True)
        if settings.gamma != (1.0, 1.0):
            lowest = ops.min(ops.where(inside, images, np.inf), axis=(1, 2), keepdims=True)
            highest = ops.max(ops.where(inside, images, -np.inf), axis=(1, 2), keepdims=True)
            span = ops.where(highest > lowest, highest - lowest, ops.ones_like(highest))
            raised = lowest + span * ops.power(ops.clip((images - lowest) / span, 0, 1), gamma)
            images = ops.where(ops.logical_and(inside, gamma != 1), raised, images)
        if settings.contrast != (1.0, 1.0):
            total = ops.sum(ops.where(inside, images, ops.zeros_like(images)), axis=(1, 2), keepdims=True)
            mean = total / ops.maximum(count, 1)
            images = mean + contrast * (images - mean)
        images = images + brightness
        return images + draws[-1] if settings.is_noisy else images


class _Gather:
    """Takes pixels out of a batch (n, height, width, channels)."""

    def __init__(self, batch: Any) -> None:
        from keras import ops

        count, self._height, self._width, channels = ops.shape(batch)
        self._pixels = ops.reshape(batch, (-1, channels))
        self._offset = ops.reshape(ops.arange(count, dtype="int32") * (self._height * self._width), (-1, 1, 1))

    def __call__(self, rows: Any, columns: Any) -> Any:
        """Give the pixels (n, rows, columns, channels) at whole places (n, rows, columns) within the batch."""
        from keras import ops

        index = self._offset + ops.cast(rows, "int32") * self._width + ops.cast(columns, "int32")
        return ops.take(self._pixels, index, axis=0)
