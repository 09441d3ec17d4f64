"""The sampler as a process of its own, from its start to its end."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path

import pytest

from r2d2.monitoring.series import read_series
from tests.companions import PATIENCE_S, held, wait_for


def sampler(file: Path, limit_bytes: int | None = None) -> AbstractContextManager[subprocess.Popen[str]]:
    asked = {"file": str(file), "workers": {"0": os.getpid()}, "host_interval_s": 0.1, "gpu_interval_s": 1.0}

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # else the system ends who writes more
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes or 0, limit_bytes or 0))

    command = [sys.executable, "-P", "-m", "r2d2.monitoring.sampler", json.dumps(asked)]
    return held(command, preexec_fn=None if limit_bytes is None else limited)


def test_it_ends_with_who_started_it_and_writes_what_was_last(tmp_path: Path) -> None:
    file = tmp_path / "host-a.jsonl"
    with sampler(file) as process:
        wait_for(lambda: len(read_series(file)) >= 3)
        before = len(read_series(file))
        assert process.stdin is not None
        process.stdin.close()  # as the system does where the worker is killed
        process.wait(PATIENCE_S)
        assert process.returncode == 0
    found = read_series(file)
    assert len(found) > before
    assert all("worker.0.memory_bytes" in one for one in found)
    assert all(one["time"] <= other["time"] for one, other in pairwise(found))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_to_the_whole_job_is_not_for_it(tmp_path: Path, number: signal.Signals) -> None:
    file = tmp_path / "host-a.jsonl"
    with sampler(file) as process:
        wait_for(lambda: len(read_series(file)) >= 1)
        process.send_signal(number)
        before = len(read_series(file))
        wait_for(lambda: len(read_series(file)) >= before + 2)


def test_a_kill_loses_nothing_and_another_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "host-a.jsonl"
    with sampler(file) as process:
        wait_for(lambda: len(read_series(file)) >= 3)
        process.kill()
        process.wait()
    before = read_series(file)
    with sampler(file):
        wait_for(lambda: len(read_series(file)) >= len(before) + 2)
    assert read_series(file)[: len(before)] == before


def test_a_full_disk_is_said_once_and_what_is_written_stays_readable(tmp_path: Path) -> None:
    file = tmp_path / "host-a.jsonl"
    with sampler(file, limit_bytes=1500) as process:
        wait_for(lambda: file.exists() and file.stat().st_size == 1500)
        time.sleep(0.5)  # for more tries
        assert process.poll() is None and process.stdin is not None and process.stderr is not None
        process.stdin.close()
        process.wait(PATIENCE_S)
        said = process.stderr.read()
    assert said.count("cannot be written") == 1 and "the training goes on" in said
    assert read_series(file)
