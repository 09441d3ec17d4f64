"""The frame of all pages: parts that stay true, a word where the connection is gone, themes, the keyboard."""

import os
import re
import signal
from collections.abc import Callable

import pytest

from r2d2.engine import EngineClient, Submission
from tests.console.conftest import PASSWORD, ended
from tests.console.person import Person
from tests.web.serving import Served, until

pytestmark = pytest.mark.slow


def test_a_list_changes_by_itself(console: Person, jobs: EngineClient, dataset: object) -> None:
    page = console.go("/jobs")
    job = jobs.submit(Submission(task="report", settings={"dataset": str(dataset)}, name="appears"), "admin")
    page.locator(f"#job-{job.id}").get_by_text("appears").wait_for()
    ended(jobs, job)
    page.locator(f"#job-{job.id}").get_by_text("completed").wait_for()


def test_where_nothing_changed_little_is_sent(console: Person, training: object) -> None:
    answers: list[int] = []
    console.page.on("response", lambda answer: answers.append(answer.status) if "/part" in answer.url else None)
    console.go(f"/jobs/{training.id}")  # type: ignore[attr-defined]
    console.until(lambda: answers.count(304) >= 2)
    assert answers.count(200) == 1


def test_times_are_those_of_the_reader(person: Callable[..., Person], training: object) -> None:
    texts = set()
    for zone in ("Pacific/Auckland", "America/Lima"):
        page = person("vera", timezone_id=zone).go(f"/jobs/{training.id}")  # type: ignore[attr-defined]
        time = page.locator("time").first
        assert re.fullmatch(r"[\d-]+T[\d:]+Z", time.get_attribute("datetime") or "")
        assert "UTC" not in time.inner_text()
        texts.add(time.inner_text())
    assert len(texts) == 2


def test_an_engine_that_starts_anew_is_said_and_forgotten(console: Person, served: Served) -> None:
    page = console.go("/")
    banner = page.locator("#connection")
    assert banner.is_hidden()
    engine = served.engine()
    assert engine is not None
    os.kill(engine, signal.SIGKILL)
    banner.get_by_text("no engine runs").wait_for()
    until(lambda: served.engine() not in (None, engine))
    banner.wait_for(state="hidden")
    console.forgive("503")


def test_a_lost_connection_is_said_and_forgotten(console: Person) -> None:
    page = console.go("/jobs")
    console.context.set_offline(True)
    page.locator("#connection").get_by_text("No connection to the server").wait_for()
    console.context.set_offline(False)
    page.locator("#connection").wait_for(state="hidden")
    console.forgive("ERR_INTERNET_DISCONNECTED")


def test_a_session_that_ended_is_said_and_found_again(person: Callable[..., Person]) -> None:
    visitor = person("vera")
    page = visitor.go("/jobs?tags=mri")
    visitor.context.clear_cookies()
    page.locator("#connection").get_by_role("link", name="Log in").click()
    page.get_by_label("Name").fill("vera")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("heading", name="Jobs").wait_for()
    assert page.url.endswith("/jobs?tags=mri")
    visitor.forgive("401")


def test_the_theme_is_remembered(console: Person) -> None:
    page = console.go("/")
    page.emulate_media(color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    page.get_by_role("button", name="Theme: dark").wait_for()
    dark = page.evaluate(ground)
    assert dark != light
    console.go("/jobs")
    assert page.evaluate(ground) == dark
    page.get_by_role("button", name="Theme: dark").click()
    assert page.evaluate(ground) == light


def test_the_keyboard_reaches_the_page(console: Person) -> None:
    page = console.go("/jobs")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the page"
    box = page.locator(".skip").bounding_box()
    assert box is not None and box["x"] >= 0
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"


def test_a_question_is_asked_before(console: Person, jobs: EngineClient, dataset: object, train: object) -> None:
    job = train("asked", **{"training.epochs": 500})  # type: ignore[operator]
    page = console.go(f"/jobs/{job.id}")
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.locator("dialog[open]").get_by_role("button", name="No").click()
    assert jobs.show(job.id).job.state not in ("cancelled", "stopping")
    console.confirm("Cancel")
    page.locator("#job .state", has_text="cancelled").first.wait_for()


def test_a_password_that_is_wrong(person: Callable[..., Person]) -> None:
    visitor = person("vera")
    visitor.context.clear_cookies()
    page = visitor.go("/login")
    page.get_by_label("Name").fill("vera")
    page.get_by_label("Password").fill("not this one")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("alert").get_by_text("no such name with this password").wait_for()
    visitor.forgive("401")


def test_a_viewer_sees_and_does_nothing(person: Callable[..., Person], training: object) -> None:
    page = person("vera").go(f"/jobs/{training.id}")  # type: ignore[attr-defined]
    assert page.locator("main button:visible:not([data-go])").count() == 0
