"""Logging in and out; what anybody may see."""

from __future__ import annotations

from typing import Any

import flask_login
from flask import Blueprint, abort, g, jsonify, redirect, render_template, request, session, url_for
from flask_openapi3 import OpenAPI

from ..accounts.store import Accounts
from ..api.document import operations
from ..people import log_in, session_person
from ..permissions import Permission, needs
from ..security import limiter

__all__ = ["LOGINS_BY_ADDRESS", "LOGINS_BY_NAME", "make_session_pages"]

LOGINS_BY_ADDRESS = "10 per minute; 100 per hour"
LOGINS_BY_NAME = "30 per hour"


def _name_tried() -> str:
    return "name:" + request.form.get("name", "")[:64].casefold()


def make_session_pages(accounts: Accounts, app: OpenAPI) -> Blueprint:
    """Make the pages.

    Args:
        accounts: who may log in.
        app: whose API is described.
    """
    pages = Blueprint("session", __name__)

    @pages.get("/login")
    @needs(Permission.PUBLIC)
    def login() -> Any:
        return redirect(url_for("jobs.index")) if session_person() else render_template("login.html")

    @pages.post("/login")
    @needs(Permission.PUBLIC)
    @limiter.limit(LOGINS_BY_ADDRESS)
    @limiter.limit(LOGINS_BY_NAME, key_func=_name_tried)
    def check_login() -> Any:
        name, password = request.form.get("name", "").strip().lower(), request.form.get("password", "")
        g.tried = name
        user = accounts.check_password(name, password)
        if user is None:
            return render_template("login.html", fault="no such name with this password", name=name), 401
        session.clear()
        log_in(user)
        session.permanent = True
        return redirect(url_for("jobs.index"))

    @pages.post("/logout")
    @needs(Permission.ACCOUNT)
    def logout() -> Any:
        accounts.end_sessions(g.person.user)
        flask_login.logout_user()
        session.clear()
        return redirect(url_for("session.login"))

    @pages.get("/health")
    @needs(Permission.PUBLIC)
    def health() -> Any:
        return jsonify(status="ok")

    @pages.get("/openapi.json")
    @needs(Permission.PUBLIC)
    def document() -> Any:
        return jsonify(app.api_doc)

    @pages.get("/reference")
    @needs(Permission.READ)
    def reference() -> Any:
        return render_template("reference.html", operations=list(operations(app.api_doc)))

    @pages.get("/favicon.ico")
    @needs(Permission.PUBLIC)
    def icon() -> Any:
        abort(404)

    return pages
