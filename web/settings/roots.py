"""Folders that the server was started with, and who may see which."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound

from r2d2.engine.errors import RefusedError

from ..area import Console
from ..permissions import Permission, needs

__all__ = ["add_roots"]


def add_roots(pages: Blueprint, console: Console) -> None:
    """Add the page."""
    accounts, roots, settings = console.accounts, console.roots, console.settings

    @pages.get("/roots")
    @needs(Permission.READ)
    def show_roots() -> str:
        users = accounts.users()
        declared = {str(root.path) for root in roots.all()}
        return render_template(
            "settings/roots.html",
            roots=roots.of(g.person),
            users=[user for user in users if user.role != "administrator"],
            names={user.id: user.name for user in users},
            former=sorted(set(accounts.closed_roots()) - declared),
            has_roots=bool(roots.all()),
            code_roots=settings.code_roots,
            work_root=settings.work_root,
        )

    @pages.post("/roots/<int:number>")
    @needs(Permission.ADMINISTER)
    def change_root(number: int) -> Any:
        root = next((one for one in roots.all() if one.number == number), None)
        if root is None:
            raise NotFound("there is no such folder")
        g.target = str(root.path)
        who = request.form.get("who")
        if who not in ("all", "some"):
            raise RefusedError("say who may see the folder: all users, or some", [("who", "is missing")])
        known = {user.id: user for user in accounts.users()}
        chosen = [int(word) for word in request.form.getlist("user") if word.isdecimal() and int(word[:9]) in known]
        accounts.set_root(str(root.path), None if who == "all" else chosen)
        flash(f"{root.path} is now shown to {_said(who, [known[one].name for one in chosen])}.")
        return redirect(url_for("settings.show_roots"))


def _said(who: str, names: list[str]) -> str:
    if who == "all":
        return "all users"
    return f"{', '.join(names)} and administrators" if names else "administrators alone"
