"""r2d2 train: on this process, on workers it starts itself, or as one of those that horovodrun started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from r2d2.cli.environment import launched_rank, launched_world_size, quiet_tensorflow

if TYPE_CHECKING:
    from dist_training.communicator import Communicator
    from r2d2.cli.progress import StageReporter
    from r2d2.training import RunPlan

__all__ = ["train", "worker"]

INTERRUPTED = 130
EXAMPLE = "Example: horovodrun -np 2 r2d2 train --dataset work/hippocampus --run-dir work/run training.epochs=10"


def train(
    settings: list[str] = typer.Argument(None, metavar="KEY=VALUE", help="Settings, like training.epochs=10."),
    dataset: Path = typer.Option(None, help="Prepared dataset; without one, a generated phantom study."),
    run_dir: Path = typer.Option(None, help="Folder for the run; by default runs/NAME, the next free one."),
    workers: int = typer.Option(None, min=1, help="Workers to start on this machine; more than 1 uses horovodrun."),
    config: Path = typer.Option(None, help="Configuration file; by default r2d2.yaml, else the dataset's own."),
    resume: bool = typer.Option(False, "--resume", help="Go on from the last checkpoint of --run-dir."),
    threads: int = typer.Option(None, min=1, help="CPU threads a worker; by default the cores shared among workers."),
    verbose: bool = typer.Option(False, "-v", "--verbose", help="Show TensorFlow's own messages."),
) -> None:
    """Train a network on a prepared dataset."""
    quiet_tensorflow(verbose)
    options = {"dataset": _text(dataset), "run_dir": _text(run_dir), "workers": workers}
    world_size = launched_world_size()
    if world_size > 1:
        _train_launched(world_size, threads, config, options, settings or [], resume)
        return
    from r2d2.cli.progress import stages

    with stages() as report:
        plan = _plan(None, config, options, settings or [], resume, report)
    run_here(plan, threads)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _plan(
    world_size: int | None,
    config: Path | None,
    options: dict[str, Any],
    settings: list[str],
    resume: bool,
    report: StageReporter,
) -> RunPlan:
    """Check everything; on success the run folder exists."""
    from dist_training.run_folder import RunFolder
    from r2d2.errors import ConfigurationError
    from r2d2.preparing import PHANTOM_FOLDER
    from r2d2.training import open_run, plan_run, resolve

    if resume:
        if options["run_dir"] is None:
            raise ConfigurationError("--resume needs --run-dir, the folder of the run to go on with")
        folder = RunFolder(Path(options["run_dir"]))
        folder.check_resumable()
        config = config or folder.config
    configuration = resolve(config=config, options=options, assignments=settings, progress=report)
    if configuration.dataset is not None and PHANTOM_FOLDER.absolute() in configuration.dataset.absolute().parents:
        typer.echo(f"no dataset was named: training on the generated phantom study in {PHANTOM_FOLDER}", err=True)
    plan = plan_run(configuration, world_size=world_size or configuration.workers, is_resumed=resume)
    open_run(plan)
    return plan


def run_here(plan: RunPlan, threads: int | None = None) -> None:
    """Run a plan from this terminal, in this process or under a horovodrun of our own, and say how it ended."""
    from r2d2.cli.progress import training_display
    from r2d2.launcher import launch
    from r2d2.training import run_training

    with training_display() as display:
        if plan.world_size > 1:
            outcome = launch(plan, display, display.notice, threads=threads)
            state, reason = outcome["state"], outcome.get("reason")
        else:
            result = run_training(plan, _join(1, threads), [display])
            state, reason = result.state, result.reason
    _say_end(plan, state, reason)


def _say_end(plan: RunPlan, state: str, reason: str | None) -> None:
    folder = plan.folder.path
    if state == "stopped_early":
        typer.echo(f"stopped early ({reason}); go on with: r2d2 train --run-dir {folder} --resume", err=True)
    typer.echo(f"model: {folder / 'model.keras'}", err=True)
    if (reason or "").startswith("signal"):
        raise typer.Exit(INTERRUPTED)


def _join(world_size: int, threads: int | None) -> Communicator:
    """Join the job, with this worker's device and threads set before anything is exchanged."""
    from dist_training.communicator import build_communicator
    from dist_training.session import configure_devices

    communicator = build_communicator(world_size)
    configure_devices(communicator, threads)
    return communicator


def _train_launched(
    world_size: int,
    threads: int | None,
    config: Path | None,
    options: dict[str, Any],
    settings: list[str],
    resume: bool,
) -> None:
    """Be one rank of a horovodrun that the user typed: rank 0 checks and speaks for all."""
    from r2d2.cli.progress import stages, training_display
    from r2d2.training import run_training

    if options["workers"] not in (None, world_size):
        _refuse_once(f"--workers {options['workers']} contradicts horovodrun's {world_size}; leave --workers out")
    communicator = _join(world_size, threads)
    answer: Any = None
    if communicator.rank == 0:
        try:
            with stages() as report:
                answer = _plan(world_size, config, {**options, "workers": world_size}, settings, resume, report)
        except Exception as error:
            answer = error
    answer = communicator.broadcast_object(answer)
    if isinstance(answer, Exception):
        if communicator.rank == 0:
            raise answer
        raise typer.Exit(getattr(answer, "exit_code", 2))
    plan: RunPlan = answer
    if communicator.rank != 0:
        _run_silently(plan, communicator)
        return
    with training_display() as display:
        result = run_training(plan, communicator, [display])
    _say_end(plan, result.state, result.reason)


def _refuse_once(text: str) -> None:
    if launched_rank() == 0:
        typer.echo(f"r2d2: {text}", err=True)
    raise typer.Exit(2)


def _run_silently(plan: RunPlan, communicator: Any) -> None:
    """Train on a rank that must not write to the terminal; its faults are in its log and on rank 0."""
    from dist_training.errors import DistTrainingError
    from r2d2.training import run_training

    try:
        run_training(plan, communicator)
    except DistTrainingError as error:
        raise typer.Exit(error.exit_code) from None


def worker(
    run_dir: Path, resume: bool = typer.Option(False, "--resume"), threads: int = typer.Option(None, min=1)
) -> None:
    """Be one rank of the horovodrun that ``r2d2 train --workers`` started; the run folder is ready."""
    quiet_tensorflow(False)
    from r2d2.training import plan_of_run

    world_size = launched_world_size()
    plan = plan_of_run(run_dir, is_resumed=resume, world_size=world_size)
    _run_silently(plan, _join(world_size, threads))
