"""r2d2 control: ask a running training for something."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from dist_training.record.run_folder import RunFolder

__all__ = ["control"]

EXAMPLE = "Example: r2d2 control work/run learning-rate=1e-4"
_RATE = "learning-rate="


def control(
    run_dir: Path = typer.Argument(..., metavar="RUN", help="Run folder of a training that is running."),
    request: str = typer.Argument(..., metavar="REQUEST", help="stop, checkpoint, or learning-rate=NUMBER."),
    reason: str = typer.Option("r2d2 control", help="Why, for the run's record."),
) -> None:
    """Ask a running training to stop (with a checkpoint), to write a checkpoint, or to change its learning rate.

    All its workers do so after the same step, and the run's record says when; a resumed run repeats a changed rate.
    """
    from dist_training.record.run_folder import RunFolder
    from dist_training.stopping.control import request_checkpoint, request_learning_rate, request_stop
    from r2d2_base.errors import ConfigurationError

    rate = None
    if request.startswith(_RATE):
        try:
            rate = float(request.removeprefix(_RATE))
        except ValueError:
            raise ConfigurationError(f"learning-rate must be a number like 1e-4; received {request!r}") from None
    elif request not in ("stop", "checkpoint"):
        raise ConfigurationError(f"a request is stop, checkpoint or learning-rate=1e-4; received {request!r}")
    folder = RunFolder(run_dir)
    _check_running(folder)
    if rate is not None:
        request_learning_rate(folder.control, rate, reason)
    elif request == "stop":
        request_stop(folder.control, reason)
    else:
        request_checkpoint(folder.control, reason)
    typer.echo(f"asked {run_dir} for {request}, after its step; {folder.events} tells when", err=True)


def _check_running(folder: RunFolder) -> None:
    from r2d2_base.errors import ConfigurationError

    status = folder.status()
    if status.state is None:
        raise ConfigurationError(f"{folder.path} holds no run; name the --run-dir of a training that is running")
    if not status.is_running:
        further, words = ("more epochs", " training.epochs=N") if status.state == "completed" else ("it", "")
        raise ConfigurationError(
            f"the run in {folder.path} is not running (it is {status.state}); go on with {further}: "
            f"r2d2 train --run-dir {quote(str(folder.path))} --resume{words}"
        )
