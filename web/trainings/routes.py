"""The page of a new training: begun from a dataset, a run or a model; looked at while one types; launched."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from flask import Blueprint, Response, flash, g, jsonify, redirect, render_template, request, url_for

from r2d2.config import configure
from r2d2.engine.errors import RefusedError
from r2d2.errors import R2D2Error
from r2d2.tasks.basis import flat

from ..area import Area, Console, part
from ..permissions import Permission, needs
from .choices import Choice, dataset_choices, run_layer, start_choices
from .form import FIRST, FormField, TrainingForm
from .launch import START, Draft, draft_of, launch

__all__ = ["AREA"]

PRESETS = ("none", "table1")
SECTIONS = {
    "": "Of the run",
    "network": "Network",
    "augmentation": "Augmentation",
    "training": "Optimisation",
    "transfer": "Starting from a network",
}
_OF_A_RUN = ("dataset", "run_dir", "hosts", "schema_version", "workers", "fold", "threads")


def _add(pages: Blueprint, console: Console) -> None:
    @pages.get("/trainings/new")
    @needs(Permission.OPERATE)
    def new() -> str:
        return _page(draft_of(_begun(console), console), console)

    @pages.post("/trainings/new")
    @needs(Permission.OPERATE)
    def begin() -> Any:
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
        return jsonify(draft_of(TrainingForm.read(request.form), console).to_json())

    @pages.post("/trainings/settings")
    @needs(Permission.OPERATE)
    @part
    def settings() -> str:
        form = _with_preset(TrainingForm.read(request.form), request.form.get("preset", ""))
        return render_template("trainings/settings.html", **_shown(draft_of(form, console, is_checked=False)))


def _page(draft: Draft, console: Console) -> str:
    datasets = dataset_choices(console.jobs, console.settings.data_roots)
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
    fields = {one.setting.key: one for one in draft.fields}
    others = sorted(
        (one for key, one in fields.items() if key not in FIRST),
        key=lambda one: list(SECTIONS).index(one.setting.section),
    )
    sections = [
        (SECTIONS[section], section, list(inner)) for section, inner in groupby(others, lambda one: one.setting.section)
    ]
    return {
        "draft": draft,
        "form": draft.form,
        "first": [fields[key] for key in FIRST],
        "sections": sections,
        "faults": draft.faults,
        "start_key": START,
        "presets": PRESETS,
        "options": _options,
        "is_known": draft.basis.is_known,
    }


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


def _begun(console: Console) -> TrainingForm:
    """Read what a page's address says to begin with: a dataset, a run to copy, a network to start from."""
    asked = request.args
    form = TrainingForm.read(asked)
    if "copy" in asked:
        form = _copied(asked["copy"], form, console)
    if not form.dataset:
        first = dataset_choices(console.jobs, console.settings.data_roots)[0]
        form = form.of_dataset(first.word)
    return form


def _copied(text: str, form: TrainingForm, console: Console) -> TrainingForm:
    """Give a form with the settings of the training that a job is."""
    if not text.isdecimal() or not int(text[:18]) >= 1:
        raise RefusedError("copy: is the number of a training's job", [("copy", "is the number of a job")])
    job_id = int(text[:18])
    layer = run_layer(console.jobs, job_id)
    details = console.jobs.show(job_id)
    if layer:
        values = flat(configure(layer).model_dump(mode="json"))
        start = values.get("transfer.start_name")
        word = f"zoo:{start}" if start else _start_word(values.get(START), console)
    else:  # not begun yet: as it was asked for
        asked = configure({}, assignments=tuple(details.settings.get("settings") or ()))
        stated = [word.partition("=")[0].strip() for word in details.settings.get("settings") or ()]
        values = {key: value for key, value in flat(asked.model_dump(mode="json")).items() if key in stated}
        word = _start_word(values.get(START), console)
    kept = {
        key: value
        for key, value in values.items()
        if key not in (*_OF_A_RUN, START, "transfer.start_name") and not key.startswith("preparation.")
    }
    dataset = form.dataset or _dataset_word(job_id, layer.get("dataset") or details.settings.get("dataset"), console)
    workers = values.get("workers") or details.settings.get("workers") or 1
    copied = form.with_values(kept)
    return copied.of_run(
        dataset, word, str(workers), details.job.task, f"{details.job.name} again"[:120], details.job.tags
    )


def _start_word(path: object, console: Console) -> str:
    if path is None:
        return ""
    if str(path).startswith("zoo:"):
        return str(path)
    return next((one.word for one in start_choices(console.jobs) if str(one.path) == str(path)), "")


def _dataset_word(job_id: int, path: object, console: Console) -> str:
    """Give the word of the dataset that a run is of."""
    if path is None:
        return "phantom"
    listed = dataset_choices(console.jobs, console.settings.data_roots)
    return next((one.word for one in listed if str(one.path) == str(path)), f"run:{job_id}")


def _with_preset(form: TrainingForm, name: str) -> TrainingForm:
    """Put the settings of an augmentation's preset into a form."""
    if name not in PRESETS:
        return form
    values = flat(configure({}, assignments=[f"augmentation={name}"]).model_dump(mode="json"))
    return form.with_values({key: value for key, value in values.items() if key.startswith("augmentation.")})


AREA = Area("trainings", _add, title="New training", opens="new", needs=Permission.OPERATE)
