"""Which labels there are: integers with names, regions made of several, and the classes into which these divide."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TypeGuard

import numpy as np

from segeval.errors import MetricArgumentError

__all__ = [
    "LARGEST_LABEL",
    "Label",
    "check_labels",
    "label_classes",
    "label_from_json",
    "label_in_json",
    "label_integers",
    "label_key",
    "label_text",
    "listed_labels",
    "parse_label",
]

Label = int | tuple[int, ...]
"""What is scored: one integer, or a region, the union of several."""

LARGEST_LABEL = 65535
"""Labels are unsigned integers of at most 16 bits."""

_LISTED = 8
"""How many labels a message names."""

_SPELT_OUT = 20
"""Regions of more integers than this are written by their runs."""


def check_labels(
    labels: Mapping[str, int | str | Collection[int]], ignore_label: int | None = None
) -> dict[str, Label]:
    """Refuse label sets that cannot be evaluated, and drop the background.

    Args:
        labels: integer of each name, or several integers, or text as for `parse_label`: a region, their union. 0 is
            the background, may be named, and is not scored. Regions may overlap.
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
        >>> check_labels({"whole": (2, 1), "core": 2, "cell": "4-6"})
        {'whole': (1, 2), 'core': 2, 'cell': (4, 5, 6)}
    """
    if not isinstance(labels, Mapping):
        raise MetricArgumentError(f'labels must be a mapping such as {{"liver": 1}}; received {labels!r}')
    faults: list[str] = []
    if ignore_label is not None and not _is_integer(ignore_label):
        faults.append(f"ignore_label must be an integer, or None; received {ignore_label!r}")
    scored: dict[str, Label] = {}
    for name, given in labels.items():
        region = _region(given)
        if region is None:
            faults.append(
                f"label {name!r} must be an integer from 0 to {LARGEST_LABEL}, or several from 1 on; received {given!r}"
            )
            continue
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


def _region(given: object) -> tuple[int, ...] | None:
    """Give the integers of a label in ascending order; None where it is none."""
    if isinstance(given, str):
        try:
            return label_integers(parse_label(given))
        except MetricArgumentError:
            return None
    values = tuple(given) if isinstance(given, Collection) else (given,)
    if not values or any(not _is_label(value) or (value == 0 and len(values) > 1) for value in values):
        return None
    return tuple(sorted({int(value) for value in values}))


def parse_label(text: str) -> Label:
    """Read a label or region from text: integers, or runs of them, between commas.

    Args:
        text: such as "1", "1,2" or "1-250,300".

    Returns:
        The integer, or a sorted tuple of several.

    Raises:
        MetricArgumentError: something other than integers from 0 to 65535 and runs upwards, or 0 among several.

    Example:
        >>> parse_label("3"), parse_label("7, 1-4")
        (3, (1, 2, 3, 4, 7))
    """
    values: set[int] = set()
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        ends = (first, last if dash else first)
        if not all(map(_is_number, ends)) or int(ends[0]) > int(ends[1]):
            raise MetricArgumentError(
                f"a label must be integers from 0 to {LARGEST_LABEL} like 1, or 1,2, or 1-250; received {text!r}"
            )
        values.update(range(int(ends[0]), int(ends[1]) + 1))
    if 0 in values and len(values) > 1:
        raise MetricArgumentError(f"0 is the background and part of no region; received {text!r}")
    return tuple(sorted(values)) if len(values) > 1 else values.pop()


def label_text(label: Label) -> str:
    """Write a label or region as `parse_label` reads it.

    Example:
        >>> label_text(3), label_text((1, 2, 3, 7))
        ('3', '1-3,7')
    """
    integers = label_integers(label)
    starts = [integers[0], *(after for before, after in pairwise(integers) if after != before + 1)]
    ends = [*(before for before, after in pairwise(integers) if after != before + 1), integers[-1]]
    return ",".join(str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True))


def label_key(label: Label) -> str:
    """Write a label as nnU-Net's summary.json does; a region of very many integers, which nnU-Net has not, by its runs.

    Example:
        >>> label_key(1), label_key((1, 2)), label_key(tuple(range(1, 251)))
        ('1', '(1, 2)', '(1-250)')
    """
    return f"({label_text(label)})" if len(label_integers(label)) > _SPELT_OUT else str(label)


def label_in_json(label: Label) -> int | str | list[int]:
    """Give a label or region as it stands in JSON: an integer, a list, or, of very many integers, their runs.

    Example:
        >>> label_in_json(1), label_in_json((1, 2)), label_in_json(tuple(range(1, 251)))
        (1, [1, 2], '1-250')
    """
    if isinstance(label, int):
        return label
    return list(label) if len(label) <= _SPELT_OUT else label_text(label)


def label_from_json(entry: int | str | Sequence[int]) -> Label:
    """Read what `label_in_json` gave.

    Example:
        >>> label_from_json(1), label_from_json([1, 2]), label_from_json("1-3")
        (1, (1, 2), (1, 2, 3))
    """
    if isinstance(entry, str):
        return parse_label(entry)
    return int(entry) if isinstance(entry, int) else tuple(int(value) for value in entry)


def label_integers(label: Label) -> tuple[int, ...]:
    """Give the integers of a label or region.

    Example:
        >>> label_integers(3), label_integers((1, 2))
        ((3,), (1, 2))
    """
    return label if isinstance(label, tuple) else (label,)


def label_classes(labels: Mapping[str, Label]) -> tuple[Label, ...]:
    """Divide integers into the classes of a confusion matrix: those that belong to the same structures are one.

    A structure declared as 1 or 255 is one class, whichever of the two a voxel has.

    Args:
        labels: from `check_labels`.

    Returns:
        The classes in the order of their smallest integers, the background 0 first.

    Example:
        >>> label_classes({"whole": (1, 2, 3), "core": 3})
        (0, (1, 2), 3)
    """
    structures: dict[int, list[str]] = {}
    for name, label in labels.items():
        for value in label_integers(label):
            structures.setdefault(value, []).append(name)
    members: dict[tuple[str, ...], list[int]] = {}
    for value in sorted(structures):
        members.setdefault(tuple(structures[value]), []).append(value)
    return (0, *(tuple(values) if len(values) > 1 else values[0] for values in members.values()))


def listed_labels(values: Iterable[int] | Sequence[Label], noun: str) -> str:
    """Name labels in a message, the first eight of many.

    Example:
        >>> listed_labels([3, 7], "label"), listed_labels((0, (1, 2)), "label")
        ('labels 3, 7', 'labels 0, 1, 2')
    """
    shown = [integer for value in values for integer in label_integers(value)]
    text = ", ".join(str(value) for value in shown[:_LISTED])
    if len(shown) > _LISTED:
        text += f" and {len(shown) - _LISTED} more"
    return f"{noun}{'s' if len(shown) != 1 else ''} {text}"


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= len(str(LARGEST_LABEL)) and int(text) <= LARGEST_LABEL


def _is_label(value: object) -> bool:
    return _is_integer(value) and 0 <= int(value) <= LARGEST_LABEL


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
