"""Training as one call: settings found, everything checked, workers started and followed to their end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from dist_training.record.run_folder import RunEnd, RunFolder
from dist_training.record.states import State, StoppedBy
from r2d2.config import Configuration, configure, find_layer
from r2d2.launching.hosts import check_hosts, placed_workers
from r2d2.launching.plan import RunPlan, open_run, plan_run, remarks
from r2d2.tasks.preparation import PHANTOM_FOLDER
from r2d2.tasks.resolution import Resolved, resolve
from r2d2_base.errors import ConfigurationError

if TYPE_CHECKING:
    from dist_training.record.events import Event
    from dist_training.run.training_run import RunResult
    from r2d2_base.progress import Progress, StopRequest

__all__ = [
    "TrainSettings",
    "TrainingResult",
    "check_training",
    "placed_on_hosts",
    "plan_training",
    "resolve_training",
    "result_of",
    "run_plan",
    "threads_of",
    "train",
]


class TrainSettings(BaseModel):
    """What a training is told; what is left out is proposed for the dataset.

    >>> TrainSettings(dataset="work/hippocampus", settings=["training.epochs=10"]).workers is None
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Path | None = Field(default=None, description="prepared dataset; none: a generated phantom study")
    run_dir: Path | None = Field(default=None, description="folder for the run; none: runs/NAME, the next free one")
    settings: tuple[str, ...] = Field(default=(), description="key=value words, like training.epochs=10")
    config: Path | None = Field(default=None, description="configuration file; none: r2d2.yaml where there is one")
    workers: int | None = Field(default=None, ge=1, description="worker processes; none: as configured")
    hosts: str | None = Field(default=None, description="where workers run, like one:2,other:2; none: as configured")
    threads: int | None = Field(default=None, ge=1, description="CPU threads of a worker; none: the cores, shared")
    fold: int | None = Field(default=None, ge=0, description="fold of the cross-validation to train; none: the split")
    max_minutes: float | None = Field(default=None, gt=0, description="minutes of training after which the run stops")
    max_restarts: int = Field(default=0, ge=0, description="times that a job which lost a worker is started again")
    resume: bool = Field(default=False, description="go on from the last checkpoint of run_dir")

    def options(self) -> dict[str, Any]:
        """Give the values that have a place in the configuration, by dotted key; None: not given."""
        return {
            "dataset": None if self.dataset is None else str(self.dataset),
            "run_dir": None if self.run_dir is None else str(self.run_dir),
            "workers": self.workers,
            "hosts": self.hosts,
            "threads": self.threads,
            "fold": self.fold,
            "training.max_minutes": self.max_minutes,
        }


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended.

    Attributes:
        run: its folder; ``run.status()`` tells more.
        dataset: what it was trained on.
        state: "completed" or "stopped_early".
        reason: why it stopped early; None where it did not.
        stopped_by: who stopped it; None likewise.
        best_dice: the best validation Dice; None where none was computed.
    """

    run: RunFolder
    dataset: Path
    state: State
    reason: str | None
    stopped_by: StoppedBy | None
    best_dice: float | None


def train(
    settings: TrainSettings,
    *,
    on_event: Callable[[Event], None] = lambda event: None,
    on_notice: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> TrainingResult:
    """Train a network on a prepared dataset: in this process, or in workers that it starts and stays in charge of.

    Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 stop the run after its step, with a checkpoint, where this is the main thread.

    Args:
        settings: what to train, and where.
        on_event: called with every event of the run.
        on_notice: called with a line for the user.
        progress: told how a phantom study comes along, where one is generated.
        stop: asks the run to stop after its step, with a checkpoint.

    Returns:
        How it ended.

    Raises:
        R2D2Error: settings that cannot work, a dataset that cannot be read, a job that failed.
    """
    plan = plan_training(placed_on_hosts(settings), on_notice=on_notice, progress=progress)
    return run_plan(plan, on_event=on_event, on_notice=on_notice, max_restarts=settings.max_restarts, stop=stop)


def check_training(
    settings: TrainSettings, allow: Callable[[Configuration], None] = lambda configuration: None
) -> tuple[RunPlan, list[str]]:
    """Find the settings of a training and check everything, as `train` would, and start and write nothing.

    Args:
        settings: what to train, and where; with a dataset.
        allow: called with all settings before anything that they name, but the dataset, is read; refuses by raising.

    Returns:
        The plan, and a line for each remark on it.

    Raises:
        R2D2Error: settings that cannot work, or a dataset that cannot be read.
    """
    settings = placed_on_hosts(settings)
    resolved = resolve_training(settings)
    allow(resolved.configuration)
    configuration = _with_hosts(resolved.configuration, settings, is_launched=False)
    plan = plan_run(configuration, world_size=configuration.workers, is_resumed=settings.resume)
    return plan, remarks(resolved.configuration, plan)


def placed_on_hosts(settings: TrainSettings) -> TrainSettings:
    """Check the hosts that are given, and say how many workers run on each."""
    if settings.hosts is None:
        return settings
    workers = check_hosts(settings.hosts, settings.workers)
    return settings.model_copy(update={"workers": workers, "hosts": placed_workers(settings.hosts, workers)})


def plan_training(
    settings: TrainSettings,
    *,
    world_size: int | None = None,
    on_notice: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
) -> RunPlan:
    """Find the settings, check everything and open the run folder.

    Args:
        settings: what to train, and where.
        world_size: workers that a launcher has started already; None: as configured.
        on_notice: called with a line for the user.
        progress: told how a phantom study comes along.

    Returns:
        A run that can start.
    """
    resolved = resolve_training(settings, progress=progress)
    configuration = _with_hosts(resolved.configuration, settings, is_launched=world_size is not None)
    plan = plan_run(configuration, world_size=world_size or configuration.workers, is_resumed=settings.resume)
    if resolved.is_phantom:
        on_notice(f"no dataset was named: training on the generated phantom study in {PHANTOM_FOLDER}")
    for line in (f"settings: {resolved.origin}", *remarks(resolved.configuration, plan)):
        on_notice(line)
    if not plan.is_complete:
        open_run(plan)
    return plan


def resolve_training(settings: TrainSettings, *, progress: Progress | None = None) -> Resolved:
    """Find the configuration of a run to start, or of the one to go on with."""
    config = settings.config
    if settings.resume:
        if settings.run_dir is None:
            raise ConfigurationError("--resume needs --run-dir, the folder of the run to go on with")
        folder = RunFolder(settings.run_dir)
        folder.check_resumable()
        config = config or folder.config
    return resolve(config=config, options=settings.options(), assignments=settings.settings, progress=progress)


def threads_of(settings: TrainSettings) -> int | None:
    """Read the threads a worker gets, before the ranks can exchange anything; faults are for rank 0 to report."""
    try:
        run_dir = settings.run_dir if settings.resume and settings.config is None else None
        _, layer = find_layer(settings.config if run_dir is None else RunFolder(run_dir).config)
        return configure(layer, options=settings.options(), assignments=settings.settings).threads
    except ConfigurationError:
        return None


def _with_hosts(configuration: Configuration, settings: TrainSettings, *, is_launched: bool) -> Configuration:
    """Settle where the workers run: on the hosts of the configuration; where only their number was given, here.

    A single worker, which is the default, stands for as many as the hosts take.
    """
    if settings.hosts is not None:  # checked before anything else
        return configuration
    if is_launched or settings.workers is not None:
        return configuration.model_copy(update={"hosts": None})
    if configuration.hosts is None:
        return configuration
    workers = check_hosts(configuration.hosts, configuration.workers if configuration.workers > 1 else None)
    placed = placed_workers(configuration.hosts, workers)
    return configuration.model_copy(update={"workers": workers, "hosts": placed})


def run_plan(
    plan: RunPlan,
    *,
    on_event: Callable[[Event], None] = lambda event: None,
    on_notice: Callable[[str], None] = lambda text: None,
    max_restarts: int = 0,
    stop: StopRequest | None = None,
    is_apart: bool = False,
) -> TrainingResult:
    """Run a plan to its end: one worker in this process; several, or one apart, in processes of their own.

    Args:
        plan: of a run whose folder is open; one that is complete is left as it is.
        on_event: called with every event of the run.
        on_notice: called with a line for the user.
        max_restarts: how often a job that lost a worker is started again.
        stop: asks the run to stop after its step, with a checkpoint.
        is_apart: whether one worker, too, gets a process of its own.

    Returns:
        How it ended.
    """
    from r2d2.launching.job import launch
    from r2d2.launching.rank import join, run_training

    if plan.is_complete:
        epochs = plan.configuration.training.epochs
        on_notice(
            f"the run in {plan.folder.path} is complete, with {epochs} epochs; training.epochs={2 * epochs} goes on"
        )
        status = plan.folder.status()
        return result_of(plan, RunEnd(state="completed", best_dice=status.best_dice, best_epoch=status.best_epoch))
    if is_apart or plan.world_size > 1 or plan.configuration.hosts is not None or max_restarts:
        return result_of(plan, launch(plan, on_event, on_notice, max_restarts=max_restarts, stop=stop))
    return result_of(plan, run_training(plan, join(1, plan.configuration.threads), [on_event], stop))


def result_of(plan: RunPlan, end: RunEnd | RunResult) -> TrainingResult:
    """Say how the run of a plan ended."""
    dataset = plan.configuration.dataset or Path()
    return TrainingResult(plan.folder, dataset, end.state, end.reason, end.stopped_by, end.best_dice)
