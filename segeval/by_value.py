"""Equality by value for results that hold arrays and NaN, which Python's own equality refuses or calls different."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

__all__ = ["ByValue"]


class ByValue:
    """Base of dataclasses (declared with `eq=False`) that are equal where all their fields are.

    Arrays are equal where type, shape and all elements are; NaN equals NaN; mappings must have the same order too.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True, eq=False)
        ... class Scores(ByValue):
        ...     dice: np.ndarray
        >>> one, same, other = (Scores(np.array([0.5, value])) for value in (np.nan, np.nan, 1))
        >>> one == same, one == other
        (True, False)
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]  # as of lists and arrays

    def __eq__(self, other: object) -> bool:
        """Whether all fields are equal."""
        return _is_same(self, other)


def _is_same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if is_dataclass(one):
        return all(_is_same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(_is_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return bool(one == other or (one != one and other != other))
