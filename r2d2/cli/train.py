"""r2d2 train: on this process, on workers it starts itself, or as one of those that horovodrun started."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, NoReturn

import typer

from dist_training.ranks.launched import launched_rank, launched_world_size
from r2d2.cli.environment import quiet_tensorflow
from r2d2_base.errors import ConfigurationError, R2D2Error

if TYPE_CHECKING:
    from r2d2.launching.plan import RunPlan
    from r2d2.tasks.training import TrainingResult, TrainSettings

__all__ = ["say_end", "train", "worker"]

EXAMPLE = "Example: horovodrun -np 2 r2d2 train --dataset work/hippocampus --run-dir work/run training.epochs=10"
_ALL_FOLDS = "all"


def train(
    settings: list[str] = typer.Argument(None, metavar="KEY=VALUE", help="Settings, like training.epochs=10."),
    dataset: Path = typer.Option(None, help="Prepared dataset; without one, a generated phantom study."),
    run_dir: Path = typer.Option(None, help="Folder for the run; by default runs/NAME, the next free one."),
    workers: int = typer.Option(None, min=1, help="Workers to start on this machine; more than 1 needs Horovod."),
    config: Path = typer.Option(None, help="Configuration file; by default r2d2.yaml. What it leaves out is proposed."),
    resume: bool = typer.Option(False, "--resume", help="Go on from the last checkpoint of --run-dir."),
    fold: str = typer.Option(None, metavar="K|all", help="Train fold K of the cross-validation, or each in turn."),
    threads: int = typer.Option(None, min=1, help="CPU threads of each worker; by default the cores, shared."),
    hosts: str = typer.Option(None, metavar="HOST:N,...", help="Where workers run, N on each host; ssh reaches them."),
    max_restarts: int = typer.Option(0, min=0, help="Times that a job whose worker was lost is started again."),
    max_minutes: float = typer.Option(None, help="Minutes of training after which the run stops, with a checkpoint."),
    verbose: bool = typer.Option(False, "-v", "--verbose", help="Show TensorFlow's own messages."),
) -> None:
    """Train a network on a prepared dataset."""
    quiet_tensorflow(verbose)
    from r2d2.tasks.training import TrainSettings

    asked = TrainSettings(
        dataset=dataset,
        run_dir=run_dir,
        settings=tuple(settings or ()),
        config=config,
        workers=workers,
        hosts=hosts,
        threads=threads,
        fold=_fold_number(fold),
        max_minutes=max_minutes,
        max_restarts=max_restarts,
        resume=resume,
    )
    launched = launched_world_size()
    if fold == _ALL_FOLDS:
        _train_all_folds(asked, launched)
    elif launched is not None and workers not in (None, launched):
        _refuse_once(f"--workers {workers} contradicts horovodrun's {launched}; leave --workers out")
    elif launched is not None and launched > 1:
        if hosts is not None or max_restarts:
            _refuse_once("--hosts and --max-restarts are for 'r2d2 train --workers N', which starts the workers itself")
        _train_launched(asked, launched)
    else:
        _train_here(asked)


def _fold_number(text: str | None) -> int | None:
    """Read what ``--fold`` was given; None for none and for all."""
    if text is None or text == _ALL_FOLDS:
        return None
    if text.isdecimal():
        return int(text)
    raise ConfigurationError(f"--fold must be the number of a fold, from 0, or all; received {text!r}")


def _train_here(asked: TrainSettings) -> None:
    """Train in this process, or in workers of our own, and say how it ended."""
    from r2d2.cli.progress import stages, training_display
    from r2d2.tasks.training import placed_on_hosts, plan_training, run_plan

    with stages() as report:
        plan = plan_training(placed_on_hosts(asked), on_notice=_say, progress=report)
    with training_display() as display:
        result = run_plan(plan, on_event=display, on_notice=display.notice, max_restarts=asked.max_restarts)
    say_end(result)


def _train_all_folds(asked: TrainSettings, launched: int | None) -> None:
    """Train every fold in processes of its own, then evaluate them together."""
    from r2d2.cli.progress import training_display
    from r2d2.cli.scores import echo_scores
    from r2d2.tasks.cross_validation import cross_validate

    if launched is not None:
        raise ConfigurationError(
            "--fold all starts the workers of each fold itself: leave horovodrun out and say "
            f"r2d2 train --fold all --workers {launched}, or train each fold under its own horovodrun with --fold K"
        )
    with training_display() as display:
        result = cross_validate(asked, on_event=display, on_notice=display.notice, progress=display.stage)
    _say("cross-validation: each case by the network of the fold that held it out")
    echo_scores(result.evaluation)
    _say(f"report: {result.report}")


def say_end(result: TrainingResult) -> None:
    """Say how a training ended and what comes next; one that a signal interrupted ends this process as signals do."""
    from r2d2.launching.job import INTERRUPTED

    folder = quote(str(result.run.path))
    if result.state == "stopped_early":
        _say(f"stopped early ({result.reason}); go on with: r2d2 train --run-dir {folder} --resume{_more(result)}")
    score = "" if result.best_dice is None else f", validation Dice {result.best_dice:.4f}"
    _say(f"best network: {result.run.model}{score}")
    _say(f"next: r2d2 predict --model {folder} --dataset {quote(str(result.dataset))} --out PREDICTIONS")
    if result.stopped_by == "signal":
        raise typer.Exit(INTERRUPTED)


def _more(result: TrainingResult) -> str:
    """What must be added to resume a run that would stop again at once."""
    more = {
        "time_budget": " --max-minutes MORE, or training.max_minutes=null",
        "early_stopping": " training.early_stopping_patience=MORE, or null",
    }
    return more.get(result.stopped_by or "", "")


def _train_launched(asked: TrainSettings, world_size: int) -> None:
    """Be one rank of a horovodrun that the user typed: rank 0 checks and speaks for all."""
    from dist_training.errors import WorkerLostError
    from r2d2.cli.progress import stages, training_display
    from r2d2.launching.rank import agree_on_plan, join, run_training
    from r2d2.tasks.training import plan_training, result_of, threads_of

    communicator = join(world_size, threads_of(asked))
    answer: RunPlan | int | None = None
    refusal: Exception | None = None
    if communicator.rank == 0:
        try:
            with stages() as report:
                told = asked.model_copy(update={"workers": world_size})
                answer = plan_training(told, world_size=world_size, on_notice=_say, progress=report)
        except Exception as error:
            refusal, answer = error, getattr(error, "exit_code", 2)
    plan = communicator.broadcast_object(answer)
    if refusal is not None:
        raise refusal
    if isinstance(plan, int):
        raise typer.Exit(plan)
    if communicator.rank == 0 and plan.is_complete:
        from r2d2.tasks.training import run_plan

        say_end(run_plan(plan, on_notice=_say))
    if plan.is_complete:
        return
    if communicator.rank == 0:
        agree_on_plan(communicator, lambda: plan)
        with training_display() as display:
            result = run_training(plan, communicator, [display])
        say_end(result_of(plan, result))
        return
    try:
        agree_on_plan(communicator, lambda: plan)
        run_training(plan, communicator)
    except WorkerLostError as error:
        _speak_for_rank_0(plan, communicator.rank, error)
    except R2D2Error as error:
        raise typer.Exit(error.exit_code) from None


def _speak_for_rank_0(plan: RunPlan, rank: int, error: Exception) -> NoReturn:
    """Where rank 0 was the one that died, rank 1 says so and records it."""
    from dist_training.record.run_folder import RunEnd

    if rank == 1:
        time.sleep(1.5)
        if not plan.folder.exit.exists():
            plan.folder.write_exit(RunEnd(state="failed", reason=str(error), exit_code=1))
            _say(f"r2d2: {error}")
    raise typer.Exit(1) from None


def _refuse_once(text: str) -> NoReturn:
    if launched_rank() == 0:
        _say(f"r2d2: {text}")
    raise typer.Exit(2)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def worker(run_dir: Path, resume: bool = typer.Option(False, "--resume")) -> None:
    """Be one worker of the job that ``r2d2 train`` started; the run folder is ready."""
    from r2d2.launching.launcher_watch import watch_launcher

    watch_launcher()
    quiet_tensorflow(False)
    from dist_training.errors import WorkerLostError
    from r2d2.launching.plan import plan_of_run
    from r2d2.launching.rank import agree_on_plan, join, run_training
    from r2d2.launching.worker_end import WORKER_LOST

    world_size, threads = launched_world_size() or 1, None
    with suppress(R2D2Error):  # told to all workers once they can talk
        threads = plan_of_run(run_dir, is_resumed=resume, world_size=world_size).configuration.threads
    communicator = join(world_size, threads)
    try:
        plan = agree_on_plan(communicator, lambda: plan_of_run(run_dir, is_resumed=resume, world_size=world_size))
        run_training(plan, communicator)
    except WorkerLostError:
        raise typer.Exit(WORKER_LOST) from None
    except R2D2Error as error:
        raise typer.Exit(error.exit_code) from None
