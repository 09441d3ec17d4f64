"""r2d2 jobs: tasks handed to the engine, watched and ended."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from r2d2.cli.engine import WORK_ROOT

if TYPE_CHECKING:
    from pydantic import BaseModel

    from r2d2.engine import EngineClient, Job

__all__ = ["app"]

FOLLOW_S = 0.5
_FAILED = {"failed": 1, "lost": 1, "cancelled": 130}

app = typer.Typer(help="Hand tasks to the engine ('r2d2 engine run'), watch them, end them.", no_args_is_help=True)

_JSON = typer.Option(False, "--json", help="Print JSON, as a program reads it.")
_ID = typer.Argument(..., metavar="JOB", help="Number of the job.")
_REASON = typer.Option("", help="Why, for the record.")


@app.command("submit", epilog="Example: r2d2 jobs submit train dataset=work/hippocampus workers=2 training.epochs=10")
def submit(
    task: str = typer.Argument(
        ..., help="prepare, train, cross-validate, predict, evaluate, compare, choose or report."
    ),
    words: list[str] = typer.Argument(None, metavar="KEY=VALUE", help="Its settings, as the command has options."),
    name: str = typer.Option("", help="For people; by default the task's."),
    tag: list[str] = typer.Option(None, help="A word to find it by; may be repeated."),
    priority: int = typer.Option(0, help="Higher begins first."),
    after: list[int] = typer.Option(None, metavar="JOB", help="A job that must have succeeded; may be repeated."),
    max_retries: int = typer.Option(1, min=0, help="Times it is tried again, had it lost a worker or its supervisor."),
    work_root: Path = WORK_ROOT,
    as_json: bool = _JSON,
) -> None:
    """Queue a task; prints the number of the job."""
    from r2d2.engine import Submission
    from r2d2.engine.validation import validated
    from r2d2.engine.words import settings_of_words
    from r2d2.tasks.registry import find_task, is_of_module

    # Code of others is imported by the engine alone, which was told what it may.
    asked = _plain(words) if is_of_module(task) else settings_of_words(find_task(task), words or (), Path.cwd())
    submission = validated(
        Submission,
        {
            "task": task,
            "settings": asked,
            "name": name,
            "tags": tag or [],
            "priority": priority,
            "after": after or [],
            "max_retries": max_retries,
        },
        "submission",
    )
    client = _client(work_root)
    job = client.submit(submission)
    if as_json:
        _print(job)
        return
    for warning in client.show(job.id).warnings:
        typer.echo(f"note: {warning}", err=True)
    typer.echo(str(job.id))


@app.command("list", epilog="Example: r2d2 jobs list --state running --state queued --tag mri")
def list_jobs(
    state: list[str] = typer.Option(None, help="Jobs in this state; may be repeated."),
    task: list[str] = typer.Option(None, help="Jobs of this task; may be repeated."),
    tag: list[str] = typer.Option(None, help="Jobs with this tag; repeated: with all of them."),
    text: str = typer.Option("", help="Jobs with this in their name."),
    sort: str = typer.Option("id", help="id, name, task, state, priority, submitted_at, started_at or ended_at."),
    ascending: bool = typer.Option(False, "--ascending", help="The lowest, or earliest, first."),
    limit: int = typer.Option(50, min=1, max=1000, help="Jobs on a page."),
    page: int = typer.Option(1, min=1, help="Which page."),
    work_root: Path = WORK_ROOT,
    as_json: bool = _JSON,
) -> None:
    """List jobs, the latest first."""
    from r2d2.engine import JobQuery
    from r2d2.engine.validation import validated

    asked = {
        "states": state or [],
        "tasks": task or [],
        "tags": tag or [],
        "text": text,
        "sort": sort,
        "descending": not ascending,
        "limit": limit,
        "offset": (page - 1) * limit,
    }
    found = _client(work_root).list(validated(JobQuery, asked, "query"))
    if as_json:
        _print(found)
        return
    for job in found.jobs:
        typer.echo(_line(job))
    shown = len(found.jobs)
    if found.total > shown:
        typer.echo(f"{shown} of {found.total} jobs; --page and --limit show others", err=True)


@app.command("show")
def show(job_id: int = _ID, work_root: Path = WORK_ROOT, as_json: bool = _JSON) -> None:
    """Show everything about a job."""
    found = _client(work_root).show(job_id)
    if as_json:
        _print(found)
        return
    job = found.job
    typer.echo(_line(job))
    rows: dict[str, Any] = {
        "reason": job.reason,
        "after": ", ".join(map(str, job.after)),
        "submitted": f"{_time(job.submitted_at)} by {job.by}",
        "started": _time(job.started_at),
        "ended": _time(job.ended_at),
        "workers": job.workers,
        "output": job.output,
        "folder": found.folder,
    }
    rows |= {f"  {key}": value for key, value in found.settings.items()}
    rows |= {f"result {key}": value for key, value in (found.result or {}).items()}
    rows |= {f"attempt {one.number}": f"{one.state} ({one.why}) {one.reason or ''}" for one in found.attempts}
    for key, value in rows.items():
        if value not in (None, "", [], {}):
            typer.echo(f"  {key}: {value}")
    for warning in found.warnings:
        typer.echo(f"  note: {warning}")
    for alert in job.alerts:
        typer.echo(f"  alert: {alert.message} {alert.advice}")


@app.command("logs")
def logs(
    job_id: int = _ID,
    follow: bool = typer.Option(False, "--follow", "-f", help="Go on until the job's attempt ends."),
    attempt: int = typer.Option(None, min=1, help="Which attempt; by default the last one."),
    work_root: Path = WORK_ROOT,
) -> None:
    """Print what a job says; with -f to its end, whose exit code is this command's."""
    client = _client(work_root)
    for part in client.log_parts(job_id, attempt):
        sys.stdout.write(part.text)
        sys.stdout.flush()
        if not part.text and not follow:
            return
        if not part.text and not part.is_last:
            time.sleep(FOLLOW_S)
    if follow:
        job = client.show(job_id).job
        typer.echo(f"job {job_id} is {job.state}{_because(job)}", err=True)
        raise typer.Exit(_FAILED.get(job.state, 0))


@app.command("stop")
def stop(job_id: int = _ID, reason: str = _REASON, work_root: Path = WORK_ROOT) -> None:
    """Have a training end after its step, with a checkpoint and its best network."""
    _tell(_client(work_root).stop(job_id, reason))


@app.command("cancel")
def cancel(job_id: int = _ID, reason: str = _REASON, work_root: Path = WORK_ROOT) -> None:
    """End a job, with all its processes: asked first, then by SIGTERM, then by SIGKILL. Cancelled twice: at once."""
    _tell(_client(work_root).cancel(job_id, reason))


@app.command("resume")
def resume(job_id: int = _ID, work_root: Path = WORK_ROOT) -> None:
    """Queue a job again that was stopped, cancelled or lost, or has failed; it goes on where it was."""
    _tell(_client(work_root).resume(job_id))


@app.command("change")
def change(
    job_id: int = _ID,
    name: str = typer.Option(None, help="Another name."),
    tag: list[str] = typer.Option(None, help="Other tags; may be repeated."),
    priority: int = typer.Option(None, help="Higher begins first."),
    work_root: Path = WORK_ROOT,
) -> None:
    """Give a job another name, other tags, or another priority."""
    from r2d2.engine import Change
    from r2d2.engine.validation import validated

    asked = {"name": name, "tags": tag or None, "priority": priority}
    _tell(_client(work_root).change(job_id, validated(Change, asked, "change")))


def _client(work_root: Path | None) -> EngineClient:
    from r2d2.engine import EngineClient, default_work_root

    return EngineClient(work_root or default_work_root())


def _plain(words: list[str] | None) -> dict[str, Any]:
    """Read words of which only the engine knows what they mean."""
    import yaml

    return {word.partition("=")[0]: yaml.safe_load(word.partition("=")[2]) for word in words or ()}


def _print(content: BaseModel) -> None:
    typer.echo(content.model_dump_json(indent=1))


def _tell(job: Job) -> None:
    typer.echo(f"job {job.id} is {job.state}{_because(job)}", err=True)


def _because(job: Job) -> str:
    return f" ({job.reason})" if job.reason else ""


def _line(job: Job) -> str:
    """One line about a job, without letters that a terminal would obey."""
    far = "" if job.progress is None else f"  {job.progress.stage} {job.progress.done}/{job.progress.total}"
    tags = "".join(f"  #{tag}" for tag in job.tags)
    reason = f"  ({job.reason})" if job.reason and job.state != "completed" else ""
    begun = _time(job.started_at or job.submitted_at)
    line = f"{job.id:>6}  {job.state:<13} {job.task:<14} {begun}  {job.name}{tags}{far}{reason}"
    return "".join(letter if letter.isprintable() else " " for letter in line)


def _time(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
