"""The page that one has open all day."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, render_template

from r2d2.engine import JobPage, JobQuery, Jobs
from r2d2.engine.folder import ACTIVE, FINAL

from ..area import Area, Console, part
from ..live import live_part
from ..permissions import Permission, needs

__all__ = ["AREA"]

RUNNING_SHOWN, WAITING_SHOWN, ENDED_SHOWN = 50, 20, 10


def _add(pages: Blueprint, console: Console) -> None:
    @pages.get("/")
    @needs(Permission.READ)
    def index() -> str:
        return render_template("overview/overview.html", **_now(console.jobs))

    @pages.get("/overview/part")
    @needs(Permission.READ)
    @part
    def now() -> Response:
        return live_part("overview/now.html", **_now(console.jobs))


def _now(jobs: Jobs) -> dict[str, Any]:
    return {
        "running": _listed(jobs, ACTIVE, limit=RUNNING_SHOWN),
        "queued": _listed(jobs, ("queued",), descending=False, limit=WAITING_SHOWN),
        "ended": _listed(jobs, FINAL, sort="ended_at", limit=ENDED_SHOWN),
    }


def _listed(jobs: Jobs, states: tuple[str, ...], **more: Any) -> JobPage:
    return jobs.list(JobQuery.model_validate({"states": states, **more}))


AREA = Area("overview", _add, title="Overview")
