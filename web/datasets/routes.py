"""Pages of datasets: the list, folders gone through, inspections, preparation, one dataset."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from flask import Blueprint, Response, g, redirect, render_template, request, url_for
from werkzeug.exceptions import NotFound

from r2d2.engine import JobQuery
from r2d2.engine.errors import NotRunningError, RefusedError
from r2d2.engine.models import State
from r2d2.engine.validation import validated
from r2d2.errors import R2D2Error
from r2d2.tasks.inspection import LAYOUTS, InspectSettings
from r2d2.tasks.preparation import preset_names
from r2d2.viewing.dataset import open_dataset, view_dataset
from r2d2.viewing.finding import list_folder

from ..area import Area, Console, part
from ..live import live_part
from ..permissions import Permission, needs
from ..places import Places
from ..roots import Root, asking
from .inspections import Inspections
from .known import Known
from .preparation import PreparationForm, faults_of

__all__ = ["AREA"]

UNDER_WAY: tuple[State, ...] = ("queued", "starting", "running", "stopping")
CASES_ON_A_PAGE = 48
CASES_INSPECTED = 60
REPORT_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
)
"""Of a report, a page that somebody's job has written: its own styles and pictures, and nothing that runs."""


def _add(pages: Blueprint, console: Console) -> None:
    roots, jobs = console.roots, console.jobs
    places = Places(jobs, roots, console.settings.work_root)
    known, inspections = Known(jobs, roots), Inspections()

    def listed() -> dict[str, Any]:
        found, is_searching = known.list()
        preparing = jobs.list(JobQuery(tasks=("prepare",), states=UNDER_WAY, limit=50)).jobs
        return {"datasets": found, "is_searching": is_searching, "preparing": preparing}

    @pages.get("/datasets")
    @needs(Permission.READ)
    def index() -> str:
        return render_template("datasets/list.html", **listed(), roots=roots.of(asking()))

    @pages.get("/datasets/part")
    @needs(Permission.READ)
    @part
    def list_part() -> Response:
        return live_part("datasets/list_part.html", **listed(), roots=roots.of(asking()))

    @pages.get("/datasets/browse/<int:root>")
    @needs(Permission.READ)
    def browse(root: int) -> str:
        folder = _folder(root)
        if not folder.is_dir():
            return inspect(root)
        try:
            entries, more = list_folder(folder)
        except OSError as error:
            raise RefusedError(f"this folder cannot be read: {error.strerror}") from error
        return render_template("datasets/browse.html", **_where(root, folder), entries=entries, more=more)

    @pages.get("/datasets/inspect/<int:root>")
    @needs(Permission.READ)
    def inspect(root: int) -> str:
        source = _folder(root)
        return render_template("datasets/inspect.html", **_where(root, source), **_inspected(source))

    @pages.get("/datasets/inspect/<int:root>/part")
    @needs(Permission.READ)
    @part
    def inspect_part(root: int) -> Response:
        source = _folder(root)
        return live_part("datasets/inspect_part.html", **_where(root, source), **_inspected(source))

    @pages.post("/datasets/inspect/<int:root>")
    @needs(Permission.OPERATE)
    def start_inspection(root: int) -> Any:
        source, words = _folder(root), request.form
        inspections.start(_settings(source, words.get("recipe", "auto")))
        g.target = f"folder {root}"
        return redirect(_inspect_address(root))

    @pages.post("/datasets/inspect/<int:root>/cancel")
    @needs(Permission.OPERATE)
    def cancel_inspection(root: int) -> Any:
        look = inspections.find(_settings(_folder(root), request.form.get("recipe", "auto")))
        if look is not None:
            look.cancel()
        g.target = f"folder {root}"
        return redirect(_inspect_address(root))

    @pages.get("/datasets/prepare/<int:root>")
    @needs(Permission.OPERATE)
    def prepare(root: int) -> str:
        name = PurePosixPath(_path()).name or "scans"
        form = PreparationForm(recipe=request.args.get("recipe", "auto"), folder=f"{name}-prepared")
        return _preparation(root, form, {})

    @pages.post("/datasets/prepare/<int:root>")
    @needs(Permission.OPERATE)
    def submit_preparation(root: int) -> Any:
        form, source = PreparationForm.read(request.form), _folder(root)
        g.target = f"folder {root}"
        try:
            into = None if not form.into else form.folder_in(_root(form.into).path)
            job = jobs.submit(form.submission(source, into), g.person.name)
        except R2D2Error as error:
            if isinstance(error, NotRunningError):
                raise
            return _preparation(root, form, faults_of(error)), 422
        return redirect(url_for("runs.show", job_id=job.id))

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
        response = Response(found.read_bytes(), mimetype="text/html")
        response.headers["Content-Security-Policy"] = REPORT_POLICY
        return response

    def _folder(number: int) -> Path:
        return roots.found(asking(), number, _path())

    def _root(number: str) -> Root:
        for root in roots.of(asking()):
            if str(root.number) == number:
                return root
        raise RefusedError("into: there is no such folder", [("into", "there is no such folder")])

    def _preparation(number: int, form: PreparationForm, faults: dict[str, list[str]]) -> str:
        source = _folder(number)
        look = inspections.find(_settings(source, form.recipe if form.recipe in LAYOUTS else "auto"))
        found = look.found if look is not None else None
        proposals = {
            choice["name"]: f"{choice['value']}; {choice['reason']}" for choice in (found or {}).get("choices", ())
        }
        return render_template(
            "datasets/prepare.html",
            **_where(number, source),
            form=form,
            fields=form.fields(proposals, faults),
            faults=faults,
            look=look,
            layouts=LAYOUTS,
            presets=preset_names(),
            places=[(str(root.number), f"in {root.path.name or root.path}") for root in roots.of(asking())],
        )

    def _inspected(source: Path) -> dict[str, Any]:
        recipe = request.args.get("recipe", "auto")
        look = inspections.find(_settings(source, recipe))
        return {"look": look, "recipe": recipe, "layouts": LAYOUTS, "most_cases": CASES_INSPECTED}

    def _where(number: int, folder: Path) -> dict[str, Any]:
        """Give what leads to a folder: its declared one, and all between."""
        root = next(one for one in roots.of(asking()) if one.number == number)
        parts = PurePosixPath(_path()).parts
        trail = [("/".join(parts[: place + 1]), part) for place, part in enumerate(parts)]
        return {"root": root, "path": "/".join(parts), "trail": trail, "name": parts[-1] if parts else root.path.name}


def _path() -> str:
    """Give the path within a declared folder, without what leads out of it."""
    parts = PurePosixPath(request.args.get("path", "")).parts
    if any(part in ("..", "/") for part in parts):
        raise NotFound("there is no such folder")
    return "/".join(parts)


def _settings(source: Path, recipe: str) -> InspectSettings:
    if recipe not in LAYOUTS:
        raise RefusedError(f"layout: one of {', '.join(LAYOUTS)}", [("recipe", "is none")])
    found: InspectSettings = validated(InspectSettings, {"source": str(source), "recipe": recipe}, "inspection")
    return found


def _inspect_address(number: int) -> str:
    return url_for("datasets.inspect", root=number, path=_path(), recipe=request.form.get("recipe", "auto"))


def _page() -> int:
    text = request.args.get("page", "1")
    return int(text) if text.isdecimal() and 0 < len(text) < 7 and int(text) else 1


AREA = Area("datasets", _add, title="Datasets")
