"""Patches of volumes changed as drawn: image and label map together, resampled once, from the voxels that they need."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from imgmed.augmentation.apply import adjust, bent, source_coordinates, warp_cubic, warp_linear
from imgmed.augmentation.draw import Draw, elastic_basis
from imgmed.augmentation.settings import AugmentationSettings
from imgmed.augmentation.volume_draw import VolumeDraw
from imgmed.augmentation.volume_filters import filtered
from imgmed.augmentation.volume_resampling import (
    SPLINE_MARGIN,
    nearest,
    sample_cubic,
    sample_linear,
    sample_nearest,
)

__all__ = ["adjust_patch", "cut_patch", "source_places"]

Moved = tuple[np.ndarray, np.ndarray, np.ndarray]
Index = slice | np.ndarray


def cut_patch(
    image: np.ndarray,
    label_map: np.ndarray,
    draw: VolumeDraw,
    settings: AugmentationSettings,
    normalise: Callable[[np.ndarray], np.ndarray],
) -> Moved:
    """Cut a patch out of a volume, moved as drawn; nothing is altered, and no more is read than the patch needs.

    A patch that is turned shows the voxels beside its box. Where there are none, the image goes on as at the border
    of the volume, and the third array says so.

    Args:
        image: (slices, rows, columns, channels) of the volume.
        label_map: integers (slices, rows, columns).
        draw: what to do.
        settings: those it was drawn from.
        normalise: makes float32 intensities of a part of the image, of any shape (..., channels).

    Returns:
        float32 (*draw.size, channels); the label of the nearest voxel, draw.size; bool draw.size, whether a place lies
        in the volume.

    >>> from imgmed.augmentation.volume_draw import draw_patch
    >>> settings = AugmentationSettings(slice_flip_probability=1)
    >>> draw = draw_patch(settings, (0, 0, 0), (1, 0, 0), (3, 1, 1))
    >>> volume = np.arange(5.0).reshape(5, 1, 1)
    >>> cut_patch(volume[..., None], volume.astype(int), draw, settings, np.float32)[1].ravel().tolist()
    [3, 2, 1]
    """
    if draw.is_copy:
        return _copied(image, label_map, draw, normalise)
    if draw.is_planar:
        return _moved_in_plane(image, label_map, draw, settings, normalise)
    return _moved(image, label_map, draw, settings, normalise)


def adjust_patch(patch: np.ndarray, inside: np.ndarray, draw: VolumeDraw) -> np.ndarray:
    """Change the intensities of a patch as drawn: blur, coarsen; then gamma, contrast and so on, of what lies inside.

    Args:
        patch: float32 (*draw.size, channels); not altered.
        inside: bool draw.size, what shows the volume; the rest becomes 0.
        draw: what to do.

    Returns:
        float32 (*draw.size, channels).
    """
    if not inside.any():
        return np.zeros_like(patch)
    patch = filtered(patch, draw.blur, draw.coarsening)
    shown = ... if inside.all() else inside
    changed = np.zeros_like(patch)
    for channel in range(patch.shape[-1]):  # apart, for NumPy takes figures of a few channels at once slowly
        values = patch[..., channel][shown].reshape(-1, 1)
        if draw.inverted_gamma != 1:
            values = -bent(-values, draw.inverted_gamma)
        if draw.factor != 1:
            values = values * np.float32(draw.factor)
        noise = None if draw.noise is None else draw.noise[..., channel][shown].reshape(-1, 1)
        values = adjust(values, draw, noise)
        changed[shown, channel] = values.reshape(changed[shown, channel].shape)
    return changed


def source_places(draw: VolumeDraw) -> list[np.ndarray]:
    """Return the slice, row and column of the volume that each voxel of a patch shows, float32 draw.size each."""
    along = [np.arange(length, dtype=np.float64) for length in draw.size]
    places = []
    for axis, (*factors, offset) in enumerate(draw.matrix.tolist()):
        parts = [factor * positions for factor, positions in zip(factors, along, strict=True)]
        plane = (parts[1][:, np.newaxis] + parts[2] + offset).astype(np.float32)
        coordinates = parts[0].astype(np.float32)[:, np.newaxis, np.newaxis] + plane
        if draw.elastic is not None:
            coordinates += _displacements(draw.elastic[axis], draw.size, draw.elastic_sigmas)
        places.append(coordinates)
    return places


def _displacements(controls: np.ndarray, size: Sequence[int], sigmas: Sequence[float]) -> np.ndarray:
    """Smooth control values (j, k, l) over a patch, an axis at a time; float32."""
    smooth = controls.astype(np.float32)
    for length, sigma in zip(size, sigmas, strict=True):
        basis = elastic_basis(length, sigma).astype(np.float32)
        smooth = np.tensordot(smooth, basis, axes=(0, 1))  # the axis that is done goes last
    return smooth


def _copied(
    image: np.ndarray, label_map: np.ndarray, draw: VolumeDraw, normalise: Callable[[np.ndarray], np.ndarray]
) -> Moved:
    """Copy voxels that are at most mirrored and shifted."""
    steps, offsets = np.diag(draw.matrix), draw.matrix[:, 3]
    axes = [_along(*axis) for axis in zip(steps, offsets, draw.size, label_map.shape, strict=True)]
    index, inside = [axis[0] for axis in axes], [axis[1] for axis in axes]
    known = inside[0][:, np.newaxis, np.newaxis] & inside[1][:, np.newaxis] & inside[2]
    return normalise(_taken(image, index)), _taken(label_map, index), known


def _along(step: float, first: float, count: int, length: int) -> tuple[Index, np.ndarray]:
    """Give the index of an axis, which goes on at the border, and which of its places lie within."""
    places = int(step) * np.arange(count) + int(first)
    inside = (places >= 0) & (places < length)
    if not inside.all():
        return np.clip(places, 0, length - 1), inside
    end = int(places[-1]) + int(step)
    return slice(int(places[0]), None if end < 0 else end, int(step)), inside


def _taken(volume: np.ndarray, index: Sequence[Index]) -> np.ndarray:
    """Take some slices, of these some rows, and of these some columns; contiguous."""
    return np.ascontiguousarray(volume[index[0]][:, index[1]][:, :, index[2]])


def _moved_in_plane(
    image: np.ndarray,
    label_map: np.ndarray,
    draw: VolumeDraw,
    settings: AugmentationSettings,
    normalise: Callable[[np.ndarray], np.ndarray],
) -> Moved:
    """Resample every slice alike."""
    plane = Draw(draw.matrix[1:, 1:], draw.size[1:], draw.elastic)
    rows, columns = source_coordinates(plane, settings.elastic_sigma_px)
    slices, inside = _along(draw.matrix[0, 0], draw.matrix[0, 3], draw.size[0], len(label_map))
    height, width = label_map.shape[1:]
    known = inside[:, np.newaxis, np.newaxis] & (_within(rows, height) & _within(columns, width))
    margin = _margin(settings)
    down, across = _reach(rows, height, margin), _reach(columns, width, margin)
    source, labels = (_taken(volume, (slices, down, across)) for volume in (image, label_map))
    rows, columns = rows - np.float32(down.start), columns - np.float32(across.start)
    warp = warp_linear if settings.interpolation == "linear" else warp_cubic
    moved = np.stack([warp(picture, rows, columns) for picture in normalise(source)])
    index = nearest(rows, labels.shape[1]) * labels.shape[2] + nearest(columns, labels.shape[2])
    return moved, labels.reshape(len(labels), -1).take(index, axis=1), known


def _moved(
    image: np.ndarray,
    label_map: np.ndarray,
    draw: VolumeDraw,
    settings: AugmentationSettings,
    normalise: Callable[[np.ndarray], np.ndarray],
) -> Moved:
    """Resample along all three axes."""
    places = source_places(draw)
    known = np.ones(draw.size, bool)
    box = []
    for place, length in zip(places, label_map.shape, strict=True):
        known &= _within(place, length)
        box.append(_reach(place, length, _margin(settings)))
        place -= np.float32(box[-1].start)
    source, labels = normalise(_taken(image, box)), _taken(label_map, box)
    sample = sample_linear if settings.interpolation == "linear" else sample_cubic
    return sample(source, places), sample_nearest(labels, places), known


def _margin(settings: AugmentationSettings) -> int:
    """How many voxels beside those that are shown are read."""
    return 0 if settings.interpolation == "linear" else SPLINE_MARGIN


def _reach(places: np.ndarray, length: int, margin: int) -> slice:
    """Give the part of an axis that some places need; at least the voxel at the border."""
    first, last = (int(np.clip(end, 0, length - 1)) for end in (np.floor(places.min()), np.ceil(places.max())))
    return slice(max(0, first - margin), min(length, last + 1 + margin))


def _within(places: np.ndarray, length: int) -> np.ndarray:
    """Tell which places lie in an axis: their nearest voxel is there."""
    return (places >= -0.5) & (places < length - 0.5)
