"""In which settings configurations differ, by their dotted keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from r2d2.config import Configuration

__all__ = ["ABSENT", "Difference", "differences"]

ABSENT: Literal["absent"] = "absent"
"""Stands where a configuration has no such setting: networks have settings of their own."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that is not the same everywhere.

    Attributes:
        key: dotted, such as training.epochs.
        values: of each configuration, as JSON has them; `ABSENT` where it has none.
        description: what the setting is.
    """

    key: str
    values: tuple[Any, ...]
    description: str


def differences(configurations: Sequence[Configuration], *, besides: Sequence[str] = ()) -> list[Difference]:
    """Give the settings in which configurations differ, in the order of the configuration file.

    Args:
        configurations: two or more.
        besides: keys, and beginnings of keys, that are left out.

    >>> from r2d2.config import configure
    >>> first, second = configure({}), configure({}, assignments=["training.epochs=3"])
    >>> [(one.key, one.values[1]) for one in differences([first, second])]
    [('training.epochs', 3)]
    """
    flat = [{key: (value, about) for key, value, about in _settings(one)} for one in configurations]
    found = []
    for key in _in_order([list(one) for one in flat]):
        values = tuple(one[key][0] if key in one else ABSENT for one in flat)
        if any(value != values[0] for value in values) and not key.startswith(tuple(besides)):
            found.append(Difference(key, values, next(one[key][1] for one in flat if key in one)))
    return found


def _settings(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    plain = model.model_dump(mode="json")
    for name, field in type(model).model_fields.items():
        value, key = getattr(model, name), f"{prefix}{name}"
        if isinstance(value, BaseModel):
            yield from _settings(value, f"{key}.")
        else:
            yield key, plain[name], field.description or ""


def _in_order(keys: Sequence[Sequence[str]]) -> list[str]:
    """Bring several lists of keys together: one that a list alone has comes behind what stands before it there."""
    ordered: list[str] = []
    for some in keys:
        at = 0
        for key in some:
            if key in ordered:
                at = ordered.index(key) + 1
            else:
                ordered.insert(at, key)
                at += 1
    return ordered
