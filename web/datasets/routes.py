"""Pages of datasets: the list, folders gone through, one dataset; inspections and preparations beside them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound

from r2d2.engine import JobQuery
from r2d2.engine.errors import RefusedError
from r2d2.engine.models import State
from r2d2.viewing.dataset import open_dataset, view_dataset
from r2d2.viewing.finding import list_folder

from ..area import Area, Console, part
from ..files import send_report
from ..live import live_part
from ..permissions import Permission, needs
from ..places import Places
from ..roots import asking
from .folders import asked_folder, asked_path, trail_of
from .inspecting import add_inspections
from .inspections import Inspections
from .known import Known
from .preparing import add_preparation

__all__ = ["AREA"]

UNDER_WAY: tuple[State, ...] = ("queued", "starting", "running", "stopping")
CASES_ON_A_PAGE = 48


def _add(pages: Blueprint, console: Console) -> None:
    inspections = Inspections()
    _add_lists(pages, console)
    add_inspections(pages, console.roots, inspections)
    add_preparation(pages, console, inspections)
    _add_dataset(pages, Places(console))


def _add_lists(pages: Blueprint, console: Console) -> None:
    roots, jobs = console.roots, console.jobs
    known = Known(console)

    def listed() -> dict[str, Any]:
        found, is_searching = known.list()
        preparing = jobs.list(JobQuery(tasks=("prepare",), states=UNDER_WAY, limit=50)).jobs
        names = {"datasets": found, "is_searching": is_searching, "preparing": preparing}
        return {**names, "roots": roots.of(asking())}

    @pages.get("/datasets")
    @needs(Permission.READ)
    def index() -> str:
        return render_template("datasets/list.html", **listed())

    @pages.get("/datasets/part")
    @needs(Permission.READ)
    @part
    def list_part() -> Response:
        return live_part("datasets/list_part.html", **listed())

    @pages.get("/datasets/browse/<int:root>")
    @needs(Permission.READ)
    def browse(root: int) -> Any:
        folder = asked_folder(roots, root)
        if not folder.is_dir():
            return redirect(url_for("datasets.inspect", root=root, path=asked_path()))
        try:
            entries, more = list_folder(folder)
        except OSError as error:
            raise RefusedError(f"this folder cannot be read: {error.strerror}") from error
        return render_template("datasets/browse.html", **trail_of(roots, root), entries=entries, more=more)


def _add_dataset(pages: Blueprint, places: Places) -> None:
    @pages.get("/datasets/show/<kind>/<int:number>")
    @needs(Permission.READ)
    def show(kind: str, number: int) -> str:
        place = places.find(kind, number, request.args.get("path", ""))
        if place.dataset is None:
            raise NotFound(f"{place.title} is no prepared dataset")
        view = view_dataset(open_dataset(place.dataset))
        chosen = request.args.get("part", "")
        cases = [case for case in view.cases if not chosen or case.part == chosen]
        page = _page()
        shown = cases[(page - 1) * CASES_ON_A_PAGE : page * CASES_ON_A_PAGE]
        pages_in_all = max(1, -(-len(cases) // CASES_ON_A_PAGE))
        return render_template(
            "datasets/show.html",
            place=place,
            view=view,
            cases=shown,
            total=len(cases),
            chosen=chosen,
            page=page,
            pages_in_all=pages_in_all,
            other=lambda at: url_for("datasets.show", **place.words, part=chosen or None, page=at),
        )

    @pages.get("/datasets/report/<kind>/<int:number>")
    @needs(Permission.READ)
    @part
    def report(kind: str, number: int) -> Response:
        place = places.find(kind, number, request.args.get("path", ""))
        found = None if place.dataset is None else view_dataset(open_dataset(place.dataset)).report
        if found is None:
            raise NotFound("this dataset has no report: prepare it again, or make one by r2d2 report")
        places.check([found])
        return send_report(found)


def _page() -> int:
    text = request.args.get("page", "1")
    return int(text) if text.isdecimal() and 0 < len(text) < 7 and int(text) else 1


AREA = Area("datasets", _add, title="Datasets")
