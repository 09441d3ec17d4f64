"""Which labels there are, and label maps as class indices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segeval.errors import ArrayTypeError, LabelRangeError, MetricArgumentError

__all__ = ["LARGEST_LABEL", "check_labels", "class_indices"]

LARGEST_LABEL = 65535
"""Labels are unsigned integers of at most 16 bits."""

_LISTED = 8
"""How many offending labels a message names."""


def check_labels(labels: Mapping[str, int]) -> dict[str, int]:
    """Refuse label sets that cannot be evaluated, and drop the background.

    Args:
        labels: integer of each name. 0 is the background, may be named, and is not scored.

    Returns:
        The labels other than 0, in the order of their integers.

    Raises:
        MetricArgumentError: no label other than 0, two names for one integer, or an integer outside 0 to
            65535.

    Example:
        >>> check_labels({"background": 0, "posterior": 2, "anterior": 1})
        {'anterior': 1, 'posterior': 2}
    """
    faults = [
        f"label {name!r} must be an integer from 0 to {LARGEST_LABEL}; received {value!r}"
        for name, value in labels.items()
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value <= LARGEST_LABEL
    ]
    if faults:
        raise MetricArgumentError("; ".join(faults))
    if len(set(labels.values())) < len(labels):
        raise MetricArgumentError(f"labels must have an integer each of their own; received {dict(labels)}")
    foreground = {
        str(name): int(value) for name, value in sorted(labels.items(), key=lambda item: item[1]) if value != 0
    }
    if not foreground:
        raise MetricArgumentError(
            f"labels must name at least one label other than the background 0; received {dict(labels)}"
        )
    return foreground


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
