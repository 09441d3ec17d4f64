"""Users: added, given roles and new passwords by administrators."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, g, redirect, render_template, request, url_for

from ..accounts.store import Accounts
from ..area import Console
from ..permissions import ROLES, Permission, needs

__all__ = ["add_users"]


def add_users(pages: Blueprint, console: Console) -> None:
    """Add the pages."""
    accounts = console.accounts

    @pages.get("/users")
    @needs(Permission.ADMINISTER)
    def users() -> str:
        return _shown(accounts)

    @pages.post("/users")
    @needs(Permission.ADMINISTER)
    def add_user() -> str:
        user, password = accounts.add_user(request.form.get("name", "").strip(), request.form.get("role", ""))
        g.target = user.name
        return _shown(accounts, user.name, password)

    @pages.post("/users/<int:user_id>")
    @needs(Permission.ADMINISTER)
    def change_user(user_id: int) -> Any:
        user = accounts.user(min(user_id, 2**31 - 1))
        g.target = user.name
        accounts.set_role(user, request.form.get("role", ""), request.form.get("active") == "yes")
        return redirect(url_for("settings.users"))

    @pages.post("/users/<int:user_id>/password")
    @needs(Permission.ADMINISTER)
    def new_password(user_id: int) -> str:
        user = accounts.user(min(user_id, 2**31 - 1))
        g.target = user.name
        return _shown(accounts, user.name, accounts.set_password(user))


def _shown(accounts: Accounts, name: str | None = None, password: str | None = None) -> str:
    return render_template("settings/users.html", users=accounts.users(), roles=ROLES, name=name, password=password)
