"""A server's application over an engine whose jobs end at once, with a user of each role."""

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from r2d2.engine import EngineSettings, Job, Submission, open_engine
from r2d2.engine.executor import StartFault
from r2d2.engine.folder import AttemptFolder
from r2d2_base.progress import StopRequest
from tests.r2d2.engine import small_tasks
from web.accounts.store import open_accounts
from web.app import create_app
from web.security import limiter
from web.serve_settings import ServeSettings

ROLES = {"vera": "viewer", "olga": "operator", "anna": "administrator"}
PASSWORD = "a right long sentence"


class AtOnce:
    """Where jobs "run" that end as soon as they begin; one whose name is "stays" goes on."""

    def start(self, attempt: AttemptFolder) -> None:
        if attempt.claim() and attempt.job.read()["name"] != "stays":
            attempt.log.write_text("<b>done</b>\n")
            attempt.end("completed")

    def fault(self, attempt: AttemptFolder) -> StartFault | None:
        return None

    def is_alive(self, attempt: AttemptFolder) -> bool | None:
        return True

    def is_of_this_start(self, attempt: AttemptFolder) -> bool:
        return True

    def end(self, attempt: AttemptFolder, seconds: float) -> bool:
        return True

    def tidy(self) -> None:
        return


class Site:
    """A server without a network: its engine, its users, clients of its application."""

    def __init__(self, folder: Path, stack: ExitStack, **settings: Any) -> None:
        self.folder = folder
        self.journal = folder / "data" / "journal"
        self.journal.parent.mkdir()
        self.settings = ServeSettings(
            work_root=folder / "work",
            data_roots=(folder / "data",),
            task_modules=(small_tasks.__name__,),
            **settings,
        )
        engine_settings = EngineSettings.model_validate(self.settings.of_engine())
        self.engine = stack.enter_context(open_engine(engine_settings, AtOnce()))
        self.accounts = open_accounts(self.settings.work_root / "web")
        stack.callback(self.accounts.close)
        self.app = create_app(self.settings, self.engine, self.accounts, b"s" * 48)
        self.app.testing = False
        self.users = {name: self.accounts.add_user(name, role, PASSWORD)[0] for name, role in ROLES.items()}
        self.tokens = {name: self.accounts.make_token(user, "test", "operate")[1] for name, user in self.users.items()}

    def submit(self, name: str = "a job", **given: Any) -> Job:
        """Queue a job of the engine, past the server."""
        settings = {"journal": str(self.journal), "word": "x"}
        job = self.engine.submit(Submission(task=small_tasks.NAME, settings=settings, name=name, **given), "somebody")
        return job

    def client(self, name: str | None = None) -> FlaskClient:
        """Give a browser, in which somebody is logged in."""
        client = self.app.test_client()
        if name is not None:
            limiter.reset()
            answer = post(client, "/login", "/login", name=name, password=PASSWORD)
            assert answer.status_code == 302, answer.text
        return client

    def api(self, method: str, path: str, name: str = "olga", token: str | None = None, **more: Any) -> TestResponse:
        """Ask the API, as somebody's program."""
        headers = {"Authorization": f"Bearer {token or self.tokens[name]}", **more.pop("headers", {})}
        return self.app.test_client().open(f"/api/v1{path}", method=method, headers=headers, **more)


def csrf_of(client: FlaskClient, page: str) -> str:
    """Read the word that a page's forms carry."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(page).text)
    assert found is not None
    return found[1]


def post(client: FlaskClient, page: str, path: str, **fields: str) -> TestResponse:
    """Send a form that stands on a page."""
    return client.post(path, data={"csrf_token": csrf_of(client, page), **fields})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for the tests of a module, whose engine works."""
    with ExitStack() as stack:
        made = Site(tmp_path_factory.mktemp("site"), stack)
        end = StopRequest()
        worker = threading.Thread(target=made.engine.work, args=(end,))
        worker.start()
        stack.callback(worker.join)
        stack.callback(made.engine.wake)
        stack.callback(end.make)
        yield made
