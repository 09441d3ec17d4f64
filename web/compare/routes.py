"""The page that compares, the list from which one chooses, and the results once they are computed."""

from __future__ import annotations

from string import ascii_uppercase
from typing import Any

from flask import Blueprint, Response, render_template, request, url_for
from werkzeug.datastructures import MultiDict

from r2d2.engine import JobQuery
from r2d2.engine.validation import validated

from ..area import Area, Console, part
from ..live import live_part
from ..permissions import Permission, needs
from .choice import COMPARED, MOST, Asked, Chosen, chosen
from .results import Results

__all__ = ["AREA"]

PER_PAGE = 20
POINTS = 400
ACTIVE = ("queued", "starting", "running", "stopping")


def _add(pages: Blueprint, console: Console) -> None:
    results = Results()

    @pages.get("/compare")
    @needs(Permission.READ)
    def index() -> str:
        from .run_settings import settings_table  # loads all settings there are

        asked = _asked(request.args)
        found = chosen(console.jobs, asked.job)
        runs = [one for one in found if one.run is not None]
        return render_template(
            "compare/compare.html",
            asked=asked,
            chosen=found,
            runs=runs,
            drawn=[_drawn(one) for one in runs],
            letters=_letters(found),
            table=settings_table([(one.id, one.run) for one in runs if one.run is not None]),
            offered=_offered(console, asked) if asked.add or not found else None,
            most=MOST,
            address=_address,
            results=url_for("compare.show_results", **_words(asked)),
            **_results(results, asked, found),
        )

    @pages.get("/compare/results")
    @needs(Permission.READ)
    @part
    def show_results() -> Response:
        asked = _asked(request.args)
        found = chosen(console.jobs, asked.job)
        shown = _results(results, asked, found)
        return live_part("compare/results.html", asked=asked, letters=_letters(found), address=_address, **shown)


def _drawn(run: Chosen) -> dict[str, Any]:
    """Give what the script needs to know of a run."""
    job = run.job
    return {
        "called": f"job {run.id}",
        "page": url_for("runs.show", job_id=run.id),
        "name": "" if job is None else job.name,
        "url": url_for("runs.curves", job_id=run.id, most=POINTS),
        "isActive": job is not None and job.state in ACTIVE,
    }


def _asked(words: MultiDict[str, str]) -> Asked:
    asked: Asked = validated(
        Asked,
        {
            "job": [word for word in words.getlist("job") if word],
            "metric": [word for text in words.getlist("metric") for word in text.split()],
            "unmatched": words.get("unmatched") or "error",
            "add": words.get("add") == "yes",
            "text": words.get("text", ""),
        },
        "address",
    )
    return asked


def _words(asked: Asked, **changed: Any) -> dict[str, Any]:
    words = {**asked.model_dump(exclude_defaults=True, exclude={"add", "text"}), **changed}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in words.items()}


def _address(asked: Asked, **changed: Any) -> str:
    """Give the address of the same page with something changed; it can be kept, and sent to others."""
    return url_for("compare.index", **_words(asked, **changed))


def _letters(found: list[Chosen]) -> dict[str, Chosen]:
    """Give the evaluations by their letters, as `r2d2 compare` names them."""
    return dict(zip(ascii_uppercase, [one for one in found if one.evaluation is not None], strict=False))


def _results(results: Results, asked: Asked, found: list[Chosen]) -> dict[str, Any]:
    evaluations = [one.evaluation for one in found if one.evaluation is not None]
    if len(evaluations) < 2:
        return {"shown": None, "evaluations": len(evaluations)}
    return {"shown": results.of(evaluations, asked.metric, asked.unmatched), "evaluations": len(evaluations)}


def _offered(console: Console, asked: Asked) -> list[Any]:
    """List what may be chosen besides, the newest first."""
    query: JobQuery = validated(JobQuery, {"tasks": COMPARED, "text": asked.text, "limit": PER_PAGE}, "list")
    return [job for job in console.jobs.list(query).jobs if job.id not in asked.job]


AREA = Area("compare", _add, title="Compare")
