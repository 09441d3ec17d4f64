"""Files that jobs have made, for browsers: chosen by us, never by a path that was sent; no links are followed."""

from __future__ import annotations

from pathlib import Path

from flask import Response, abort, send_file

from .security import REPORT_POLICY

__all__ = ["is_there", "send_download", "send_report"]


def is_there(path: Path) -> bool:
    """Tell whether a file can be sent."""
    return path.is_file() and not path.is_symlink()


def send_download(path: Path, name: str) -> Response:
    """Send a file that is kept, under a name; 404 where it is not there."""
    return _sent(path, name, is_kept=True)


def send_report(path: Path) -> Response:
    """Send an HTML report to be looked at: it runs no script, and reaches nothing."""
    response = _sent(path, path.name, is_kept=False)
    response.headers["Content-Security-Policy"] = REPORT_POLICY
    return response


def _sent(path: Path, name: str, *, is_kept: bool) -> Response:
    if not is_there(path):
        abort(404)
    response = send_file(path, as_attachment=is_kept, download_name=name, etag=False)
    response.headers["Cache-Control"] = "no-store"
    return response
