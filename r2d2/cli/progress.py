"""What a person sees while something runs: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from dist_training.record.events import EpochEnded, Event, RequestMissed, Running, StepTaken, WeightsTaken
from r2d2.reports.formatting import plural
from r2d2_base.progress import Progress

__all__ = ["TrainingDisplay", "stages", "training_display"]

LINE_EVERY_SECONDS = 15.0


@contextmanager
def stages() -> Iterator[Progress]:
    """Give a reporter that shows a bar for each stage in a terminal, and lines elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _StageLines()
        return
    with Bars(
        TextColumn("{task.description:<24}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report


class _StageLines:
    """A line when a stage ends, and now and then in between."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if done == total or time.monotonic() - self._last > LINE_EVERY_SECONDS:
            self._last = time.monotonic()
            print(f"{stage}: {done}/{total}", file=sys.stderr, flush=True)


class TrainingDisplay(Protocol):
    """A context that listens to a run's events."""

    def __enter__(self) -> TrainingDisplay:
        """Start showing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End showing."""

    def __call__(self, event: Event) -> None:
        """Show an event."""

    def notice(self, text: str) -> None:
        """Show a line."""

    def stage(self, stage: str, done: int, total: int) -> None:
        """Show how other work comes along."""


def training_display() -> TrainingDisplay:
    """Choose bars for a terminal, lines for a pipe."""
    return _TrainingBar() if Console(stderr=True).is_terminal else _TrainingLines()


class _TrainingLines:
    """Plain lines: one an epoch, and one now and then within it."""

    def __init__(self) -> None:
        self._total, self._epochs, self._samples = 0, 0, "slices"
        self._first: int | None = None
        self._last = self._started = time.monotonic()
        self.stage = _StageLines()

    def __enter__(self) -> TrainingDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def notice(self, text: str) -> None:
        with suppress(BrokenPipeError):  # a horovodrun that died reads no more; the run still ends as it is asked to
            print(text, file=sys.stderr, flush=True)

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        if isinstance(event, Running):
            self._epochs, self._total, self._samples = event.epochs, event.epochs * event.steps_per_epoch, event.samples
            self._first = None
            self.notice(start_line(event))
        elif isinstance(event, EpochEnded):
            self._last = now
            self.notice(f"{epoch_line(event, self._epochs, self._samples)}, {self._left(event.step, now)}")
            if (labels := label_line(event)) is not None:
                self.notice(labels)
        elif isinstance(event, WeightsTaken):
            self.notice(transfer_line(event))
        elif isinstance(event, RequestMissed):
            self.notice(missed_line(event))
        elif isinstance(event, StepTaken):
            self._step(event, now)

    def _step(self, event: StepTaken, now: float) -> None:
        if self._first is None:  # the first step compiles: it tells nothing of the rest
            self._first, self._started = event.step, now
        elif now - self._last > LINE_EVERY_SECONDS:
            self._last = now
            self.notice(
                f"epoch {event.epoch}/{self._epochs}, step {event.step}/{self._total}: loss {event.loss:.4f}, "
                f"{event.images_per_second:.1f} {self._samples}/s, {self._left(event.step, now)}"
            )

    def _left(self, step: int, now: float) -> str:
        done = step - (self._first or step)
        return f"{_duration((self._total - step) * (now - self._started) / done)} left" if done > 0 else "starting"


class _TrainingBar:
    """One live bar over the whole run, and a line for each epoch above it."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task: TaskID | None = None
        self._stages: dict[str, TaskID] = {}
        self._epochs, self._samples = 0, "slices"
        self._dice = "-"

    def __enter__(self) -> TrainingDisplay:
        self._progress.start()
        self._task = self._progress.add_task("starting the workers", total=None, figures="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def stage(self, stage: str, done: int, total: int) -> None:
        if stage not in self._stages:
            self._stages[stage] = self._progress.add_task(stage, total=total, figures="")
        self._progress.update(self._stages[stage], completed=done, total=total)

    def notice(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, soft_wrap=True)

    def __call__(self, event: Event) -> None:
        if self._task is None:
            return
        if isinstance(event, Running):
            self._epochs, self._samples = event.epochs, event.samples
            self.notice(start_line(event))
            total = event.epochs * event.steps_per_epoch
            self._progress.reset(self._task, total=total, completed=event.resumed_at_step)
        elif isinstance(event, WeightsTaken):
            self.notice(transfer_line(event))
        elif isinstance(event, RequestMissed):
            self.notice(missed_line(event))
        elif isinstance(event, StepTaken):
            figures = f"loss {event.loss:.3f}  Dice {self._dice}  {event.images_per_second:.0f} {self._samples}/s"
            description = f"epoch {event.epoch}/{self._epochs}"
            self._progress.update(self._task, completed=event.step, description=description, figures=figures)
        elif isinstance(event, EpochEnded):
            if event.validation_dice is not None:
                self._dice = f"{event.validation_dice:.3f}"
            self.notice("\n".join(filter(None, (epoch_line(event, self._epochs, self._samples), label_line(event)))))


def missed_line(event: RequestMissed) -> str:
    """Say that a request came too late."""
    return f"the request {event.request} ({event.reason}) came after the last step: it was not served"


def transfer_line(event: WeightsTaken) -> str:
    """Say which network a run starts from, what does not come from it, and which of the run's cases it knows."""
    fresh = list(dict.fromkeys(path.partition("/")[0] for path in event.fresh))
    more = f" and {len(fresh) - 6} more" if len(fresh) > 6 else ""
    anew = f"; starting anew: {', '.join(fresh[:6])}{more}" if fresh else ""
    known = event.trained_on
    line = f"starting from {event.source}: {plural(event.copied, 'variable')} taken over{anew}"
    if known is None:
        return f"{line}; it has no card, so what it was trained on is not known"
    held_out = " and ".join(f"{plural(count, 'case')} of {split}" for split, count in known.items() if count)
    if not held_out:
        return line
    return f"{line}\nwarning: it was trained on {held_out} of this run: their scores say nothing of unseen scans"


def start_line(event: Running) -> str:
    """Say what starts: sizes, batch, where it goes on from, and what more epochs mean for the schedule."""
    again = f", going on from step {event.resumed_at_step}" if event.resumed_at_step else ""
    before = event.extended_from_epochs
    if before is not None:
        again += (
            f"\n{before} epochs were planned, now {event.epochs}: the schedule is stretched over them, so the "
            f"learning rate goes on at {event.learning_rate:.3g} (the epochs done had those of the former plan)"
        )
    if event.slow_dtype is not None:
        again += (
            f"\nwarning: this processor has no instructions for {event.slow_dtype}, which may be ten times slower than "
            "training.dtype=float32 here"
        )
    return (
        f"training {event.parameters:,} parameters on {event.training_slices:,} {event.samples}, "
        f"{event.global_batch_size} in each step, {plural(event.epochs, 'epoch')} of "
        f"{plural(event.steps_per_epoch, 'step')}{again}"
    )


def epoch_line(event: EpochEnded, epochs: int, samples: str = "slices") -> str:
    """Say in one line how an epoch went."""
    dice = event.validation_dice
    score = "no validation" if dice is None else f"validation Dice {dice:.4f}{' (best)' if event.is_best else ''}"
    speed = "" if event.images_per_second is None else f", {event.images_per_second:.1f} {samples}/s"
    return f"epoch {event.epoch}/{epochs}: loss {event.loss:.4f}, {score}{speed}"


def label_line(event: EpochEnded) -> str | None:
    """Say the Dice of each label; None where there is but one."""
    labels = event.validation_dice_per_label
    if event.validation_dice is None or len(labels) < 2:
        return None
    return "  " + ", ".join(f"{name} {'-' if value is None else f'{value:.4f}'}" for name, value in labels.items())


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
