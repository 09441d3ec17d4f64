"""The tasks by name, each with its settings and one way to call it: what runs a task needs to know no more of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from r2d2_base.errors import ConfigurationError
from r2d2_base.machine import whole_cores
from r2d2_base.progress import Progress, StopRequest

if TYPE_CHECKING:
    from dist_training.record.events import Event

__all__ = ["TASK_NAMES", "Allow", "Checked", "Listener", "Task", "TaskEnd", "find_task", "is_of_module"]


def _unheard(*_: Any) -> None:
    """Let be what nobody asked for."""


@dataclass(frozen=True)
class Listener:
    """Who is told how a task comes along, and may end it.

    Attributes:
        progress: called with (stage, done, total).
        on_notice: called with a line for the user.
        on_event: called with every event of a training.
        stop: asks the work to end.
    """

    progress: Progress = _unheard
    on_notice: Callable[[str], None] = _unheard
    on_event: Callable[[Event], None] = _unheard
    stop: StopRequest = field(default_factory=StopRequest)


@dataclass(frozen=True)
class TaskEnd:
    """How a task ended that did not fail.

    Attributes:
        state: "stopped_early" is a training with a network that is of use.
        reason: why it stopped early, or what else is to be said; None: nothing.
        result: where things lie and what came out, as JSON can hold it.
    """

    state: Literal["completed", "stopped_early"] = "completed"
    reason: str | None = None
    result: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Checked:
    """What could be found out of a task before it begins.

    Attributes:
        remarks: what is not as it was asked for, or may surprise.
        workers: processes that it will have; None: as `Task.workers` counts.
    """

    remarks: tuple[str, ...] = ()
    workers: int | None = None


def _one(settings: Any) -> int:
    return 1


def _as_they_are(settings: Any) -> Any:
    return settings


def _without_restarts(settings: Any, retries: int) -> Any:
    return settings


Allow = Callable[[BaseModel], None]
"""Called with settings from all places together, before anything that they name is read; refuses by raising."""


def _nothing(settings: Any, allow: Allow) -> Checked:
    return Checked()


@dataclass(frozen=True)
class Task:
    """A task as whoever runs it needs to know it.

    Attributes:
        name: such as "train".
        settings: the model that its settings are.
        run: does it; an error is an exception.
        output: field of the folder that it fills; None: it has none of its own.
        reads: fields of files and folders that must be there when it begins.
        workers: counts the processes that it will have.
        check: looks at what can be known before it begins, and raises what it would raise; is told who allows what.
        resumed: gives the settings with which interrupted work goes on.
        retrying: gives the settings with which the task itself starts lost workers again, so many times.
        can_stop_early: whether there is anything of use when it ends before its time.
    """

    name: str
    settings: type[BaseModel]
    run: Callable[[Any, Listener], TaskEnd]
    output: str | None = None
    reads: tuple[str, ...] = ()
    workers: Callable[[Any], int] = _one
    check: Callable[[Any, Allow], Checked] = _nothing
    resumed: Callable[[Any], Any] = _as_they_are
    retrying: Callable[[Any, int], Any] = _without_restarts
    can_stop_early: bool = False


def is_of_module(name: str) -> bool:
    """Whether a name is of a task outside of R2D2, as ``module:ATTRIBUTE``.

    >>> is_of_module("my_lab.tasks:DENOISE"), is_of_module("train")
    (True, False)
    """
    return ":" in name


def find_task(name: str) -> Task:
    """Give a task by its name; only then is its code imported.

    Args:
        name: one of `TASK_NAMES`, or ``module:ATTRIBUTE`` of a `Task` elsewhere, whose code is then run: check first.

    Raises:
        ConfigurationError: there is no such task.

    >>> find_task("train").can_stop_early
    True
    """
    if name in _TASKS:
        return _TASKS[name]()
    if is_of_module(name):
        module, _, attribute = name.partition(":")
        try:
            found = getattr(import_module(module), attribute, None)
        except ImportError as error:
            raise ConfigurationError(f"task {name}: {error}") from error
        if isinstance(found, Task):
            return found
    raise ConfigurationError(f"no such task: {name!r:.80}; there are {', '.join(TASK_NAMES)}")


def _prepare() -> Task:
    from r2d2.tasks.preparation import PrepareSettings, configured, prepare

    def run(settings: PrepareSettings, listener: Listener) -> TaskEnd:
        made = prepare(settings, progress=listener.progress, stop=listener.stop)
        result = {"dataset": str(settings.out), "report": str(made.report), "is_changed": made.is_changed}
        return TaskEnd(result=result)

    def check(settings: PrepareSettings, allow: Allow) -> Checked:
        allow(configured(settings))
        return Checked()

    return Task(
        "prepare",
        PrepareSettings,
        run,
        output="out",
        reads=("source", "config"),
        workers=lambda settings: settings.workers or whole_cores(),
        check=check,
    )


def _names_no_dataset(settings: Any) -> bool:
    """Whether a training is one of the phantom study, which is generated when it begins."""
    from r2d2.config import configure

    asked = configure({}, options=settings.options(), assignments=settings.settings)
    return asked.dataset is None and settings.config is None and not settings.resume


def _check_training(settings: Any, allow: Allow) -> Checked:
    from r2d2.tasks.training import check_training

    if _names_no_dataset(settings):
        return Checked()
    plan, remarks = check_training(settings, allow)
    return Checked(tuple(remarks), plan.world_size)


def _check_folds(settings: Any, allow: Allow) -> Checked:
    from r2d2.config import configure, read_layer
    from r2d2.tasks.training import resolve_training

    if settings.resume and settings.run_dir is not None:  # the folds' own configurations are read one by one
        for config in sorted(settings.run_dir.glob("fold-*/config.yaml")):
            allow(configure(read_layer(config), origin=str(config)))
    if settings.resume or _names_no_dataset(settings):
        return Checked()
    configuration = resolve_training(settings).configuration
    allow(configuration)
    return Checked(workers=configuration.workers)


def _restarting(settings: Any, retries: int) -> Any:
    return settings.model_copy(update={"max_restarts": settings.max_restarts or retries})


def _train() -> Task:
    from dist_training.record.run_folder import RunFolder
    from r2d2.tasks.training import TrainSettings, train

    def run(settings: TrainSettings, listener: Listener) -> TaskEnd:
        ended = train(
            settings,
            on_event=listener.on_event,
            on_notice=listener.on_notice,
            progress=listener.progress,
            stop=listener.stop,
        )
        result = {"run_dir": str(ended.run.path), "dataset": str(ended.dataset), "best_dice": ended.best_dice}
        return TaskEnd("completed" if ended.state == "completed" else "stopped_early", ended.reason, result)

    def resumed(settings: TrainSettings) -> TrainSettings:
        is_begun = settings.run_dir is not None and RunFolder(settings.run_dir).status().has_learned
        return settings.model_copy(update={"resume": True, "config": None}) if is_begun else settings

    return Task(
        "train",
        TrainSettings,
        run,
        output="run_dir",
        reads=("dataset", "config"),
        workers=lambda settings: settings.workers or 1,
        check=_check_training,
        resumed=resumed,
        retrying=_restarting,
        can_stop_early=True,
    )


def _cross_validate() -> Task:
    from r2d2.tasks.cross_validation import cross_validate
    from r2d2.tasks.training import TrainSettings

    def run(settings: TrainSettings, listener: Listener) -> TaskEnd:
        made = cross_validate(
            settings,
            on_event=listener.on_event,
            on_notice=listener.on_notice,
            progress=listener.progress,
            stop=listener.stop,
        )
        return TaskEnd(result={"folder": str(made.folder), "report": str(made.report)})

    def resumed(settings: TrainSettings) -> TrainSettings:
        is_begun = settings.run_dir is not None and any(settings.run_dir.glob("fold-*/config.yaml"))
        return settings.model_copy(update={"resume": is_begun or settings.resume})

    return Task(
        "cross-validate",
        TrainSettings,
        run,
        output="run_dir",
        reads=("dataset", "config"),
        workers=lambda settings: settings.workers or 1,
        check=_check_folds,
        resumed=resumed,
        retrying=_restarting,
    )


def _predict() -> Task:
    from r2d2.tasks.prediction import PredictSettings, predict

    def run(settings: PredictSettings, listener: Listener) -> TaskEnd:
        made = predict(settings, progress=listener.progress, stop=listener.stop, on_notice=listener.on_notice)
        left_out = list(made.left_out)
        reason = f"{len(left_out)} of the scans could not be predicted" if left_out else None
        result = {"folder": str(made.folder), "cases": len(made.cases), "left_out": left_out}
        return TaskEnd(reason=reason, result=result)

    return Task("predict", PredictSettings, run, output="out", reads=("dataset", "inputs", "model"))


def _evaluate() -> Task:
    from r2d2.tasks.evaluation import EvaluateSettings, evaluate

    def run(settings: EvaluateSettings, listener: Listener) -> TaskEnd:
        made = evaluate(settings, progress=listener.progress, stop=listener.stop)
        fault = None if made.report_fault is None else f"the report could not be made: {made.report_fault}"
        report = None if made.report is None else str(made.report)
        return TaskEnd(reason=fault, result={"folder": str(made.folder), "report": report})

    return Task(
        "evaluate",
        EvaluateSettings,
        run,
        output="out",
        reads=("prediction", "reference", "dataset", "images", "patients"),
    )


def _compare() -> Task:
    from r2d2.tasks.comparison import CompareSettings, compare

    def run(settings: CompareSettings, listener: Listener) -> TaskEnd:
        compare(settings, progress=listener.progress, stop=listener.stop)
        return TaskEnd(result={"folder": None if settings.out is None else str(settings.out)})

    return Task("compare", CompareSettings, run, output="out", reads=("evaluations",))


def _check_choice(settings: Any, allow: Allow) -> Checked:
    from r2d2.tasks.choosing import checked_configurations

    if settings.variants:
        text = "a job takes its configurations as files; write each into a YAML file, and name it in files"
        raise ConfigurationError(text, [("variants", text)])
    found = checked_configurations(settings, allow)
    return Checked(workers=max(one.configuration.workers for one in found))


def _choose() -> Task:
    from r2d2.tasks.choosing import ChooseSettings, choose

    def run(settings: ChooseSettings, listener: Listener) -> TaskEnd:
        made = choose(
            settings,
            on_event=listener.on_event,
            on_notice=listener.on_notice,
            progress=listener.progress,
            stop=listener.stop,
        )
        result = {"folder": str(made.folder), "chosen": made.choice.chosen, "report": str(made.report)}
        return TaskEnd(reason=f"use {made.choice.chosen}: {made.choice.reason}", result=result)

    return Task(
        "choose",
        ChooseSettings,
        run,
        output="out",
        reads=("dataset", "files"),
        check=_check_choice,
        retrying=_restarting,
    )


def _report() -> Task:
    from r2d2.tasks.reporting import ReportSettings, report

    def run(settings: ReportSettings, listener: Listener) -> TaskEnd:
        return TaskEnd(result={"report": str(report(settings, progress=listener.progress, stop=listener.stop))})

    reads = ("dataset", "evaluation", "prediction", "images", "run_dir", "against")
    return Task("report", ReportSettings, run, reads=reads)


def _pull() -> Task:
    from r2d2.tasks.zoo import PullSettings, pull

    def run(settings: PullSettings, listener: Listener) -> TaskEnd:
        made = pull(settings, progress=listener.progress, stop=listener.stop)
        reason = None if made.is_new else f"{made.name} was here already, with the same files"
        return TaskEnd(reason=reason, result={"model": str(made.name), "origin": made.origin})

    return Task("pull", PullSettings, run, reads=("model",))


def _publish() -> Task:
    from r2d2.tasks.zoo import PublishToZooSettings, publish

    def run(settings: PublishToZooSettings, listener: Listener) -> TaskEnd:
        made = publish(settings)
        for notice in made.notices:
            listener.on_notice(f"note: {notice}")
        result = {"model": str(made.name), "folder": str(made.folder), "notices": list(made.notices)}
        return TaskEnd(result=result)

    return Task("publish", PublishToZooSettings, run, reads=("run",))


_TASKS: Mapping[str, Callable[[], Task]] = {
    "prepare": _prepare,
    "train": _train,
    "cross-validate": _cross_validate,
    "predict": _predict,
    "evaluate": _evaluate,
    "compare": _compare,
    "choose": _choose,
    "report": _report,
    "publish": _publish,
    "pull": _pull,
}
TASK_NAMES = tuple(_TASKS)
"""In the order in which one thing leads to the next."""
