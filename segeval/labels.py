"""Which labels there are, and label maps as class indices."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.errors import ArrayTypeError, LabelRangeError, MetricArgumentError

__all__ = ["LARGEST_LABEL", "Label", "check_labels", "class_indices", "class_values_of", "label_integers", "label_key"]

Label = int | tuple[int, ...]
"""What is scored: one integer, or a region, the union of several."""

LARGEST_LABEL = 65535
"""Labels are unsigned integers of at most 16 bits."""

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
        MetricArgumentError: nothing other than 0, two names for one label or region, an integer outside 0 to 65535, or
            the ignored label among the labels.

    Example:
        >>> check_labels({"background": 0, "posterior": 2, "anterior": 1})
        {'anterior': 1, 'posterior': 2}
        >>> check_labels({"whole": (2, 1), "core": 2})
        {'whole': (1, 2), 'core': 2}
    """
    faults: list[str] = []
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
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and 0 <= int(value) <= LARGEST_LABEL


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
    if array.size and array.dtype.kind not in "iub":
        raise ArrayTypeError(f"{name} must hold integer labels; received dtype {array.dtype}")
    dtype = np.uint8 if len(class_values) <= 256 else np.uint16
    if not array.size:
        return array.astype(dtype)
    low, high = int(array.min()), int(array.max())
    if low >= 0 and high < len(class_values) and class_values == tuple(range(len(class_values))):
        return array if array.dtype.kind == "u" else array.astype(dtype)
    if low >= 0 and high <= class_values[-1]:
        table = np.full(class_values[-1] + 1, -1, dtype=np.int32)
        table[list(class_values)] = np.arange(len(class_values))
        indices = table[array.astype(np.intp, copy=False)]
        if indices.min() >= 0:
            return indices.astype(dtype)
    unknown = sorted(set(np.unique(array).tolist()) - set(class_values))
    raise LabelRangeError(
        f"{name} holds {_listed(unknown, 'label')}, not among the declared {_listed(class_values, 'label')}"
    )


def _listed(values: Iterable[int], noun: str) -> str:
    shown = list(values)
    text = ", ".join(str(value) for value in shown[:_LISTED])
    if len(shown) > _LISTED:
        text += f" and {len(shown) - _LISTED} more"
    return f"{noun}{'s' if len(shown) != 1 else ''} {text}"
