"""Contours of reference and prediction on a slice of a case's image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke

from imgmed import Volume, read_volume
from imgmed.geometry import canonical_spacing, orientation_of, to_canonical
from r2d2.errors import R2D2Error
from r2d2.report.picture import Picture, encode, new_figure

__all__ = [
    "EDGES",
    "LABEL_COLOURS",
    "PLANES",
    "Overlay",
    "OverlayError",
    "draw_overlay",
    "frame_structures",
    "letter_edges",
    "outline",
    "read_overlay",
    "show_slice",
]

PLANES = ("sagittal", "coronal", "axial")
EDGES = (("R", "L"), ("A", "P"), ("S", "I"))
_THICK_SLICES = 1.2
"""Where one spacing is this much larger than both others, slices across that axis are shown; else axial ones."""

_REFERENCE, _PREDICTION = "#56B4E9", "#E69F00"
LABEL_COLOURS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00")


class OverlayError(R2D2Error, ValueError):
    """A case of which no picture can be made."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """One slice of a case, turned as it is drawn: rows from bottom to top, columns from left to right.

    Attributes:
        image: float32 (rows, columns); the first channel.
        reference: integers (rows, columns).
        prediction: integers (rows, columns).
        spacing_mm: size of a pixel, (rows, columns).
        plane: "axial", "coronal" or "sagittal".
        position: number of the slice, from 1.
        slices: how many there are.
        edges: letters at the left, right, top and bottom edge.
    """

    image: np.ndarray
    reference: np.ndarray
    prediction: np.ndarray
    spacing_mm: tuple[float, float]
    plane: str
    position: int
    slices: int
    edges: tuple[str, str, str, str]


def read_overlay(image: Path | Volume, reference: Path, prediction: Path) -> Overlay:
    """Read the slice on which the reference is largest (the prediction, where there is no reference).

    It is drawn in the radiological convention: the patient's right at the left edge, the front at the top of
    axial and at the left of sagittal slices.

    Args:
        image: the scan, or its file; of several channels the first is taken.
        reference: its label map.
        prediction: the predicted label map.

    Returns:
        The slice.

    Raises:
        OverlayError: the three do not have one shape.
        ImgMedError: a file cannot be read.
    """
    scan_volume = image if isinstance(image, Volume) else read_volume(image)
    volumes = [scan_volume, *(read_volume(path) for path in (reference, prediction))]
    arrays = [volume.array[..., 0] if volume.array.ndim == 4 else volume.array for volume in volumes]
    if len({array.shape for array in arrays}) != 1:
        raise OverlayError(
            f"{scan_volume.origin} has shape {arrays[0].shape}, its label maps {arrays[1].shape} and {arrays[2].shape}"
        )
    affine = volumes[1].affine
    scan, truth, guess = (to_canonical(array, orientation_of(affine)) for array in arrays)
    spacing = canonical_spacing(affine)
    axis = _slice_axis(spacing)
    position = _largest_slice(truth, guess, axis)
    across, up = (other for other in range(3) if other != axis)
    planes = [np.take(array, position, axis=axis)[::-1].T for array in (scan, truth, guess)]
    return Overlay(
        image=planes[0].astype(np.float32),
        reference=np.rint(planes[1]).astype(np.int64),
        prediction=np.rint(planes[2]).astype(np.int64),
        spacing_mm=(spacing[up], spacing[across]),
        plane=PLANES[axis],
        position=position + 1,
        slices=truth.shape[axis],
        edges=(*EDGES[across], *EDGES[up]),
    )


def draw_overlay(overlay: Overlay, labels: Mapping[str, int], alt: str, caption: str) -> Picture:
    """Draw the slice as it is, and beside it its part with the structures and both contours.

    Args:
        overlay: the slice.
        labels: integer of each label to be drawn.
        alt: what it shows, in words.
        caption: what stands below it; the plane and the number of the slice are added.

    Returns:
        The picture.
    """
    names = list(labels)
    rows, columns = overlay.image.shape
    window = frame_structures(overlay, [labels[name] for name in names])
    height_mm, width_mm = rows * overlay.spacing_mm[0], columns * overlay.spacing_mm[1]
    panel_height = min(3.9, max(2.0, 3.0 * height_mm / width_mm))
    figure = new_figure(6.4, panel_height + 0.75)
    whole, part = figure.subplots(1, 2)
    for axes in (whole, part):
        show_slice(axes, overlay)
    left, right, bottom, top = window
    whole.add_patch(
        Rectangle((left, bottom), right - left, top - bottom, fill=False, edgecolor="#F0E442", linewidth=1.2)
    )
    whole.set_title("Image; the frame is shown enlarged", fontsize=9)
    letter_edges(whole, overlay.edges)
    part.set_xlim(left, right)
    part.set_ylim(bottom, top)
    part.set_title("Reference and prediction", fontsize=9)
    handles = []
    for position, name in enumerate(names):
        band, line = _colours(position, len(names))
        outline(part, overlay, overlay.reference == labels[name], band, is_reference=True)
        outline(part, overlay, overlay.prediction == labels[name], line, is_reference=False)
        handles.append(Line2D([], [], color=band, linewidth=4, alpha=0.75, label=f"{name}: reference"))
        handles.append(Line2D([], [], color=line, linewidth=1.9, linestyle="--", label=f"{name}: prediction"))
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=2, fontsize=9, frameon=False, handlelength=3
    )
    for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
        text.set_parse_math(False)
        if handle is not None and text.get_text().endswith(": prediction"):
            handle.set_path_effects([Stroke(linewidth=3.6, foreground="#222222"), Normal()])
    return encode(figure, alt, f"{caption} {overlay.plane.capitalize()} slice {overlay.position} of {overlay.slices}.")


def _slice_axis(spacing_mm: tuple[float, float, float]) -> int:
    """Choose the axis across which slices are thick; the axial ones where voxels are about cubes."""
    thickest = int(np.argmax(spacing_mm))
    others = [mm for axis, mm in enumerate(spacing_mm) if axis != thickest]
    return thickest if spacing_mm[thickest] > _THICK_SLICES * max(others) else 2


def _largest_slice(reference: np.ndarray, prediction: np.ndarray, axis: int) -> int:
    others = tuple(other for other in range(3) if other != axis)
    for label_map in (reference, prediction):
        areas = np.count_nonzero(label_map, axis=others)
        if areas.any():
            return int(np.argmax(areas))
    return int(reference.shape[axis] // 2)


def frame_structures(overlay: Overlay, values: list[int]) -> tuple[float, float, float, float]:
    """Frame the structures with room around them, in mm: left, right, bottom, top."""
    structures = np.isin(overlay.reference, values) | np.isin(overlay.prediction, values)
    limits = []
    for axis, spacing in ((1, overlay.spacing_mm[1]), (0, overlay.spacing_mm[0])):
        size = structures.shape[axis]
        occupied = np.flatnonzero(structures.any(axis=1 - axis))
        first, last = (int(occupied[0]), int(occupied[-1]) + 1) if occupied.size else (0, size)
        limits.append((first * spacing, last * spacing, size * spacing))
    half = 0.5 * max(1.35 * max(last - first for first, last, _ in limits), 0.25 * max(size for *_, size in limits))
    frame = []
    for low, high, length in limits:
        centre = min(max((low + high) / 2, half), length - half) if length > 2 * half else length / 2
        frame += [max(0.0, centre - half), min(length, centre + half)]
    return frame[0], frame[1], frame[2], frame[3]


def show_slice(axes: Axes, overlay: Overlay) -> None:
    """Draw the image of a slice in grey, at its size in mm."""
    rows, columns = overlay.image.shape
    finite = overlay.image[np.isfinite(overlay.image)]
    low, high = np.percentile(finite, [1, 99.5]) if finite.size else (0.0, 1.0)
    axes.imshow(
        overlay.image,
        cmap="gray",
        vmin=float(low),
        vmax=float(max(high, low + 1e-6)),
        origin="lower",
        extent=(0, columns * overlay.spacing_mm[1], 0, rows * overlay.spacing_mm[0]),
        aspect="equal",
        interpolation="nearest",
    )
    axes.set_xticks([])
    axes.set_yticks([])


def letter_edges(axes: Axes, edges: tuple[str, str, str, str]) -> None:
    """Write the letters of the patient's directions at the left, right, top and bottom edge."""
    places = (
        *((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center")),
        *((0.5, 0.98, "center", "top"), (0.5, 0.02, "center", "bottom")),
    )
    for letter, (x, y, horizontal, vertical) in zip(edges, places, strict=True):
        text = axes.text(x, y, letter, transform=axes.transAxes, ha=horizontal, va=vertical, fontsize=11, color="white")
        text.set_path_effects([Stroke(linewidth=2, foreground="black"), Normal()])


def outline(axes: Axes, overlay: Overlay, mask: np.ndarray, colour: str, *, is_reference: bool) -> None:
    """Outline a mask through the middle between inside and outside; closed where it touches the edge."""
    if not mask.any():
        return
    padded = np.pad(mask.astype(np.float64), 1)
    y, x = ((np.arange(-1, size + 1) + 0.5) * mm for size, mm in zip(mask.shape, overlay.spacing_mm, strict=True))
    if is_reference:
        axes.contour(x, y, padded, levels=[0.5], colors=[colour], linewidths=4.0, alpha=0.75)
        return
    lines = axes.contour(x, y, padded, levels=[0.5], colors=[colour], linewidths=1.9, linestyles=["dashed"])
    lines.set_path_effects([Stroke(linewidth=3.6, foreground="#222222"), Normal()])


def _colours(position: int, labels: int) -> tuple[str, str]:
    """Give the colours of reference and prediction: two of their own for one label, two shades of one for several."""
    if labels == 1:
        return _REFERENCE, _PREDICTION
    base = LABEL_COLOURS[position % len(LABEL_COLOURS)]
    light = tuple(0.55 * channel + 0.45 for channel in to_rgb(base))
    return base, "#" + "".join(f"{round(255 * channel):02x}" for channel in light)
