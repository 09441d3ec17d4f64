"""The process in which a task is done for a job: its settings read, its progress written, its end said."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from r2d2.engine.folder import AttemptFolder
from r2d2.engine.processes import kill, processes_of
from r2d2.tasks.registry import Listener, Task, TaskEnd, find_task
from r2d2_base.errors import CancelledError, R2D2Error
from r2d2_base.files import write_json
from r2d2_base.process_identity import ProcessIdentity
from r2d2_base.progress import StopRequest

if TYPE_CHECKING:
    from dist_training.record.events import Event
    from r2d2.curves import RunCurves

__all__ = ["main"]

LOOK_S = 0.2
ORPHAN_ENDS_S = 15.0  # a task whose supervisor is gone has so long to leave a checkpoint
PROGRESS_EVERY_S = 1.0
CURVES_EVERY_S = 10.0


def main(folder: Path) -> int:
    """Do the task of an attempt; gives the exit code."""
    attempt, stop = AttemptFolder(folder), StopRequest()
    _heed_signals(stop)
    threading.Thread(target=_watch_wishes, args=(attempt, stop), daemon=True).start()
    threading.Thread(target=_watch_supervisor, args=(attempt, stop), daemon=True).start()
    outcome, code = _done(attempt, stop)
    try:
        attempt.write(attempt.outcome, outcome, is_durable=True)
    except R2D2Error as error:
        _say(str(error))
        code = code or error.exit_code
    return code


def _done(attempt: AttemptFolder, stop: StopRequest) -> tuple[dict[str, Any], int]:
    """Do the task; gives what is to be said of its end, and the exit code."""
    try:
        asked = attempt.job.read()
        task = find_task(asked["task"])
        settings = _settings(task, asked, attempt)
        attempt.write(attempt.process, ProcessIdentity.of_this_process().to_json())
        telling = _Telling(attempt, _curves(asked, attempt))
        ended = task.run(settings, Listener(telling.progress, _say, telling.event, stop))
        return {"state": ended.state, "reason": ended.reason, "result": _plain(ended)}, 0
    except CancelledError as error:
        return {"state": "interrupted", "reason": error.reason or stop.reason or None}, error.exit_code
    except KeyboardInterrupt:
        return {"state": "interrupted", "reason": "signal SIGINT"}, 130
    except R2D2Error as error:
        _say(f"r2d2: {error}")
        state = "interrupted" if stop.is_made and error.exit_code == CancelledError.exit_code else "failed"
        return {"state": state, "reason": str(error), "exit_code": error.exit_code}, error.exit_code
    except MemoryError:
        traceback.print_exc()
        return {"state": "failed", "reason": "the job ran out of memory"}, 1
    except Exception as error:
        traceback.print_exc()
        reason = f"{type(error).__name__}: {error}"
        return {"state": "failed", "reason": f"{reason} (a fault of the program; see its log)"}, 1


def _settings(task: Task, asked: dict[str, Any], attempt: AttemptFolder) -> Any:
    settings = task.settings.model_validate(asked["settings"])
    if attempt.number > 1:
        settings = task.resumed(settings)
    roots = [Path(root) for root in asked.get("roots", ())]
    if roots:
        from r2d2.engine.paths import check_private, check_roots, paths_in

        def check(given: Any) -> None:
            paths = paths_in(given)
            check_roots(paths, roots)
            check_private(paths, attempt.job.path.parents[1])

        check(settings)
        task.check(settings, check)
    return settings


def _curves(asked: dict[str, Any], attempt: AttemptFolder) -> RunCurves | None:
    """Give the curves that a training keeps while it goes on, so that who looks at it later need not wait for them."""
    if asked["task"] != "train" or asked.get("output") is None:
        return None
    from r2d2.curves import RunCurves

    return RunCurves(Path(asked["output"]), attempt.job.curves)


def _plain(ended: TaskEnd) -> dict[str, Any]:
    """Give a result as JSON can hold it."""
    text = json.dumps(dict(ended.result), default=str)
    result: dict[str, Any] = json.loads(text, parse_constant=lambda _: None)
    return result


def _heed_signals(stop: StopRequest) -> None:
    def note(number: int, _frame: FrameType | None) -> None:
        stop.make(f"signal {signal.Signals(number).name}")

    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _watch_wishes(attempt: AttemptFolder, stop: StopRequest) -> None:
    """Make a wish of the engine a request to the task."""
    while True:
        if attempt.control.exists():
            wish = attempt.read(attempt.control)
            if wish is not None:
                stop.make(str(wish.get("reason") or wish.get("request")))
                return
        time.sleep(LOOK_S)


def _watch_supervisor(attempt: AttemptFolder, stop: StopRequest) -> None:
    """End, with a checkpoint where there is time, once the supervisor is gone: nobody would follow this any more."""
    while os.read(0, 1):
        continue
    stop.make("its supervisor is gone")
    time.sleep(ORPHAN_ENDS_S)
    _say("r2d2: its supervisor is gone")
    kill(processes_of(attempt.path, below=os.getpid()))
    os._exit(1)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 (the job's log)


class _Telling:
    """Writes how a task comes along: the last of it in progress.json, now and then a line in the log."""

    def __init__(
        self, attempt: AttemptFolder, curves: RunCurves | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._attempt, self._curves, self._clock = attempt, curves, clock
        self._followed = clock()
        self._written = -PROGRESS_EVERY_S
        self._stage, self._steps = "", 0

    def progress(self, stage: str, done: int, total: int) -> None:
        """Be told of progress."""
        is_new, is_end = stage != self._stage, done >= total
        if is_new or is_end:
            _say(f"{stage}: {done}/{total}")
        if is_new or is_end or self._clock() - self._written >= PROGRESS_EVERY_S:
            self._stage = stage
            self._write(stage, done, total)

    def event(self, event: Event) -> None:
        """Be told of an event of a training."""
        from dist_training.record.events import EpochEnded, Running, StepTaken

        if self._curves is not None and self._clock() - self._followed >= CURVES_EVERY_S:
            self._followed = self._clock()
            with suppress(R2D2Error):
                self._curves.catch_up()
        if isinstance(event, Running):
            _say(f"training: {event.epochs} epochs of {event.steps_per_epoch} steps")
            self._steps = event.epochs * event.steps_per_epoch
        elif isinstance(event, StepTaken) and self._clock() - self._written >= PROGRESS_EVERY_S:
            self._write("training", event.step, self._steps or event.step)
        elif isinstance(event, EpochEnded):
            dice = "" if event.validation_dice is None else f", validation Dice {event.validation_dice:.4f}"
            _say(f"epoch {event.epoch}: loss {event.loss:.4f}{dice}")

    def _write(self, stage: str, done: int, total: int) -> None:
        self._written = self._clock()
        with suppress(R2D2Error):  # a full disk is the task's own affair
            write_json(self._attempt.progress, {"stage": stage, "done": done, "total": total})


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
