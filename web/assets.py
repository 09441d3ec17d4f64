"""Scripts, styles and pictures of the pages, each at an address that changes with its content: browsers keep them."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from flask import Flask, Response, abort, request, url_for

from .area import part
from .browser_code import FILES, FOLDER
from .permissions import Permission, needs

__all__ = ["Assets", "serve_assets"]

KINDS = ("*/*.css", "*/*.js", "*/*.svg")
FOR_EVER = "public, max-age=31536000, immutable"


@dataclass
class _File:
    path: Path
    content: bytes = field(repr=False)

    @cached_property
    def version(self) -> str:
        """A word that changes with the content."""
        return hashlib.sha256(self.content).hexdigest()[:12]

    @cached_property
    def packed(self) -> bytes:
        """The content as nearly every browser takes it."""
        return gzip.compress(self.content, 9, mtime=0)


class Assets:
    """The files that browsers may have; nothing else of any folder can be asked for.

    Args:
        folder: of the areas, whose files are called ``runs/run.js``.
        fetched: what came from npm, called ``npm/htmx.min.js``.
    """

    def __init__(self, folder: Path, fetched: Path = FOLDER) -> None:
        found = {path.relative_to(folder).as_posix(): path for kind in KINDS for path in sorted(folder.glob(kind))}
        found |= {f"npm/{name}": fetched / name for name in FILES if (fetched / name).is_file()}
        self._files = {name: _File(path, path.read_bytes()) for name, path in found.items()}

    def has(self, name: str) -> bool:
        """Tell whether there is such a file: what comes from npm may not have been fetched."""
        return name in self._files

    def address(self, name: str) -> str:
        """Give where a file is, as a browser asks for it.

        Raises:
            KeyError: there is no such file.
        """
        return url_for("assets", version=self._files[name].version, name=name)

    def answer(self, version: str, name: str) -> Response:
        """Send a file; one of another version is sent as it is now, and not kept."""
        file = self._files.get(name)
        if file is None:
            abort(404)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        is_packed = "gzip" in request.headers.get("Accept-Encoding", "")
        response = Response(file.packed if is_packed else file.content, mimetype=kind)
        response.headers["Vary"] = "Accept-Encoding"
        if is_packed:
            response.headers["Content-Encoding"] = "gzip"
        if version == file.version:
            response.headers["Cache-Control"] = FOR_EVER
        return response


def serve_assets(app: Flask, folder: Path) -> None:
    """Add the route of the files, and their addresses to the templates.

    Args:
        app: of the server.
        folder: of the areas.
    """
    assets = Assets(folder)

    @needs(Permission.PUBLIC)
    @part
    def send(version: str, name: str) -> Response:
        return assets.answer(version, name)

    app.add_url_rule("/assets/<version>/<path:name>", "assets", send)
    app.jinja_env.globals.update(asset=assets.address, has_asset=assets.has)
