"""What a run folder says of its run: one answer to whether it runs, is done, can go on."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from dist_training.errors import RunFolderError
from dist_training.record.events import Ended, EpochEnded, EventLog, Running, Starting, StepTaken, Stopping
from dist_training.record.run_folder import RunEnd, RunFolder
from r2d2_base.files import write_json
from r2d2_base.process_identity import ProcessIdentity

STEP = {"epoch": 1, "loss": 0.5, "learning_rate": 0.1, "seconds": 0.25, "images_per_second": 32.0}
RUNNING = Running(
    epochs=3, steps_per_epoch=2, training_slices=8, validation_slices=4, global_batch_size=4, parameters=99
)
GONE = ProcessIdentity(platform.node(), 1, start_ticks=1)
ELSEWHERE = ProcessIdentity("another.host", 1, start_ticks=1)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    folder.config.write_text("{}")
    return folder


def record(folder: RunFolder, *events: object) -> None:
    log = EventLog(folder.events)
    for event in events:
        log.record(event)
    log.close()


def test_a_run_is_followed_from_its_start_to_its_end(folder: RunFolder, tmp_path: Path) -> None:
    assert RunFolder(tmp_path / "none").status().state is None
    assert folder.status().state == "starting"  # this process is the job's, and lives
    assert folder.status().job == ProcessIdentity.of_this_process()
    log = EventLog(folder.events)
    seen = []
    for event in (
        Starting(world_size=2),
        RUNNING,
        StepTaken(step=1, **STEP),
        EpochEnded(epoch=1, step=2, loss=0.5, validation_dice=0.6),
        EpochEnded(epoch=2, step=4, loss=0.4, validation_dice=0.5),
        Stopping(reason="enough", stopped_by="request"),
        Ended(state="stopped_early", reason="enough", stopped_by="request"),
    ):
        log.record(event)
        seen.append((folder.status().state, folder.status().step))
    states = ["starting", "running", "running", "running", "running", "stopping", "starting"]
    assert seen == list(zip(states, (0, 0, 1, 2, 4, 4, 4), strict=True))
    log.close()
    folder.write_exit(RunEnd(state="stopped_early", reason="enough", stopped_by="request"))
    (folder.checkpoints / "step-000000004.npz").touch()
    status = folder.status()
    assert (status.state, status.reason, status.stopped_by) == ("stopped_early", "enough", "request")
    assert (status.epoch, status.epochs, status.world_size) == (2, 3, 2)
    assert (status.best_dice, status.best_epoch) == (0.6, 1)
    assert status.is_done and status.is_resumable and not status.is_running


@pytest.mark.parametrize(
    ("job", "state"), [(GONE, "lost"), (ELSEWHERE, "lost"), (ProcessIdentity.of_this_process(), "running")]
)
def test_a_run_without_an_end_is_lost_unless_somebody_is_at_work(
    folder: RunFolder, job: ProcessIdentity, state: str
) -> None:
    write_json(folder.job, job.to_json())
    record(folder, Starting(world_size=1), RUNNING)
    assert folder.status().state == state
    log = EventLog(folder.events)  # locked, as workers hold it that outlived what started them
    assert folder.status().state == "running"
    log.close()


def test_a_process_is_known_by_its_start_too() -> None:
    """A number is given to another process some day."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        here = ProcessIdentity.of_this_process()
        assert here.is_alive()
        alive = ProcessIdentity(here.host, process.pid, boot_id=here.boot_id)
        assert alive.is_alive()
        assert not ProcessIdentity(here.host, process.pid, start_ticks=here.start_ticks).is_alive()
        assert not ProcessIdentity(here.host, here.pid, here.start_ticks, boot_id="another start").is_alive()
        assert ELSEWHERE.is_alive() is None
        assert ProcessIdentity.from_json(here.to_json()) == here
        process.communicate(b"\n")
    assert not alive.is_alive()
    assert ProcessIdentity.from_json({"pid": "7"}) is None


def test_a_start_that_failed_is_no_run_and_one_that_learned_something_is(folder: RunFolder) -> None:
    write_json(folder.job, GONE.to_json())
    record(folder, Starting(world_size=1), Ended(state="failed", reason="no such file"))
    folder.write_exit(RunEnd(state="failed", reason="no such file", exit_code=2))
    folder.log(0).write_text("of the failed start")
    folder.check_free()
    folder.create()
    assert folder.status().state == "starting"
    assert not folder.log(0).exists()
    with pytest.raises(RunFolderError, match="holds a run that is starting"):
        folder.check_free()
    write_json(folder.job, GONE.to_json())
    record(folder, Starting(world_size=1), RUNNING, StepTaken(step=1, **STEP))
    with pytest.raises(RunFolderError, match="already holds a run; continue it with --resume"):
        folder.check_free()


def test_a_network_whose_checkpoints_are_gone_is_not_trained_over(folder: RunFolder) -> None:
    folder.check_resumable()  # stopped before its first checkpoint: it begins at its start
    folder.model.touch()
    with pytest.raises(RunFolderError, match="a network and no checkpoint to go on from"):
        folder.check_resumable()
    (folder.checkpoints / "step-000000004.npz").touch()
    folder.check_resumable()


@pytest.mark.parametrize(
    ("reason", "by"),
    [
        ("signal SIGTERM", "signal"),
        ("signal lost", "request"),
        ("no better validation Dice in 2 epochs (best 0.5000; early_stopping_patience=2)", "early_stopping"),
        ("max_minutes=4 of training are over; a larger training.max_minutes goes on", "time_budget"),
    ],
)
def test_an_end_that_version_0_1_wrote_says_who_stopped_it(folder: RunFolder, reason: str, by: str) -> None:
    content = {"schema_version": 1, "state": "stopped_early", "reason": reason, "time": 1.8e9, "best_dice": None}
    write_json(folder.exit, content)
    assert folder.status().stopped_by == by
    assert folder.status().is_done is (by != "signal")


def test_a_damaged_end_is_none(folder: RunFolder) -> None:
    for text in ("{", "[1]", '{"state": "danced"}'):
        folder.exit.write_text(text)
        assert folder.read_exit() is None
