"""The services of compose.yaml, brought up by Docker Compose itself, and a user of their REST API."""

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from tests.containers.daemon import PATIENCE_S, Docker

__all__ = ["Site"]

FILES = ("compose.yaml", "compose.victoria.yaml")


class Site:
    """The services, as a project of their own.

    Attributes:
        address: of the console.
        influx: of what stands in for InfluxDB.
        token: for the REST API, once `log_in` was called.
    """

    def __init__(self, docker: Docker, compose: list[str], files: Path, scans: Path, image: str) -> None:
        ports = _free_ports(3)
        self.address, self.influx, self.tensorboard = (f"http://127.0.0.1:{port}" for port in ports)
        self.token = ""
        named = [word for name in FILES for word in ("--file", str(files / name))]
        self._command = [*compose, "--project-name=r2d2-test", *named]
        self._environment = {
            **docker.environment,
            **dict(zip(("R2D2_PORT", "INFLUX_PORT", "TENSORBOARD_PORT"), map(str, ports), strict=True)),
            "R2D2_IMAGE": image,
            "R2D2_SCANS": str(scans),
        }

    def compose(self, *words: str) -> str:
        """Run Docker Compose; gives what it said on the first channel."""
        done = subprocess.run(
            [*self._command, *words], env=self._environment, capture_output=True, text=True, timeout=PATIENCE_S
        )
        if done.returncode != 0:
            logs = subprocess.run([*self._command, "logs", "--tail=50"], env=self._environment, capture_output=True)
            raise AssertionError(f"{words}: {done.stderr[-3000:]}\n{logs.stdout.decode()[-6000:]}")
        return done.stdout

    def up(self) -> None:
        """Start all, and wait until all are healthy."""
        self.compose("up", "--detach", "--no-build", "--wait", "--wait-timeout=600")

    def down(self) -> None:
        """End all, and leave the volumes."""
        self.compose("down")

    def states(self) -> dict[str, str]:
        """How each container is: its health where it has one, else `exited 0` and the like."""
        lines = self.compose("ps", "--all", "--format=json").splitlines()
        found = [json.loads(line) for line in lines]
        return {one["Service"]: one["Health"] or f"{one['State']} {one['ExitCode']}" for one in found}

    def read(self, path: str) -> str:
        """Give a file as the engine sees it."""
        return self.compose("exec", "--no-TTY", "engine", "cat", path)

    def fetch(self, path: str, target: Path) -> Path:
        """Copy a file of the engine."""
        self.compose("cp", f"engine:{path}", str(target))
        return target

    def log_in(self) -> None:
        """Log in as the first user, with the password that the docs say where to find, and make a token."""
        session = requests.Session()

        def post(page: str, form: str, **fields: str) -> str:
            shown = session.get(f"{self.address}{form}", timeout=60).text
            word = re.search(r'name="csrf_token" value="([^"]+)"', shown)
            assert word is not None, shown
            data = {**fields, "csrf_token": word[1]}
            return session.post(f"{self.address}{page}", data=data, timeout=60).text

        post("/login", "/login", name="admin", password=self.read("/data/engine/web/password").strip())
        page = post("/account/tokens", "/account", label="test", scope="operate")
        found = re.search(r"<code>(r2d2_[^<]+)</code>", page)
        assert found is not None, page
        self.token = found[1]

    def api(self, method: str, path: str, **more: Any) -> Any:
        """Call the REST API; gives what it answers."""
        answer = self._ask(method, path, **more)
        assert answer.ok, answer.text
        return answer.json()

    def refused(self, path: str, body: Any) -> str:
        """Post what is to be refused; gives the message."""
        answer = self._ask("POST", path, json=body)
        assert 400 <= answer.status_code < 500, answer.text
        return str(answer.json()["error"]["message"])

    def _ask(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return requests.request(method, f"{self.address}/api/v1{path}", headers=headers, timeout=60, **more)

    def submit(self, task: str, settings: dict[str, Any], **more: Any) -> int:
        """Submit a job; gives its number."""
        return int(self.api("POST", "/jobs", json={"task": task, "settings": settings, **more})["id"])

    def job(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.api("GET", f"/jobs/{number}")["job"]
        return found

    def ended(self, number: int) -> str:
        """Wait until a job has ended; gives its state."""
        self.until(lambda: self.job(number)["state"] not in ("queued", "starting", "running", "stopping"))
        return str(self.job(number)["state"])

    def until(self, is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < end
            time.sleep(0.5)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
