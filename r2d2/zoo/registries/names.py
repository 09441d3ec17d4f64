"""Names of models in the zoo: hippocampus-unet:1, on command lines zoo:hippocampus-unet:1."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from r2d2.errors import ZooError

__all__ = ["PREFIX", "ZooName", "check_name", "is_name", "is_version", "is_zoo_name", "parse_name"]

PREFIX = "zoo:"
LONGEST = 64
MOST_DIGITS = 9

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_VERSION = re.compile(rf"[1-9][0-9]{{0,{MOST_DIGITS - 1}}}")


@dataclass(frozen=True, order=True)
class ZooName:
    """A model's name, and which version of it is meant; None: the newest.

    >>> str(ZooName("hippocampus-unet", 2)), str(ZooName("nuclei"))
    ('hippocampus-unet:2', 'nuclei')
    """

    name: str
    version: int | None = None

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}:{self.version}"


def is_zoo_name(text: str | Path) -> bool:
    """Tell a name of the zoo from a path.

    >>> is_zoo_name("zoo:nuclei:1"), is_zoo_name("work/run")
    (True, False)
    """
    return str(text).startswith(PREFIX)


def parse_name(text: str | Path) -> ZooName:
    """Read NAME or NAME:VERSION, with or without 'zoo:' before it.

    Raises:
        ZooError: it is none.

    >>> parse_name("zoo:hippocampus-unet:2")
    ZooName(name='hippocampus-unet', version=2)
    """
    name, colon, version = str(text).removeprefix(PREFIX).partition(":")
    check_name(name)
    if colon and not is_version(version):
        raise ZooError(f"{name}:{version}: a version is a whole number from 1, like {name}:1")
    return ZooName(name, int(version) if colon else None)


def check_name(name: str) -> str:
    """Give a model's (or a remote registry's) name back.

    Raises:
        ZooError: it cannot be one.
    """
    if not is_name(name):
        raise ZooError(
            f"{name!r:.80} is no name for the zoo; names are small letters and digits with single hyphens between, up"
            f" to {LONGEST} characters, like hippocampus-unet"
        )
    return name


def is_name(text: str) -> bool:
    """Tell whether a model, or a remote registry, can be called so.

    >>> [is_name(text) for text in ("hippocampus-unet", "Hippocampus", "a--b", "..")]
    [True, False, False, False]
    """
    return _NAME.fullmatch(text) is not None and len(text) <= LONGEST


def is_version(text: str) -> bool:
    """Tell a version, which is a whole number from 1, as it is written.

    >>> [is_version(text) for text in ("1", "12", "0", "01", "1.0", "")]
    [True, True, False, False, False, False]
    """
    return _VERSION.fullmatch(text) is not None
