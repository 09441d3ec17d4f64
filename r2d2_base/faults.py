"""Faults of settings in plain words: what pydantic finds, without Python's names of types."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["place_of", "plain_faults", "shown"]

OF_PYTHON = re.compile(
    r"(dict|tuple|list|set|frozenset|literal|union|nullable|function-\w+|constrained-\w+)(\[.*\])?|\[key\]"
)
LIMITS = ("gt", "ge", "lt", "le", "min_length", "max_length")
ALTERNATIVES = ("str", "int", "float", "bool", "none")
LONGEST = 60  # letters of a value that a sentence repeats
LIST = "a list, like [1, 2]"
KEYS = "keys with values, like {liver: 1}"
RULES = {
    "tuple_type": LIST, "list_type": LIST, "set_type": LIST, "iterable_type": LIST,
    "dict_type": KEYS, "mapping_type": KEYS, "model_type": KEYS, "model_attributes_type": KEYS,
    "int_type": "a whole number", "int_parsing": "a whole number", "int_from_float": "a whole number",
    "float_type": "a number", "float_parsing": "a number", "finite_number": "a finite number",
    "bool_type": "true or false", "bool_parsing": "true or false",
    "string_type": "a word", "path_type": "a path", "none_required": "null",
    "greater_than": "greater than", "greater_than_equal": "at least", "less_than": "less than",
    "less_than_equal": "at most", "too_short": "a list of at least", "too_long": "a list of at most",
}  # fmt: skip


def plain_faults(faults: Sequence[Mapping[str, Any]]) -> list[tuple[tuple[str, ...], str]]:
    """Say what pydantic's `errors()` hold in a user's words.

    Args:
        faults: dictionaries with type, loc, msg, input and perhaps ctx.

    Returns:
        The place of each fault, and a sentence without it: what is due, and what was received. Where a value may be of
        several kinds, and is none of them, there is one sentence.

    Example:
        >>> plain_faults([
        ...     {"type": "dict_type", "loc": ("remap", "dict[int,int]"), "msg": "", "input": 3},
        ...     {"type": "literal_error", "loc": ("remap", "literal['all']"), "msg": "", "input": 3,
        ...      "ctx": {"expected": "'all'"}},
        ... ])
        [(('remap',), 'must be keys with values, like {liver: 1}, or all; received 3')]
    """
    rules: dict[tuple[str, ...], list[tuple[str, Any]]] = {}
    said = []
    for fault in faults:
        place = place_of(fault["loc"])
        if fault["type"] == "missing" and place and place[-1].isdecimal():
            place = place[:-1]  # of a list, which is shorter than it should be
        if place not in rules:
            said.append(place)
        found = rules.setdefault(place, [])
        if not any(rule == _rule(fault) for rule, _ in found):
            found.append((_rule(fault), fault))
    return [(place, _sentence(place, rules)) for place in said if not _is_told_within(place, rules)]


def place_of(location: Sequence[Any]) -> tuple[str, ...]:
    """Return where a fault lies, without what pydantic adds about types."""
    parts = [str(part) for part in location]
    kept = [part for part in parts if not OF_PYTHON.fullmatch(part)]
    if len(kept) > 1 and kept[-1] in ALTERNATIVES:
        kept.pop()
    return tuple(kept)


def shown(value: Any) -> str:
    """Return a value as it would be typed, cut off where it is long.

    >>> shown(None), shown("a"), shown([1, True])
    ('null', "'a'", '[1, true]')
    """
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _is_told_within(place: tuple[str, ...], rules: Mapping[tuple[str, ...], Sequence[tuple[str, Any]]]) -> bool:
    """Whether parts of a value are faulty: then these are told, not that the whole is of no other kind."""
    is_whole = isinstance(rules[place][0][1]["input"], Mapping | list | tuple)
    return is_whole and any(len(other) > len(place) and other[: len(place)] == place for other in rules)


def _rule(fault: Mapping[str, Any]) -> str:
    context = fault.get("ctx") or {}
    if fault["type"] == "literal_error":
        return str(context["expected"]).replace("'", "")
    limit = next((context[name] for name in LIMITS if name in context), None)
    if fault["type"] in RULES:
        return RULES[fault["type"]] + ("" if limit is None else f" {limit:g}")
    if fault["type"] == "missing":
        return "a longer list" if str(fault["loc"][-1]).isdecimal() else "given"
    message = str(fault["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    return message[:1].lower() + message[1:]


def _sentence(place: tuple[str, ...], rules: Mapping[tuple[str, ...], Sequence[tuple[str, Any]]]) -> str:
    found = rules[place]
    fault = found[0][1]
    if fault["type"] == "value_error":  # a rule of ours, which says all
        return found[0][0]
    due = ", or ".join(rule for rule, _ in found)
    if fault["type"] == "missing" and due == "given":
        return "must be given"
    return f"must be {due}; received {shown(fault['input'])}"
