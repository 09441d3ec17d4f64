"""What holds for every request: names of the server, who may, sizes, headers, the audit log."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask, Response, current_app, g, redirect, request, url_for
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_wtf import CSRFProtect
from werkzeug.exceptions import Forbidden, Unauthorized
from werkzeug.middleware.proxy_fix import ProxyFix

from r2d2.errors import R2D2Error

from .accounts.store import Accounts
from .answers import is_of_api, is_of_page
from .area import is_part
from .people import Person, bearer_person, session_person
from .permissions import Permission, needed_by
from .requests import MOST_BYTES, check_content
from .serve_settings import ServeSettings

__all__ = ["CONTENT_SECURITY_POLICY", "REPORT_POLICY", "VOLUME_POLICY", "ProxyOnly", "csrf", "limiter", "secure"]

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
VOLUME_POLICY = CONTENT_SECURITY_POLICY.replace("img-src 'self'", "img-src 'self' data:")
"""For a page with NiiVue alone, which stays black without: its route sets this header itself."""
REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
)
"""For reports, which are whole pages with styles and pictures inside: shown, and able to do nothing."""
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_READS = ("GET", "HEAD", "OPTIONS")
SESSION_HOURS = 12

csrf = CSRFProtect()
limiter = Limiter(get_remote_address, storage_uri="memory://", strategy="moving-window")
_log = logging.getLogger(__name__)

_Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def secure(app: Flask, settings: ServeSettings, accounts: Accounts, secret: bytes) -> None:
    """Set an application up so that a route is open to nobody unless it says to whom.

    Args:
        app: without requests so far.
        settings: of the server.
        accounts: who there is; keeps the audit log.
        secret: signs cookies and forms.
    """
    app.config.update(
        SECRET_KEY=secret,
        TRUSTED_HOSTS=settings.hosts,
        MAX_CONTENT_LENGTH=MOST_BYTES,
        MAX_FORM_MEMORY_SIZE=MOST_BYTES,
        MAX_FORM_PARTS=100,
        SESSION_COOKIE_NAME=("__Host-r2d2" if settings.is_encrypted else f"r2d2_{settings.port}"),
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SECURE=settings.is_encrypted,
        PERMANENT_SESSION_LIFETIME=SESSION_HOURS * 3600,
        SESSION_REFRESH_EACH_REQUEST=False,
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session
        RATELIMIT_HEADERS_ENABLED=False,
    )
    csrf.init_app(app)
    limiter.init_app(app)
    app.before_request(lambda: _admit(app, accounts))
    app.after_request(lambda response: _note(accounts, response))
    app.after_request(lambda response: _with_headers(response, settings.is_encrypted))
    if settings.proxies:
        wrapped: Any = app
        wrapped.wsgi_app = ProxyOnly(app.wsgi_app, settings.proxies)


def _admit(app: Flask, accounts: Accounts) -> Any:
    """Find out who asks, and let pass whoever may: the API by a token alone, pages by a session alone."""
    g.person = None
    check_content({name: request.args.getlist(name) for name in request.args})
    if request.endpoint is None:
        return None  # there is no such page, which is what will be said
    if not is_of_api():
        form = request.form
        check_content({name: [value.replace("\r\n", "\n") for value in form.getlist(name)] for name in form})
    permission = needed_by(app.view_functions.get(request.endpoint))
    if permission is Permission.PUBLIC:
        return None
    of_api = is_of_api()
    person = bearer_person(accounts) if of_api else session_person()
    if person is None:
        if not of_api and request.method in _READS and not is_of_page():
            return redirect(url_for("session.login", next=request.full_path.rstrip("?")))
        raise Unauthorized("log in first" if not of_api else "send a token: the header 'Authorization: Bearer TOKEN'")
    g.person = person
    if permission is None or not person.may(permission):
        needed = "nobody" if permission is None else permission.value
        raise Forbidden(f"this needs the role {needed}" + (" and a token of that scope" if person.scope else ""))
    return None


def _note(accounts: Accounts, response: Response) -> Response:
    """Write what changes something, or was to, into the audit log; also who was refused, logged in, or failed to."""
    person: Person | None = g.get("person")
    is_of_interest = person is not None or g.get("tried") is not None
    if request.method in _READS or request.endpoint is None or not is_of_interest:
        return response
    if is_part(current_app.view_functions.get(request.endpoint)) and response.status_code < 400:
        return response  # what is asked while one types, a file of many: what comes of it is another request
    who = person.name if person is not None else str(g.tried)
    via = person.via if person is not None else "password"
    target = g.get("target") or " ".join(str(value) for value in (request.view_args or {}).values())
    try:
        accounts.note(who, via, request.remote_addr or "", request.endpoint, target, response.status_code)
    except R2D2Error as error:
        _log.error("the audit log cannot be written: %s", error)
    return response


def _with_headers(response: Response, is_encrypted: bool) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    if is_encrypted:
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    if response.status_code >= 400:
        del response.headers["Cache-Control"]
    response.headers.setdefault("Cache-Control", "no-store")
    return response


class ProxyOnly:
    """Serves declared proxies alone, and believes them where a request came from."""

    def __init__(self, app: _Wsgi, proxies: tuple[str, ...]) -> None:
        self._app = app
        self._behind = ProxyFix(app, x_for=1, x_proto=1, x_host=0, x_port=0, x_prefix=0)
        self._proxies = {ipaddress.ip_address(address) for address in proxies}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        try:
            is_proxy = ipaddress.ip_address(environ.get("REMOTE_ADDR", "")) in self._proxies
        except ValueError:
            is_proxy = False
        if not is_proxy:
            start_response("403 FORBIDDEN", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"this server is reached through its proxy\n"]
        if environ.get("HTTP_X_FORWARDED_PROTO", "").strip() != "https":
            start_response("403 FORBIDDEN", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"the proxy must speak TLS, and say so: X-Forwarded-Proto: https\n"]
        return self._behind(environ, start_response)
