"""The area of settings, its page of the REST API, and what the server protects."""

from __future__ import annotations

from flask import Blueprint, render_template

from ..accounts.passwords import SHORTEST
from ..api.document import operations
from ..area import Area, Console
from ..permissions import Permission, needs
from ..security import SESSION_HOURS
from .account import add_account
from .audit import add_audit
from .roots import add_roots
from .users import add_users

__all__ = ["AREA"]


def _add(pages: Blueprint, console: Console) -> None:
    add_account(pages, console)
    add_users(pages, console)
    add_roots(pages, console)
    add_audit(pages, console)

    @pages.get("/reference")
    @needs(Permission.READ)
    def reference() -> str:
        return render_template("settings/reference.html", operations=list(operations(console.app.api_doc)))

    @pages.get("/protection")
    @needs(Permission.READ)
    def protection() -> str:
        return render_template(
            "settings/protection.html", server=console.settings, hours=SESSION_HOURS, shortest=SHORTEST
        )


AREA = Area("settings", _add, title="Settings", opens="account", needs=Permission.ACCOUNT)
