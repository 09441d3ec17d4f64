"""The only door to TensorBoard: an origin of its own, for those whom the console hands over, to look and not to change.

TensorBoard's plugins are scripts that R2D2 does not write. On the console's origin they would run with the session of
whoever looks; here they have a cookie that is worth nothing but TensorBoard.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

import urllib3
from werkzeug.exceptions import (
    BadGateway,
    BadRequest,
    Forbidden,
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
    ServiceUnavailable,
)
from werkzeug.sansio.utils import host_is_trusted
from werkzeug.wrappers import Request, Response

from ..serve_settings import ServeSettings
from .handover import SESSION_S, Handover
from .run_links import RunLinks
from .viewer import Viewer

__all__ = ["Gateway", "by_port"]

_Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

PLUGINS = ("timeseries", "scalars", "images", "graphs", "hparams", "profile")
"""Whose data are asked for; others, such as the projector, read files that a run's own files name."""
REFUSED = ("data/plugin/profile/capture_profile",)
"""What has TensorBoard call another machine."""
READ_BY_POST = (
    "data/plugin/timeseries/timeSeries",
    "data/plugin/scalars/scalars_multirun",
    "data/plugin/hparams/experiment",
    "data/plugin/hparams/session_groups",
)
"""TensorBoard's page asks for curves by POST; nothing is changed by it."""
_EXPERIMENT = re.compile(r"^experiment/[^/]*/")  # by which the page names what is shown; TensorBoard leaves it out
MOST_BYTES = 1 << 20
PATIENCE_S = 60.0
_ASKED = ("Accept", "Accept-Encoding", "Content-Type")
_ANSWERED = (
    "Cache-Control",
    "Content-Encoding",
    "Content-Length",
    "Content-Security-Policy",
    "Content-Type",
    "Expires",
)
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_POLICY = "connect-src 'self'; form-action 'none'; base-uri 'self'; frame-ancestors {}"
_PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>TensorBoard</title><link rel=icon href=data:,>"
    "<p>TensorBoard is starting, which takes up to half a minute. This page then opens it.</p></html>"
)


class Gateway:
    """See the module; a WSGI application.

    Args:
        settings: of the server; its `tensorboard_port` is set.
        handover: who may come in.
        links: what is shown.
        viewer: TensorBoard.
    """

    def __init__(self, settings: ServeSettings, handover: Handover, links: RunLinks, viewer: Viewer) -> None:
        self._settings, self._handover, self._links, self._viewer = settings, handover, links, viewer
        self._cookie = "__Host-r2d2-tensorboard" if settings.is_encrypted else f"r2d2_tb_{settings.tensorboard_port}"
        self._pool = urllib3.PoolManager(maxsize=8, retries=False, timeout=PATIENCE_S)
        self._room = threading.BoundedSemaphore(max(1, settings.threads // 2))  # the console keeps the other half

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        request = Request(environ)
        try:
            answer: Any = self._answer(request)
        except HTTPException as error:
            answer = error.get_response(environ)
        for name, value in _HEADERS.items():
            answer.headers[name] = value
        in_frame = request.path == "/data/plugin_entry.html"  # a plugin's frame within TensorBoard's own page
        answer.headers.add("Content-Security-Policy", _POLICY.format("'self'" if in_frame else "'none'"))
        if self._settings.is_encrypted:
            answer.headers["Strict-Transport-Security"] = "max-age=31536000"
        answer.headers.setdefault("Cache-Control", "no-store")
        return answer(environ, start_response)

    def _answer(self, request: Request) -> Response:
        if not host_is_trusted(request.host, self._settings.tensorboard_hosts):
            raise BadRequest("this server has another name")
        path = request.path.removeprefix("/")
        self._check(request, path)
        if path == "enter":
            return self._entered(request)
        if self._handover.user(request.cookies.get(self._cookie, "")) is None:
            raise Forbidden("TensorBoard is opened from the console, by administrators: follow its link there")
        if path in ("", "data/runs"):
            self._links.renew()
        address = self._viewer.address()
        if address is None:
            return _starting(request.full_path) if path == "" else _busy()
        if not self._room.acquire(timeout=PATIENCE_S):
            raise ServiceUnavailable("TensorBoard has more to answer than it can; try again")
        try:
            return self._passed_on(request, f"{address}/{quote(path)}")
        finally:
            self._room.release()

    def _check(self, request: Request, path: str) -> None:
        """Refuse what would change something, or reach further than TensorBoard's own data."""
        path = _EXPERIMENT.sub("", path, count=1).rstrip("/")
        is_read = request.method in ("GET", "HEAD")
        if not is_read and not (request.method == "POST" and path in READ_BY_POST):
            raise MethodNotAllowed(["GET", "HEAD"])
        if not is_read and request.headers.get("Origin") != f"{request.scheme}://{request.host}":
            raise Forbidden("another page has sent this")
        if not is_read and (request.content_length is None or request.content_length > MOST_BYTES):
            raise RequestEntityTooLarge
        if {"", "..", "."} & set(path.split("/")[:-1]) or path in REFUSED:
            raise NotFound
        if (path.startswith("data/plugin/") and path.split("/")[2] not in PLUGINS) or path == "data/plugin":
            raise NotFound

    def _entered(self, request: Request) -> Response:
        """Turn a token into a cookie. A page leads on, not a redirection, which a strict cookie would not follow."""
        cookie = self._handover.cookie(request.args.get("token", "")) if request.method == "GET" else None
        if cookie is None:
            raise Forbidden("this link has been used, or is too old: follow the one in the console again")
        number = request.args.get("job", "")
        shown = f"/?runFilter=%5Ejob-{number}(%2F%7C$)" if number.isdecimal() and len(number) < 10 else "/"
        answer = _starting(shown, seconds=0)
        answer.set_cookie(
            self._cookie,
            cookie,
            max_age=SESSION_S,
            secure=self._settings.is_encrypted,
            httponly=True,
            samesite="Strict",
        )
        return answer

    def _passed_on(self, request: Request, address: str) -> Response:
        """Ask TensorBoard, without cookies, passwords, or where the question came from."""
        query = request.query_string.decode("latin-1")
        headers = {name: request.headers[name] for name in _ASKED if name in request.headers}
        try:
            found = self._pool.request(
                request.method,
                f"{address}?{query}" if query else address,
                headers=headers,
                body=request.get_data(cache=False) if request.method == "POST" else None,
                redirect=False,
                decode_content=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise BadGateway("TensorBoard does not answer") from error
        answer = Response(found.data, status=found.status)
        for name in _ANSWERED:
            if name in found.headers:
                answer.headers[name] = found.headers[name]
        return answer


def _starting(path: str, seconds: int = 2) -> Response:
    path = "/" + path.lstrip("/").rstrip("?")
    return Response(_PAGE, mimetype="text/html", headers={"Refresh": f"{seconds}; url={path}"})


def _busy() -> Response:
    return Response("TensorBoard is starting\n", status=503, mimetype="text/plain", headers={"Retry-After": "2"})


def by_port(app: _Wsgi, gateway: _Wsgi, port: int) -> _Wsgi:
    """Serve the gateway on its port, and the console on all others."""

    def chosen(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return (gateway if environ.get("SERVER_PORT") == str(port) else app)(environ, start_response)

    return chosen
