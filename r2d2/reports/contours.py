"""Contours of reference and prediction on a slice of a case's image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke

from r2d2.reports.formatting import shorten
from r2d2.reports.overlay import Overlay
from r2d2.reports.palette import LABEL_COLOURS, MORE_COLOURS
from r2d2.reports.picture import Picture, encode, new_figure
from segeval import Label

__all__ = ["draw_overlay", "frame_structures", "letter_edges", "outline", "show_slice"]

_REFERENCE, _PREDICTION = LABEL_COLOURS[0], LABEL_COLOURS[1]
_MOST_LABELS = len(LABEL_COLOURS) + len(MORE_COLOURS)


def draw_overlay(overlay: Overlay, labels: Mapping[str, Label], alt: str, caption: str) -> Picture:
    """Draw the slice as it is, and beside it its part with the structures and both contours.

    Args:
        overlay: the slice.
        labels: integers of each label or region to be drawn; a region is outlined as the union of its integers. Of
            more than twelve on the slice those with the most wrong voxels are drawn.
        alt: what it shows, in words.
        caption: what stands below it; the plane and the number of the slice are added.

    Returns:
        The picture.
    """
    masks = {name: _masks_of(overlay, label) for name, label in labels.items()}
    names = _names_to_draw(masks)
    rows, columns = overlay.image.shape[:2]
    window = frame_structures(overlay, sorted({value for label in labels.values() for value in _integers(label)}))
    height_mm, width_mm = rows * overlay.spacing_mm[0], columns * overlay.spacing_mm[1]
    panel_height = min(3.9, max(2.0, 3.0 * height_mm / width_mm))
    figure = new_figure(6.4, panel_height + 0.75 + 0.17 * max(0, (len(names) - 1) // 3))
    whole, part = figure.subplots(1, 2)
    for axes in (whole, part):
        show_slice(axes, overlay)
    left, right, bottom, top = window
    whole.add_patch(
        Rectangle((left, bottom), right - left, top - bottom, fill=False, edgecolor="#F0E442", linewidth=1.2)
    )
    what = "Image" if overlay.has_scan else "No scan"
    whole.set_title(f"{what}, frame enlarged", fontsize=9)
    letter_edges(whole, overlay.edges)
    part.set_xlim(left, right)
    part.set_ylim(bottom, top)
    part.set_title("Reference and prediction", fontsize=9)
    colours = _colours(list(labels) if len(labels) <= _MOST_LABELS else names)
    for name in names:
        band, line = colours[name]
        reference, prediction = masks[name]
        outline(part, overlay, reference, band, is_reference=True)
        outline(part, overlay, prediction, line, is_reference=False)
    _legend(figure, names, colours)
    return encode(figure, alt, f"{caption} {overlay.place}{'.' if overlay.place else ''}".rstrip())


def _integers(label: Label) -> tuple[int, ...]:
    return label if isinstance(label, tuple) else (label,)


def _masks_of(overlay: Overlay, label: Label) -> tuple[np.ndarray, np.ndarray]:
    return np.isin(overlay.reference, _integers(label)), np.isin(overlay.prediction, _integers(label))


def _names_to_draw(masks: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> list[str]:
    """Choose what is on the slice, in the order given; all labels where nothing is, for the legend."""
    present = [name for name, (reference, prediction) in masks.items() if reference.any() or prediction.any()]
    if not present:
        return list(masks)[:_MOST_LABELS]
    wrong = {name: int(np.count_nonzero(masks[name][0] != masks[name][1])) for name in present}
    worst = sorted(present, key=lambda name: -wrong[name])[:_MOST_LABELS]
    return [name for name in present if name in worst]


def _colours(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Give colours of reference and prediction: two of their own for one label, two shades of one for several."""
    if len(names) == 1:
        return {names[0]: (_REFERENCE, _PREDICTION)}
    bases = (*LABEL_COLOURS, *MORE_COLOURS)
    return {name: (bases[place % len(bases)], _light(bases[place % len(bases)])) for place, name in enumerate(names)}


def _light(colour: str) -> str:
    return "#" + "".join(f"{round(255 * (0.55 * channel + 0.45)):02x}" for channel in to_rgb(colour))


def _legend(figure: Figure, names: Sequence[str], colours: Mapping[str, tuple[str, str]]) -> None:
    """Explain the lines: both of a label by its name; of several the colours, and the kinds of line once."""
    shaded = [Stroke(linewidth=3.6, foreground="#222222"), Normal()]
    if len(names) == 1:
        band, line = colours[names[0]]
        prefix, handles = f"{shorten(names[0], 30)}: ", []
    else:
        band, line, prefix = "#777777", "#dddddd", ""
        handles = [
            Line2D([], [], color=colours[name][0], marker="s", linestyle="none", label=shorten(name, 24))
            for name in names
        ]
    handles.append(Line2D([], [], color=band, linewidth=4, alpha=0.75, label=f"{prefix}reference"))
    handles.append(Line2D([], [], color=line, linewidth=1.9, linestyle="--", label=f"{prefix}prediction"))
    handles[-1].set_path_effects(shaded)
    legend = figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), 4 if len(handles) == 4 else 3),
        fontsize=9 if len(handles) <= 4 else 8,
        frameon=False,
        handlelength=3 if len(names) == 1 else 2,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    drawn = legend.legend_handles[-1]
    if drawn is not None:
        drawn.set_path_effects(shaded)


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
    """Draw the image of a slice in grey, or a picture in its colours, at its size in mm."""
    rows, columns = overlay.image.shape[:2]
    finite = overlay.image[np.isfinite(overlay.image)]
    is_coloured = overlay.image.ndim == 3
    ends = [0, 100] if is_coloured else [1, 99.5]
    low, high = np.percentile(finite, ends) if finite.size else (0.0, 1.0)
    high = max(high, low + 1e-6)
    axes.imshow(
        np.clip((overlay.image - low) / (high - low), 0, 1) if is_coloured else overlay.image,
        cmap="gray",
        vmin=float(low),
        vmax=float(high),
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
