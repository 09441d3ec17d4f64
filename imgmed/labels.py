"""Label maps: whole numbers, named, and numbered as classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from imgmed.errors import LabelError

__all__ = [
    "BACKGROUND",
    "above_threshold",
    "check_declared",
    "class_values",
    "combine",
    "compose",
    "count_labels",
    "keep_labels",
    "label_dtype",
    "labels_from_values",
    "number_segments",
    "parse_labels",
    "parse_regions",
    "remap_labels",
    "to_label_map",
    "whole_tolerance",
]

BACKGROUND = "background"
WHOLE_WITHIN = 1e-4  # how far a label may be off a whole number ...
WHOLE_WITHIN_OF_LARGEST = 1e-5  # ... or this part of the largest label, if that is more ...
WHOLE_WITHIN_AT_MOST = 0.2  # ... but not beyond this
LARGEST_LABEL = 65535
MOST_LISTED = 12


def to_label_map(array: np.ndarray, origin: str) -> np.ndarray:
    """Return an array of labels as uint8, or uint16 where a value exceeds 255.

    Args:
        array: (i, j, k) of any real type; values may miss whole numbers by `whole_tolerance`.
        origin: the file, for messages.

    Raises:
        LabelError: values that are not whole, negative, above 65535, NaN or infinite, or more than 3 axes.

    >>> to_label_map(np.array([[[0.0, 2.00001]]]), "a.nii").tolist()
    [[[0, 2]]]
    """
    array = _one_a_voxel(array, origin)
    if array.dtype.kind == "f":
        array = _rounded(array, origin)
    low, high = array.min(), array.max()
    if low < 0 or high > LARGEST_LABEL:
        raise LabelError(f"{origin}: labels must lie within 0 to {LARGEST_LABEL}; found {low:g} to {high:g}")
    return array.astype(label_dtype([int(high)]), copy=False)


def _one_a_voxel(array: np.ndarray, origin: str) -> np.ndarray:
    """The array with three axes."""
    if array.ndim == 4 and array.shape[3] == 1:
        return array[..., 0]
    if array.ndim == 4:
        raise LabelError(
            f"{origin}: a label map has one number for each voxel; received {array.shape[3]} (colours, or masks?)"
        )
    if array.ndim != 3:
        raise LabelError(f"{origin}: a label map has 3 axes; received shape {array.shape}")
    return array


def whole_tolerance(largest: float) -> float:
    """Return how far the labels of a map may be off whole numbers, which rounding in files explains.

    Programs that keep whole numbers as 16-bit integers with a scale factor (nibabel does, where a float array is
    saved with the header of an int16 scan) round them to half a step of the range, largest / 131070, and their
    factors are float32, exact to 6e-8: together below 1e-5 of the largest label. Interpolation and probabilities
    leave more than 1e-4 somewhere.

    Args:
        largest: the largest label of the map.

    >>> [whole_tolerance(largest) for largest in (3, 117, 60000)]
    [0.0001, 0.00117, 0.2]
    """
    return min(WHOLE_WITHIN_AT_MOST, max(WHOLE_WITHIN, round(WHOLE_WITHIN_OF_LARGEST * abs(largest), 12)))


def _rounded(array: np.ndarray, origin: str) -> np.ndarray:
    _check_finite(array, origin)
    whole = np.rint(array)
    off = np.abs(array - whole) > whole_tolerance(float(whole.max()))
    if off.any():
        raise LabelError(
            f"{origin}: labels must be whole numbers; {int(off.sum())} voxels are not, such as"
            f" {_listed(np.unique(array[off]).tolist())}; resample it without interpolation,"
            " or give masks with soft edges preparation.mask_threshold=0.5"
        )
    return whole


def _check_finite(array: np.ndarray, origin: str) -> None:
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise LabelError(f"{origin}: {bad} NaN or infinite voxels in a label map; every voxel needs a whole number")


def label_dtype(values: Sequence[int]) -> np.dtype:
    """Return uint8 if all `values` fit, otherwise uint16.

    >>> label_dtype([0, 255]).name, label_dtype([256]).name
    ('uint8', 'uint16')
    """
    return np.dtype(np.uint8 if max(values, default=0) <= 255 else np.uint16)


def count_labels(label_map: np.ndarray) -> dict[int, int]:
    """Return how many voxels have each value that occurs in an unsigned label map.

    >>> count_labels(np.array([0, 3, 3], np.uint8))
    {0: 1, 3: 2}
    """
    counts = np.zeros(int(label_map.max()) + 1, np.int64)
    slowest = int(np.argmax(np.abs(label_map.strides)))  # along it, parts lie together in memory
    for part in np.moveaxis(label_map, slowest, 0) if label_map.ndim > 1 else (label_map,):
        counts += np.bincount(part.ravel(order="K"), minlength=len(counts))
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def check_declared(found: Sequence[int], labels: Mapping[str, int], origin: str) -> None:
    """Raise LabelError if a value in `found` is not one of the declared `labels`."""
    unknown = sorted(set(found) - set(labels.values()))
    if unknown:
        declared = ", ".join(f"{value} {name}" for name, value in sorted(labels.items(), key=lambda item: item[1]))
        keep = "keep the declared ones alone (preparation.keep_labels),"
        if len(unknown) > MOST_LISTED:
            keep = "give a mask with soft edges a preparation.mask_threshold,"
        raise LabelError(
            f"{origin}: label values {_listed(unknown)} are not declared; found {_listed(sorted(found))},"
            f" declared {declared}; declare them, {keep} or correct the label map"
        )


def parse_labels(declared: Any, origin: str) -> dict[str, int]:
    """Return {name: value}, by value and with the background, from either form in which labels are declared.

    Args:
        declared: {"0": "background", "1": "liver"} (as in MSD) or {"background": 0, "liver": 1}.
        origin: the file, for messages.

    Raises:
        LabelError: not such a mapping, a value twice, a name twice, or a value outside 0 to 65535.

    >>> parse_labels({"1": "liver"}, "dataset.json")
    {'background': 0, 'liver': 1}
    """
    if not isinstance(declared, Mapping) or not declared:
        raise LabelError(f'{origin}: labels must be like {{"background": 0, "liver": 1}}; received {declared!r}')
    pairs = [_name_and_value(key, entry, origin) for key, entry in declared.items()]
    if all(value != 0 for _, value in pairs):
        pairs.append((BACKGROUND, 0))
    names, values = [name for name, _ in pairs], [value for _, value in pairs]
    if len(set(names)) < len(names) or len(set(values)) < len(values):
        raise LabelError(f"{origin}: each label needs a name and a value of its own; received {dict(declared)}")
    return dict(sorted(pairs, key=lambda pair: pair[1]))


def _name_and_value(key: Any, entry: Any, origin: str) -> tuple[str, int]:
    name, value = (entry, key) if isinstance(entry, str) else (key, entry)
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if not isinstance(name, str) or not name or not isinstance(value, int) or isinstance(value, bool):
        raise LabelError(
            f"{origin}: a label is a name with one whole number; received {key!r}: {entry!r} (several values make"
            " a region)"
        )
    if not 0 <= value <= LARGEST_LABEL:
        raise LabelError(f"{origin}: label {name!r} must lie within 0 to {LARGEST_LABEL}; received {value}")
    return name, value


def parse_regions(declared: Any, labels: Mapping[str, int], origin: str) -> dict[str, tuple[int, ...]]:
    """Return {name: ascending values} of regions, each a set of declared label values.

    Args:
        declared: {"whole": [1, 2, 3], "core": [2, 3]}; regions may overlap.
        labels: {name: value}, background included.
        origin: the file, for messages.

    Raises:
        LabelError: not such a mapping, an empty region, or one with the background or with a value that no label has.

    >>> parse_regions({"core": [3, 2]}, {"background": 0, "oedema": 1, "core_1": 2, "core_2": 3}, "r2d2.yaml")
    {'core': (2, 3)}
    """
    if not isinstance(declared, Mapping):
        raise LabelError(f'{origin}: regions must be like {{"whole": [1, 2]}}; received {declared!r}')
    regions = {}
    for name, entry in declared.items():
        values = list(entry) if isinstance(entry, list | tuple) else [entry]
        if not name or not isinstance(name, str) or not values or not all(type(value) is int for value in values):
            raise LabelError(f"{origin}: a region is a name with a list of label values; received {name!r}: {entry!r}")
        unknown = sorted(set(values) - (set(labels.values()) - {0}))
        if unknown:
            known = ", ".join(f"{value} {label}" for label, value in labels.items() if value)
            raise LabelError(
                f"{origin}: region {name!r} holds {_listed(unknown)}; a region consists of labels other than the"
                f" background: {known or 'there are none'}"
            )
        if name in labels and labels[name] not in values:
            raise LabelError(
                f"{origin}: region {name!r} holds {_listed(values)} without the label of that name, {labels[name]};"
                " call one of them otherwise"
            )
        regions[name] = tuple(sorted(set(values)))
    return regions


def remap_labels(
    array: np.ndarray, mapping: Mapping[int, int], others: Literal["refuse", "keep", "background"] = "refuse"
) -> np.ndarray:
    """Give label values new numbers; several may become one.

    Args:
        array: unsigned integers, any shape; not changed.
        mapping: {old value: new value}. The background 0 stays 0 unless it is listed.
        others: what becomes of values that are not listed: an error, kept as they are, or background.

    Returns:
        uint8, or uint16 where a new value exceeds 255; the same shape.

    Raises:
        LabelError: a value that is not listed (others="refuse"), or a new value outside 0 to 65535.

    >>> remap_labels(np.array([0, 1, 2, 4], np.uint8), {1: 1, 2: 2, 4: 3}).tolist()
    [0, 1, 2, 3]
    """
    wrong = [value for value in mapping.values() if not 0 <= value <= LARGEST_LABEL]
    if wrong:
        raise LabelError(f"new label values must lie within 0 to {LARGEST_LABEL}; received {_listed(wrong)}")
    found = [*count_labels(array)] if array.size else []
    unlisted = [value for value in found if value not in mapping and value != 0]
    if unlisted and others == "refuse":
        raise LabelError(
            f"label values {_listed(unlisted)} have no new number; listed are {_listed(sorted(mapping))}; list them,"
            ' or say what becomes of others: "keep" or "background"'
        )
    kept = {value: value for value in unlisted} if others == "keep" else {}
    new = {0: 0} | kept | {value: mapping[value] for value in found if value in mapping}
    table = np.zeros(max([*new, *found]) + 1, label_dtype(list(new.values())))
    table[list(new)] = list(new.values())
    return table[array]


def without_ignored(label_map: np.ndarray, ignore_label: int | None) -> np.ndarray:
    """Return a label map in which voxels that count nowhere are background.

    Args:
        label_map: integers, any shape.
        ignore_label: value of these voxels; None: there are none.

    >>> without_ignored(np.array([0, 1, 9]), 9).tolist()
    [0, 1, 0]
    """
    return label_map if ignore_label is None else np.where(label_map == ignore_label, 0, label_map)


def keep_labels(label_map: np.ndarray, values: Iterable[int]) -> np.ndarray:
    """Return a label map with some labels alone; all others become background.

    Args:
        label_map: unsigned integers, any shape; not changed.
        values: labels to keep; those that do not occur are passed over.

    Returns:
        uint8 or uint16, the same shape.

    >>> keep_labels(np.array([0, 1, 2, 300], np.uint16), [1, 300]).tolist()
    [0, 1, 0, 300]
    """
    return remap_labels(label_map, {value: value for value in values}, others="background")


def above_threshold(array: np.ndarray, threshold: float, origin: str) -> np.ndarray:
    """Return a mask as a label map: 1 from the threshold on, else 0.

    Args:
        array: (i, j, k) or (i, j, k, 1), real numbers: a mask with soft edges, or probabilities.
        threshold: lowest value that belongs to the structure.
        origin: the file, for messages.

    Returns:
        uint8 (i, j, k).

    Raises:
        LabelError: NaN, infinite voxels, or several numbers a voxel.

    >>> above_threshold(np.array([[[0, 90, 128, 255]]]), 128, "mask.png").tolist()
    [[[0, 0, 1, 1]]]
    """
    array = _one_a_voxel(array, origin)
    _check_finite(array, origin)
    return (array >= threshold).astype(np.uint8)


def number_segments(
    cases: Mapping[str, Iterable[frozenset[str]]], names: Sequence[str] | None = None
) -> tuple[dict[str, int], dict[str, tuple[int, ...]]]:
    """Number segments that may overlap, the same in all cases: each name first, then each combination seen.

    Args:
        cases: {case: the sets of segments that share a voxel somewhere in it}; sets of one or none are allowed.
        names: all names in the wanted order; None: sorted.

    Returns:
        {name: value} with the background 0 and combinations named like "liver+tumour", and the regions
        {name: values whose voxels belong to it}.

    Raises:
        LabelError: a name that `names` does not list, or more values than 65535.

    >>> number_segments({"a": [frozenset({"liver"})], "b": [frozenset({"liver", "tumour"})]})
    ({'background': 0, 'liver': 1, 'tumour': 2, 'liver+tumour': 3}, {'liver': (1, 3), 'tumour': (2, 3)})
    """
    seen = {segments for combinations in cases.values() for segments in combinations}
    found = sorted(set().union(*seen))
    names = found if names is None else list(dict.fromkeys(names))
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise LabelError(f"segments {', '.join(unknown)} are not among the names {', '.join(names)}")
    place = {name: number for number, name in enumerate(names)}
    combined = sorted(sorted(place[name] for name in segments) for segments in seen if len(segments) > 1)
    members = [[number] for number in range(len(names))] + combined
    if len(members) > LARGEST_LABEL:
        raise LabelError(f"{len(members)} combinations of segments exceed the {LARGEST_LABEL} values of a label map")
    labels = {BACKGROUND: 0} | {
        "+".join(names[number] for number in group): value for value, group in enumerate(members, start=1)
    }
    regions = {
        name: tuple(value for value, group in enumerate(members, start=1) if number in group)
        for number, name in enumerate(names)
    }
    return labels, regions


def combine(masks: Mapping[str, np.ndarray]) -> tuple[np.ndarray, list[frozenset[str]]]:
    """Number the combinations of masks that occur, as many masks as there are.

    Args:
        masks: {name: bool (i, j, k)}, all of one shape, at least one.

    Returns:
        uint16 (i, j, k) and the set of names that each number means; 0: none. Some numbers may be of no voxel.

    >>> numbers, sets = combine({"a": np.array([True, True]), "b": np.array([False, True])})
    >>> [sorted(sets[number]) for number in numbers]
    [['a'], ['a', 'b']]
    """
    first = next(iter(masks.values()))
    numbers = np.zeros(first.shape, np.uint16)  # of the combination of the masks so far
    combinations: list[frozenset[str]] = [frozenset()]
    for name, mask in masks.items():
        inside = np.asarray(mask, bool)
        for number in np.unique(numbers[inside]).tolist():
            combinations.append(combinations[number] | {name})
            numbers[inside & (numbers == number)] = len(combinations) - 1
    return numbers, combinations


def compose(masks: Mapping[str, np.ndarray], regions: Mapping[str, Sequence[int]]) -> np.ndarray:
    """Write masks that may overlap as one label map of composite integers.

    Args:
        masks: {name: bool (i, j, k)}, all of one shape, at least one.
        regions: {name: values} as `number_segments` gives them.

    Returns:
        uint8 or uint16 (i, j, k): the value that belongs to the regions of just the segments of the voxel.

    Raises:
        LabelError: a name without region, or a combination of segments that has no value.

    >>> liver, tumour = np.array([[[True, True, False]]]), np.array([[[False, True, False]]])
    >>> compose({"liver": liver, "tumour": tumour}, {"liver": (1, 3), "tumour": (2, 3)}).tolist()
    [[[1, 3, 0]]]
    """
    unknown = [name for name in masks if name not in regions]
    if unknown:
        raise LabelError(f"segments {', '.join(unknown)} have no region; regions are {', '.join(regions)}")
    of_value: dict[int, frozenset[str]] = {}
    for name, values in regions.items():
        for value in values:
            of_value[value] = of_value.get(value, frozenset()) | {name}
    value_of = {segments: value for value, segments in of_value.items()}
    numbers, combinations = combine(masks)
    used = np.unique(numbers)
    missing = [combinations[number] for number in used if number and combinations[number] not in value_of]
    if missing:
        raise LabelError(
            f"segments {' and '.join(sorted(missing[0]))} share voxels, but no label value means just them"
        )
    table = np.zeros(len(combinations), label_dtype(list(of_value)))
    table[used] = [value_of.get(combinations[number], 0) for number in used]
    return table[numbers]


def labels_from_values(values: Sequence[int]) -> dict[str, int]:
    """Name values that nobody named: 0 is the background, n becomes "label_n".

    >>> labels_from_values([2, 5])
    {'background': 0, 'label_2': 2, 'label_5': 5}
    """
    return {BACKGROUND: 0} | {f"label_{value}": value for value in sorted(set(values) - {0})}


def class_values(labels: Mapping[str, int]) -> tuple[int, ...]:
    """Return the label value of each class index: all values, ascending, so that class 0 is the background.

    >>> class_values({"tumour": 4, "background": 0, "oedema": 2})
    (0, 2, 4)
    """
    return tuple(sorted(labels.values()))


def _listed(values: Sequence[float]) -> str:
    shown = ", ".join(f"{value:.6g}" for value in values[:MOST_LISTED])
    return shown if len(values) <= MOST_LISTED else f"{shown} and {len(values) - MOST_LISTED} more"
