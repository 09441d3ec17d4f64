"""r2d2 control: what it writes, and what it refuses."""

import errno
import fcntl
import json
import platform
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dist_training.errors import ControlError
from dist_training.record.events import EventLog
from dist_training.record.run_folder import RunEnd, RunFolder
from r2d2.cli import app
from r2d2_base.errors import ConfigurationError
from r2d2_base.files import write_json
from r2d2_base.process_identity import ProcessIdentity

RUNNER = CliRunner()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    folder.config.write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("word", "request_"),
    [
        ("stop", {"request": "stop_early"}),
        ("checkpoint", {"request": "checkpoint"}),
        ("profile", {"request": "profile", "steps": 5}),
        ("profile=12", {"request": "profile", "steps": 12}),
        ("learning-rate=1e-4", {"request": "set_learning_rate", "learning_rate": 1e-4}),
    ],
)
def test_a_running_training_is_asked(folder: RunFolder, word: str, request_: dict) -> None:
    log = EventLog(folder.events)  # what a running training holds open
    done = RUNNER.invoke(app, ["control", str(folder.path), word, "--reason", "test"])
    log.close()
    assert done.exit_code == 0, done.output
    content = json.loads(folder.control.read_text())
    assert len(content.pop("id")) > 8
    assert content == {"schema_version": 1, "reason": "test", "by": "request", **request_}


def ended_process() -> ProcessIdentity:
    """A process of this host that is gone."""
    with subprocess.Popen(["true"]) as process:
        pass
    return ProcessIdentity(platform.node(), process.pid, start_ticks=1)


@pytest.mark.parametrize("word", ["dance", "learning-rate=fast", "learning-rate", "profile=all"])
def test_other_words_are_refused(folder: RunFolder, word: str) -> None:
    done = RUNNER.invoke(app, ["control", str(folder.path), word])
    assert isinstance(done.exception, ConfigurationError)
    assert repr(word) in str(done.exception)


@pytest.mark.parametrize("word", ["learning-rate=-1", "profile=0", "profile=101"])
def test_numbers_that_cannot_be_are_refused(folder: RunFolder, word: str) -> None:
    log = EventLog(folder.events)
    done = RUNNER.invoke(app, ["control", str(folder.path), word])
    log.close()
    assert isinstance(done.exception, ControlError)
    assert not folder.control.exists()


def test_a_run_that_does_not_run_is_not_asked(folder: RunFolder, tmp_path: Path) -> None:
    write_json(folder.job, ended_process().to_json())
    done = RUNNER.invoke(app, ["control", str(folder.path), "stop"])
    assert "is not running (it is lost)" in str(done.exception)
    done = RUNNER.invoke(app, ["control", str(tmp_path / "none"), "stop"])
    assert "holds no run" in str(done.exception)
    assert not folder.control.exists()
    assert not (tmp_path / "none").exists()


def test_where_the_file_system_knows_no_locks_a_run_without_an_end_is_asked(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Lustre is where it is mounted without them."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    EventLog(folder.events).close()
    done = RUNNER.invoke(app, ["control", str(folder.path), "stop"])
    assert done.exit_code == 0, done.output
    assert json.loads(folder.control.read_text())["request"] == "stop_early"
    folder.write_exit(RunEnd(state="completed"))
    said = str(RUNNER.invoke(app, ["control", str(folder.path), "stop"]).exception)
    assert "is not running (it is completed); go on with more epochs: " in said
    assert said.endswith("--resume training.epochs=N")
