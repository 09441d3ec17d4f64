"""How long the server takes to answer 20 clients that ask once a second, while a job trains, against an empty page.

    .venv/bin/python -m benchmarks.serving_load

Both are served by gunicorn alike (one process, the same threads), and asked in turn. There are 10,000 jobs. See
benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))

from benchmarks.starting_speed import SETTINGS, write_dataset  # noqa: E402
from r2d2.engine import EngineClient, Submission  # noqa: E402
from r2d2.engine.processes import kill, processes_of  # noqa: E402
from web.accounts.store import open_accounts  # noqa: E402
from web.serve_settings import ServeSettings  # noqa: E402

EMPTY = "import flask; app = flask.Flask('empty'); app.get('/')(lambda: '')"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=15, help="for each page in each round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the training ends too
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        write_jobs(folder / "work", options.jobs)
        dataset = write_dataset(folder)
        headers = {"Authorization": f"Bearer {make_token(folder / 'work')}"}
        ours = stack.enter_context(server(folder))
        empty = stack.enter_context(empty_server(folder))
        job = stack.enter_context(training(folder / "work", dataset))
        pages = {
            "empty Flask page": (empty, "/"),
            "list of jobs": (ours, "/api/v1/jobs"),
            "list, filtered and sorted": (ours, "/api/v1/jobs?states=completed&text=study&sort=ended_at&limit=50"),
            "details of the job": (ours, f"/api/v1/jobs/{job}"),
            "log of the job": (ours, f"/api/v1/jobs/{job}/log"),
            "metrics of the job": (ours, f"/api/v1/jobs/{job}/metrics"),
        }
        taken: dict[str, list[float]] = {page: [] for page in pages}
        for _ in range(options.rounds):
            for page, (port, path) in pages.items():
                taken[page] += ask(port, path, headers, options.clients, options.seconds)
        first = percentile(taken["empty Flask page"], 95)
        for page, seconds in taken.items():
            figures = {f"p{share}_ms": round(1000 * percentile(seconds, share), 1) for share in (50, 95, 99)}
            print(json.dumps({"page": page, **figures, "p95_ratio": round(percentile(seconds, 95) / first, 2)}))
        print(json.dumps({"requests": len(taken["list of jobs"]), "load": os.getloadavg()}))


def write_jobs(work_root: Path, count: int) -> None:
    """Write the folders of jobs that have ended."""
    for number in range(1, count + 1):
        attempt = work_root / "jobs" / str(number) / "attempts" / "1"
        attempt.mkdir(parents=True)
        begun = 1.7e9 + number
        asked = {
            "schema_version": 1,
            "task": "train" if number % 3 else "prepare",
            "settings": {"dataset": str(work_root / "dataset"), "workers": 2},
            "name": f"study {number % 100}",
            "tags": ["all", f"t{number % 7}"],
            "priority": 0,
            "after": [],
            "max_retries": 1,
            "workers": 2,
            "by": "somebody",
            "submitted_at": begun,
            "output": str(attempt.parent.parent / "output"),
            "roots": [],
            "warnings": [],
        }
        state = ("completed", "failed", "completed", "cancelled")[number % 4]
        for path, content in (
            (attempt.parent.parent / "job.json", asked),
            (attempt / "queued.json", {"time": begun, "why": "submitted", "by": "somebody"}),
            (attempt / "supervisor.json", {"time": begun, "pid": 1, "host": "there", "start_ticks": 1, "boot_id": "x"}),
            (attempt / "exit.json", {"time": begun + 9, "state": state, "reason": None}),
        ):
            path.write_text(json.dumps(content))


def make_token(work_root: Path) -> str:
    accounts = open_accounts(work_root / "web")
    user, _ = accounts.add_user("somebody", "operator")
    token = accounts.make_token(user, "benchmark", "operate")[1]
    accounts.close()
    return token


@contextmanager
def server(folder: Path) -> Iterator[int]:
    """Start `r2d2 serve`; gives its port."""
    said = folder / "said"
    command = [sys.executable, "-m", "r2d2", "serve", "--work-root", f"{folder}/work", "--data-root", str(folder)]
    with said.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--port", "0"], stdout=stream, stderr=stream, env={**os.environ, "PYTHONPATH": str(HERE)}
        )
    try:
        while (found := re.search(rb"answers at \S+:(\d+);", said.read_bytes())) is None:
            if process.poll() is not None:
                raise SystemExit(said.read_text())
            time.sleep(0.1)
        yield int(found[1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextmanager
def empty_server(folder: Path) -> Iterator[int]:
    """Start gunicorn, as we do, with an application of one empty page; gives its port."""
    (folder / "empty.py").write_text(EMPTY)
    threads = str(ServeSettings(work_root=folder).threads)
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--worker-class",
        "gthread",
        "--threads",
        threads,
        "--no-control-socket",
    ]
    log = folder / "gunicorn"
    with log.open("wb") as stream:
        process = subprocess.Popen([*command, "--bind", "127.0.0.1:0", "empty:app"], cwd=folder, stderr=stream)
    try:
        while (found := re.search(rb"Listening at: http://127\.0\.0\.1:(\d+)", log.read_bytes())) is None:
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.1)
        yield int(found[1])
    finally:
        process.terminate()
        process.wait()


@contextmanager
def training(work_root: Path, dataset: Path) -> Iterator[int]:
    """Have the engine train, at the lowest priority of the system; gives the number of the job."""
    client = EngineClient(work_root)
    words = [word for word in SETTINGS if not word.startswith("training.epochs")]
    settings = {"dataset": str(dataset), "threads": 2, "settings": ["training.epochs=100000", *words]}
    job = client.submit(Submission(task="train", settings=settings, max_retries=0)).id
    attempt = work_root / "jobs" / str(job) / "attempts" / "1"
    begun = time.monotonic()
    try:
        while client.show(job).job.progress is None or time.monotonic() - begun < 30:
            for process in processes_of(attempt):
                lower(process.pid)
            time.sleep(0.2)
        yield job
    finally:
        kill(processes_of(attempt))


def lower(pid: int) -> None:
    """Give all threads of a process the lowest priority; those that they start have it too."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            os.setpriority(os.PRIO_PROCESS, int(task.name), 19)
        except ProcessLookupError:
            continue


def ask(port: int, path: str, headers: dict[str, str], clients: int, seconds: int) -> list[float]:
    """Ask for a page from many clients, each once a second on a connection of its own; gives the seconds of each."""
    taken: list[float] = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        due = time.monotonic() + number / clients
        for _ in range(seconds):
            time.sleep(max(0.0, due - time.monotonic()))
            due += 1.0
            begun = time.monotonic()
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            taken.append(time.monotonic() - begun)
            if answer.status != 200:
                raise SystemExit(f"{path}: {answer.status}")
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def percentile(seconds: list[float], share: int) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[share - 1]


if __name__ == "__main__":
    main()
