"""`r2d2 serve` as users start it: gunicorn, the engine beside it, a real network, real jobs."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from imgmed import write_phantom_study
from tests.web.serving import PATIENCE_S, Served, command, serving, started, until
from web.keeper import ENDS_S

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as made:
        yield made


def test_a_job_from_the_api_to_its_end(served: Served) -> None:
    study = write_phantom_study(served.folder / "data" / "phantom", cases=5, shape=(32, 40, 8))
    out = served.folder / "data" / "liver"
    asked = {"task": "prepare", "settings": {"source": str(study), "out": str(out)}, "tags": ["first"]}
    made = served.api("POST", "/jobs", json=asked)
    assert made.status_code == 201, made.text
    number = made.json()["id"]
    assert made.json()["by"] == "admin"
    until(lambda: served.api("GET", f"/jobs/{number}").json()["job"]["ended_at"] is not None)
    shown = served.api("GET", f"/jobs/{number}").json()
    assert shown["job"]["state"] == "completed", shown
    assert (out / "manifest.json").exists() or any(out.iterdir())


def test_neither_server_nor_engine_loads_tensorflow_or_shows_a_secret(served: Served) -> None:
    pids = [served.process.pid, *served.children()]
    assert len(pids) == 3
    for pid in pids:
        shown = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        assert served.password.encode() not in shown and served.token.encode() not in shown
        assert "tensorflow" not in Path(f"/proc/{pid}/maps").read_text()


def test_what_the_network_may_send(served: Served) -> None:
    host, port = served.address.removeprefix("http://").split(":")

    def sent(request: bytes) -> bytes:
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
            connection.sendall(request)
            return connection.makefile("rb").readline()

    good = b"Host: 127.0.0.1\r\nConnection: close\r\n"
    assert b" 200 " in sent(b"GET /health HTTP/1.1\r\n" + good + b"\r\n")
    assert b" 400 " in sent(b"GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    assert b" 404 " in sent(b"GET /assets/x/../../secret HTTP/1.1\r\n" + good + b"\r\n")
    assert b" 404 " in sent(b"GET /assets/x/%2e%2e/server.py HTTP/1.1\r\n" + good + b"\r\n")
    token = f"Authorization: Bearer {served.token}\r\nContent-Type: application/json\r\n".encode()
    chunks = b"".join(b"10000\r\n" + b" " * 0x10000 + b"\r\n" for _ in range(17)) + b"0\r\n\r\n"
    begin = b"POST /api/v1/jobs HTTP/1.1\r\n" + good + token
    assert b" 413 " in sent(begin + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)


def test_a_reload_leaves_the_engine_be(served: Served) -> None:
    engine, worker = served.engine(), served.worker()
    os.kill(served.process.pid, signal.SIGHUP)
    until(lambda: served.worker() not in (None, worker))
    until(lambda: _is_up(served))
    assert served.engine() == engine
    assert served.api("GET", "/jobs").status_code == 200


def _is_up(served: Served) -> bool:
    try:
        return requests.get(f"{served.address}/health", timeout=PATIENCE_S).ok
    except requests.ConnectionError:
        return False


def test_a_worker_of_the_server_ends_without_waiting_for_the_engine(served: Served) -> None:
    engine, worker = served.engine(), served.worker()
    assert worker is not None
    begin = time.monotonic()
    os.kill(worker, signal.SIGTERM)
    until(lambda: not _lives(worker))
    assert time.monotonic() - begin < ENDS_S
    until(lambda: _is_up(served))
    assert served.engine() == engine


def test_a_killed_engine_is_started_again(served: Served) -> None:
    engine = served.engine()
    assert engine is not None
    os.kill(engine, signal.SIGKILL)
    statuses = set()

    def is_back() -> bool:
        statuses.add(served.api("GET", "/jobs").status_code)
        return 200 in statuses and served.engine() not in (None, engine)

    until(is_back)
    assert statuses <= {200, 503}


def test_a_second_one_is_told_who_is_there(served: Served) -> None:
    port = served.address.rpartition(":")[2]
    for more, words in (
        (("--port", port), f"port {port} of 127.0.0.1 cannot be had (Address already in use): choose another"),
        (("--port", "0"), f"(process {served.engine()} on "),
        (("--port", "0", "--host", "0.0.0.0"), "is reached by others"),
        (("--new-password", "nobody"), "there is no user 'nobody'; there are admin"),
    ):
        done = subprocess.run(command(served.folder, *more), capture_output=True, encoding="utf-8", timeout=PATIENCE_S)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert words in done.stderr and done.stderr.startswith("r2d2: ") and done.stderr.count("\n") == 1


def test_it_ends_with_its_engine(tmp_path: Path) -> None:
    own = started(tmp_path)
    pids = [own.process.pid, *own.children()]
    own.process.send_signal(signal.SIGTERM)
    assert own.process.wait(PATIENCE_S) == 0
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    assert not (own.folder / "work" / "engine.sock").exists()


def test_the_engine_of_a_killed_server_ends_too(tmp_path: Path) -> None:
    own = started(tmp_path)
    pids = [own.process.pid, *own.children()]
    own.process.kill()
    own.process.wait()
    until(lambda: not any(_lives(pid) for pid in pids))


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
