"""The form by which a trained network is published: what only its author knows, and what goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from r2d2.engine import JobDetails, JobQuery, Jobs, Submission
from r2d2.engine.errors import RefusedError
from r2d2.engine.validation import validated
from r2d2.errors import R2D2Error
from r2d2.setting_fields import SettingField, fields_of
from r2d2.zoo.publishing.author_words import AuthorWords, DataWords

from ..choices import MOST_LISTED, Choice

__all__ = ["LINES", "PublishForm", "evaluations", "questions", "submission_of", "trained"]

LINES = ("intended_use", "not_for", "known_failures", "attribution", "remarks", "data.population", "allowed_words")
"""Questions whose answers have several lines."""
_LISTS, _NOT_ASKED = ("allowed_words",), ("licence_file", "data")


@dataclass(frozen=True)
class PublishForm:
    """What was answered and chosen.

    Attributes:
        name: of the model.
        answers: to the questions, by key.
        evaluation: word of the evaluation; empty: none.
        half: whether weights are stored in half precision.
        with_pictures: whether the worst cases are drawn.
        unfinished: whether the best network so far of a run that has not ended may be published.
        faults: sentences by key.
    """

    name: str = ""
    answers: Mapping[str, str] = field(default_factory=dict)
    evaluation: str = ""
    half: bool = False
    with_pictures: bool = False
    unfinished: bool = False
    faults: Mapping[str, list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, sent: Mapping[str, str]) -> PublishForm:
        """Read what a browser sent; answers are called ``a.KEY``."""
        return cls(
            name=sent.get("name", "").strip(),
            answers={key.removeprefix("a."): text for key, text in sent.items() if key.startswith("a.")},
            evaluation=sent.get("evaluation", ""),
            half=sent.get("half") == "yes",
            with_pictures=sent.get("with_pictures") == "yes",
            unfinished=sent.get("unfinished") == "yes",
        )

    def with_error(self, error: R2D2Error) -> PublishForm:
        """Give the form with what it was refused for, each fault at its question."""
        faults: dict[str, list[str]] = {}
        for key, sentence in getattr(error, "faults", ()) or [("", str(error))]:
            faults.setdefault(key.removeprefix("settings."), []).append(sentence.removeprefix(f"{key}: "))
        return replace(self, faults=faults)

    @classmethod
    def of_job(cls, details: JobDetails) -> PublishForm:
        """Read what an earlier job was told, so that it can be mended."""
        told = details.settings
        wishes = told.get("wishes") or {}
        words = wishes.get("description")
        answers: dict[str, str] = {}
        if isinstance(words, Mapping):
            data = words.get("data") or {}
            plain = {**{key: value for key, value in words.items() if key != "data"}}
            plain |= {f"data.{key}": value for key, value in data.items()}
            answers = {key: _as_text(value) for key, value in plain.items()}
        return cls(
            name=str(told.get("name", "")),
            answers=answers,
            half=bool(wishes.get("half")),
            with_pictures=bool(wishes.get("with_pictures")),
            unfinished=bool(wishes.get("unfinished")),
        )


def _as_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "\n".join(map(str, value))
    return "" if value is None else str(value)


def questions() -> tuple[SettingField, ...]:
    """Give what is asked of an author, the data last."""
    asked = [one for one in fields_of(AuthorWords, "") if one.key not in _NOT_ASKED]
    needed = [one for one in asked if one.is_required]
    further = [one for one in asked if not one.is_required]
    return (*needed, *fields_of(DataWords, "data."), *further)


def trained(jobs: Jobs, job_id: int) -> JobDetails:
    """Give a job whose network can be published.

    Raises:
        RefusedError: it is no training, or has none.
    """
    details = jobs.show(job_id)
    if details.job.task != "train" or details.job.output is None:
        raise RefusedError(f"job {job_id} is no training: its task is {details.job.task}")
    return details


def evaluations(jobs: Jobs) -> list[Choice]:
    """List the evaluations that a card can have its scores from."""
    found = jobs.list(JobQuery(tasks=("evaluate",), states=("completed",), limit=MOST_LISTED)).jobs
    return [Choice(f"job:{job.id}", f"{job.name} (job {job.id})") for job in found if job.output is not None]


def submission_of(form: PublishForm, run: JobDetails, jobs: Jobs) -> Submission:
    """Give the job that publishes a network.

    Raises:
        RefusedError: with every fault at its key.
    """
    words = _words(form)
    evaluation = _evaluation(form, jobs)
    settings = {
        "run": run.job.output,
        "name": form.name,
        "wishes": {
            "description": words.model_dump(mode="json"),
            "evaluation": evaluation,
            "half": form.half,
            "with_pictures": form.with_pictures,
            "unfinished": form.unfinished,
        },
    }
    content = {"task": "publish", "settings": settings, "name": f"publish {form.name}"[:120], "tags": run.job.tags}
    made: Submission = validated(Submission, content, "form")
    return made


def _words(form: PublishForm) -> AuthorWords:
    from r2d2.zoo.registries.names import check_name

    faults: list[tuple[str, str]] = []
    try:
        check_name(form.name)
    except ValueError as error:
        faults.append(("name", str(error)))
    content: dict[str, Any] = {"data": {}}
    for question in questions():
        text = form.answers.get(question.key, "").strip()
        if not text:
            continue
        section, _, key = question.key.rpartition(".")
        into = content["data"] if section else content
        into[key] = [line.strip() for line in text.splitlines() if line.strip()] if key in _LISTS else text
    try:
        words: AuthorWords = validated(AuthorWords, content, "answers")
    except RefusedError as error:
        raise RefusedError("mend the answers", [*faults, *error.faults]) from error
    if faults:
        raise RefusedError("mend the name", faults)
    return words


def _evaluation(form: PublishForm, jobs: Jobs) -> str | None:
    if not form.evaluation:
        return None
    kind, _, number = form.evaluation.partition(":")
    if kind == "job" and number.isdecimal() and int(number[:18]) > 0:
        job = jobs.show(int(number[:18])).job
        if job.task == "evaluate" and job.output is not None:
            return job.output
    raise RefusedError("evaluation: choose one that is listed", [("evaluation", "choose one that is listed")])
