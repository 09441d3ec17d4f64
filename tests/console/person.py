"""A person at a browser: Chromium at the pages of a real server, and what such a person would notice."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, Error, Page, Request

from tests.web.serving import PATIENCE_S, Served

__all__ = ["PHONE", "SCREEN", "Person"]

SCREEN = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
LATER = "net::ERR_ABORTED"  # a question of a page that is being left
WITHOUT_GPU = "GPU stall due to ReadPixels"  # what a browser says that draws volumes on the processor

REPOSITORY = Path(__file__).resolve().parents[2]


def _axe() -> str:
    import sys

    return (Path(sys.prefix) / "node" / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


class Person:
    """Somebody who is logged in, at a page.

    Attributes:
        page: Playwright's.
        faults: what the browser complained of: errors of scripts, what the policy forbids, answers that are faults.
    """

    def __init__(self, served: Served, context: BrowserContext) -> None:
        self.served, self.context = served, context
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_S * 1000)  # only ends what hangs
        self.faults: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("requestfailed", self._note_failed)

    def go(self, path: str) -> Page:
        """Open a page of the server."""
        answer = self.page.goto(f"{self.served.address}{path}")
        assert answer is not None and answer.status == 200, f"{path}: {answer and answer.status}"
        return self.page

    def log_in(self, name: str, password: str) -> None:
        """Log in by the form, as everybody does."""
        self.go("/login")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_role("button", name="Log out").wait_for()

    def until(self, is_so: str | Callable[[], Any]) -> Any:
        """Wait until an expression in the page, or a call, is true; gives what it then is.

        What cannot be asked yet is not so yet: a link that was pressed leads to its page a moment later.
        (Playwright's own `wait_for_function` needs what our Content-Security-Policy forbids.)
        """
        end = time.monotonic() + PATIENCE_S
        while True:
            fault: Error | None = None
            try:
                found = self.page.evaluate(is_so) if isinstance(is_so, str) else is_so()
            except Error as error:
                found, fault = None, error
            if found:
                return found
            assert time.monotonic() < end, (is_so, fault)
            self.page.wait_for_timeout(100)

    def confirm(self, button: str) -> None:
        """Press a button that asks a question, and answer it with yes."""
        self.page.get_by_role("button", name=button, exact=True).click()
        self.page.locator("dialog[open]").get_by_role("button", name="Yes").click()

    def axe(self) -> list[str]:
        """Give what axe finds wrong with the page, a line each."""
        session = self.context.new_cdp_session(self.page)
        session.send("Runtime.evaluate", {"expression": _axe()})
        asked = {
            "expression": "axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map("
            "one => `${one.id}: ${one.help}: ${one.nodes.map(node => node.html.slice(0, 200)).join(' | ')}`))",
            "awaitPromise": True,
            "returnByValue": True,
        }
        answer = session.send("Runtime.evaluate", asked)
        session.detach()
        assert "exceptionDetails" not in answer, answer
        found: list[str] = answer["result"]["value"]
        return found

    def too_wide(self) -> list[str]:
        """Give what makes the page wider than the window."""
        found: list[str] = self.page.evaluate(
            """() => document.scrollingElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("main *")]
               .filter(one => one.getBoundingClientRect().right > innerWidth && !one.closest(".wide, pre"))
               .map(one => one.outerHTML.slice(0, 120)).concat("the page is wider than the window")"""
        )
        return found

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and WITHOUT_GPU not in message.text:
            self.faults.append(f"{message.text} {message.location.get('url', '')}")

    def _note_failed(self, request: Request) -> None:
        if request.failure != LATER:
            self.faults.append(f"{request.url}: {request.failure}")

    def forgive(self, pattern: str) -> None:
        """Take as foreseen what the browser complained of: as where a test ends the server."""
        self.faults = [fault for fault in self.faults if not re.search(pattern, fault)]
