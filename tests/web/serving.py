"""`r2d2 serve` as a process of its own, for the tests of the server and of its pages."""

import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from r2d2.engine.processes import kill, processes_of

__all__ = ["PATIENCE_S", "Served", "command", "serving", "started", "until"]

PATIENCE_S = 300.0  # only ends what hangs


@dataclass
class Served:
    folder: Path
    process: subprocess.Popen[bytes]
    address: str
    password: str
    token: str = ""

    def api(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return requests.request(method, f"{self.address}/api/v1{path}", headers=headers, timeout=PATIENCE_S, **more)

    def children(self) -> dict[int, str]:
        """The processes that it has started, with their command lines."""
        task = Path(f"/proc/{self.process.pid}/task")
        pids = [int(pid) for one in task.iterdir() for pid in (one / "children").read_text().split()]
        return {pid: Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in pids}

    def engine(self) -> int | None:
        return next((pid for pid, line in self.children().items() if "engine_process" in line), None)

    def worker(self) -> int | None:
        return next((pid for pid, line in self.children().items() if "engine_process" not in line), None)


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)


def command(folder: Path, *more: str) -> list[str]:
    root = ["--work-root", str(folder / "work"), "--data-root", str(folder / "data")]
    return [sys.executable, "-m", "r2d2", "serve", *root, *more]


def started(folder: Path, *more: str) -> Served:
    (folder / "data").mkdir(exist_ok=True)
    said = folder / "said"
    with said.open("wb") as stream:
        process = subprocess.Popen(command(folder, "--port", "0", *more), stdout=stream, stderr=stream)
    until(lambda: b"answers at" in said.read_bytes() or process.poll() is not None)
    text = said.read_text()
    found = re.search(r"R2D2 answers at (https?://127\.0\.0\.1:\d+);", text)
    assert found is not None, text
    file = folder / "work" / "web" / "password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and str(file) in text
    return Served(folder, process, found[1], file.read_text().strip())


@contextmanager
def serving(folder: Path, *more: str) -> Iterator[Served]:
    """Give a server with a token for its API; in the end neither it nor a job of it is left."""
    made = started(folder, *more)
    try:
        session = requests.Session()
        fields = {"name": "admin", "password": made.password}
        page = session.post(f"{made.address}/login", data={**fields, **_word(session, made, "/login")})
        assert page.status_code == 200 and ">admin <" in page.text
        fields = {"label": "test", "scope": "operate"}
        page = session.post(f"{made.address}/account/tokens", data={**fields, **_word(session, made, "/account")})
        found = re.search(r"<code>(r2d2_[^<]+)</code>", page.text)
        assert found is not None
        made.token = found[1]
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.process.wait()
        for attempt in (made.folder / "work" / "jobs").glob("*/attempts/*"):
            kill(processes_of(attempt))


def _word(session: requests.Session, made: Served, page: str) -> dict[str, str]:
    found = re.search(r'name="csrf_token" value="([^"]+)"', session.get(f"{made.address}{page}").text)
    assert found is not None
    return {"csrf_token": found[1]}
