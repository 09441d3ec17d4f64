"""Worker processes: results in order, faults of workers, and a quick end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from r2d2_base.errors import ProcessLostError
from segeval import MetricArgumentError
from segeval.files.workers import map_in_order

# Functions at the top level of a module, so that workers can import them by name.


def square_slowly(number):
    """The earlier a task, the longer it takes, so that results come in another order than tasks."""
    time.sleep(0.02 * (5 - number))
    print("what a library prints is no result")
    return number * number, os.getpid()


def fail_at_two(number):
    if number == 2:
        raise KeyError("two")
    return number


def be_killed(number):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [None, 1])
def test_short_work_stays_here(workers):
    results = list(map_in_order(square_slowly, iter(range(5)), 5, workers))
    assert results == [(value, os.getpid()) for value in (0, 1, 4, 9, 16)]


def test_long_work_goes_to_workers_and_comes_back_in_order(monkeypatch):
    monkeypatch.setattr("segeval.files.workers._START_SECONDS", 0.001)
    monkeypatch.setattr("segeval.files.workers._cores", lambda: 2)
    results = list(map_in_order(square_slowly, iter(range(5)), 5))
    assert [value for value, _ in results] == [0, 1, 4, 9, 16]
    assert results[0][1] == os.getpid()
    assert os.getpid() not in {process for _, process in results[1:]}


def test_tasks_are_taken_only_when_somebody_is_free_and_closing_ends_the_workers():
    """So that no more files are in memory than there are workers."""
    taken = []

    def tasks():
        for seconds in (0, *[86_400] * 4):
            taken.append(seconds)
            yield seconds

    results = map_in_order(time.sleep, tasks(), 5, 2)
    next(results)
    results.close()  # were the workers waited for, this would take two days
    assert len(taken) <= 4  # one is done, two were worked on, one may wait; a task only names its files


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_task_keeps_its_type(workers):
    with pytest.raises(KeyError, match="two") as caught:
        list(map_in_order(fail_at_two, iter(range(4)), 4, workers))
    if workers == 2:
        assert "fail_at_two" in str(caught.value.__cause__)  # the traceback in the worker


def test_a_killed_worker_is_an_error_not_a_wait():
    with pytest.raises(ProcessLostError, match=r"SIGKILL.*use fewer workers"):
        list(map_in_order(be_killed, iter(range(3)), 3, 2))


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "2"])
def test_workers_must_be_a_positive_integer(workers):
    with pytest.raises(MetricArgumentError, match="workers must be a positive integer"):
        list(map_in_order(abs, iter([1]), 1, workers))


SCRIPT = """
import sys
from segeval.files.workers import map_in_order
from time import sleep
print("begun", flush=True)
for result in map_in_order(sleep, iter([0, 0, 86_400, 86_400]), 4, 2):
    print("done", flush=True)
"""


def test_a_script_without_a_main_guard_works_and_ctrl_c_ends_it_at_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()  # within the day that the tasks take
    assert lines == ["begun\n", "done\n", "done\n"]
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors
