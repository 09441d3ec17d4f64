"""Processes: results in order, faults, requests to stop, and a quick end whatever ends the work."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from r2d2_base.errors import CancelledError, ConfigurationError, OutputExistsError, ProcessLostError
from r2d2_base.processes import ProcessPool
from r2d2_base.progress import StopRequest, Watcher

pytestmark = pytest.mark.slow

DAY = 86_400.0
"""What tasks sleep that must be ended: a test that passes did not wait for them."""


def started() -> list[psutil.Process]:
    """The pool's processes that are children of this one."""
    children = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in children if "r2d2_base.processes" in " ".join(child.cmdline())]


# Functions at the top level of a module, so that processes can import them by name.


def square_and_process(number: int) -> tuple[int, int]:
    """The earlier a task, the longer it takes, so that results come in another order than tasks."""
    time.sleep(0.02 * (5 - number))
    print("what a library prints is no result")
    return number * number, os.getpid()


def own_process(_: object) -> int:
    return os.getpid()


def make_lock(_: object) -> object:
    return threading.Lock()


def fail(kind: type[Exception]) -> None:
    raise kind("why")


def be_killed_at_two(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", [None, 1])
def test_short_work_is_done_here(workers):
    with ProcessPool(workers) as pool:
        results = list(pool.map_in_order(square_and_process, range(5)))
    assert results == [(value, os.getpid()) for value in (0, 1, 4, 9, 16)]


def test_long_work_goes_to_processes_and_comes_back_in_order(monkeypatch):
    monkeypatch.setattr("r2d2_base.processes._START_SECONDS", 0.001)
    monkeypatch.setattr("r2d2_base.processes.whole_cores", lambda: 2)
    told = []
    with ProcessPool(None, Watcher(lambda *report: told.append(report))) as pool:
        results = list(pool.map_in_order(square_and_process, range(5), stage="squares"))
        assert len(started()) == 2
        again = list(pool.map_in_order(own_process, range(5)))
    assert [value for value, _ in results] == [0, 1, 4, 9, 16]
    assert results[0][1] == os.getpid()
    others = {process for _, process in results[1:]}
    assert os.getpid() not in others
    assert set(again) <= others, "the processes that are there are used again, and at once"
    assert told[:6] == [("squares", done, 5) for done in range(6)]
    assert started() == []


def test_tasks_are_taken_only_when_somebody_is_free_and_closing_ends_the_processes():
    """So that no more files are in memory than there are processes."""
    taken = []

    def tasks():
        for seconds in (0.0, DAY, DAY, DAY, DAY):
            taken.append(seconds)
            yield seconds

    with ProcessPool(2) as pool:
        results = pool.map_in_order(time.sleep, tasks(), count=5)
        next(results)
        results.close()
        assert started() == []
    assert len(taken) <= 4  # one is done, two were worked on, one may wait


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_task_keeps_its_type_and_a_fault_of_ours_its_traceback(workers):
    with ProcessPool(workers) as pool:
        for kind, is_fault in ((KeyError, True), (OutputExistsError, False)):
            with pytest.raises(kind, match="why") as caught:
                list(pool.map_in_order(fail, [kind, kind]))
            notes = "".join(getattr(caught.value, "__notes__", ()))
            assert ("in fail" in notes) == (is_fault and workers == 2)


def test_a_lost_process_costs_only_its_task():
    with ProcessPool(2) as pool:
        outcomes = {outcome.task: outcome for outcome in pool.map_as_ready(be_killed_at_two, range(6))}
        assert [outcomes[task].result for task in range(6)] == [0, 1, None, 3, 4, 5]
        assert isinstance(outcomes[2].error, ProcessLostError)
        with pytest.raises(ProcessLostError, match=r"ended by SIGKILL, most often for want of memory; use fewer"):
            list(pool.map_in_order(be_killed_at_two, range(6)))
        with pytest.raises(ProcessLostError, match="ended with exit code 3"):
            list(pool.map_in_order(os._exit, [3, 3]))


def test_what_cannot_be_handed_over_is_an_error_not_a_wait():
    with ProcessPool(2) as pool:
        for function, task in ((own_process, threading.Lock()), (make_lock, 1)):
            with pytest.raises(TypeError):
                list(pool.map_in_order(function, [task, task]))
        outcomes = list(pool.map_as_ready(json.loads, ["1", "{", "[2]"]))
    assert {outcome.number: outcome.result for outcome in outcomes} == {0: 1, 1: None, 2: [2]}


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "2"])
def test_workers_must_be_a_positive_integer(workers):
    with pytest.raises(ConfigurationError, match="workers must be a positive integer"):
        ProcessPool(workers)


@pytest.mark.parametrize("tasks", [1, 3])
def test_a_request_to_stop_ends_tasks_that_never_would(tasks):
    stop = StopRequest()
    with ProcessPool(1, Watcher(stop=stop)) as pool:
        assert pool.run(own_process, "here it could not be ended") != os.getpid()
        threading.Timer(0.05, stop.make, ["enough"]).start()
        with pytest.raises(CancelledError, match="enough"):
            list(pool.map_in_order(time.sleep, [DAY] * tasks))
        assert started() == []


def test_one_call_gives_its_result_or_its_error():
    with ProcessPool() as pool:
        assert pool.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            pool.run(divmod, 1, 0)
    assert started() == []


SCRIPT = """
from r2d2_base.processes import ProcessPool

def mine(number):
    return number

try:
    list(ProcessPool(2).map_in_order(mine, [1, 2]))
except AttributeError as error:
    print(error, flush=True)
pool = ProcessPool(2)
for result in pool.map_in_order(sum, [range(1), range(1), range(10**15), range(10**15)]):  # under Python's lock
    print(*(process._process.pid for process in pool._processes), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_script_needs_no_main_guard_and_nothing_outlives_it(tmp_path, number):
    """Ctrl-C ends it at once; where it is killed itself, its busy processes end too."""
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "pickle.py").write_text("raise SystemExit('a file of the user that is called like a module')")
    with subprocess.Popen(
        [sys.executable, "-P", "script.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(number)
        others = [psutil.Process(int(pid)) for pid in lines[2].split() if psutil.pid_exists(int(pid))]
        _, errors = process.communicate(timeout=60)
    assert "mine" in lines[0], "a function of the script is not there: said, not waited for"
    assert len(lines[2].split()) == 2
    assert process.returncode != 0
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    assert psutil.wait_procs(others, timeout=60)[1] == []
