"""Pictures of a prepared dataset: slices of cases with their labels, and distributions over cases."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from imgmed import PreparedDataset
from imgmed.fingerprint import Fingerprint
from imgmed.fingerprint.measures import PERCENTILES
from imgmed.fingerprint.words import Words
from r2d2.reports.contours import frame_structures, letter_edges, outline, show_slice
from r2d2.reports.formatting import plural
from r2d2.reports.overlay import Overlay
from r2d2.reports.palette import LABEL_COLOURS
from r2d2.reports.picture import COLOURS, Picture, encode, new_figure
from r2d2.viewing.planes import EDGES, PLANES

__all__ = ["draw_case", "draw_geometry", "draw_intensities", "draw_volumes", "read_slice"]

MOST_NAMED = 6  # labels in a legend
MOST_BOXES = 12  # labels in one chart
LARGE_RANGE = 30.0  # a larger ratio of values is drawn on a logarithmic axis
_USUAL, _ODD = COLOURS[0], COLOURS[1]


def read_slice(dataset: PreparedDataset, case_id: str) -> Overlay:
    """Read the slice of a case on which most is labelled; the middle one where nothing is.

    It is turned to the radiological convention: the patient's right at the left edge, the front at the top. Pictures
    stand as they are.

    Args:
        dataset: the prepared dataset; only its arrays are read.
        case_id: the case.

    Returns:
        The slice's first channel, or the colours of a picture, with its labels as the reference, and an empty
        prediction.
    """
    image, grid = dataset.image(case_id), dataset.grid(case_id)
    has_labels = dataset.case(case_id).label is not None
    labels = dataset.label_map(case_id) if has_labels else np.zeros(image.shape[:3], np.uint8)
    areas = [np.count_nonzero(plane) for plane in labels]
    position = int(np.argmax(areas)) if any(areas) else len(areas) // 2
    _, across_mm, up_mm = grid.stack_spacing_mm
    across, up = (axis for axis in range(3) if axis != grid.slice_axis)
    reference = labels[position][::-1].T.astype(np.int64)
    case = dataset.case(case_id)
    shown = np.asarray(image[position, ..., :3] if case.is_picture and image.shape[3] >= 3 else image[position, ..., 0])
    return Overlay(
        image=np.swapaxes(shown[::-1], 0, 1).astype(np.float32),
        reference=reference,
        prediction=np.zeros_like(reference),
        spacing_mm=(up_mm, across_mm),
        plane="page" if case.is_picture else PLANES[grid.slice_axis],
        position=position + 1,
        slices=len(areas),
        edges=("", "", "", "") if case.is_picture else (*EDGES[across], *EDGES[up]),
    )


def draw_case(dataset: PreparedDataset, case_id: str, words: str) -> Picture:
    """Draw a slice of a case as it is, and beside it its labelled part with the contours.

    Args:
        dataset: the prepared dataset.
        case_id: the case.
        words: what stands below the picture, behind the name of the case.

    Returns:
        The picture.
    """
    overlay = read_slice(dataset, case_id)
    areas = {name: int(np.count_nonzero(overlay.reference == value)) for name, value in dataset.labels.items() if value}
    names = sorted((name for name, area in areas.items() if area), key=lambda name: -areas[name])
    rows, columns = overlay.image.shape[:2]
    ratio = rows * overlay.spacing_mm[0] / (columns * overlay.spacing_mm[1])
    figure = new_figure(6.0, min(3.6, max(1.6, 2.9 * ratio)) + 0.6)
    whole, part = figure.subplots(1, 2)
    for axes in (whole, part):
        show_slice(axes, overlay)
    left, right, bottom, top = frame_structures(overlay, list(dataset.labels.values())[1:])
    whole.add_patch(Rectangle((left, bottom), right - left, top - bottom, fill=False, edgecolor="#F0E442", linewidth=1))
    letter_edges(whole, overlay.edges)
    part.set_xlim(left, right)
    part.set_ylim(bottom, top)
    order = {name: place for place, name in enumerate(areas)}
    colours = {name: LABEL_COLOURS[order[name] % len(LABEL_COLOURS)] for name in names}
    for name in names:
        outline(part, overlay, overlay.reference == dataset.labels[name], colours[name], is_reference=True)
    _legend(figure, names, colours)
    shown = ", ".join(names[:MOST_NAMED]) or "no label"
    place = f"{overlay.place}." if overlay.place else ""
    alt = f"{place} Case {case_id} with the contours of {shown}. {words}".strip()
    return encode(figure, alt, f"{case_id}: {words} {place}".rstrip())


def draw_geometry(fingerprint: Fingerprint, words: Words) -> tuple[Picture, ...]:
    """Draw spacing and size over the cases; what is the same in all cases is not drawn."""
    odd = {(oddity.case_id, oddity.kind) for oddity in fingerprint.odd}
    pictures = []
    for kind, title in (("spacing", "Spacing, mm"), ("shape", f"Size, {words.element}")):
        columns: dict[str, list[float]] = {}
        marks: dict[str, list[float]] = {}
        for axis, name in enumerate(words.axes):
            values = {
                case_id: float((case.canonical_spacing_mm if kind == "spacing" else case.canonical_shape)[axis])
                for case_id, case in fingerprint.cases.items()
            }
            columns[name] = list(values.values())
            marks[name] = [value for case_id, value in values.items() if (case_id, kind) in odd]
        if any(max(values) > 1.01 * min(values) for values in columns.values()):
            pictures.append(_boxes(columns, marks, title))
    return tuple(pictures)


def draw_intensities(fingerprint: Fingerprint) -> tuple[Picture, ...]:
    """Draw the percentiles of every case, sorted by its median, one picture a channel."""
    odd = {oddity.case_id for oddity in fingerprint.odd if oddity.kind == "intensity"}
    pictures = []
    for number, name in enumerate(fingerprint.channels):
        measured = sorted(
            ((case.channels[number].percentiles, case_id) for case_id, case in fingerprint.cases.items()),
            key=lambda entry: entry[0][PERCENTILES.index(50.0)],
        )
        marked = [place for place, (_, case_id) in enumerate(measured) if case_id in odd]
        pictures.append(_ribbon(np.array([values for values, _ in measured]), marked, name))
    return tuple(pictures)


def draw_volumes(fingerprint: Fingerprint, words: Words) -> tuple[Picture, ...]:
    """Draw the volumes of the labels, of pictures their areas, over the cases that have them."""
    odd = {(oddity.case_id, oddity.kind) for oddity in fingerprint.odd}
    columns: dict[str, list[float]] = {}
    marks: dict[str, list[float]] = {}
    for name in fingerprint.labels:
        volumes = {
            case_id: case.labels[name].volume_ml * words.per_ml
            for case_id, case in fingerprint.cases.items()
            if name in case.labels and case.labels[name].voxels
        }
        if volumes:
            columns[name] = list(volumes.values())
            marks[name] = [value for case_id, value in volumes.items() if (case_id, "label_volume") in odd]
    names = list(columns)
    return tuple(
        _boxes(
            {name: columns[name] for name in names[start : start + MOST_BOXES]},
            marks,
            f"Label {words.extent}, {words.unit}",
        )
        for start in range(0, len(names), MOST_BOXES)
    )


def _boxes(columns: Mapping[str, Sequence[float]], marks: Mapping[str, Sequence[float]], title: str) -> Picture:
    figure = new_figure(4.8, 3.0)
    axes = figure.add_subplot()
    places = range(1, len(columns) + 1)
    axes.boxplot(
        list(columns.values()),
        positions=list(places),
        widths=0.5,
        whis=(0, 100),
        medianprops={"color": _USUAL, "linewidth": 2},
        boxprops={"color": "#444444"},
        whiskerprops={"color": "#444444"},
        capprops={"color": "#444444"},
    )
    for place, name in zip(places, columns, strict=True):
        if marks.get(name):
            axes.plot([place] * len(marks[name]), marks[name], "o", color=_ODD, markersize=5)
    axes.set_xticks(list(places), list(columns), fontsize=9)
    values = [value for column in columns.values() for value in column]
    if min(values) > 0 and max(values) > LARGE_RANGE * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    elif min(values) >= 0:
        axes.set_ylim(0, 1.08 * max(values) or 1.0)
    _finish(axes, title)
    if len(columns) > 4:
        axes.tick_params(axis="x", rotation=60)
    for text in axes.get_xticklabels():
        text.set_parse_math(False)
    medians = "; ".join(
        f"{name} {min(column):.3g} to {max(column):.3g}, median {float(np.median(column)):.3g}"
        for name, column in columns.items()
    )
    note = "Box: middle half of the cases; whiskers: all." + (" Dots: odd cases." if any(marks.values()) else "")
    return encode(figure, f"{title}, over cases: {medians}.", note)


def _ribbon(percentiles: np.ndarray, marked: Collection[int], channel: str) -> Picture:
    """Bands of percentiles (cases, 7), sorted by their medians."""
    figure = new_figure(4.8, 3.0)
    axes = figure.add_subplot()
    count = len(percentiles)
    places = np.arange(1.0, count + 1)
    if count == 1:  # a band needs two places
        places, percentiles = np.array([0.5, 1.5]), np.repeat(percentiles, 2, axis=0)
    low, five, lower, middle, upper, ninety_five, high = percentiles.T
    for bottom, top, strength in ((low, high, 0.2), (five, ninety_five, 0.3), (lower, upper, 0.5)):
        axes.fill_between(places, bottom, top, alpha=strength, color=_USUAL, linewidth=0, step="mid")
    axes.plot(places, middle, color="#111111", linewidth=1.2, drawstyle="steps-mid")
    for place in marked:
        axes.plot(place + 1, percentiles[place, -1], "o", color=_ODD, markersize=4)
    usual = float(np.median(high - low)) or 1.0
    if float(np.max(np.abs(percentiles))) > LARGE_RANGE * usual:
        linear = 10.0 ** round(np.log10(usual))
        axes.set_yscale("symlog", linthresh=linear)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,g}" if y == 0 or abs(y) >= linear else ""))
    axes.set_xlabel("Cases, sorted by their median", fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(axes, f"Intensity of {channel}")
    alt = (
        f"Intensity of {channel} in {plural(count, 'case')}: medians from {percentiles[:, 3].min():.3g} to"
        f" {percentiles[:, 3].max():.3g}, 99.5 percentiles from {percentiles[:, -1].min():.3g} to"
        f" {percentiles[:, -1].max():.3g}."
    )
    note = "Line: median; bands: 25 to 75, 5 to 95 and 0.5 to 99.5 percentile of each case."
    return encode(figure, alt, note + (" Dots: odd cases." if marked else ""))


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10, loc="left").set_parse_math(False)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)


def _legend(figure: Figure, names: Sequence[str], colours: Mapping[str, str]) -> None:
    if not names:
        return
    handles = [Line2D([], [], color=colours[name], linewidth=4, label=name) for name in names[:MOST_NAMED]]
    if len(names) > MOST_NAMED:
        handles.append(Line2D([], [], linestyle="none", label=f"and {len(names) - MOST_NAMED} more"))
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=min(3, len(handles)), fontsize=9, frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
