"""Every setting as a form needs to know it, read from the models that the configuration is made of."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from dist_training.architectures import NetworkSettings
from r2d2.config import Configuration

__all__ = [
    "Kind",
    "SettingField",
    "architectures",
    "fields_of",
    "flat",
    "is_section",
    "setting_fields",
    "typed_text",
    "value_text",
]

Kind = Literal["choice", "flag", "whole", "number", "text", "yaml"]


_BOUNDS = ("ge", "gt", "le", "lt")


@dataclass(frozen=True)
class SettingField:
    """A setting.

    Attributes:
        key: dotted, such as "training.epochs".
        kind: "choice" is one of `choices`, "flag" true or false, "whole" and "number" are numbers, "text" is text; what
            "yaml" is, only YAML can say, such as a list.
        meaning: its description.
        default: as JSON has it; None also stands for null.
        is_required: whether it has no default.
        may_be_null: whether it may be left empty, which is null.
        choices: of a "choice"; of a "text" those that R2D2 knows, besides which there are others.
        low, high: bounds of a number; None: none.
        is_low_open, is_high_open: whether the bound itself is outside.
    """

    key: str
    kind: Kind
    meaning: str
    default: Any = dataclasses.field(default=None, hash=False)  # lists and dictionaries have none
    is_required: bool = False
    may_be_null: bool = False
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    is_low_open: bool = False
    is_high_open: bool = False

    @property
    def section(self) -> str:
        """The section that it stands in; empty: in none."""
        return self.key.rpartition(".")[0]

    @property
    def name(self) -> str:
        """What it is called there, in words."""
        return self.key.rpartition(".")[2].replace("_", " ")

    @property
    def bounds(self) -> str:
        """What a number may be, in words.

        >>> SettingField("a", "number", "", low=0, high=1, is_high_open=True).bounds
        'at least 0, less than 1'
        """
        words = []
        if self.low is not None:
            words.append(f"{'more than' if self.is_low_open else 'at least'} {self.low:g}")
        if self.high is not None:
            words.append(f"{'less than' if self.is_high_open else 'at most'} {self.high:g}")
        return ", ".join(words)


@cache
def architectures() -> dict[str, type[BaseModel]]:
    """Give the settings of each network, by its name.

    >>> list(architectures())[:2]
    ['unet', 'fcn']
    """
    models: tuple[type[BaseModel], ...] = get_args(get_args(NetworkSettings)[0])
    return {model.model_fields["architecture"].default: model for model in models}


@cache
def setting_fields(architecture: str) -> tuple[SettingField, ...]:
    """Give all settings of a configuration with a network, in the order of the models.

    Args:
        architecture: of the network.

    >>> {field.key: field.bounds for field in setting_fields("unet")}["network.depth"]
    'at least 1, at most 7'
    """
    top = Configuration.model_fields
    found = [field for field in fields_of(Configuration, "") if not is_section(top[field.key])]
    for name, field in Configuration.model_fields.items():
        if name == "network":
            choice = SettingField(
                "network.architecture", "choice", "kind of network", "unet", choices=tuple(architectures())
            )
            found += [choice, *fields_of(architectures()[architecture], "network.")]
        elif is_section(field):
            found += fields_of(type(field.get_default(call_default_factory=True)), f"{name}.")
    return tuple(found)


def fields_of(model: type[BaseModel], prefix: str) -> Iterator[SettingField]:
    """Yield the settings of a model that say what they are.

    Args:
        model: of settings.
        prefix: of the keys.
    """
    for name, field in model.model_fields.items():
        if field.description is not None:
            yield _field_of(f"{prefix}{name}", field)


def is_section(field: FieldInfo) -> bool:
    """Whether a field of the configuration holds settings of its own."""
    return field.default_factory is not None


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give nested settings by dotted key; what a setting itself holds stays whole.

    >>> flat({"training": {"epochs": 3, "loss_options": {"a": 1}}, "fold": None})
    {'training.epochs': 3, 'training.loss_options': {'a': 1}, 'fold': None}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            found[name] = value
    return found


def value_text(value: Any) -> str:
    """Write a value as it is typed behind ``key=``.

    >>> value_text(0.001), value_text(None), value_text((1, 2)), value_text("adam"), value_text(True)
    ('0.001', 'null', '[1, 2]', 'adam', 'true')
    """
    plain = TypeAdapter(Any).dump_python(value, mode="json")
    text = yaml.safe_dump(plain, default_flow_style=True, width=1_000_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def typed_text(setting: SettingField, text: str) -> str:
    """Write what was typed into a field as it stands behind ``key=``: nothing is null, and text stays text.

    >>> name = SettingField("dataset", "text", "")
    >>> typed_text(name, ""), typed_text(name, "liver"), typed_text(name, "12")
    ('null', 'liver', "'12'")
    """
    if not text:
        return "null"
    if setting.kind != "text":
        return text
    try:
        is_text = isinstance(yaml.safe_load(text), str)
    except yaml.YAMLError:
        is_text = False
    return text if is_text else value_text(text)


def _field_of(key: str, field: FieldInfo) -> SettingField:
    annotation, metadata, is_nullable = _bare(field.annotation, list(field.metadata))
    kind, choices = _kind_of(annotation)
    low, high, is_low_open, is_high_open = _bounds(metadata)
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return SettingField(
        key,
        kind,
        " ".join((field.description or "").split()),
        TypeAdapter(Any).dump_python(default, mode="json"),
        field.is_required(),
        is_nullable,
        choices or tuple(map(str, field.examples or ())),
        low,
        high,
        is_low_open,
        is_high_open,
    )


def _bare(annotation: Any, metadata: list[Any]) -> tuple[Any, list[Any], bool]:
    """Take null and what is annotated away from a type."""
    if get_origin(annotation) in (Union, types.UnionType):
        others = [one for one in get_args(annotation) if one is not type(None)]
        if len(others) < len(get_args(annotation)):
            if len(others) == 1:
                bare, more, _ = _bare(others[0], metadata)
                return bare, more, True
            return annotation, metadata, True
    if hasattr(annotation, "__metadata__"):
        return _bare(annotation.__origin__, [*metadata, *annotation.__metadata__])
    return annotation, metadata, False


def _kind_of(annotation: Any) -> tuple[Kind, tuple[str, ...]]:
    if get_origin(annotation) is Literal:
        return "choice", tuple(map(str, get_args(annotation)))
    if annotation is bool:
        return "flag", ("true", "false")
    if annotation is int:
        return "whole", ()
    if annotation is float:
        return "number", ()
    is_text = isinstance(annotation, type) and (annotation is str or annotation.__module__.startswith("pathlib"))
    return ("text" if is_text else "yaml"), ()


def _bounds(metadata: list[Any]) -> tuple[float | None, float | None, bool, bool]:
    """Read the bounds that pydantic holds a number to: each is an object with one of four attributes."""
    told = {
        name: float(found) for one in metadata for name in _BOUNDS if (found := getattr(one, name, None)) is not None
    }
    return told.get("ge", told.get("gt")), told.get("le", told.get("lt")), "gt" in told, "lt" in told
