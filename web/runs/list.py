"""The list of jobs: filtered, sorted, a page of them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, render_template, request, url_for

from r2d2.engine import JobQuery, Jobs
from r2d2.engine.errors import RefusedError
from r2d2.engine.folder import ACTIVE, FINAL
from r2d2.engine.validation import validated
from r2d2.tasks.registry import TASK_NAMES

from ..area import Console, part
from ..live import live_part
from ..permissions import Permission, needs

__all__ = ["add_list"]

PER_PAGE = 50
STATES = ("queued", *ACTIVE, *FINAL)
ORDERS = ("descending", "ascending")
SORT_KEYS = ("id", "name", "task", "state", "priority", "submitted_at", "started_at", "ended_at")


def add_list(pages: Blueprint, console: Console) -> None:
    """Add the pages."""
    jobs = console.jobs

    @pages.get("/jobs")
    @needs(Permission.READ)
    def index() -> str:
        names = {"states": STATES, "tasks": TASK_NAMES, "keys": SORT_KEYS, "orders": ORDERS}
        return render_template("runs/list.html", **_listed(jobs, _query()), **names)

    @pages.get("/jobs/part")
    @needs(Permission.READ)
    @part
    def list_part() -> Response:
        return live_part("runs/list_part.html", **_listed(jobs, _query()))


def _listed(jobs: Jobs, query: JobQuery) -> dict[str, Any]:
    part = f"{url_for('runs.list_part')}?{urlencode([*request.args.items(multi=True)])}"
    return {"page": jobs.list(query), "query": query, "other": _other, "part": part}


def _query() -> JobQuery:
    """Read what is to be listed; empty fields of the form say nothing."""
    words = request.args
    asked: dict[str, Any] = {"limit": PER_PAGE}
    for name, key in (("state", "states"), ("task", "tasks")):
        asked[key] = [word for word in words.getlist(name) if word]
    asked["tags"] = words.get("tags", "").split()
    asked["text"] = words.get("text", "")
    asked["sort"] = words.get("sort") or "id"
    asked["descending"] = words.get("order", "descending") == "descending"
    page = words.get("page") or "1"
    if not page.isdecimal() or not 1 <= int(page[:12]) < 10**9:
        raise RefusedError("page: is a whole number from 1", [("page", "is a whole number from 1")])
    asked["offset"] = (int(page) - 1) * PER_PAGE
    query: JobQuery = validated(JobQuery, asked, "list")
    return query


def _other(page: int) -> str:
    """Give the address of another page of the same list."""
    words = [(name, word) for name in request.args if name != "page" for word in request.args.getlist(name)]
    return f"{url_for('runs.index')}?{urlencode([*words, ('page', page)])}"
