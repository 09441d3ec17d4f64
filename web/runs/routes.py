"""Pages of jobs: the list of them, one of them, and what may be asked of it."""

from __future__ import annotations

import json
from collections import deque
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, g, redirect, render_template, request, url_for

from r2d2.engine import JobQuery, Jobs
from r2d2.engine.errors import RefusedError
from r2d2.engine.folder import ACTIVE, FINAL
from r2d2.engine.validation import validated
from r2d2.tasks.registry import TASK_NAMES

from ..api.models import JobPath, LogQuery, Wish
from ..area import Area, Console, part
from ..live import live_data, live_part
from ..permissions import Permission, needs
from .curves import curves_of

__all__ = ["AREA"]

LINES_SHOWN = 200
PARTS_READ = 40
PER_PAGE = 50
STATES = ("queued", *ACTIVE, *FINAL)
ORDERS = ("descending", "ascending")
SORT_KEYS = ("id", "name", "task", "state", "priority", "submitted_at", "started_at", "ended_at")


def _add(pages: Blueprint, console: Console) -> None:
    jobs = console.jobs

    @pages.get("/jobs")
    @needs(Permission.READ)
    def index() -> str:
        query = _query()
        return render_template(
            "runs/list.html", **_listed(jobs, query), states=STATES, tasks=TASK_NAMES, keys=SORT_KEYS, orders=ORDERS
        )

    @pages.get("/jobs/part")
    @needs(Permission.READ)
    @part
    def list_part() -> Response:
        return live_part("runs/list_part.html", **_listed(jobs, _query()))

    @pages.get("/jobs/<int:job_id>")
    @needs(Permission.READ)
    def show(job_id: int) -> str:
        return render_template("runs/job.html", **_shown(jobs, job_id))

    @pages.get("/jobs/<int:job_id>/part")
    @needs(Permission.READ)
    @part
    def show_part(job_id: int) -> Response:
        return live_part("runs/job_part.html", **_shown(jobs, job_id))

    @pages.get("/jobs/<int:job_id>/curves")
    @needs(Permission.READ)
    @part
    def curves(job_id: int) -> Response:
        return live_data(*curves_of(jobs.show(_checked(job_id)), request.args))

    @pages.get("/jobs/<int:job_id>/log")
    @needs(Permission.READ)
    @part
    def log(job_id: int) -> Response:
        asked: LogQuery = validated(LogQuery, request.args.to_dict(), "address")
        return live_data(jobs.log(_checked(job_id), asked.attempt, asked.offset).model_dump())

    @pages.post("/jobs/<int:job_id>/stop")
    @needs(Permission.OPERATE)
    def stop(job_id: int) -> Any:
        jobs.stop(_checked(job_id), _reason(), g.person.name)
        return redirect(url_for("runs.show", job_id=job_id))

    @pages.post("/jobs/<int:job_id>/cancel")
    @needs(Permission.OPERATE)
    def cancel(job_id: int) -> Any:
        jobs.cancel(_checked(job_id), _reason(), g.person.name)
        return redirect(url_for("runs.show", job_id=job_id))

    @pages.post("/jobs/<int:job_id>/resume")
    @needs(Permission.OPERATE)
    def resume(job_id: int) -> Any:
        jobs.resume(_checked(job_id), g.person.name)
        return redirect(url_for("runs.show", job_id=job_id))


def _listed(jobs: Jobs, query: JobQuery) -> dict[str, Any]:
    part = f"{url_for('runs.list_part')}?{urlencode([*request.args.items(multi=True)])}"
    return {"page": jobs.list(query), "query": query, "other": _other, "part": part}


def _shown(jobs: Jobs, job_id: int) -> dict[str, Any]:
    found = jobs.show(_checked(job_id))
    settings = json.dumps(found.settings, indent=1, ensure_ascii=False)
    return {
        "found": found,
        "job": found.job,
        "settings": settings,
        "log": _last_lines(jobs, job_id),
        "active": ("queued", *ACTIVE),
    }


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


def _checked(job_id: int) -> int:
    path: JobPath = validated(JobPath, {"job_id": job_id}, "address")
    return path.job_id


def _reason() -> str:
    wish: Wish = validated(Wish, {"reason": request.form.get("reason", "")}, "form")
    return wish.reason


def _last_lines(jobs: Jobs, job_id: int) -> str:
    """Read the end of the last attempt's log; of one that is very long, the end of its beginning."""
    lines, offset, attempt = deque[str](maxlen=LINES_SHOWN), 0, None
    for _ in range(PARTS_READ):
        part = jobs.log(job_id, attempt, offset)
        lines.extend(part.text.splitlines())
        if part.is_last or part.offset == offset:
            break
        offset, attempt = part.offset, part.attempt
    return "\n".join(lines)


AREA = Area("runs", _add, title="Jobs")
