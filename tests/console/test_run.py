"""The page of a training: its curves, its log, what may be asked of it."""

from collections.abc import Callable
from typing import Any

import pytest

from dist_training.record.events import EpochEnded, StepTaken, read_events
from dist_training.record.run_folder import RunFolder
from r2d2.engine import EngineClient, Job
from tests.console.person import Person

pytestmark = pytest.mark.slow


def data(console: Person, path: str, **headers: str) -> tuple[int, str | None, Any]:
    """Ask as a script of a page does; gives status, tag and content."""
    answer = console.context.request.get(f"{console.served.address}{path}", headers={"HX-Request": "true", **headers})
    content = answer.json() if answer.status == 200 else None
    return answer.status, answer.headers.get("etag"), content


def test_curves_are_what_the_run_recorded(console: Person, training: Job) -> None:
    assert training.output is not None
    events = read_events(RunFolder(training.output).events)  # type: ignore[arg-type]
    steps = [event for event in events if isinstance(event, StepTaken)]
    epochs = [event for event in events if isinstance(event, EpochEnded)]
    status, tag, found = data(console, f"/jobs/{training.id}/curves")
    assert status == 200 and found["is_behind"] is False
    assert found["steps"]["step"] == [event.step for event in steps]
    assert found["steps"]["loss"]["mean"] == pytest.approx([event.loss for event in steps], rel=1e-6)
    assert found["epochs"]["dice"] == pytest.approx([event.validation_dice for event in epochs], rel=1e-6)
    assert set(found["epochs"]["dice_per_label"]) == set(epochs[0].validation_dice_per_label)
    assert found["last_step"] == found["total_steps"] == steps[-1].step
    assert data(console, f"/jobs/{training.id}/curves", **{"If-None-Match": tag or ""})[0] == 304
    few = data(console, f"/jobs/{training.id}/curves?first=2&last=9&most=4")[2]["steps"]
    inside = [event.loss for event in steps if 2 <= event.step <= 9]
    assert len(few["step"]) <= 4 and few["step"][-1] == min(9, steps[-1].step)
    assert max(few["loss"]["largest"]) == pytest.approx(max(inside), rel=1e-6)
    console.forgive("304")


def test_a_log_is_read_from_where_one_was(console: Person, training: Job, jobs: EngineClient) -> None:
    whole = jobs.log(training.id).text
    first = data(console, f"/jobs/{training.id}/log")[2]
    assert first["text"] == whole and first["is_last"] is True
    assert data(console, f"/jobs/{training.id}/log?offset={first['offset']}")[2]["text"] == ""


def test_what_cannot_be_asked(person: Callable[..., Person], training: Job) -> None:
    vera = person("vera")
    for path, status in (
        ("/jobs/99999/curves", 404),
        (f"/jobs/{training.id}/curves?most=x", 422),
        (f"/jobs/{training.id}/curves?most=100000", 422),
        (f"/jobs/{training.id}/log?offset=-1", 422),
        ("/jobs/99999/log", 404),
    ):
        assert data(vera, path)[0] == status, path
