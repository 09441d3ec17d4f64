"""How workers ended, as this system, a shell and horovodrun tell it."""

import signal
from pathlib import Path

import pytest

from dist_training.record.log import last_failure, log_failure, log_to_file
from r2d2.launching.horovodrun import ends_in
from r2d2.launching.worker_end import WORKER_LOST, WorkerEnd

# As horovodrun 0.28.1 wrote it when rank 1 was killed.
KILLED = """\
[0]<stderr>:Process 0 exit with status code 1.
Process 1 exit with status code 137.
Terminating remaining workers after failure of Process 1.
Process 0 exit with status code 75.
"""


def test_the_first_to_go_counts_and_what_workers_say_does_not() -> None:
    first, second = ends_in(KILLED)
    assert (first.rank, first.exit_code, first.signal, first.signal_name) == (1, None, 9, "SIGKILL")
    assert first.is_worker_lost
    assert "lack of memory" in first.description
    assert second == WorkerEnd(0, WORKER_LOST)


@pytest.mark.parametrize(
    ("end", "expected", "is_lost"),
    [
        (WorkerEnd.of_process(2, -9), WorkerEnd(2, None, signal.SIGKILL), True),
        (WorkerEnd.of_process(2, -11), WorkerEnd(2, None, signal.SIGSEGV), True),
        (WorkerEnd.of_process(2, 137), WorkerEnd(2, 137), False),
        (WorkerEnd.of_shell(None, 137), WorkerEnd(None, None, signal.SIGKILL), True),
        (WorkerEnd.of_shell(0, -15), WorkerEnd(0, None, signal.SIGTERM), True),
        (WorkerEnd.of_process(0, WORKER_LOST), WorkerEnd(0, WORKER_LOST), True),
        (WorkerEnd.of_process(0, 1), WorkerEnd(0, 1), False),
        (WorkerEnd.of_shell(0, 2), WorkerEnd(0, 2), False),
        (WorkerEnd.of_shell(0, 0), WorkerEnd(0, 0), False),
    ],
)
def test_a_signal_is_told_from_an_exit_code(end: WorkerEnd, expected: WorkerEnd, is_lost: bool) -> None:
    assert end == expected
    assert end.is_worker_lost == is_lost
    assert end.is_good == (end.exit_code == 0)


def test_an_exit_code_beyond_the_signals_is_no_signal() -> None:
    assert not WorkerEnd.of_shell(None, 255).is_worker_lost
    assert WorkerEnd.of_shell(None, 255).description == "the job ended with exit code 255"
    assert WorkerEnd.of_process(3, -35).description == "rank 3 was ended by signal 35"


def test_the_last_failure_of_a_log_is_found(tmp_path: Path) -> None:
    log = tmp_path / "rank-1.log"
    assert last_failure(log) is None
    with log_to_file(log):
        for reason in ("first", "second: with words"):
            log_failure(ValueError(reason), OSError("as it was raised"))
    assert "OSError: as it was raised" in log.read_text()
    assert last_failure(log) == "second: with words"
