"""Label maps: whole numbers, named, and numbered as classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from imgmed.errors import LabelError

__all__ = [
    "BACKGROUND",
    "check_declared",
    "class_indices",
    "class_values",
    "count_labels",
    "label_dtype",
    "labels_from_values",
    "parse_labels",
    "to_label_map",
    "values_of_classes",
]

BACKGROUND = "background"
INTEGER_TOLERANCE = 1e-4
LARGEST_LABEL = 65535
MOST_LISTED = 12


def to_label_map(array: np.ndarray, origin: str) -> np.ndarray:
    """Return an array of labels as uint8, or uint16 where a value exceeds 255.

    Args:
        array: (i, j, k) of any real type; values may miss whole numbers by 1e-4.
        origin: the file, for messages.

    Raises:
        LabelError: values that are not whole, negative, above 65535, NaN or infinite, or more than 3 axes.

    >>> to_label_map(np.array([[[0.0, 2.00001]]]), "a.nii").tolist()
    [[[0, 2]]]
    """
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise LabelError(f"{origin}: a label map has 3 axes; received shape {array.shape}")
    if array.dtype.kind == "f":
        array = _rounded(array, origin)
    low, high = array.min(), array.max()
    if low < 0 or high > LARGEST_LABEL:
        raise LabelError(f"{origin}: labels must lie within 0 to {LARGEST_LABEL}; found {low:g} to {high:g}")
    return array.astype(label_dtype([int(high)]), copy=False)


def _rounded(array: np.ndarray, origin: str) -> np.ndarray:
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise LabelError(f"{origin}: {bad} NaN or infinite voxels in a label map; every voxel needs a whole number")
    whole = np.rint(array)
    off = np.abs(array - whole) > INTEGER_TOLERANCE
    if off.any():
        raise LabelError(
            f"{origin}: labels must be whole numbers; {int(off.sum())} voxels are not, such as"
            f" {_listed(np.unique(array[off]).tolist())}; was this label map resampled with interpolation?"
        )
    return whole


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
    for part in label_map if label_map.ndim > 1 else (label_map,):
        counts += np.bincount(part.ravel(order="K"), minlength=len(counts))
    return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}


def check_declared(found: Sequence[int], labels: Mapping[str, int], origin: str) -> None:
    """Raise LabelError if a value in `found` is not one of the declared `labels`."""
    unknown = sorted(set(found) - set(labels.values()))
    if unknown:
        declared = ", ".join(f"{value} {name}" for name, value in sorted(labels.items(), key=lambda item: item[1]))
        raise LabelError(
            f"{origin}: label values {_listed(unknown)} are not declared; found {_listed(sorted(found))},"
            f" declared {declared}; declare them or correct the label map"
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
            f"{origin}: a label is a name with one whole number; received {key!r}: {entry!r} (regions of"
            " several values are not supported)"
        )
    if not 0 <= value <= LARGEST_LABEL:
        raise LabelError(f"{origin}: label {name!r} must lie within 0 to {LARGEST_LABEL}; received {value}")
    return name, value


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


def class_indices(label_map: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Number the labels as classes: the value `values[n]` becomes n.

    Args:
        label_map: unsigned integers, any shape, holding only `values`.
        values: ascending label values.

    Returns:
        int32 of the same shape, 0 to len(values) - 1.

    Raises:
        LabelError: the map holds another value.

    >>> class_indices(np.array([0, 4, 2], np.uint8), (0, 2, 4)).tolist()
    [0, 2, 1]
    """
    table = np.full(max(values) + 1, -1, np.int32)
    table[list(values)] = np.arange(len(values))
    if label_map.size and (label_map.max() >= len(table) or label_map.min() < 0):
        raise LabelError(f"label values must be among {_listed(values)}; found {label_map.max()}")
    classes = table[label_map]
    if classes.size and classes.min() < 0:
        found = np.unique(label_map[classes < 0]).tolist()
        raise LabelError(f"label values must be among {_listed(values)}; found {_listed(found)}")
    return classes


def values_of_classes(classes: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """Undo `class_indices`: class n becomes `values[n]`, as uint8 or uint16.

    >>> values_of_classes(np.array([0, 2, 1]), (0, 2, 4)).tolist()
    [0, 4, 2]
    """
    return np.array(values, label_dtype(values))[classes]


def _listed(values: Sequence[float]) -> str:
    shown = ", ".join(f"{value:.6g}" for value in values[:MOST_LISTED])
    return shown if len(values) <= MOST_LISTED else f"{shown} and {len(values) - MOST_LISTED} more"
