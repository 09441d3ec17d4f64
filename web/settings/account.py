"""One's own account: another password, tokens for programs."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, g, redirect, render_template, request, url_for

from r2d2.engine.errors import RefusedError

from ..accounts.store import Accounts
from ..area import Console
from ..people import log_in
from ..permissions import SCOPES, Permission, needs
from ..security import limiter

__all__ = ["add_account"]

LONGEST_DAYS = 3650


def add_account(pages: Blueprint, console: Console) -> None:
    """Add the pages."""
    accounts = console.accounts

    @pages.get("/account")
    @needs(Permission.ACCOUNT)
    def account() -> str:
        return _shown(accounts)

    @pages.post("/account/password")
    @needs(Permission.ACCOUNT)
    @limiter.limit("10 per minute")
    def change_password() -> Any:
        user, form = g.person.user, request.form
        if accounts.check_password(user.name, form.get("old", "")) is None:
            raise RefusedError("the password that you have now is another one", [("old", "is another one")])
        if form.get("new", "") != form.get("again", ""):
            raise RefusedError("both new passwords must be the same", [("again", "differs")])
        accounts.set_password(user, form.get("new", ""))
        log_in(accounts.user(user.id))  # all other sessions have ended
        return redirect(url_for("settings.account"))

    @pages.post("/account/tokens")
    @needs(Permission.ACCOUNT)
    def make_token() -> Any:
        form = request.form
        token, text = accounts.make_token(
            g.person.user, form.get("label", ""), form.get("scope", ""), _days(form.get("days", ""))
        )
        g.target = f"token {token.id}"
        return _shown(accounts, text)

    @pages.post("/account/tokens/<int:token_id>/revoke")
    @needs(Permission.ACCOUNT)
    def revoke_token(token_id: int) -> Any:
        accounts.revoke_token(g.person.user, min(token_id, 2**31 - 1))
        return redirect(url_for("settings.account"))


def _shown(accounts: Accounts, made: str | None = None) -> str:
    tokens = accounts.tokens_of(g.person.user)
    return render_template("settings/account.html", tokens=tokens, made=made, scopes=SCOPES, now=time.time())


def _days(text: str) -> int | None:
    if not text.strip():
        return None
    if not text.isdecimal() or not 1 <= int(text[:6]) <= LONGEST_DAYS:
        raise RefusedError(f"days: a whole number from 1 to {LONGEST_DAYS}, or none", [("days", "is none")])
    return int(text)
