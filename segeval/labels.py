"""Which labels there are, and label maps as class indices."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.errors import ArrayTypeError, LabelRangeError, MetricArgumentError

__all__ = [
    "LARGEST_LABEL",
    "Label",
    "check_class_values",
    "check_integers",
    "check_labels",
    "class_indices",
    "class_table",
    "class_values_of",
    "classes_of",
    "label_integers",
    "label_key",
    "undeclared_error",
]

Label = int | tuple[int, ...]
"""What is scored: one integer, or a region, the union of several."""

LARGEST_LABEL = 65535
"""Labels are unsigned integers of at most 16 bits."""

_CHUNK_VOXELS = 1 << 17
"""Voxels looked up at a time, so that no 64-bit index of a whole volume is made."""

_LISTED = 8
"""How many offending labels a message names."""


def check_labels(labels: Mapping[str, int | Collection[int]], ignore_label: int | None = None) -> dict[str, Label]:
    """Refuse label sets that cannot be evaluated, and drop the background.

    Args:
        labels: integer of each name, or several integers: a region, their union. 0 is the background, may be named,
            and is not scored. Regions may overlap.
        ignore_label: integer whose voxels in the reference are not judged; it belongs to no label.

    Returns:
        What is scored: integers in ascending order; where there are regions, in the order given, each region a sorted
        tuple.

    Raises:
        MetricArgumentError: no mapping, nothing other than 0, two names for one label or region, an integer outside 0
            to 65535, an ignored label that is no integer, or that is among the labels.

    Example:
        >>> check_labels({"background": 0, "posterior": 2, "anterior": 1})
        {'anterior': 1, 'posterior': 2}
        >>> check_labels({"whole": (2, 1), "core": 2})
        {'whole': (1, 2), 'core': 2}
    """
    if not isinstance(labels, Mapping):
        raise MetricArgumentError(f'labels must be a mapping such as {{"liver": 1}}; received {labels!r}')
    faults: list[str] = []
    if ignore_label is not None and not _is_integer(ignore_label):
        faults.append(f"ignore_label must be an integer, or None; received {ignore_label!r}")
    scored: dict[str, Label] = {}
    for name, given in labels.items():
        values = tuple(given) if isinstance(given, Collection) and not isinstance(given, str) else (given,)
        wrong = [value for value in values if not _is_label(value) or (value == 0 and len(values) > 1)]
        if wrong or not values:
            faults.append(
                f"label {name!r} must be an integer from 0 to {LARGEST_LABEL}, or several from 1 on; received {given!r}"
            )
            continue
        region = tuple(sorted({int(value) for value in values}))
        if ignore_label is not None and ignore_label in region:
            faults.append(f"label {name!r} must not contain ignore_label {ignore_label}; received {given!r}")
        if region != (0,):
            scored[str(name)] = region if len(region) > 1 else region[0]
    if faults:
        raise MetricArgumentError("; ".join(faults))
    if len(set(scored.values())) < len(scored):
        raise MetricArgumentError(f"labels must have an integer each of their own; received {dict(labels)}")
    if not scored:
        raise MetricArgumentError(
            f"labels must name at least one label other than the background 0; received {dict(labels)}"
        )
    if any(isinstance(label, tuple) for label in scored.values()):
        return scored
    return dict(sorted(scored.items(), key=lambda item: item[1]))


def label_integers(label: Label) -> tuple[int, ...]:
    """Give the integers of a label or region.

    Example:
        >>> label_integers(3), label_integers((1, 2))
        ((3,), (1, 2))
    """
    return label if isinstance(label, tuple) else (label,)


def class_values_of(labels: Mapping[str, Label]) -> tuple[int, ...]:
    """Collect the integers that the labels and regions are made of.

    Args:
        labels: from `check_labels`.

    Returns:
        The integers in ascending order, 0 first: the classes of a confusion matrix.

    Example:
        >>> class_values_of({"whole": (1, 2), "core": 2})
        (0, 1, 2)
    """
    return tuple(sorted({0, *(value for label in labels.values() for value in label_integers(label))}))


def label_key(label: Label) -> str:
    """Write a label as nnU-Net's summary.json does.

    Example:
        >>> label_key(1), label_key((1, 2))
        ('1', '(1, 2)')
    """
    return str(label)


def _is_label(value: object) -> bool:
    return _is_integer(value) and 0 <= int(value) <= LARGEST_LABEL


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def class_indices(label_map: ArrayLike, class_values: tuple[int, ...], name: str) -> NDArray[np.integer]:
    """Replace each label by its position among the declared ones.

    Args:
        label_map: integers or booleans of any shape.
        class_values: the declared labels in ascending order, 0 first.
        name: what to call the array in a message.

    Returns:
        uint8 or uint16 of the same shape, values in [0, len(class_values)); the array itself where nothing
        changes.

    Raises:
        ArrayTypeError: neither integer nor boolean.
        LabelRangeError: a label is not among the declared ones; all of those are listed.

    Example:
        >>> class_indices([[0, 5], [2, 5]], (0, 2, 5), "prediction").tolist()
        [[0, 2], [1, 2]]
    """
    array = np.asarray(label_map)
    check_integers(array, name)
    dtype = np.uint8 if len(class_values) <= 256 else np.uint16
    if not array.size:
        return array.astype(dtype)
    if array.dtype.kind == "u" and class_values == tuple(range(len(class_values))) and array.max() < len(class_values):
        return array
    table, undeclared = class_table(class_values), set[int]()
    chunks = np.nditer(
        [array, np.empty_like(array, dtype=dtype)],
        flags=["external_loop", "buffered"],
        op_flags=[["readonly", "aligned", "nbo"], ["writeonly"]],
        buffersize=_CHUNK_VOXELS,
    )
    with chunks:
        for labels, classes in chunks:
            found = classes_of(labels, table)
            undeclared.update(labels[found < 0].tolist())
            classes[...] = found
        if undeclared:
            raise undeclared_error(name, undeclared, class_values)
        return chunks.operands[1]


def class_table(class_values: Sequence[int]) -> NDArray[np.int32]:
    """Tabulate the position of each label among the declared ones.

    Args:
        class_values: the declared labels, ascending, at least 0.

    Returns:
        int32 (largest label + 1,): the position of each, -1 for a label that is not declared.

    Raises:
        MetricArgumentError: class_values is empty, not ascending or negative.

    Example:
        >>> class_table((0, 2, 5)).tolist()
        [0, -1, 1, -1, -1, 2]
    """
    values = check_class_values(class_values)
    table = np.full(values[-1] + 1, -1, dtype=np.int32)
    table[values] = np.arange(values.size)
    return table


def check_class_values(class_values: Sequence[int]) -> NDArray[np.int64]:
    """Refuse labels that cannot be the classes of a confusion matrix.

    Args:
        class_values: the declared labels.

    Returns:
        The same as int64.

    Raises:
        MetricArgumentError: class_values is empty, not ascending or negative.

    Example:
        >>> check_class_values((0, 2, 5))
        array([0, 2, 5])
    """
    values = np.asarray(class_values, dtype=np.int64)
    if values.size == 0 or values[0] < 0 or (np.diff(values) <= 0).any():
        raise MetricArgumentError(f"class values must be ascending integers from 0 on; received {class_values}")
    return values


def classes_of(labels: NDArray[Any], table: NDArray[np.int32]) -> NDArray[np.int32]:
    """Look the class of each label up in a table.

    Args:
        labels: integers or booleans of any shape.
        table: from `class_table`.

    Returns:
        int32 of the same shape, -1 where the label is not declared.

    Example:
        >>> classes_of(np.array([5, 1, 2, 9, -1]), class_table((0, 2, 5))).tolist()
        [2, -1, 1, -1, -1]
    """
    if labels.size == 0 or (labels.min() >= 0 and labels.max() < table.size):
        return table[labels.astype(np.intp)]
    inside = (labels >= 0) & (labels < table.size)
    return np.where(inside, table[np.where(inside, labels, 0).astype(np.intp)], np.int32(-1))


def check_integers(array: NDArray[np.generic], name: str) -> None:
    """Refuse an array that cannot hold labels.

    Args:
        array: any array; one without voxels may have any type.
        name: what to call it in a message.

    Raises:
        ArrayTypeError: neither integer nor boolean.

    Example:
        >>> check_integers(np.zeros(3, np.uint8), "reference")
    """
    if array.size and array.dtype.kind not in "iub":
        raise ArrayTypeError(
            f"{name} must hold integer labels or booleans; received dtype {array.dtype}"
            + ("; take the argmax of probabilities first" if array.dtype.kind == "f" else "")
        )


def undeclared_error(name: str, undeclared: Collection[int], class_values: Sequence[int]) -> LabelRangeError:
    """Make the error that names the labels found but not declared.

    Args:
        name: what to call the array.
        undeclared: the labels that it holds and should not.
        class_values: the declared labels.

    Returns:
        The error, to be raised.

    Example:
        >>> print(undeclared_error("prediction", {7, 3}, (0, 1)))
        prediction holds labels 3, 7, not among the declared labels 0, 1
    """
    return LabelRangeError(
        f"{name} holds {_listed(sorted(undeclared), 'label')}, not among the declared {_listed(class_values, 'label')}"
    )


def _listed(values: Iterable[int], noun: str) -> str:
    shown = list(values)
    text = ", ".join(str(value) for value in shown[:_LISTED])
    if len(shown) > _LISTED:
        text += f" and {len(shown) - _LISTED} more"
    return f"{noun}{'s' if len(shown) != 1 else ''} {text}"
