"""The jobs: a list of them, one of them, and what may be asked of it."""

from __future__ import annotations

import json
from collections import deque
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, g, redirect, render_template, request, url_for

from r2d2.engine import JobQuery, Jobs
from r2d2.engine.errors import RefusedError
from r2d2.engine.validation import validated
from r2d2.tasks.registry import TASK_NAMES

from ..api.models import JobPath, Wish
from ..permissions import Permission, needs

__all__ = ["make_job_pages"]

LINES_SHOWN = 200
PARTS_READ = 40
PER_PAGE = 50
STATES = ("queued", "starting", "running", "stopping", "completed", "stopped_early", "cancelled", "failed", "lost")
ACTIVE = ("queued", "starting", "running", "stopping")
SORT_KEYS = ("id", "name", "task", "state", "priority", "submitted_at", "started_at", "ended_at")


def make_job_pages(jobs: Jobs) -> Blueprint:
    """Make the pages.

    Args:
        jobs: of the engine.
    """
    pages = Blueprint("jobs", __name__)

    @pages.get("/")
    @needs(Permission.READ)
    def index() -> str:
        query = _query()
        return render_template(
            "jobs.html",
            page=jobs.list(query),
            query=query,
            states=STATES,
            tasks=TASK_NAMES,
            keys=SORT_KEYS,
            other=_other,
        )

    @pages.get("/jobs/<int:job_id>")
    @needs(Permission.READ)
    def show(job_id: int) -> str:
        found = jobs.show(_checked(job_id))
        settings = json.dumps(found.settings, indent=1, ensure_ascii=False)
        log = _last_lines(jobs, job_id)
        return render_template("job.html", found=found, job=found.job, settings=settings, log=log, active=ACTIVE)

    @pages.post("/jobs/<int:job_id>/stop")
    @needs(Permission.OPERATE)
    def stop(job_id: int) -> Any:
        jobs.stop(_checked(job_id), _reason(), g.person.name)
        return redirect(url_for("jobs.show", job_id=job_id))

    @pages.post("/jobs/<int:job_id>/cancel")
    @needs(Permission.OPERATE)
    def cancel(job_id: int) -> Any:
        jobs.cancel(_checked(job_id), _reason(), g.person.name)
        return redirect(url_for("jobs.show", job_id=job_id))

    @pages.post("/jobs/<int:job_id>/resume")
    @needs(Permission.OPERATE)
    def resume(job_id: int) -> Any:
        jobs.resume(_checked(job_id), g.person.name)
        return redirect(url_for("jobs.show", job_id=job_id))

    return pages


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
    return f"{url_for('jobs.index')}?{urlencode([*words, ('page', page)])}"


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
