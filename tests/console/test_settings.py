"""Folders that some users alone see, tokens that are shown once, the theme: as a person sets them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from r2d2.engine import EngineClient, Submission
from tests.console.conftest import ended
from tests.console.person import Person
from tests.web.serving import Served

pytestmark = pytest.mark.slow


def test_a_folder_is_shown_to_some(
    person: Callable[..., Person], served: Served, jobs: EngineClient, dataset: Path
) -> None:
    settings = {"dataset": str(dataset)}
    admin, vera, olga = person("admin"), person("vera"), person("olga")
    page = admin.go("/roots")
    page.get_by_label("Administrators, and those who are ticked").check()
    page.get_by_label("olga").check()
    page.get_by_role("button", name="Save").click()
    try:
        page.get_by_text("is now shown to olga and administrators").wait_for()
        job = jobs.submit(Submission(task="report", settings=settings, name="only for olga"), "admin")
        assert vera.go("/jobs").get_by_text("only for olga").count() == 0
        assert olga.go("/jobs").get_by_text("only for olga").count() == 1
        answer = vera.page.goto(f"{served.address}/jobs/{job.id}")
        assert answer is not None and answer.status == 403
        assert "not shown to you" in vera.page.inner_text("main") and "only for olga" not in vera.page.content()
        vera.forgive("403")
        assert vera.go("/roots").get_by_text("No folder is shown to you").count() == 1
    finally:
        admin.go("/roots").get_by_label("All users").check()
        page.get_by_role("button", name="Save").click()
        page.get_by_text("is now shown to all users").wait_for()
    assert vera.go("/jobs").get_by_text("only for olga").count() == 1
    ended(jobs, job)


def test_a_token_is_shown_once(person: Callable[..., Person], served: Served) -> None:
    page = person("olga").go("/account")
    page.get_by_label("Label").fill("my script")
    page.get_by_label("Scope").select_option("read")
    page.get_by_role("button", name="Make a token").click()
    token = page.locator("code", has_text="r2d2_").inner_text()
    assert re.fullmatch(r"r2d2_\d+_\S{43}", token)
    page.goto(f"{served.address}/account")
    assert token not in page.content() and page.get_by_text("my script").count() == 1


def test_the_theme_is_chosen_and_remembered(person: Callable[..., Person]) -> None:
    page = person("vera").go("/account")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("radio", name="dark").check()
    assert page.evaluate(background) != light
    assert page.get_by_role("button", name="Theme: dark").count() == 1
    page.goto(page.url.replace("/account", "/jobs"))
    assert page.evaluate(background) != light


def test_the_audit_log_is_searched(console: Person) -> None:
    page = console.go("/audit")
    page.get_by_label("Words").fill("log in")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url(re.compile("text=log"))
    rows = page.get_by_role("region", name="audit log").get_by_role("row").all_inner_texts()[1:]
    assert rows and all("log in" in row for row in rows)
