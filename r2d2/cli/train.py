"""r2d2 train: on this process, on workers it starts itself, or as one of those that horovodrun started."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from dist_training.ranks.communicator import launched_rank, launched_world_size
from r2d2.cli.environment import quiet_tensorflow
from r2d2_base.errors import R2D2Error

if TYPE_CHECKING:
    from dist_training.ranks.communicator import Communicator
    from r2d2.config import Configuration
    from r2d2.tasks.training import RunPlan
    from r2d2_base.progress import Progress

__all__ = ["train", "worker"]

EXAMPLE = "Example: horovodrun -np 2 r2d2 train --dataset work/hippocampus --run-dir work/run training.epochs=10"


def train(
    settings: list[str] = typer.Argument(None, metavar="KEY=VALUE", help="Settings, like training.epochs=10."),
    dataset: Path = typer.Option(None, help="Prepared dataset; without one, a generated phantom study."),
    run_dir: Path = typer.Option(None, help="Folder for the run; by default runs/NAME, the next free one."),
    workers: int = typer.Option(None, min=1, help="Workers to start on this machine; more than 1 uses horovodrun."),
    config: Path = typer.Option(None, help="Configuration file; by default r2d2.yaml, else the dataset's own."),
    resume: bool = typer.Option(False, "--resume", help="Go on from the last checkpoint of --run-dir."),
    fold: str = typer.Option(None, metavar="K|all", help="Train fold K of the cross-validation, or each in turn."),
    threads: int = typer.Option(None, min=1, help="CPU threads a worker; by default the cores shared among workers."),
    hosts: str = typer.Option(None, metavar="HOST:N,...", help="Where workers run, N on each host; ssh reaches them."),
    max_restarts: int = typer.Option(0, min=0, help="Times that a job whose worker was lost is started again."),
    max_minutes: float = typer.Option(None, help="Minutes of training after which the run stops, with a checkpoint."),
    verbose: bool = typer.Option(False, "-v", "--verbose", help="Show TensorFlow's own messages."),
) -> None:
    """Train a network on a prepared dataset."""
    quiet_tensorflow(verbose)
    options: dict[str, Any] = {"dataset": _text(dataset), "run_dir": _text(run_dir), "workers": workers}
    options |= {"hosts": hosts, "threads": threads, "training.max_minutes": max_minutes}
    launched = launched_world_size()
    if fold is not None:
        from r2d2.tasks.cross_validation import fold_number

        options["fold"] = fold_number(fold)
        if options["fold"] is None:
            asked = _Asked(config, {**options, "fold": 0}, settings or [], resume)
            _train_all_folds(launched, asked, {"--hosts": hosts, "--max-restarts": max_restarts or None})
            return
    asked = _Asked(config, options, settings or [], resume)
    if launched is not None and workers not in (None, launched):
        _refuse_once(f"--workers {workers} contradicts horovodrun's {launched}; leave --workers out")
    if launched is not None and launched > 1:
        if hosts is not None or max_restarts:
            _refuse_once("--hosts and --max-restarts are for 'r2d2 train --workers N', which starts horovodrun itself")
        _train_launched(launched, asked)
        return
    from r2d2.cli.progress import stages
    from r2d2.launching.hosts import check_hosts, placed_workers

    if hosts is not None:
        options["workers"] = check_hosts(hosts, workers)
        options["hosts"] = placed_workers(hosts, options["workers"])
    with stages() as report:
        plan = _plan(launched, asked, report)
    run_here(plan, max_restarts)


@dataclass(frozen=True)
class _Asked:
    """What was typed."""

    config: Path | None
    options: dict[str, Any]
    settings: list[str]
    resume: bool


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _plan(world_size: int | None, asked: _Asked, report: Progress) -> RunPlan:
    """Check everything; on success the run folder exists."""
    from dist_training.record.run_folder import RunFolder
    from r2d2.tasks.preparation import PHANTOM_FOLDER
    from r2d2.tasks.training import open_run, plan_run, remarks, resolve
    from r2d2_base.errors import ConfigurationError

    config = asked.config
    if asked.resume:
        if asked.options["run_dir"] is None:
            raise ConfigurationError("--resume needs --run-dir, the folder of the run to go on with")
        folder = RunFolder(Path(asked.options["run_dir"]))
        folder.check_resumable()
        config = config or folder.config
    found = resolve(config=config, options=asked.options, assignments=asked.settings, progress=report)
    configuration = _with_hosts(found.configuration, asked.options, is_launched=world_size is not None)
    plan = plan_run(configuration, world_size=world_size or configuration.workers, is_resumed=asked.resume)
    if found.is_phantom:
        typer.echo(f"no dataset was named: training on the generated phantom study in {PHANTOM_FOLDER}", err=True)
    for line in (f"settings: {found.origin}", *remarks(found.configuration, plan)):
        typer.echo(line, err=True)
    open_run(plan)
    return plan


def _with_hosts(configuration: Configuration, options: dict[str, Any], *, is_launched: bool) -> Configuration:
    """Settle where the workers run: on the hosts of the configuration; where only their number was typed, here.

    A single worker, which is the default, stands for as many as the hosts take.
    """
    from r2d2.launching.hosts import check_hosts, placed_workers

    if options["hosts"] is not None:  # checked before anything else
        return configuration
    if is_launched or options["workers"] is not None:
        return configuration.model_copy(update={"hosts": None})
    if configuration.hosts is None:
        return configuration
    workers = check_hosts(configuration.hosts, configuration.workers if configuration.workers > 1 else None)
    placed = placed_workers(configuration.hosts, workers)
    return configuration.model_copy(update={"workers": workers, "hosts": placed})


def _train_all_folds(launched: int | None, asked: _Asked, launching: dict[str, Any]) -> None:
    """Train every fold in a process of its own, then evaluate them together."""
    from r2d2.cli.progress import stages
    from r2d2.cli.scores import echo_scores
    from r2d2.tasks.cross_validation import begun_configuration, cross_validate, train_folds
    from r2d2.tasks.training import dataset_of, free_run_folder, resolve
    from r2d2_base.errors import ConfigurationError

    if launched is not None:
        raise ConfigurationError(
            "--fold all starts the workers of each fold itself: leave horovodrun out and say "
            f"r2d2 train --fold all --workers {launched}, or train one fold a horovodrun with --fold K"
        )
    if asked.resume and asked.options["run_dir"] is None:
        raise ConfigurationError("--resume needs --run-dir, the folder of the folds to go on with")
    config = asked.config
    if asked.resume and config is None:  # as the folds before were asked for, not as the working folder has it now
        config = begun_configuration(Path(asked.options["run_dir"]))
    with stages() as report:
        found = resolve(config=config, options=asked.options, assignments=asked.settings, progress=report)
    if found.configuration.fold != asked.options["fold"]:
        raise ConfigurationError(f"--fold all contradicts fold={found.configuration.fold}; use one of them")
    dataset = dataset_of(found.configuration)
    run_dir = found.configuration.run_dir or free_run_folder(dataset)
    train_folds(
        dataset,
        run_dir,
        _told_each_fold(asked, {"--config": config, "--dataset": dataset.folder, **launching}),
        epochs=found.configuration.training.epochs,
        is_resumed=asked.resume,
        on_notice=lambda text: typer.echo(f"\n{text}", err=True),
    )
    with stages() as report:
        result = cross_validate(dataset, run_dir, report)
    typer.echo("cross-validation: each case by the network of the fold that held it out", err=True)
    echo_scores(result)
    typer.echo(f"report: {run_dir / 'evaluation' / 'report.html'}", err=True)


def _told_each_fold(asked: _Asked, given: dict[str, Any]) -> list[str]:
    """Give the words that every fold is told, besides those that name it; its run folder is its own."""
    given = given | {f"--{name}": asked.options[name] for name in ("workers", "threads")}
    given |= {"--max-minutes": asked.options["training.max_minutes"]}
    words = [word for option, value in given.items() if value is not None for word in (option, str(value))]
    return [*words, *(word for word in asked.settings if word.partition("=")[0].strip() != "run_dir")]


def run_here(plan: RunPlan, max_restarts: int = 0) -> None:
    """Run a plan from this terminal, in this process or in workers of our own, and say how it ended."""
    from r2d2.cli.progress import training_display
    from r2d2.launching.horovodrun import INTERRUPTED, launch
    from r2d2.tasks.training import run_training

    with training_display() as display:
        if plan.world_size > 1 or plan.configuration.hosts is not None or max_restarts:
            outcome = launch(plan, display, display.notice, max_restarts=max_restarts)
            state, reason, dice = outcome["state"], outcome.get("reason"), outcome.get("best_dice")
        else:
            result = run_training(plan, _join(1, plan.configuration.threads), [display])
            state, reason, dice = result.state, result.reason, result.best_dice
    _say_end(plan, state, reason, dice)
    if (reason or "").startswith("signal"):
        raise typer.Exit(INTERRUPTED)


def _say_end(plan: RunPlan, state: str, reason: str | None, dice: float | None) -> None:
    folder, dataset = plan.folder.path, plan.configuration.dataset
    if state == "stopped_early":
        typer.echo(f"stopped early ({reason}); go on with: r2d2 train --run-dir {folder} --resume", err=True)
    score = "" if dice is None else f", validation Dice {dice:.4f}"
    typer.echo(f"best network: {folder / 'model.keras'}{score}", err=True)
    typer.echo(f"next: r2d2 predict --model {folder} --dataset {dataset} --out PREDICTIONS", err=True)


def _join(world_size: int, threads: int | None) -> Communicator:
    """Join the job, with this worker's device and threads set before anything is exchanged."""
    from dist_training.ranks.communicator import build_communicator
    from dist_training.ranks.devices import configure_devices
    from r2d2_base.machine import examine_machine

    communicator = build_communicator(world_size)
    cores = examine_machine(Path.cwd()).cores_usable
    configure_devices(communicator, threads, None if cores is None else max(1, int(cores)))
    return communicator


def _train_launched(world_size: int, asked: _Asked) -> None:
    """Be one rank of a horovodrun that the user typed: rank 0 checks and speaks for all."""
    from dist_training.errors import WorkerLostError
    from r2d2.cli.progress import stages, training_display
    from r2d2.tasks.training import agree_on_plan, run_training

    communicator = _join(world_size, _peek_threads(asked))
    answer: RunPlan | int | None = None
    refusal: Exception | None = None
    if communicator.rank == 0:
        try:
            with stages() as report:
                answer = _plan(world_size, replace(asked, options={**asked.options, "workers": world_size}), report)
        except Exception as error:
            refusal, answer = error, getattr(error, "exit_code", 2)
    plan = communicator.broadcast_object(answer)
    if refusal is not None:
        raise refusal
    if isinstance(plan, int):
        raise typer.Exit(plan)
    if communicator.rank == 0:
        agree_on_plan(communicator, lambda: plan)
        with training_display() as display:
            result = run_training(plan, communicator, [display])
        _say_end(plan, result.state, result.reason, result.best_dice)
        return
    try:
        agree_on_plan(communicator, lambda: plan)
        run_training(plan, communicator)
    except WorkerLostError as error:
        _speak_for_rank_0(plan, communicator.rank, error)
    except R2D2Error as error:
        raise typer.Exit(error.exit_code) from None


def _peek_threads(asked: _Asked) -> int | None:
    """Read the threads a worker gets, before the ranks can exchange anything; faults are for rank 0 to report."""
    from dist_training.record.run_folder import RunFolder
    from r2d2.config import configure
    from r2d2.tasks.training import find_layer
    from r2d2_base.errors import ConfigurationError

    try:
        run_dir = asked.options["run_dir"] if asked.resume and asked.config is None else None
        _, layer = find_layer(asked.config if run_dir is None else RunFolder(Path(run_dir)).config)
        return configure(layer, options=asked.options, assignments=asked.settings).threads
    except ConfigurationError:
        return None


def _speak_for_rank_0(plan: RunPlan, rank: int, error: Exception) -> NoReturn:
    """Where rank 0 was the one that died, rank 1 says so and records it."""
    if rank == 1:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # horovodrun is ending the others by now
        time.sleep(1.5)
        if not plan.folder.exit.exists():
            plan.folder.write_exit("failed", reason=str(error), time=time.time(), exit_code=1)
            typer.echo(f"r2d2: {error}", err=True)
    raise typer.Exit(1) from None


def _refuse_once(text: str) -> NoReturn:
    if launched_rank() == 0:
        typer.echo(f"r2d2: {text}", err=True)
    raise typer.Exit(2)


def worker(run_dir: Path, resume: bool = typer.Option(False, "--resume")) -> None:
    """Be one worker of the job that ``r2d2 train`` started; the run folder is ready."""
    quiet_tensorflow(False)
    from dist_training.errors import WorkerLostError
    from r2d2.launching.horovodrun import WORKER_LOST
    from r2d2.tasks.training import agree_on_plan, plan_of_run, run_training

    world_size, threads = launched_world_size() or 1, None
    with suppress(R2D2Error):  # told to all workers once they can talk
        threads = plan_of_run(run_dir, is_resumed=resume, world_size=world_size).configuration.threads
    communicator = _join(world_size, threads)
    try:
        plan = agree_on_plan(communicator, lambda: plan_of_run(run_dir, is_resumed=resume, world_size=world_size))
        run_training(plan, communicator)
    except WorkerLostError:
        raise typer.Exit(WORKER_LOST) from None
    except R2D2Error as error:
        raise typer.Exit(error.exit_code) from None
