"""The page that one has open all day: what runs, what waits, what ended; and where nothing was done yet, what to do."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, flash, g, redirect, render_template, url_for

from r2d2.engine import Submission

from ..area import Area, Console, part
from ..live import live_part
from ..permissions import Permission, needs
from .now import Now

__all__ = ["AREA"]

EXAMPLE = Submission(
    task="train",
    name="example",
    tags=("example",),
    settings={"workers": 2, "settings": ["network.base_filters=8", "training.epochs=200"]},
)
"""A training that names no dataset: its study of phantoms is generated where it is not there yet."""


def _add(pages: Blueprint, console: Console) -> None:
    now = Now(console.jobs, console.settings)

    @pages.get("/")
    @needs(Permission.READ)
    def index() -> str:
        return render_template("overview/overview.html", **now.seen())

    @pages.get("/overview/part")
    @needs(Permission.READ)
    @part
    def index_part() -> Response:
        return live_part("overview/now.html", **now.seen())

    @pages.post("/example")
    @needs(Permission.OPERATE)
    def example() -> Any:
        job = console.jobs.submit(EXAMPLE, g.person.name)
        g.target = str(job.id)
        flash("The example is on its way. Its curves begin after about a minute.")
        return redirect(url_for("runs.show", job_id=job.id))


AREA = Area("overview", _add, title="Overview")
