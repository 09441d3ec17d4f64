"""The page of a preparation: its form, begun from what an inspection proposes, and the job that it makes."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from flask import Blueprint, Response, flash, g, jsonify, redirect, render_template, request, url_for

from r2d2.engine import Submission
from r2d2.engine.errors import NotRunningError
from r2d2.errors import R2D2Error
from r2d2.tasks.inspection import LAYOUTS
from r2d2.tasks.preparation import preset_names

from ..area import Console, part
from ..permissions import Permission, needs
from ..preview import Preview
from ..roots import asking
from .folders import asked_folder, asked_path, chosen_root, trail_of
from .inspecting import inspection_settings
from .inspections import Inspections
from .preparation import PreparationForm, faults_of, preview_of

__all__ = ["add_preparation"]


def add_preparation(pages: Blueprint, console: Console, inspections: Inspections) -> None:
    """Add the routes."""
    roots, jobs = console.roots, console.jobs

    def looked_at(number: int, form: PreparationForm, *, is_checked: bool = True) -> tuple[Submission | None, Preview]:
        """Look at a form, and ask the engine what it would refuse; gives the job where nothing stands in the way."""
        source, out, submission = asked_folder(roots, number), None, None
        faults, warnings = dict[str, list[str]](), tuple[str, ...]()
        try:
            out = None if not form.into else form.folder_in(chosen_root(roots, form.into).path)
            submission = form.submission(source, out)
            warnings = jobs.check(submission, g.person.name).warnings if is_checked else ()
        except R2D2Error as error:
            faults, submission = faults_of(error), None
        return submission, preview_of(form, source, out, faults, warnings)

    def page(number: int, form: PreparationForm, told: Preview, *, is_refused: bool = True) -> str:
        faults = told.faults
        recipe = form.recipe if form.recipe in LAYOUTS else "auto"
        look = inspections.find(inspection_settings(asked_folder(roots, number), recipe))
        found = look.found if look is not None else None
        proposals = {
            choice["name"]: f"{choice['value']}; {choice['reason']}" for choice in (found or {}).get("choices", ())
        }
        return render_template(
            "datasets/prepare.html",
            **trail_of(roots, number),
            form=form,
            fields=form.fields(proposals, faults),
            faults=faults,
            told=told,
            is_refused=is_refused,
            look=look,
            layouts=LAYOUTS,
            presets=preset_names(),
            places=[(str(root.number), f"in {root.path.name or root.path}") for root in roots.of(asking())],
        )

    @pages.get("/datasets/prepare/<int:root>")
    @needs(Permission.OPERATE)
    def prepare(root: int) -> str:
        name = PurePosixPath(asked_path()).name or "scans"
        form = PreparationForm(recipe=request.args.get("recipe", "auto"), folder=f"{name}-prepared")
        return page(root, form, looked_at(root, form)[1], is_refused=False)

    @pages.post("/datasets/prepare/<int:root>/check")
    @needs(Permission.OPERATE)
    @part
    def check_preparation(root: int) -> Response:
        return jsonify(looked_at(root, PreparationForm.read(request.form))[1].to_json())

    @pages.post("/datasets/prepare/<int:root>")
    @needs(Permission.OPERATE)
    def submit_preparation(root: int) -> Any:
        form = PreparationForm.read(request.form)
        g.target = f"folder {root}"
        submission, told = looked_at(root, form, is_checked=False)
        if submission is None:
            return page(root, form, told), 422
        try:
            job = jobs.submit(submission, g.person.name)
        except NotRunningError:
            raise
        except R2D2Error as error:
            source = Path(submission.settings["source"])
            return page(root, form, preview_of(form, source, None, faults_of(error), ())), 422
        if request.form.get("next") == "train":
            flash(f"Job {job.id} prepares the dataset. Choose here how a network is trained on it afterwards.")
            return redirect(url_for("trainings.new", dataset=f"job:{job.id}"))
        return redirect(url_for("runs.show", job_id=job.id))
