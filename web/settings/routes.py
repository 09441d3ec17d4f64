"""The area of settings, and its page of the REST API."""

from __future__ import annotations

from flask import Blueprint, render_template

from ..api.document import operations
from ..area import Area, Console
from ..permissions import Permission, needs
from .account import add_account
from .users import add_users

__all__ = ["AREA"]


def _add(pages: Blueprint, console: Console) -> None:
    add_account(pages, console)
    add_users(pages, console)

    @pages.get("/reference")
    @needs(Permission.READ)
    def reference() -> str:
        return render_template("settings/reference.html", operations=list(operations(console.app.api_doc)))


AREA = Area("settings", _add, title="Settings", opens="account", needs=Permission.ACCOUNT)
