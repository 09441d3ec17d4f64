"""Two runs and two evaluations side by side, as a person compares them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Response

from r2d2.engine import EngineClient, Job, Submission
from tests.console.conftest import ended
from tests.console.person import Person
from tests.small_evaluations import write_small_evaluations
from tests.web.serving import Served

pytestmark = pytest.mark.slow


def drawn(visitor: Person) -> None:
    """Wait until the curves of all runs are read and drawn."""
    visitor.until("document.querySelector('#curves-said').textContent.trim() === ''")
    visitor.until("document.querySelectorAll('.u-over').length === 4")


def test_two_runs(console: Person, train: Callable[..., Job], training: Job, jobs: EngineClient) -> None:
    other = ended(jobs, train("with another rate", **{"training.learning_rate": 0.05, "training.epochs": 3}))
    page = console.go("/compare")
    for job in (training, other):
        page.get_by_role("checkbox", name=re.compile(f"^job {job.id},")).check()
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url(re.compile(rf"/compare\?.*job={training.id}.*job={other.id}|job={other.id}.*job={training.id}"))
    drawn(console)
    table = page.get_by_role("region", name="settings side by side").inner_text()
    assert "training.learning_rate" in table and "0.05" in table and "training.seed" not in table
    assert page.locator("#chart-dice .u-legend .u-series").count() == 3
    painted = """() => {
        const canvas = document.querySelector("#chart-loss canvas");
        const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const found = new Set();
        for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 250) found.add(data.slice(at, at + 3).join());
        return [...found];
    }"""
    colours = page.evaluate(
        """() => [...document.querySelectorAll(".legend line")].map(
            line => getComputedStyle(line).stroke.match(/\\d+/g).join())"""
    )
    assert len(set(colours)) == 2 and set(colours) <= set(page.evaluate(painted)), "a line of each run is there"
    page.get_by_label("Along").select_option("step")
    console.until("document.querySelector('#chart-loss .u-legend').textContent.includes('Step')")
    labels = page.get_by_label("Validation Dice of").locator("option").all_inner_texts()
    assert labels[0] == "all labels" and len(labels) > 1
    page.get_by_role("link", name=f"Remove job {other.id}").click()
    page.get_by_text("Choose a second training").wait_for()
    assert console.axe() == []


def test_a_running_training_is_followed(
    person: Callable[..., Person], train: Callable[..., Job], served: Served
) -> None:
    job = train("followed", **{"training.epochs": 500})
    visitor, steps = person("olga"), set[int]()

    def note(answer: Response) -> None:
        if "/curves" in answer.url and answer.status == 200:
            steps.add(answer.json()["last_step"])

    try:
        visitor.until(lambda: "config.yaml" in {path.name for path in Path(str(job.output)).glob("*")})
        visitor.page.on("response", note)
        visitor.go(f"/compare?job={job.id}")
        visitor.until(lambda: len(steps) >= 3)
        visitor.until("document.querySelectorAll('.u-over').length === 4")
    finally:
        served.api("POST", f"/jobs/{job.id}/cancel")


def test_two_evaluations(person: Callable[..., Person], served: Served, jobs: EngineClient) -> None:
    made = write_small_evaluations(served.folder / "data" / "maps", cases=8)
    ids = []
    for name in ("good", "shifted"):
        settings = {
            "prediction": str(made / name),
            "reference": str(made / "reference"),
            "labels": {"organ": 1, "lesion": 2},
        }
        ids.append(ended(jobs, jobs.submit(Submission(task="evaluate", settings=settings, name=name), "admin")).id)
    visitor = person("vera")
    page = visitor.go(f"/compare?job={ids[0]}&job={ids[1]}")
    page.get_by_role("heading", name="nsd").wait_for()
    rows = page.get_by_role("region", name="paired differences in dice").get_by_role("row")
    row = rows.filter(has_text="lesion").inner_text()
    assert "A better" in row and "-1.000 [-1.000, -1.000]" in row
    page.get_by_label("Metrics").fill("dice")
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("heading", name="dice").wait_for()
    assert page.get_by_role("heading", name="nsd").count() == 0 and "metric=dice" in page.url
    page.get_by_label("Metrics").fill("no_such_metric")
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("These evaluations cannot be compared").wait_for()
    assert visitor.axe() == []
