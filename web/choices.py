"""What a training can begin with: prepared datasets and trained networks, each by a word that is no path.

``phantom`` is the generated study, ``job:7`` what job 7 made, ``root:1:liver/prepared`` a folder below a declared root,
``zoo:liver-ct:2`` a model of the zoo on this machine, ``run:7`` the network of the training that job 7 is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flask import g
from werkzeug.exceptions import HTTPException

from r2d2.config import read_layer
from r2d2.engine import JobDetails, JobPage, JobQuery, Jobs
from r2d2.engine.errors import RefusedError, UnknownJobError
from r2d2.engine.folder import ACTIVE
from r2d2.errors import R2D2Error
from r2d2.zoo.registries.names import parse_name
from r2d2.zoo.registries.registry import local_zoo, shipped_models

from .area import Console
from .roots import Root, asking

__all__ = [
    "PHANTOM",
    "Choice",
    "dataset_choices",
    "dataset_of",
    "model_choices",
    "network_of",
    "run_layer",
    "start_choices",
]

PHANTOM = "phantom"
MOST_LISTED = 200
_OF_JOB = re.compile(r"(job|run):([1-9][0-9]{0,17})")
_OF_ROOT = re.compile(r"root:([0-9]{1,3}):(.+)")


@dataclass(frozen=True)
class Choice:
    """One of several.

    Attributes:
        word: that stands for it in forms and addresses.
        title: for people.
        place: where it is; None: it is generated, or a model of the zoo.
        after: a job that makes it, which has not ended.
    """

    word: str
    title: str
    place: str | None = None
    after: int | None = None

    @property
    def path(self) -> Path | None:
        """Its place, made where somebody wants it: of hundreds that are listed one is chosen."""
        return None if self.place is None else Path(self.place)


def dataset_choices(console: Console) -> list[Choice]:
    """List the prepared datasets: those of jobs, also of jobs at work, those below the roots, the phantom study.

    What is hidden from whoever asks is left out. They are looked for once in a request.
    """
    if "dataset_choices" not in g:
        g.dataset_choices = _dataset_choices(console)
    return list(g.dataset_choices)


def _dataset_choices(console: Console) -> list[Choice]:
    made = _prepared(console.jobs.list(JobQuery(tasks=("prepare",), limit=MOST_LISTED)))
    known = {choice.place for choice in made}
    roots = console.roots.of(asking())
    found = [choice for root in roots for choice in _below(root, console) if choice.place not in known]
    return [*made, *found, Choice(PHANTOM, "phantom study, generated")]


def _of_the_last_page(make: Callable[[JobPage], list[Choice]]) -> Callable[[JobPage], list[Choice]]:
    """Have the choices of a page made once: an engine's client gives the same page while nothing changes."""
    last: tuple[JobPage | None, list[Choice]] = (None, [])

    def made(page: JobPage) -> list[Choice]:
        nonlocal last
        seen, choices = last
        if seen is not page:
            choices = make(page)
            last = (page, choices)  # replaced whole: other threads read it
        return choices

    return made


@_of_the_last_page
def _prepared(page: JobPage) -> list[Choice]:
    return [
        Choice(
            f"job:{job.id}",
            f"{job.name} (job {job.id}{', not prepared yet' if job.state != 'completed' else ''})",
            job.output,
            None if job.state == "completed" else job.id,
        )
        for job in page.jobs
        if job.output is not None and job.state in ("completed", "queued", *ACTIVE)
    ]


@_of_the_last_page
def _trained(page: JobPage) -> list[Choice]:
    return [
        Choice(f"run:{job.id}", f"{job.name} (job {job.id})", job.output) for job in page.jobs if job.output is not None
    ]


def _below(root: Root, console: Console) -> Iterator[Choice]:
    for folder in console.searches.get(root.path)[0]:
        inner = folder.relative_to(root.path).as_posix()
        title = f"{inner if inner != '.' else root.path.name} (in {root.path})"
        yield Choice(f"root:{root.number}:{inner}", title, str(folder))


def dataset_of(word: str, console: Console) -> Choice:
    """Find the dataset that a word stands for.

    Raises:
        RefusedError: it stands for none, or one that is not shown to whoever asks.
    """
    jobs = console.jobs
    if word == PHANTOM:
        return Choice(PHANTOM, "phantom study, generated")
    of_job, of_root = _OF_JOB.fullmatch(word), _OF_ROOT.fullmatch(word)
    if of_job is not None:
        job = _job(jobs, int(of_job[2])).job
        if job.task == "prepare" and of_job[1] == "job" and job.output is not None:
            if job.state not in ("completed", "queued", *ACTIVE):
                said = f"job {job.id} has prepared nothing: it is {job.state}; resume it, or choose another"
                raise RefusedError(f"dataset: {said}", [("dataset", said)])
            return Choice(word, job.name, job.output, None if job.state == "completed" else job.id)
        if of_job[1] == "run" and (named := run_layer(jobs, int(of_job[2])).get("dataset")):
            return Choice(word, f"that of job {job.id}", str(named))
    elif of_root is not None:
        try:
            folder = console.roots.found(asking(), int(of_root[1]), of_root[2])
        except HTTPException as error:
            raise RefusedError(f"dataset: {error.description}", [("dataset", str(error.description))]) from error
        return Choice(word, of_root[2], str(folder))
    raise RefusedError(f"dataset: {word!r:.80} is none of those that are listed", [("dataset", "choose one")])


def start_choices(jobs: Jobs) -> list[Choice]:
    """List the networks that a training can start from: models of the zoo on this machine, and those of runs."""
    names = sorted({name for registry in (local_zoo(), shipped_models()) for name in registry.names()})
    query = JobQuery(tasks=("train",), states=("completed", "stopped_early"), limit=MOST_LISTED)
    return [*(Choice(f"zoo:{name}", f"{name}, of the zoo") for name in names), *_trained(jobs.list(query))]


def model_choices(jobs: Jobs) -> list[Choice]:
    """List what can be asked for predictions: the networks that a training can start from, and those of all folds."""
    query = JobQuery(tasks=("cross-validate",), states=("completed",), limit=MOST_LISTED)
    folds = [
        Choice(f"run:{job.id}", f"{job.name}, all folds (job {job.id})", job.output)
        for job in jobs.list(query).jobs
        if job.output is not None
    ]
    return [*start_choices(jobs), *folds]


def network_of(word: str, jobs: Jobs, tasks: tuple[str, ...] = ("train",)) -> str:
    """Give the network that a word stands for, as settings name it.

    Args:
        word: of a choice.
        jobs: of the engine.
        tasks: of the jobs whose networks will do.

    Raises:
        RefusedError: it stands for no network.
    """
    if word.startswith("zoo:"):
        return f"zoo:{parse_name(word)}"
    of_job = _OF_JOB.fullmatch(word)
    if of_job is not None and of_job[1] == "run":
        job = _job(jobs, int(of_job[2])).job
        if job.task in tasks and job.output is not None:
            return job.output
    key = "transfer.start_from"
    raise RefusedError(f"{key}: {word!r:.80} is none of those that are listed", [(key, "choose one")])


def run_layer(jobs: Jobs, job_id: int) -> dict[str, object]:
    """Read the configuration of the run that a job is; empty: it has none yet.

    Raises:
        UnknownJobError: there is no such job.
        RefusedError: it is no training.
    """
    job = _job(jobs, job_id).job
    if job.task not in ("train", "cross-validate") or job.output is None:
        raise RefusedError(f"job {job_id} is no training: its task is {job.task}")
    folder = Path(job.output)
    try:
        file = folder / "config.yaml"
        if job.task == "cross-validate":
            file = min(folder.glob("fold-*/config.yaml"), default=file)
        return read_layer(file)
    except R2D2Error:
        return {}


def _job(jobs: Jobs, job_id: int) -> JobDetails:
    try:
        return jobs.show(job_id)
    except UnknownJobError as error:
        raise RefusedError(str(error), [("dataset", str(error))]) from error
