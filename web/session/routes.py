"""Logging in and out; what anybody may see."""

from __future__ import annotations

import re
from typing import Any

import flask_login
from flask import Blueprint, g, jsonify, redirect, render_template, request, session, url_for

from ..area import Area, Console, part
from ..people import log_in, session_person
from ..permissions import Permission, needs
from ..security import limiter

__all__ = ["AREA", "LOGINS_BY_ADDRESS", "LOGINS_BY_NAME"]

LOGINS_BY_ADDRESS = "10 per minute; 100 per hour"
LOGINS_BY_NAME = "30 per hour"


def _name_tried() -> str:
    return "name:" + request.form.get("name", "")[:64].casefold()


def _next() -> str:
    """Give the page that a log-in leads to: the one that was asked for, if it is one of ours."""
    asked = request.values.get("next", "")
    is_ours = re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", asked) is not None
    return asked if is_ours else url_for("overview.index")


def _add(pages: Blueprint, console: Console) -> None:
    accounts = console.accounts

    @pages.get("/login")
    @needs(Permission.PUBLIC)
    def login() -> Any:
        return redirect(_next()) if session_person() else render_template("session/login.html", next=_next())

    @pages.post("/login")
    @needs(Permission.PUBLIC)
    @limiter.limit(LOGINS_BY_ADDRESS)
    @limiter.limit(LOGINS_BY_NAME, key_func=_name_tried)
    def check_login() -> Any:
        name, password = request.form.get("name", "").strip().lower(), request.form.get("password", "")
        g.tried = name
        user = accounts.check_password(name, password)
        if user is None:
            fault = "no such name with this password"
            return render_template("session/login.html", fault=fault, name=name, next=_next()), 401
        session.clear()
        log_in(user)
        session.permanent = True
        return redirect(_next())

    @pages.post("/logout")
    @needs(Permission.ACCOUNT)
    def logout() -> Any:
        accounts.end_sessions(g.person.user)
        flask_login.logout_user()
        session.clear()
        return redirect(url_for("session.login"))

    @pages.get("/health")
    @needs(Permission.PUBLIC)
    @part
    def health() -> Any:
        return jsonify(status="ok")

    @pages.get("/openapi.json")
    @needs(Permission.PUBLIC)
    @part
    def document() -> Any:
        return jsonify(console.app.api_doc)


AREA = Area("session", _add)
