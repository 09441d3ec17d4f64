"""The overview: what runs now and how far it is, and what a newcomer finds."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser

from r2d2.engine import EngineClient, Job
from tests.console.person import SCREEN, Person
from tests.web.serving import serving

pytestmark = pytest.mark.slow


def test_what_runs_is_seen_to_come_along(console: Person, jobs: EngineClient, train: Callable[..., Job]) -> None:
    job = train("long", **{"training.epochs": 400})
    page = console.go("/")
    card = page.locator(f"article#job-{job.id}")
    card.get_by_text(re.compile(r"Validation Dice 0\.\d+, best 0\.\d+")).wait_for()
    card.get_by_text(re.compile(r"Epoch \d+ of 400, .*(s|min|h) left")).wait_for()
    points = f"document.querySelector('#job-{job.id} .sparkline polyline').getAttribute('points').split(' ').length"
    few = page.evaluate(points)
    console.until(lambda: page.evaluate(points) > few)
    bar = card.locator("progress")
    assert int(bar.get_attribute("value") or 0) < int(bar.get_attribute("max") or 0)
    memory = page.locator(".figures div", has_text="memory of jobs").locator("dd").inner_text()
    assert float(memory.split()[0]) > 0 and memory.endswith(("MiB", "GiB"))
    jobs.cancel(job.id)
    row = page.locator(f"tr#job-{job.id}")
    row.get_by_text("cancelled").first.wait_for()
    assert re.fullmatch(r"0\.\d{3}", row.locator(".number").inner_text())


@pytest.fixture
def newcomer(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Any:
    """Somebody at a server where nothing was done yet."""
    with serving(tmp_path_factory.mktemp("new")) as made:
        context = browser.new_context(viewport=SCREEN)
        visitor = Person(made, context)
        visitor.log_in("admin", made.password)
        yield visitor
        context.close()


def test_a_newcomer_launches_watches_and_stops_a_training(newcomer: Person) -> None:
    page = newcomer.go("/")
    page.get_by_role("heading", name="Nothing has been done here yet").wait_for()
    assert newcomer.axe() == []
    page.get_by_role("button", name="Start the example training").click()
    page.get_by_role("heading", name="Job 1: example").wait_for()
    page.locator("#job", has_text="train, 2 workers").wait_for()
    seen = "document.querySelector('progress[aria-label=training]')?.value ?? 0"
    first = newcomer.until(seen)
    newcomer.until(lambda: page.evaluate(seen) > first)
    newcomer.confirm("Stop early")
    page.locator("#job .heading .state", has_text="stopped early").wait_for()
    assert newcomer.faults == []
