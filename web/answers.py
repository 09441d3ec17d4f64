"""Errors as they are answered: one JSON shape for the API, a page for browsers, the same status for both."""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException, SecurityError

from r2d2.engine.errors import error_to_json
from r2d2.errors import R2D2Error

__all__ = ["ERROR_STATUS", "is_of_api", "is_of_page", "register_errors", "status_of"]

ERROR_STATUS = {"unknown_job": 404, "state": 409, "refused": 422, "not_running": 503, "busy": 503, "database": 503}
"""HTTP's word for each kind of error that the engine has; all others are faults of ours."""

_KINDS = {
    400: "malformed",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method",
    413: "too_large",
    415: "unsupported",
    429: "too_many",
}
_log = logging.getLogger(__name__)


def is_of_api() -> bool:
    """Whether the request is for the API, whose answers are JSON."""
    return request.path == "/api" or request.path.startswith("/api/")


def is_of_page() -> bool:
    """Whether a page that is open asks, for a part of itself: it shows what is wrong in its own words."""
    return request.headers.get("HX-Request") == "true"


def status_of(error: R2D2Error) -> int:
    """Give HTTP's word on an error."""
    return ERROR_STATUS.get(error_to_json(error)["error"]["kind"], 500)


def register_errors(app: Flask) -> None:
    """Answer every error in one of both shapes."""
    app.register_error_handler(R2D2Error, _of_ours)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(Exception, _unforeseen)


def _of_ours(error: R2D2Error) -> tuple[Any, int]:
    content = error_to_json(error)
    status = status_of(error)
    if status >= 500:
        _log.warning("%s %s: %s", request.method, _route(), error)
    return _answer(content, status)


def _of_http(error: HTTPException) -> Any:
    if error.response is not None:  # made by who raised it, such as a redirection
        return error.response
    status = error.code or 500
    kind = _KINDS.get(status, "fault" if status >= 500 else "malformed")
    content: dict[str, Any] = {
        "kind": kind,
        "message": _sentence(error),
        "faults": [],
        "exit_code": 2 if status < 500 else 1,
    }
    answer, _ = _answer({"error": content}, status)
    response: Response = answer if isinstance(answer, Response) else Response(answer, mimetype="text/html")
    response.status_code = status
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After", "WWW-Authenticate"):
            response.headers[name] = value
    return response


def _sentence(error: HTTPException) -> str:
    return " ".join((error.description or error.name).split())


def _unforeseen(error: Exception) -> tuple[Any, int]:
    """Say nothing of the inside; the log has it all."""
    _log.exception("%s %s failed", request.method, _route())
    message = "a fault of the server: its log says more"
    return _answer({"error": {"kind": "fault", "message": message, "faults": [], "exit_code": 1}}, 500)


def _route() -> str:
    """Give what was asked for, without what stands in it: addresses may name cases."""
    return str(request.url_rule or "an unknown address")


def _answer(content: dict[str, Any], status: int) -> tuple[Any, int]:
    is_script = request.accept_mimetypes.best == "application/json"
    if is_of_api() or is_script or (is_of_page() and request.method == "GET"):
        return jsonify(content), status
    if isinstance(
        request.routing_exception, SecurityError
    ):  # there are no addresses for links to a host that is not ours
        return Response(f"{content['error']['message']}\n", mimetype="text/plain"), status
    return render_template("layout/error.html", error=content["error"], status=status), status
