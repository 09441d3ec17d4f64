"""Answers to pages that ask again and again: all of it where it has changed, and else that it has not.

The cursor of a page is the tag of what it has (ETag), made from nothing but the content: it holds whatever has started
anew between both, and whoever stands between them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from flask import Response, render_template, request

__all__ = ["live_data", "live_part"]

PACKED = 3
_WORD = re.compile(r'name="csrf_token" value="[^"]*"')
"""The word of forms is another each time, and each holds as long as the session."""


def live_part(template: str, **names: Any) -> Response:
    """Answer with a part of a page, or 304 where the browser has it.

    Args:
        template: such as ``overview/now.html``.
        names: what it shows.
    """
    return _conditional(render_template(template, **names), "text/html")


def live_data(content: Mapping[str, Any] | str, version: str | None = None) -> Response:
    """Answer with JSON, or 304 where the browser has it.

    Args:
        content: what is sent, or its JSON.
        version: a word that changes whenever the content does; None: it is made from the content.
    """
    text = content if isinstance(content, str) else json.dumps(content, allow_nan=False, separators=(",", ":"))
    return _packed(_conditional(text, "application/json", version))


def _packed(response: Response) -> Response:
    """Compress data where the browser takes that: it holds no word of forms, whose length could tell it to others."""
    response.headers["Vary"] = "Accept-Encoding"
    if response.status_code == 200 and "gzip" in request.headers.get("Accept-Encoding", ""):
        response.set_data(gzip.compress(response.get_data(), PACKED, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
    return response


def _conditional(text: str, kind: str, version: str | None = None) -> Response:
    response = Response(text, mimetype=kind)
    response.set_etag(version or hashlib.sha256(_WORD.sub("", text).encode()).hexdigest()[:24])
    response.make_conditional(request)
    return response
