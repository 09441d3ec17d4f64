"""The page of a preparation: its form, begun from what an inspection proposes, and the job that it makes."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for

from r2d2.engine.errors import NotRunningError
from r2d2.errors import R2D2Error
from r2d2.tasks.inspection import LAYOUTS
from r2d2.tasks.preparation import preset_names

from ..area import Console
from ..permissions import Permission, needs
from ..roots import asking
from .folders import asked_folder, asked_path, chosen_root, trail_of
from .inspecting import inspection_settings
from .inspections import Inspections
from .preparation import PreparationForm, faults_of

__all__ = ["add_preparation"]


def add_preparation(pages: Blueprint, console: Console, inspections: Inspections) -> None:
    """Add the routes."""
    roots, jobs = console.roots, console.jobs

    def page(number: int, form: PreparationForm, faults: dict[str, list[str]]) -> str:
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
        return page(root, form, {})

    @pages.post("/datasets/prepare/<int:root>")
    @needs(Permission.OPERATE)
    def submit_preparation(root: int) -> Any:
        form, source = PreparationForm.read(request.form), asked_folder(roots, root)
        g.target = f"folder {root}"
        try:
            into = None if not form.into else form.folder_in(chosen_root(roots, form.into).path)
            job = jobs.submit(form.submission(source, into), g.person.name)
        except NotRunningError:
            raise
        except R2D2Error as error:
            return page(root, form, faults_of(error)), 422
        if request.form.get("next") == "train":
            flash(f"Job {job.id} prepares the dataset. Choose here how a network is trained on it afterwards.")
            return redirect(url_for("trainings.new", dataset=f"job:{job.id}"))
        return redirect(url_for("runs.show", job_id=job.id))
