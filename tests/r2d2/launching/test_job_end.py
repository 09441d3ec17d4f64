"""Who was the first to go, read from what horovodrun says."""

from pathlib import Path

import pytest

from dist_training.record.log import last_failure, log_failure, log_to_file
from r2d2.launching.job_end import WORKER_LOST, JobEnd

# As horovodrun 0.28.1 wrote it when rank 1 was killed.
KILLED = """\
[0]<stderr>:Process 0 exit with status code 1.
Process 1 exit with status code 137.
Terminating remaining workers after failure of Process 1.
Process 0 exit with status code 75.
"""


def test_the_first_to_go_counts_and_what_workers_say_does_not() -> None:
    end = JobEnd.read(1, KILLED)
    assert (end.rank, end.code, end.signal_name) == (1, 137, "SIGKILL")
    assert end.is_worker_lost
    assert "lack of memory" in end.description


@pytest.mark.parametrize(
    ("returncode", "code", "is_lost"),
    [(-9, 137, True), (-11, 139, True), (137, 137, True), (WORKER_LOST, 75, True), (1, 1, False), (2, 2, False)],
)
def test_a_job_of_one_process(returncode: int, code: int, is_lost: bool) -> None:
    end = JobEnd.read(returncode, "")
    assert (end.rank, end.code, end.is_worker_lost) == (None, code, is_lost)


def test_an_exit_code_beyond_the_signals_is_no_signal() -> None:
    assert not JobEnd.read(255, "").is_worker_lost
    assert JobEnd.read(255, "").description == "the job ended with exit code 255"


def test_the_last_failure_of_a_log_is_found(tmp_path: Path) -> None:
    log = tmp_path / "rank-1.log"
    assert last_failure(log) is None
    with log_to_file(log):
        for reason in ("first", "second: with words"):
            log_failure(ValueError(reason), OSError("as it was raised"))
    assert "OSError: as it was raised" in log.read_text()
    assert last_failure(log) == "second: with words"
