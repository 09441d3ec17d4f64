"""Clients of a web server, each with a request a second; and a server with one empty Flask page, to compare with."""

from __future__ import annotations

import http.client
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Target", "ask", "empty", "empty_page", "percentile", "summary"]

CLIENTS = 20
PATIENCE_S = 120.0


@dataclass
class Target:
    """What clients ask for.

    Attributes:
        address: of a server, such as http://127.0.0.1:8017.
        paths: of each request in turn.
        headers: of all requests.
    """

    address: str
    paths: Sequence[str]
    headers: Mapping[str, str] = field(default_factory=dict)


def ask(target: Target, seconds: int, clients: int = CLIENTS) -> list[float]:
    """Have clients ask, each once a second and not all at the same moment; gives the seconds that each answer took.

    Each client keeps its connection, as a browser does, and begins its requests on time whatever the others wait for.
    A slow answer delays its client's next request: it is then sent at once, so that there are as many in any case.

    Raises:
        RuntimeError: an answer was not 200.
    """
    taken: list[float] = []
    faults: list[str] = []
    begin = time.monotonic() + 0.5
    threads = [
        threading.Thread(target=_client, args=(target, begin + one / clients, seconds, taken, faults))
        for one in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise RuntimeError(f"{len(faults)} of {clients * seconds} requests failed, such as {faults[0]}")
    return taken


def _client(target: Target, begin: float, count: int, taken: list[float], faults: list[str]) -> None:
    place = urlsplit(target.address)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE_S)
    for number in range(count):
        time.sleep(max(begin + number - time.monotonic(), 0))
        path = target.paths[number % len(target.paths)]
        before = time.perf_counter()
        for is_again in (False, True):
            try:
                connection.request("GET", path, headers=dict(target.headers))
                answer = connection.getresponse()
                break
            except (http.client.RemoteDisconnected, ConnectionError):  # kept too long: a browser connects again
                connection.close()
                if is_again:
                    faults.append(f"{path}: no answer")
                    return
        answer.read()
        taken.append(time.perf_counter() - before)
        if answer.status != 200:
            faults.append(f"{path}: {answer.status}")
    connection.close()


def percentile(seconds: Sequence[float], share: float) -> float:
    """Give the time within which a share of all answers came."""
    ordered = sorted(seconds)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Give median and 95th percentile, in milliseconds."""
    p95 = percentile(seconds, 0.95)
    return {"median_ms": round(1000 * statistics.median(seconds), 1), "p95_ms": round(1000 * p95, 1)}


@contextmanager
def empty_page(threads: int = 8) -> Iterator[Target]:
    """Serve one empty page with Flask, by gunicorn as `r2d2 serve` sets it up."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--worker-class", "gthread", "--threads", str(threads)]
    command += ["--keep-alive", "5", "--bind", f"127.0.0.1:{port}", f"{Path(__file__).stem}:empty()"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE_S
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            if server.poll() is not None or time.monotonic() > end:
                raise RuntimeError("gunicorn did not start")
            time.sleep(0.1)
        yield Target(f"http://127.0.0.1:{port}", ["/"])
    finally:
        server.terminate()
        server.wait()


def empty() -> Any:
    """Make the application with the empty page."""
    from flask import Flask

    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: "")
    return app
