"""Folders of scans as addresses name them: the number of a declared one, and the path within it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from flask import request
from werkzeug.exceptions import NotFound

from r2d2.engine.errors import RefusedError

from ..roots import Root, Roots, asking

__all__ = ["asked_folder", "asked_path", "chosen_root", "trail_of"]


def asked_path() -> str:
    """Give the path within a declared folder, without what leads out of it."""
    parts = PurePosixPath(request.args.get("path", "")).parts
    if any(part in ("..", "/") for part in parts):
        raise NotFound("there is no such folder")
    return "/".join(parts)


def asked_folder(roots: Roots, number: int) -> Path:
    """Give the folder, or file, that an address names.

    Raises:
        NotFound: there is none.
        Forbidden: it is not shown to who asks.
    """
    return roots.found(asking(), number, asked_path())


def chosen_root(roots: Roots, number: str) -> Root:
    """Give the declared folder that a form names.

    Raises:
        RefusedError: there is none, or it is not shown to who asks.
    """
    for root in roots.of(asking()):
        if str(root.number) == number:
            return root
    raise RefusedError("into: there is no such folder", [("into", "there is no such folder")])


def trail_of(roots: Roots, number: int) -> dict[str, Any]:
    """Give what leads to the folder that an address names: its declared one, and all between."""
    root = next(one for one in roots.of(asking()) if one.number == number)
    parts = PurePosixPath(asked_path()).parts
    trail = [("/".join(parts[: place + 1]), part) for place, part in enumerate(parts)]
    return {"root": root, "path": "/".join(parts), "trail": trail, "name": parts[-1] if parts else root.path.name}
