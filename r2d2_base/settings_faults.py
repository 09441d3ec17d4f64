"""What is wrong with settings, as pydantic found it, in a user's words: a sentence a fault, without Python's types."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

__all__ = ["key_of", "settings_faults", "shown"]

Location = tuple[str | int, ...]

_LONGEST_SHOWN = 60
_KEYS_AND_VALUES = "must be keys with values, like {{a: 1}}"
_PHRASES = {
    "bool": "must be true or false",
    "dict": _KEYS_AND_VALUES,
    "enum": "must be {expected}",
    "finite_number": "must be a finite number",
    "float": "must be a number",
    "frozen_set": "must be a list, like [1, 2]",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "int": "must be a whole number",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "list": "must be a list, like [1, 2]",
    "literal": "must be {expected}",
    "mapping": _KEYS_AND_VALUES,
    "missing": "must be given",
    "model": _KEYS_AND_VALUES,
    "model_attributes": _KEYS_AND_VALUES,
    "none_required": "must be null",
    "path": "must be the path of a file or folder",
    "set": "must be a list, like [1, 2]",
    "string": "must be text",
    "string_too_short": "must have at least {min_length} letters",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must have at least {min_length} entries",
    "tuple": "must be a list, like [1, 2]",
}
_OF_A_TYPE = re.compile("_(type|parsing|from_float|parsing_size|error)$")
_BRANCH = re.compile(r"int|float|str|bool|none|[a-z]+(-[a-z]+)*\[.*\]")
"""What pydantic puts into a location to say which of several types it tried."""


def settings_faults(
    error: ValidationError, model: type[BaseModel] | None = None, unsaid: Collection[str] = ()
) -> list[str]:
    """Say every fault that pydantic found in a sentence: where, what is needed, what was received.

    Args:
        error: what pydantic raised.
        model: the settings that were validated; tells what is valid where a key is unknown.
        unsaid: sections whose names are left out, such as one that the user does not write.

    Returns:
        One sentence a fault, without a full stop; alternatives of one value are one fault.

    Example:
        >>> from pydantic import BaseModel, ValidationError
        >>> class Settings(BaseModel, extra="forbid"):
        ...     size: int | tuple[int, int]
        >>> for content in ({"size": "big"}, {"size": [1, "b"]}, {"size": 1, "sice": 2}):
        ...     try:
        ...         Settings.model_validate(content)
        ...     except ValidationError as error:
        ...         print(*settings_faults(error, Settings))
        size: must be a whole number, or a list, like [1, 2]; received 'big'
        size.1: must be a whole number; received 'b'
        sice: unknown key; did you mean size? valid: size
    """
    groups: dict[Location, list[tuple[Location, Mapping[str, Any]]]] = {}
    for number, fault in enumerate(error.errors()):
        location = fault["loc"]
        at = next((at for at, part in enumerate(location) if _is_branch(part)), None)
        key, rest = ((number, *location), ()) if at is None else (location[:at], location[at + 1 :])
        groups.setdefault(key, []).append((rest, fault))
    return [sentence for group in groups.values() for sentence in _sentences(group, model, unsaid)]


def key_of(sentence: str) -> str:
    """Give the key that a sentence of `settings_faults` begins with; empty: it is about no single one.

    >>> key_of("training.epochs: must be a whole number; received 'x'"), key_of("'x' is not key=value: write it so")
    ('training.epochs', '')
    """
    key, separator, _ = sentence.partition(": ")
    return key if separator and " " not in key else ""


def shown(value: Any) -> str:
    """Write a value as YAML has it, at most 60 letters.

    >>> shown({"a": (1, None), "b": True})
    "{'a': [1, null], 'b': true}"
    """
    text = _written(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_written(key)}: {_written(one)}' for key, one in value.items())}}}"
    if isinstance(value, list | tuple | set | frozenset):
        return f"[{', '.join(map(_written, value))}]"
    return repr(value) if isinstance(value, str | int | float) else f"'{value}'"


def _is_branch(part: str | int) -> bool:
    return isinstance(part, str) and _BRANCH.fullmatch(part) is not None


def _sentences(
    group: Sequence[tuple[Location, Mapping[str, Any]]], model: type[BaseModel] | None, unsaid: Collection[str]
) -> Iterator[str]:
    """Of the types that were tried for one value, those that fitted furthest tell what is wrong."""
    depth = max(len(rest) for rest, _ in group)
    faults = [fault for rest, fault in group if len(rest) == depth]
    if depth or len(faults) == 1:
        yield from (_sentence(fault, model, unsaid) for fault in faults)
        return
    phrases = dict.fromkeys(_phrase(fault).removeprefix("must be ") for fault in faults)
    names, _ = _walked(faults[0]["loc"], model)
    yield f"{_joined(names, unsaid)}must be {', or '.join(phrases)}; received {shown(faults[0]['input'])}"


def _sentence(fault: Mapping[str, Any], model: type[BaseModel] | None, unsaid: Collection[str]) -> str:
    kind, (names, models) = fault["type"], _walked(fault["loc"], model)
    received = f"; received {shown(fault['input'])}"
    if kind == "extra_forbidden":
        if len(names) > 1 and names[-2] in unsaid:  # written among those of the section around it
            models = [*models, *_walked(fault["loc"][:-2], model)[1]]
        valid = sorted({name for one in models for name in one.model_fields}.difference(unsaid))
        near = difflib.get_close_matches(names[-1], valid, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        return f"{_joined(names, unsaid)}unknown key; {hint}valid: {', '.join(valid)}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        name = fault["ctx"]["discriminator"].strip("'")
        tags = ", ".join(repr(tag) for one in models for tag in _tags(one))
        received = f"received {shown(fault['ctx']['tag'])}" if "tag" in fault["ctx"] else "it is missing"
        return f"{_joined([*names, name], unsaid)}must be one of {tags}; {received}"
    if names and names[-1] == "[key]":
        return f"{_joined(names[:-2], unsaid)}key {names[-2]!r} {_phrase(fault)}"
    if kind == "missing" and names and names[-1].isdecimal():
        return f"{_joined(names[:-1], unsaid)}has too few entries{received}"
    if kind == "missing":
        return f"{_joined(names, unsaid)}{_phrase(fault)}"
    return f"{_joined(names, unsaid)}{_phrase(fault)}{'' if kind == 'value_error' else received}"


def _phrase(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "value_error":  # a validator of ours, whose words are for the user already
        return str(fault["msg"]).removeprefix("Value error, ")
    phrase = _PHRASES.get(_OF_A_TYPE.sub("", fault["type"]))
    if phrase is not None:
        return phrase.format_map(fault.get("ctx", {}))
    message = str(fault["msg"])
    return f"{message[0].lower()}{message[1:]}".replace("input should be", "must be")


def _joined(names: Sequence[str], unsaid: Collection[str]) -> str:
    said = [name for name in names if name not in unsaid]
    return f"{'.'.join(said)}: " if said else ""


def _walked(location: Location, model: type[BaseModel] | None) -> tuple[list[str], list[type[BaseModel]]]:
    """The names of a location that the user wrote, and the settings that the last one is in, or stands for."""
    names: list[str] = []
    models = [] if model is None else [model]
    for part in location:
        if _is_branch(part):
            continue
        chosen = [one for one in models if part in _tags(one)] if len(models) > 1 else []
        if chosen:  # pydantic's note of which settings of several it took
            models = chosen
            continue
        names.append(str(part))
        fields = [one.model_fields[str(part)] for one in models if part in one.model_fields]
        if fields:
            models = list(_models_in(fields[0].annotation))
    return names, models


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _tags(model: type[BaseModel]) -> set[str]:
    """The words by which settings are told from others in the same place, such as the `op` of an operation."""
    annotations = (field.annotation for field in model.model_fields.values())
    return {get_args(one)[0] for one in annotations if get_origin(one) is Literal and len(get_args(one)) == 1}
