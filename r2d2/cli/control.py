"""r2d2 control: ask a running training for something."""

from __future__ import annotations

from pathlib import Path

import typer

__all__ = ["control"]

EXAMPLE = "Example: r2d2 control work/run learning-rate=1e-4"
_RATE, _PROFILE = "learning-rate=", "profile="


def control(
    run_dir: Path = typer.Argument(..., metavar="RUN", help="Run folder of a training that is running."),
    request: str = typer.Argument(
        ..., metavar="REQUEST", help="stop, checkpoint, learning-rate=NUMBER, or profile=STEPS."
    ),
    reason: str = typer.Option("r2d2 control", help="Why, for the run's record."),
) -> None:
    """Ask a running training to stop (with a checkpoint), write a checkpoint, change its learning rate, or trace steps.

    All its workers do so after the same step, and the run's record says when; a resumed run repeats a changed rate.
    """
    from r2d2.tasks.control import ask_run
    from r2d2_base.errors import ConfigurationError

    if request.startswith(_RATE):
        try:
            rate = float(request.removeprefix(_RATE))
        except ValueError:
            raise ConfigurationError(f"learning-rate must be a number like 1e-4; received {request!r}") from None
        ask_run(run_dir, "learning-rate", reason, rate)
    elif request == "stop":
        ask_run(run_dir, "stop", reason)
    elif request == "checkpoint":
        ask_run(run_dir, "checkpoint", reason)
    elif request == "profile":
        ask_run(run_dir, "profile", reason)
    elif request.startswith(_PROFILE):
        try:
            steps = int(request.removeprefix(_PROFILE))
        except ValueError:
            raise ConfigurationError(f"profile must be a number of steps like 5; received {request!r}") from None
        ask_run(run_dir, "profile", reason, steps=steps)
    else:
        raise ConfigurationError(
            f"a request is stop, checkpoint, learning-rate=1e-4 or profile=5; received {request!r}"
        )
    typer.echo(f"asked {run_dir} for {request}, after its step; {run_dir / 'events.jsonl'} tells when", err=True)
