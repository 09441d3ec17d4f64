"""TensorBoard as it is reached from the console: by its link, by administrators, until they log out."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Browser

from r2d2.engine import Job
from tests.console.conftest import PASSWORD
from tests.console.person import SCREEN, Person
from tests.web.serving import PATIENCE_S, Served
from web.accounts.store import open_accounts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chief(served: Served, browser: Browser) -> Any:
    """An administrator of this module's own, who logs out in the end."""
    accounts = open_accounts(served.folder / "work" / "web")
    accounts.add_user("tess", "administrator", PASSWORD)
    accounts.close()
    context = browser.new_context(viewport=SCREEN)
    made = Person(served, context)
    made.log_in("tess", PASSWORD)
    yield made
    context.close()


def test_a_link_leads_to_tensorboard_with_the_training_until_one_logs_out(chief: Person, training: Job) -> None:
    page = chief.go(f"/jobs/{training.id}")
    console, answered = urlsplit(page.url), list[tuple[str, int]]()
    page.on("response", lambda answer: answered.append((answer.url, answer.status)))
    with page.expect_response(re.compile("/enter")) as entered:
        page.get_by_role("link", name="In TensorBoard").click()
    link = entered.value.url
    assert urlsplit(link).hostname == console.hostname and urlsplit(link).port != console.port
    chief.until(lambda: f"job-{training.id}" in page.locator("body").inner_text())
    assert urlsplit(page.url).netloc == urlsplit(link).netloc and "token" not in page.url
    page.get_by_text("validation_dice").first.wait_for()
    chief.until(lambda: any("/timeSeries" in url and status == 200 for url, status in answered))  # its curves
    assert [fault for fault in chief.faults if "Failed to load" in fault or "Security Policy" in fault] == []

    origin = f"http://{urlsplit(link).netloc}"
    asked = page.context.request
    pictures = asked.get(f"{origin}/data/plugin/images/images?run=job-{training.id}&tag=samples/1&sample=0").json()
    assert [one["step"] for one in pictures] == [1, 2]
    graph = asked.get(f"{origin}/data/plugin/graphs/graph?run=job-{training.id}")
    assert "InputLayer" in graph.text()

    cookies = {one["name"]: one for one in page.context.cookies(origin)}
    (ours,) = (one for name, one in cookies.items() if name.startswith("r2d2_tb_"))
    assert ours["httpOnly"] and ours["sameSite"] == "Strict"
    assert requests.get(link, timeout=PATIENCE_S).status_code == 403  # once used, it lets nobody in
    assert requests.get(f"{origin}/data/runs", timeout=PATIENCE_S).status_code == 403
    only_ours = {ours["name"]: ours["value"]}
    assert requests.get(f"{origin}/data/runs", cookies=only_ours, timeout=PATIENCE_S).status_code == 200
    console_cookie = {name: one["value"] for name, one in cookies.items() if name != ours["name"]}
    assert console_cookie  # cookies know no ports: it comes along, and is worth nothing here
    assert requests.get(f"{origin}/data/runs", cookies=console_cookie, timeout=PATIENCE_S).status_code == 403

    chief.go("/").get_by_role("button", name="Log out").click()
    page.get_by_role("button", name="Log in").wait_for()
    # what a session is worth is remembered for a second
    chief.until(lambda: requests.get(f"{origin}/data/runs", cookies=only_ours, timeout=PATIENCE_S).status_code == 403)


def test_only_administrators_have_the_link(person: Callable[..., Person], training: Job) -> None:
    page = person("olga").go(f"/jobs/{training.id}")
    assert page.get_by_role("link", name="TensorBoard").count() == 0
    assert page.context.request.get(f"{urlsplit(page.url)._replace(path='/tensorboard').geturl()}").status == 403
