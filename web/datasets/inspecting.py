"""Inspections of folders: begun, followed, given up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Blueprint, Response, g, redirect, render_template, request, url_for

from r2d2.engine.errors import RefusedError
from r2d2.engine.validation import validated
from r2d2.tasks.inspection import LAYOUTS, InspectSettings

from ..area import part
from ..live import live_part
from ..permissions import Permission, needs
from ..roots import Roots
from .folders import asked_folder, asked_path, trail_of
from .inspections import Inspections

__all__ = ["add_inspections", "inspection_settings"]

CASES_INSPECTED = 60


def add_inspections(pages: Blueprint, roots: Roots, inspections: Inspections) -> None:
    """Add the routes."""

    def shown(root: int) -> dict[str, Any]:
        source, recipe = asked_folder(roots, root), request.args.get("recipe", "auto")
        look = inspections.find(inspection_settings(source, recipe))
        words = {"look": look, "recipe": recipe, "layouts": LAYOUTS, "most_cases": CASES_INSPECTED}
        return {**trail_of(roots, root), **words}

    def asked(root: int) -> InspectSettings:
        g.target = f"folder {root}"
        return inspection_settings(asked_folder(roots, root), request.form.get("recipe", "auto"))

    def back(root: int) -> Any:
        recipe = request.form.get("recipe", "auto")
        return redirect(url_for("datasets.inspect", root=root, path=asked_path(), recipe=recipe))

    @pages.get("/datasets/inspect/<int:root>")
    @needs(Permission.READ)
    def inspect(root: int) -> str:
        return render_template("datasets/inspect.html", **shown(root))

    @pages.get("/datasets/inspect/<int:root>/part")
    @needs(Permission.READ)
    @part
    def inspect_part(root: int) -> Response:
        return live_part("datasets/inspect_part.html", **shown(root))

    @pages.post("/datasets/inspect/<int:root>")
    @needs(Permission.OPERATE)
    def start_inspection(root: int) -> Any:
        inspections.start(asked(root))
        return back(root)

    @pages.post("/datasets/inspect/<int:root>/cancel")
    @needs(Permission.OPERATE)
    def cancel_inspection(root: int) -> Any:
        look = inspections.find(asked(root))
        if look is not None:
            look.cancel()
        return back(root)


def inspection_settings(source: Path, recipe: str) -> InspectSettings:
    """Say what is looked at, and how.

    Raises:
        RefusedError: there is no such layout.
    """
    if recipe not in LAYOUTS:
        raise RefusedError(f"layout: one of {', '.join(LAYOUTS)}", [("recipe", "is none")])
    found: InspectSettings = validated(InspectSettings, {"source": str(source), "recipe": recipe}, "inspection")
    return found
