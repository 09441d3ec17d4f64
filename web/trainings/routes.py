"""The page of a new training: begun from a dataset, a run or a model; looked at while one types; launched."""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

from flask import (
    Blueprint,
    Response,
    flash,
    g,
    get_template_attribute,
    jsonify,
    redirect,
    render_template,
    request,
    url_for,
)
from markupsafe import Markup

from r2d2.errors import R2D2Error

from ..area import Area, Console, part
from ..permissions import Permission, needs

if TYPE_CHECKING:
    from .form import FormField
    from .launch import Draft

__all__ = ["AREA"]

SECTIONS = {
    "": "Of the run",
    "network": "Network",
    "augmentation": "Augmentation",
    "training": "Optimisation",
    "transfer": "Starting from a network",
    "monitoring": "Monitoring",
}


def _add(pages: Blueprint, console: Console) -> None:
    @pages.get("/trainings/new")
    @needs(Permission.OPERATE)
    def new() -> str:
        from .launch import draft_of  # here and below: settings and datasets are loaded once somebody wants them
        from .start import form_of_address

        form = form_of_address(request.args, console)
        return _page(draft_of(form, console, is_checked=bool(request.args)), console)

    @pages.post("/trainings/new")
    @needs(Permission.OPERATE)
    def begin() -> Any:
        from .form import TrainingForm
        from .launch import draft_of, launch

        draft = draft_of(TrainingForm.read(request.form), console, is_checked=False)
        if draft.submission is not None:
            try:
                job = launch(draft, console, g.person.name)
                g.target = str(job.id)
                flash(f"Job {job.id} was queued.")
                return redirect(url_for("runs.show", job_id=job.id))
            except R2D2Error as error:
                draft = draft.with_error(error)
        return _page(draft, console), 422

    @pages.post("/trainings/check")
    @needs(Permission.OPERATE)
    @part
    def check() -> Response:
        from .form import TrainingForm
        from .launch import draft_of

        return jsonify(draft_of(TrainingForm.read(request.form), console).preview.to_json())

    @pages.post("/trainings/settings")
    @needs(Permission.OPERATE)
    @part
    def settings() -> str:
        from .form import TrainingForm
        from .launch import draft_of
        from .start import with_preset

        form = with_preset(TrainingForm.read(request.form), request.form.get("preset", ""))
        return render_template("trainings/settings.html", **_shown(draft_of(form, console, is_checked=False)))


def _page(draft: Draft, console: Console) -> str:
    from ..choices import Choice, dataset_choices, start_choices

    datasets = dataset_choices(console)
    starts = start_choices(console.jobs)
    if draft.dataset is not None and draft.dataset.word not in [one.word for one in datasets]:
        datasets.insert(0, draft.dataset)
    if draft.form.start and draft.form.start not in [one.word for one in starts]:
        starts.insert(0, Choice(draft.form.start, draft.form.start))
    listed = {
        name: [(one.word, one.title) for one in found] for name, found in (("datasets", datasets), ("starts", starts))
    }
    return render_template("trainings/new.html", **listed, **_shown(draft))


def _shown(draft: Draft) -> dict[str, Any]:
    from .form import FIRST
    from .launch import START
    from .start import PRESETS

    fields = {one.setting.key: one for one in draft.fields}
    others = sorted(
        (one for key, one in fields.items() if key not in FIRST),
        key=lambda one: list(SECTIONS).index(one.setting.section),
    )
    is_known = draft.basis.is_known
    sections = []
    for section, found in groupby(others, lambda one: one.setting.section):
        inner = list(found)
        is_open = any(one.faults or one.is_changed for one in inner)
        sections.append((SECTIONS[section], section, is_open, _fields(inner, is_known)))
    return {
        "draft": draft,
        "form": draft.form,
        "told": draft.preview,
        "first": _fields([fields[key] for key in FIRST], is_known),
        "sections": sections,
        "faults": draft.faults,
        "start_key": START,
        "presets": PRESETS,
        "is_known": is_known,
    }


def _fields(fields: list[FormField], is_known: bool) -> Markup:
    written = [(_written if one.is_changed or one.faults else _proposed)(one, is_known) for one in fields]
    return Markup("").join(written)


@lru_cache(maxsize=1024)
def _proposed(one: FormField, is_known: bool) -> Markup:
    """Write a field that stands there as proposed, alike for all who ask: once."""
    return _written(one, is_known)


def _written(one: FormField, is_known: bool) -> Markup:
    written: Markup = get_template_attribute("trainings/fields.html", "setting")(one, _options(one, is_known), is_known)
    return written


def _options(one: FormField, is_known: bool) -> list[tuple[str, str]]:
    """Give what can be chosen in a field, each with its words."""
    setting = one.setting
    words = {"true": "yes", "false": "no"} if setting.kind == "flag" else {}
    options = [(choice, words.get(choice, choice)) for choice in setting.choices]
    if not is_known:
        return [("", "as proposed"), *options]
    if setting.may_be_null:
        options.insert(0, ("", "none"))
    if one.text not in [value for value, _ in options]:
        options.insert(0, (one.text, one.text))
    return options


AREA = Area("trainings", _add, title="New training", opens="new", needs=Permission.OPERATE)
