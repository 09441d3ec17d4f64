"""What a request may hold before anything looks at it: JSON that is JSON, and text without letters that do harm."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import flask
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from r2d2.engine.errors import RefusedError

__all__ = ["MOST_BYTES", "CheckedRequest", "check_content", "takes"]

MOST_BYTES = 2**20
DEEPEST = 32
LARGEST_NUMBER = 2**62


_View = TypeVar("_View", bound=Callable[..., Any])


def takes(most_bytes: int) -> Callable[[_View], _View]:
    """Say that a view takes larger bodies than others, as a stream; beside `needs`."""

    def noted(view: _View) -> _View:
        view.most_bytes = most_bytes  # type: ignore[attr-defined]
        return view

    return noted


class CheckedRequest(flask.Request):
    """A request whose JSON is an object of plain values, or is refused; no body is an empty object."""

    @property
    def max_content_length(self) -> int | None:
        """How many bytes the body may have: more where the view says so."""
        view = flask.current_app.view_functions.get(self.endpoint or "")
        found: int | None = getattr(view, "most_bytes", None)
        return super().max_content_length if found is None else found

    @max_content_length.setter
    def max_content_length(self, value: int | None) -> None:
        flask.Request.max_content_length.fset(self, value)  # type: ignore[attr-defined]

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """Read the body.

        Raises:
            RequestEntityTooLarge: it has more than `MOST_BYTES`.
            UnsupportedMediaType: it does not say that it is JSON.
            BadRequest: it is none.
            RefusedError: it holds what no request may.
        """
        body = self.get_data(cache=True)
        if not body:
            return {}
        if self.content_length is None and len(body) >= MOST_BYTES:  # in chunks, of which no more was read
            raise RequestEntityTooLarge
        if not self.is_json:
            raise UnsupportedMediaType("send JSON, with the header Content-Type: application/json")
        try:
            content = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise BadRequest("the body is no JSON") from error
        if not isinstance(content, dict):
            raise RefusedError("the body must be a mapping: {...}")
        check_content(content)
        return content


def check_content(content: Any) -> None:
    """Refuse what JSON can hold and nothing here has a use for.

    Raises:
        RefusedError: control characters, halves of characters, numbers that are none or have no end, deep nesting.

    >>> check_content({"name": "Ärzte", "tags": ["a"], "epochs": 3})
    >>> check_content({"name": chr(0)})
    Traceback (most recent call last):
        ...
    r2d2.engine.errors.RefusedError: name: control characters are of no use here
    """
    for key, value, depth in _values(content):
        if depth > DEEPEST:
            raise RefusedError(f"{key}: values within values, more than {DEEPEST} deep")
        if isinstance(value, str):
            fault = _fault_of_text(value)
        elif isinstance(value, float) and not math.isfinite(value):
            fault = "no number"
        elif isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            fault = "the number is too large"
        else:
            continue
        if fault:
            raise RefusedError(f"{key}: {fault}", [(key, fault)])


def _values(content: Any) -> Iterator[tuple[str, Any, int]]:
    pending: list[tuple[str, Any, int]] = [("", content, 0)]
    while pending:
        key, value, depth = pending.pop()
        yield key, value, depth
        if depth > DEEPEST:
            continue
        if isinstance(value, dict):
            for name, inner in value.items():
                yield key, name, depth
                pending.append((f"{key}.{name}" if key else str(name), inner, depth + 1))
        elif isinstance(value, list | tuple):
            pending += [(f"{key}[{at}]", inner, depth + 1) for at, inner in enumerate(value)]


def _fault_of_text(text: str) -> str | None:
    kinds = {unicodedata.category(letter) for letter in text if letter not in "\n\t"}
    if "Cs" in kinds:
        return "half of a character"
    return "control characters are of no use here" if "Cc" in kinds else None
