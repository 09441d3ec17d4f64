"""A server with an engine, a study, a training that has ended; Chromium; and people who are logged in."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from imgmed import write_phantom_study
from r2d2.engine import EngineClient, Job, Submission
from r2d2.engine.errors import JobStateError
from r2d2.engine.folder import FINAL
from tests.console.person import SCREEN, Person
from tests.r2d2.viewing.oblique import oblique_study
from tests.web.serving import Served, serving, until
from web.accounts.store import open_accounts

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
PASSWORD = "a right long sentence"
TINY = {"training.epochs": 2, "training.batch_size_per_worker": 4, "network.base_filters": 4, "network.depth": 2}


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as made:
        yield made


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.fail("Chromium is missing: apt-get install -y --no-install-recommends chromium")
    made = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    yield made
    made.close()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests that only add to what it has: jobs are found by number, never by place."""
    folder = tmp_path_factory.mktemp("console")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("R2D2_ZOO", str(folder / "zoo"))
        stack = ExitStack()
        made = stack.enter_context(serving(folder, "--tensorboard", "0"))
    with stack:
        accounts = open_accounts(made.folder / "work" / "web")
        for name, role in (("vera", "viewer"), ("olga", "operator")):
            accounts.add_user(name, role, PASSWORD)
        accounts.close()
        yield made


@pytest.fixture(scope="session")
def jobs(served: Served) -> EngineClient:
    """The server's engine, past the server."""
    return EngineClient(served.folder / "work")


@pytest.fixture(scope="session")
def dataset(served: Served, jobs: EngineClient) -> Path:
    """A prepared phantom dataset, by a job."""
    study = write_phantom_study(served.folder / "data" / "phantom", cases=6, shape=(32, 40, 8))
    out = served.folder / "data" / "liver"
    ended(jobs, jobs.submit(Submission(task="prepare", settings={"source": str(study), "out": str(out)}), "admin"))
    return out


@pytest.fixture
def train(jobs: EngineClient, dataset: Path) -> Iterator[Callable[..., Job]]:
    """Submits a training of a tiny network by two workers; settings by their keys. After the test none goes on."""
    submitted: list[Job] = []

    def submit(name: str = "tiny", workers: int = 2, **changes: Any) -> Job:
        submitted.append(jobs.submit(tiny_training(dataset, name, workers, changes), "admin"))
        return submitted[-1]

    yield submit
    for job in submitted:
        for _ in range(2):  # the second time at once
            with suppress(JobStateError):
                jobs.cancel(job.id)


@pytest.fixture(scope="session")
def training(jobs: EngineClient, dataset: Path) -> Job:
    """A training of two workers that has ended well."""
    return ended(jobs, jobs.submit(tiny_training(dataset, "ended", 2, {}), "admin"))


@pytest.fixture(scope="session")
def predicted(jobs: EngineClient, training: Job, dataset: Path) -> Job:
    """The test cases, segmented by the network of that training."""
    settings = {"model": training.output, "dataset": str(dataset)}
    return ended(jobs, jobs.submit(Submission(task="predict", settings=settings, name="test cases"), "admin"))


@pytest.fixture(scope="session")
def askew(served: Served, jobs: EngineClient) -> Job:
    """The job that prepared a study whose scans lie askew: oblique, with voxels of three sizes."""
    study = oblique_study(served.folder / "data" / "askew")
    out = served.folder / "data" / "askew-prepared"
    settings = {"source": str(study), "out": str(out)}
    return ended(jobs, jobs.submit(Submission(task="prepare", settings=settings, name="askew"), "admin"))


@pytest.fixture(scope="session")
def stand_ins(training: Job, predicted: Job, askew: Job) -> dict[str, object]:
    """What stands for the variables in the addresses of pages."""
    return {
        "job_id": training.id,
        "model_name": "hippocampus-fcn",
        "version": 1,
        "prediction_id": predicted.id,
        "kind": "job",
        "number": askew.id,
        "case_id": "askew_001",
        "root": 1,
    }


@pytest.fixture(scope="session")
def states(served: Served, browser: Browser) -> dict[str, Any]:
    """The cookies of everybody, who logs in once: log-ins are limited."""
    made = {}
    for name, password in (("admin", served.password), ("vera", PASSWORD), ("olga", PASSWORD)):
        context = browser.new_context(viewport=SCREEN)
        Person(served, context).log_in(name, password)
        made[name] = context.storage_state()
        context.close()
    return made


@pytest.fixture
def person(served: Served, browser: Browser, states: dict[str, Any]) -> Iterator[Callable[..., Person]]:
    """Gives somebody at a browser of their own: `person("vera")`, a viewer; olga operates, admin administers.

    In the end no browser may have complained.
    """
    people: list[Person] = []

    def come(name: str = "admin", **of_context: Any) -> Person:
        context = browser.new_context(storage_state=states[name], **{"viewport": SCREEN, **of_context})
        people.append(Person(served, context))
        return people[-1]

    yield come
    faults = [fault for one in people for fault in one.faults]
    for one in people:
        one.context.close()
    assert faults == []


@pytest.fixture
def console(person: Callable[..., Person]) -> Person:
    """The administrator, at a browser."""
    return person("admin")


def tiny_training(dataset: Path, name: str, workers: int, changes: Mapping[str, Any]) -> Submission:
    """Describe a training of a tiny network; settings by their keys."""
    words = [f"{key}={value}" for key, value in {**TINY, **changes}.items()]
    settings = {"dataset": str(dataset), "workers": workers, "settings": words}
    return Submission(task="train", settings=settings, name=name)


def ended(jobs: EngineClient, job: Job) -> Job:
    """Wait for the end of a job, which must be a good one."""
    until(lambda: jobs.show(job.id).job.state in FINAL)
    found = jobs.show(job.id)
    assert found.job.state == "completed", (found.job.reason, jobs.log(job.id).text[-3000:])
    return found.job
