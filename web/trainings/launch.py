"""A form looked at as a whole: what is below it, what is wrong with it, what it comes to; and what begins with it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from r2d2.config import Configuration, configure
from r2d2.engine import Job, Submission
from r2d2.engine.errors import JobStateError, RefusedError
from r2d2.engine.validation import validated
from r2d2.errors import R2D2Error
from r2d2.tasks.basis import Basis, basis_of, room_for
from r2d2.tasks.preparation import PHANTOM_FOLDER

from ..area import Console
from ..choices import PHANTOM, Choice, dataset_of, network_of
from ..followers import REFUSED, queue_followers
from ..preview import Preview, yaml_text
from .faults import Faults
from .form import FormField, TrainingForm, command_lines, fields_shown

__all__ = ["START", "Draft", "draft_of", "launch"]

START = "transfer.start_from"
_OTHER_KEYS = ("dataset", "workers", "name", "tags", "task", START)


@dataclass(frozen=True)
class Draft:
    """A training about to be submitted.

    Attributes:
        form: what was chosen and typed.
        dataset: that it is about; None: none that there is.
        basis: the settings below the form.
        fields: the settings, with faults.
        faults: all of them.
        warnings: what may surprise.
        submission: of the job; None: there are faults.
        command: what would be typed for it.
        yaml: what differs from what is proposed.
        room: how many workers there can be.
        jobs: what begins, in its order, in sentences; empty: the training alone.
        is_checked: whether the engine was asked what it would refuse.
    """

    form: TrainingForm
    dataset: Choice | None
    basis: Basis
    fields: tuple[FormField, ...]
    faults: Faults
    warnings: tuple[str, ...]
    submission: Submission | None
    command: str
    yaml: str
    room: tuple[str, ...]
    jobs: tuple[str, ...]
    is_checked: bool = True

    def with_error(self, error: R2D2Error) -> Draft:
        """Give the draft with what it was refused for."""
        self.faults.add(error)
        fields = (replace(one, faults=tuple(self.faults.at.get(one.setting.key, ()))) for one in self.fields)
        return replace(self, fields=tuple(fields), submission=None)

    @property
    def preview(self) -> Preview:
        """What the page shows while one types."""
        return Preview(
            self.faults.at,
            self.faults.general,
            self.warnings,
            [one.setting.key for one in self.fields if one.is_changed],
            self.command,
            self.yaml,
            {"room": self.room, "jobs": self.jobs},
            self.is_checked,
        )


def draft_of(form: TrainingForm, console: Console, *, is_checked: bool = True) -> Draft:
    """Look at a form.

    Args:
        form: what was chosen and typed.
        console: with the engine that would do it.
        is_checked: whether the engine is asked what it would refuse.
    """
    may_run_code = bool(console.settings.code_roots)
    faults = Faults([*_OTHER_KEYS, *(one.key for one in fields_shown(form.architecture(Basis()), may_run_code=True))])
    dataset, basis = _dataset(form, console, faults)
    words = form.words(basis, may_run_code=may_run_code)
    start = None
    if form.start:
        try:
            start = network_of(form.start, console.jobs)
            words = (*words, f"{START}={start}")
        except R2D2Error as error:
            faults.add(error)
    if form.then and basis.is_known and not basis.tests:
        faults.note("", "the dataset has no test cases that could be predicted and evaluated afterwards")
    workers = _workers(form, faults)
    configuration = _configured(basis, words)
    submission, warnings = None, _unknown(dataset, form)
    if not faults:
        try:
            submission = _submission(form, dataset, words, workers)
            warnings += console.jobs.check(submission).warnings if is_checked else ()
        except R2D2Error as error:
            faults.add(error)
            submission = None
    shown = None if dataset is None else dataset.place
    return Draft(
        form,
        dataset,
        basis,
        tuple(form.fields(basis, may_run_code=may_run_code, faults=faults.at)),
        faults,
        warnings,
        submission,
        command_lines(form.task, shown, workers, words, form.then),
        yaml_text(words, dataset=shown, workers=workers if workers > 1 else None),
        room_for(configuration, basis, console.settings.max_workers),
        _course(dataset, form),
        is_checked,
    )


def launch(draft: Draft, console: Console, by: str) -> Job:
    """Queue a training, and what follows it.

    Args:
        draft: without faults.
        console: with the engine.
        by: who asks for it.

    Raises:
        R2D2Error: it was refused; then nothing is queued.
    """
    if draft.submission is None:
        raise RefusedError("the training has faults: mend them first")
    job = console.jobs.submit(draft.submission, by)
    dataset = draft.dataset
    path = console.settings.work_root / PHANTOM_FOLDER if dataset is None or dataset.path is None else dataset.path
    try:
        queue_followers(console.jobs, job, str(path), draft.form.then, by)
    except R2D2Error:
        with suppress(JobStateError):  # it has ended already
            console.jobs.cancel(job.id, REFUSED, by)
        raise
    return job


def _dataset(form: TrainingForm, console: Console, faults: Faults) -> tuple[Choice | None, Basis]:
    try:
        dataset = dataset_of(form.dataset, console)
        path = console.settings.work_root / PHANTOM_FOLDER if dataset.word == PHANTOM else dataset.path
        return dataset, basis_of(None if dataset.after is not None else path)
    except R2D2Error as error:
        if getattr(error, "faults", ()):
            faults.add(error)
        else:
            faults.note("dataset", str(error))
        return None, Basis()


def _unknown(dataset: Choice | None, form: TrainingForm) -> tuple[str, ...]:
    """Say what is checked only once the dataset is there."""
    if dataset is None or dataset.after is None:
        return ()
    tests = ", whether it has test cases," if form.then else ""
    return (
        f"job {dataset.after} has still to prepare this dataset: the training waits for it; settings that depend on "
        f"the dataset{tests} and the number of workers are checked when it begins",
    )


def _course(dataset: Choice | None, form: TrainingForm) -> tuple[str, ...]:
    """Say what begins after what."""
    is_one = form.task == "train"
    said = {"predict": "The test cases are predicted.", "evaluate": "The prediction is evaluated, with a report."}
    first = () if dataset is None or dataset.after is None else (f"Job {dataset.after} prepares the dataset.",)
    networks = "The network is trained." if is_one else "A network is trained for each fold, and all are evaluated."
    found = (*first, networks, *(said[step] for step in form.then))
    return found if len(found) > 1 else ()


def _workers(form: TrainingForm, faults: Faults) -> int:
    if form.workers.isdecimal() and int(form.workers[:9]) >= 1:
        return int(form.workers[:9])
    faults.note("workers", f"must be a whole number from 1; received {form.workers!r:.40}")
    return 1


def _configured(basis: Basis, words: tuple[str, ...]) -> Configuration | None:
    """Give the settings as they would count; None: they have faults, or are not known."""
    if basis.configuration is None:
        return None
    try:
        return configure(basis.configuration.model_dump(mode="json"), assignments=words)
    except R2D2Error:
        return None


def _submission(form: TrainingForm, dataset: Choice | None, words: tuple[str, ...], workers: int) -> Submission:
    settings: dict[str, Any] = {"workers": workers, "settings": list(words)}
    if dataset is not None and dataset.place is not None:
        settings["dataset"] = dataset.place
    content = {
        "task": form.task,
        "settings": settings,
        "name": form.name,
        "tags": form.tags.split(),
        "after": [] if dataset is None or dataset.after is None else [dataset.after],
    }
    made: Submission = validated(Submission, content, "form")
    return made
