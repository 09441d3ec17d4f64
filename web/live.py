"""Answers to pages that ask again and again: all of it where it has changed, and else that it has not.

The cursor of a page is the tag of what it has (ETag), made from nothing but the content: it holds whatever has started
anew between both, and whoever stands between them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from flask import Response, render_template, request

__all__ = ["live_data", "live_part"]

_WORD = re.compile(r'name="csrf_token" value="[^"]*"')
"""The word of forms is another each time, and each holds as long as the session."""


def live_part(template: str, **names: Any) -> Response:
    """Answer with a part of a page, or 304 where the browser has it.

    Args:
        template: such as ``overview/now.html``.
        names: what it shows.
    """
    return _conditional(render_template(template, **names), "text/html")


def live_data(content: Mapping[str, Any], version: str | None = None) -> Response:
    """Answer with JSON, or 304 where the browser has it.

    Args:
        content: what is sent.
        version: a word that changes whenever the content does; None: it is made from the content.
    """
    return _conditional(json.dumps(content, allow_nan=False, separators=(",", ":")), "application/json", version)


def _conditional(text: str, kind: str, version: str | None = None) -> Response:
    response = Response(text, mimetype=kind)
    response.set_etag(version or hashlib.sha256(_WORD.sub("", text).encode()).hexdigest()[:24])
    response.make_conditional(request)
    return response
