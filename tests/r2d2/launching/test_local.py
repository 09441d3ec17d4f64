"""Workers on this host: what is known of their end, who ends whom, and what becomes of them without their launcher."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from r2d2.launching.launcher import end_workers
from r2d2.launching.local import LocalLauncher
from r2d2.launching.worker_end import WORKER_LOST, WorkerEnd
from r2d2_base.errors import ConfigurationError

PATIENCE_S = 120
LAUNCH = """
import sys
from pathlib import Path
from r2d2.launching.local import LocalLauncher
launcher = LocalLauncher()
launcher.start([sys.executable, "-c", sys.argv[1]], 1, Path())
launcher.wait()
"""
WATCHED = """
import signal, sys, time
from pathlib import Path
from r2d2.launching.launcher_watch import watch_launcher
def stop(number, frame):
    Path("told").write_text(str(time.monotonic()))
    {heeds} and sys.exit()
signal.signal(signal.SIGTERM, stop)
watch_launcher()
Path("pid").write_text(str(__import__("os").getpid()))
time.sleep(900) or time.sleep(900)
"""
CONNECTED = """
import http.client, os, sys, time
rank, port = os.environ["HOROVOD_RANK"], int(os.environ["HOROVOD_GLOO_RENDEZVOUS_PORT"])
for ending in ("", "_process_set_hash_1"):
    for scope, key in (("global", rank), ("local_localhost", rank), ("cross_" + rank, "0")):
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("DELETE", f"/{scope}{ending}/{key}")
        assert connection.getresponse().status == 200
open("connected-" + rank, "w")
while len([name for name in os.listdir() if name.startswith("connected-")]) < 2:
    time.sleep(0.05)
time.sleep(0 if rank == "1" else 0.5)
sys.exit(3 if rank == "1" else 75)
"""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def started(script: str, workers: int = 1) -> LocalLauncher:
    launcher = LocalLauncher()
    launcher.start(["sh", "-c", script], workers, Path())
    return launcher


def wait_for(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("script", "end"),
    [
        ("exit 137", WorkerEnd(0, 137)),
        ("kill -ABRT $$", WorkerEnd(0, None, signal.SIGABRT)),
        ("kill -35 $$", WorkerEnd(0, None, 35)),
        (f"exit {WORKER_LOST}", WorkerEnd(0, WORKER_LOST)),
    ],
)
def test_an_exit_code_is_told_from_a_signal(script: str, end: WorkerEnd) -> None:
    assert started(script).wait(PATIENCE_S) == end


def test_an_end_is_known_where_ends_of_children_were_ignored() -> None:
    """As under a program that had the system forget its children, and exec passes on."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert started("exit 3").wait(PATIENCE_S) == WorkerEnd(0, 3)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_one_worker_has_no_place_in_a_job_and_its_output_is_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that are left over from another job are none of its own."""
    monkeypatch.setenv("HOROVOD_SIZE", "4")
    monkeypatch.setenv("HOROVOD_CYCLE_TIME", "7")
    launcher = started("env; echo last words >&2")
    assert launcher.wait(PATIENCE_S) == WorkerEnd(0, 0)
    names = [line.partition("=")[0] for line in Path("rank-0.log").read_text().splitlines()]
    assert [name for name in names if name.startswith("HOROVOD_")] == ["HOROVOD_CYCLE_TIME"]
    (worker,) = launcher.describe()
    assert worker.last_words == "last words"
    assert f"rank 0 is process {worker.pid}\n" in Path("launcher.log").read_text()
    again = started("true")
    again.wait(PATIENCE_S)
    assert again.describe()[0].last_words == "", "those of the last time"


def test_what_a_worker_leaves_behind_ends_with_it() -> None:
    launcher = started("sleep 900 & echo $! > pid")
    assert launcher.wait(PATIENCE_S) == WorkerEnd(0, 0)
    left = int(Path("pid").read_text())
    wait_for(lambda: not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE)


def test_a_host_that_is_not_found_by_its_own_name_starts_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "my-host.invalid")  # RFC 2606: never resolves
    with pytest.raises(ConfigurationError, match=r"my-host\.invalid, does not resolve, so that several workers"):
        started("touch begun", workers=2)
    assert list(Path().iterdir()) == []


def test_connected_workers_end_by_themselves_when_one_fails() -> None:
    """Not by a signal: they have to record what happened. Who lost the other was not the first."""
    launcher = LocalLauncher()
    launcher.start([sys.executable, "-c", CONNECTED], 2, Path())
    try:
        assert launcher.wait(PATIENCE_S) == WorkerEnd(1, 3)
        assert [worker.end for worker in launcher.describe()] == [WorkerEnd(0, WORKER_LOST), WorkerEnd(1, 3)]
    finally:
        end_workers(launcher)


def test_workers_that_wait_for_one_that_died_before_it_joined_are_ended_at_once() -> None:
    """Gloo would leave them waiting for half a minute, and this script for a quarter of an hour."""
    launcher = started("[ $HOROVOD_RANK = 1 ] || exec sleep 900; kill -9 $$", workers=3)
    first = WorkerEnd(1, None, signal.SIGKILL)
    assert launcher.wait(PATIENCE_S) == first
    ended = [WorkerEnd(rank, None, signal.SIGTERM) for rank in range(3)]
    assert [worker.end for worker in launcher.describe()] == [ended[0], first, ended[2]]
    assert Path("launcher.log").read_text().count("the others are ended") == 1


@pytest.mark.slow
@pytest.mark.parametrize("heeds", [True, False])
def test_a_worker_whose_launcher_is_killed_is_told_and_ends_within_five_seconds(heeds: bool) -> None:
    """One that heeds what it is told, as a training does, ends when it has; another is killed."""
    job = subprocess.Popen([sys.executable, "-c", LAUNCH, WATCHED.format(heeds=heeds)])
    wait_for(lambda: Path("pid").exists() and Path("pid").read_text())
    worker = psutil.Process(int(Path("pid").read_text()))
    assert worker.ppid() == job.pid
    job.kill()
    job.wait()
    killed = time.monotonic()
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    ended = time.monotonic()
    told = float(Path("told").read_text())
    if heeds:
        assert ended - told < 5
    else:
        assert ended - told > 3
    assert ended - killed < 10, "five seconds, on a machine of half the speed"


@pytest.mark.slow
def test_a_process_without_a_launcher_watches_none() -> None:
    script = "import threading; from r2d2.launching.launcher_watch import watch_launcher\n"
    script += "watch_launcher(); print(threading.active_count())"
    for text in ("", "{}", "no JSON"):
        environment = {**os.environ, "R2D2_LAUNCHER": text}
        said = subprocess.check_output([sys.executable, "-c", script], env=environment, text=True)
        assert said == "1\n"
