"""Presets: settings of published use cases, by name."""

from __future__ import annotations

import difflib
from functools import lru_cache
from importlib.resources import files
from typing import Any

from imgmed.errors import UnknownPresetError

__all__ = ["describe_preset", "preset_names", "read_preset"]

SECTIONS = ("preparation", "augmentation", "network", "training")


def preset_names() -> tuple[str, ...]:
    """Return the names of all presets.

    >>> "pancreas" in preset_names()
    True
    """
    return tuple(_presets())


def read_preset(name: str) -> dict[str, Any]:
    """Return the sections of r2d2.yaml that a preset sets, as plain data of one's own.

    Args:
        name: one of `preset_names`.

    Raises:
        UnknownPresetError: no such preset; lists the known ones.

    >>> read_preset("kits23")["preparation"]["operations"]
    [{'op': 'clip', 'bounds': [[0, 200]]}]
    """
    preset = _preset(name)
    return {section: preset[section] for section in SECTIONS if section in preset}


def describe_preset(name: str) -> str:
    """Return what a preset is for and where its numbers come from, in one line; raises as `read_preset`."""
    preset = _preset(name)
    return f"{preset['description']} ({preset['source']})"


def _preset(name: str) -> dict[str, Any]:
    presets = _presets()
    if name not in presets:
        near = difflib.get_close_matches(name, presets, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UnknownPresetError(f"the presets are {', '.join(presets)}; received {name!r}{hint}")
    return presets[name]


def _presets() -> dict[str, dict[str, Any]]:
    import yaml

    return yaml.safe_load(_text())


@lru_cache(maxsize=1)
def _text() -> str:
    return files("imgmed").joinpath("presets.yaml").read_text(encoding="utf-8")
