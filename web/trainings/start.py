"""What a form begins with: the dataset, the run to copy or the network that an address names; a preset's settings."""

from __future__ import annotations

from collections.abc import Mapping

from r2d2.config import configure
from r2d2.engine.errors import RefusedError
from r2d2.setting_fields import flat

from ..area import Console
from ..choices import PHANTOM, dataset_choices, run_layer, start_choices
from .form import TrainingForm
from .launch import START

__all__ = ["PRESETS", "form_of_address", "with_preset"]

PRESETS = ("none", "table1")
_OF_A_RUN = ("dataset", "run_dir", "hosts", "schema_version", "workers", "fold", "threads")


def form_of_address(asked: Mapping[str, str], console: Console) -> TrainingForm:
    """Read what an address says to begin with: ``dataset``, ``copy`` (a job), ``start`` (a network).

    Raises:
        RefusedError: the job is no training.
    """
    form = TrainingForm.read(asked)
    if "copy" in asked:
        form = _copied(asked["copy"], form, console)
    if not form.dataset:
        first = dataset_choices(console)[0]
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
    return next((one.word for one in start_choices(console.jobs) if one.place == str(path)), "")


def _dataset_word(job_id: int, path: object, console: Console) -> str:
    """Give the word of the dataset that a run is of."""
    if path is None:
        return PHANTOM
    listed = dataset_choices(console)
    return next((one.word for one in listed if one.place == str(path)), f"run:{job_id}")


def with_preset(form: TrainingForm, name: str) -> TrainingForm:
    """Put the settings of an augmentation's preset into a form."""
    if name not in PRESETS:
        return form
    values = flat(configure({}, assignments=[f"augmentation={name}"]).model_dump(mode="json"))
    return form.with_values({key: value for key, value in values.items() if key.startswith("augmentation.")})
