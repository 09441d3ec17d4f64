"""Asking a training that is running for something: by the file that all its workers heed after a step."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Literal

from dist_training.record.events import is_being_written
from dist_training.record.run_folder import RunFolder
from dist_training.stopping.control import request_checkpoint, request_learning_rate, request_profile, request_stop
from r2d2_base.errors import ConfigurationError

__all__ = ["RunRequest", "ask_run"]

RunRequest = Literal["stop", "checkpoint", "learning-rate", "profile"]


STEPS = 5
"""That are traced where nobody says how many."""


def ask_run(
    run_dir: Path,
    request: RunRequest,
    reason: str,
    learning_rate: float | None = None,
    steps: int | None = None,
) -> None:
    """Ask a running training to stop, write a checkpoint, go on with another learning rate, or trace some steps.

    All its workers do so after the same step, and the run's record says when; a resumed run repeats a changed rate.

    Args:
        run_dir: its run folder.
        request: what is asked for.
        reason: why, for the run's record.
        learning_rate: of the steps to come, where that is asked for.
        steps: to be traced, where that is asked for; None: 5.

    Raises:
        ConfigurationError: no run is there, or it is not running, or no rate was given.
        ControlError: no rate to train with, no number of steps to trace, or another request still waits.
    """
    folder = RunFolder(run_dir)
    _check_running(folder)
    if request == "stop":
        request_stop(folder.control, reason)
    elif request == "checkpoint":
        request_checkpoint(folder.control, reason)
    elif request == "profile":
        request_profile(folder.control, STEPS if steps is None else steps, reason)
    elif learning_rate is None:
        raise ConfigurationError("say which learning rate, like 1e-4")
    else:
        request_learning_rate(folder.control, learning_rate, reason)


def _check_running(folder: RunFolder) -> None:
    if is_being_written(folder.events):
        return
    status = folder.status()
    if status.state is None:
        raise ConfigurationError(f"{folder.path} holds no run; name the --run-dir of a training that is running")
    if not status.is_running:
        further, words = ("more epochs", " training.epochs=N") if status.state == "completed" else ("it", "")
        raise ConfigurationError(
            f"the run in {folder.path} is not running (it is {status.state}); go on with {further}: "
            f"r2d2 train --run-dir {quote(str(folder.path))} --resume{words}"
        )
