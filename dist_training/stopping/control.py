"""Requests to a running training: control.json from outside, signals from the system, the time that it may take."""

from __future__ import annotations

import json
import logging
import signal
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import uuid4

import numpy as np

from dist_training.errors import ControlError, WorkerLostError
from dist_training.ranks.communicator import Communicator
from dist_training.record.events import RequestMissed, RequestName, RequestServed, Running, read_events
from dist_training.record.states import Stop, StoppedBy
from dist_training.stopping.time_budget import TimeBudget
from r2d2_base.files import write_json
from r2d2_base.progress import StopRequest

__all__ = [
    "VOTES",
    "Agreement",
    "Control",
    "LearningRateChange",
    "Request",
    "agreed",
    "replayed_requests",
    "request_checkpoint",
    "request_learning_rate",
    "request_profile",
    "request_stop",
    "served_requests",
]

SCHEMA_VERSION = 1
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
VOTES = 3
"""Numbers that a rank adds to a step's exchange: wish to stop, wish for a checkpoint, new learning rate (0: none)."""

_SMALLEST_RATE, _LARGEST_RATE = 1e-30, 1e6  # well within float32, in which the rate may travel
_MOST_TRACED = 100
_REQUESTS = ("stop_early", "checkpoint", "set_learning_rate", "profile")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """The content of control.json.

    Attributes:
        request: what is asked for.
        reason: why, for the record.
        id: tells this request from any other.
        learning_rate: the new rate of "set_learning_rate"; else None.
        by: "signal" where the launcher passes on a signal; else "request".
        steps: to be traced, of "profile"; else None.
    """

    request: RequestName
    reason: str
    id: str
    learning_rate: float | None = None
    by: StoppedBy = "request"
    steps: int | None = None


@dataclass(frozen=True)
class Agreement:
    """What all ranks do after the step in whose exchange they voted.

    Attributes:
        is_stop: end the run, with a checkpoint.
        is_checkpoint: write a checkpoint.
        learning_rate: the rate from the next step on; None leaves it to the schedule.
    """

    is_stop: bool
    is_checkpoint: bool
    learning_rate: float | None


@dataclass(frozen=True)
class LearningRateChange:
    """A change that a run once agreed on.

    Attributes:
        step: steps of the run that were done when it took effect.
        learning_rate: the rate of the step that followed.
    """

    step: int
    learning_rate: float


def request_stop(path: Path, reason: str, *, by: StoppedBy = "request") -> None:
    """Ask the run that watches ``path`` to stop after its step, with a checkpoint; replaces any request that waits.

    Args:
        path: the run's control.json.
        reason: why, for the record.
        by: "signal" where a signal is passed on, after which the run is to go on some day; else "request".
    """
    _write(path, Request("stop_early", reason, uuid4().hex, by=by))


def request_checkpoint(path: Path, reason: str) -> None:
    """Ask the run that watches ``path`` for a checkpoint after its step.

    Args:
        path: the run's control.json.
        reason: why, for the record.

    Raises:
        ControlError: another request still waits there.
    """
    _check_vacant(path)
    _write(path, Request("checkpoint", reason, uuid4().hex))


def request_learning_rate(path: Path, learning_rate: float, reason: str) -> None:
    """Ask the run that watches ``path`` to go on with another learning rate after its step.

    Args:
        path: the run's control.json.
        learning_rate: the rate of the next step; the schedule goes on from there, scaled alike.
        reason: why, for the record.

    Raises:
        ControlError: no rate to train with, or another request still waits there.
    """
    if not _is_rate(learning_rate):
        raise ControlError(
            f"learning_rate must lie within {_SMALLEST_RATE:g} and {_LARGEST_RATE:g}; received {learning_rate}; "
            "use something like 1e-4"
        )
    _check_vacant(path)
    _write(path, Request("set_learning_rate", reason, uuid4().hex, learning_rate))


def request_profile(path: Path, steps: int, reason: str) -> None:
    """Ask the run that watches ``path`` to trace its next steps, on rank 0.

    Args:
        path: the run's control.json.
        steps: how many, from 1 to 100.
        reason: why, for the record.

    Raises:
        ControlError: another number of steps, or another request still waits there.
    """
    if not _is_traceable(steps):
        raise ControlError(f"from 1 to {_MOST_TRACED} steps can be traced at a time; received {steps}; use 5")
    _check_vacant(path)
    _write(path, Request("profile", reason, uuid4().hex, steps=steps))


def _is_traceable(steps: Any) -> bool:
    return isinstance(steps, int) and not isinstance(steps, bool) and 1 <= steps <= _MOST_TRACED


def _is_rate(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and _SMALLEST_RATE <= value <= _LARGEST_RATE


def _write(path: Path, request: Request) -> None:
    content = {"request": request.request, "reason": request.reason, "id": request.id, "by": request.by}
    numbers = {"learning_rate": request.learning_rate, "steps": request.steps}
    told = {name: value for name, value in numbers.items() if value is not None}
    write_json(path, {"schema_version": SCHEMA_VERSION, **content, **told})


def _check_vacant(path: Path) -> None:
    try:
        waiting = _parsed(path.read_text(encoding="utf-8-sig"), path.stat().st_mtime_ns)
    except (FileNotFoundError, ValueError):
        return
    if waiting.id not in _recorded(path.with_name("events.jsonl")):
        raise ControlError(
            f"{path} holds a request that the run has not served yet ({waiting.request}); ask again after its next step"
        )


def _recorded(events: Path) -> frozenset[str]:
    return frozenset(event.id for event in read_events(events) if isinstance(event, RequestServed))


def served_requests(events: Path) -> frozenset[str]:
    """Give the ids of the checkpoints and rates that a run has served: a restarted run must not serve them again.

    Args:
        events: the run's events.jsonl; it may be missing.

    Returns:
        The ids; a request to stop is not among them, since it holds until the run is resumed.
    """
    served = (event for event in read_events(events) if isinstance(event, RequestServed))
    return frozenset(event.id for event in served if event.request != "stop_early")


def replayed_requests(events: Path, from_step: int) -> tuple[LearningRateChange, ...]:
    """Give the changes that a run resumed from an older checkpoint must apply again, at the same steps.

    Args:
        events: the run's events.jsonl; it may be missing.
        from_step: steps done in the checkpoint; a change at this very step is among the result, since applying it
            twice is applying it once.

    Returns:
        The changes by step; of those at one step the last counts. None from before the run was resumed with another
        ``learning_rate``: who sets one does not want those.
    """
    changes: list[LearningRateChange] = []
    setting = None
    for event in read_events(events):
        if isinstance(event, Running) and event.learning_rate_setting is not None:
            if setting not in (None, event.learning_rate_setting):
                changes.clear()
            setting = event.learning_rate_setting
        if isinstance(event, RequestServed) and event.learning_rate is not None and event.step >= from_step:
            changes.append(LearningRateChange(event.step, event.learning_rate))
    return tuple(sorted(changes, key=lambda change: change.step))


def agreed(summed: Sequence[float] | np.ndarray) -> Agreement:
    """Read the sum of all ranks' votes: the same on every rank, in float32 and float64.

    Args:
        summed: shape (VOTES,), the sum of ``Control.votes()`` over the ranks.

    Returns:
        What all ranks do.

    >>> agreed([2.0, 0.0, 0.0])
    Agreement(is_stop=True, is_checkpoint=False, learning_rate=None)
    """
    stop, checkpoint, rate = (float(value) for value in summed)
    return Agreement(stop > 0, checkpoint > 0, rate if rate > 0 else None)


class Control:
    """What this rank has been asked for; all ranks then agree on it by the step's exchange.

    Args:
        path: control.json, read by rank 0; None on other ranks.
        served: ids of requests that an earlier part of the run has served, see ``served_requests``.
        budget: the time that the run may take, watched by rank 0; None on other ranks.
        asked: a request from within this process; on any rank.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        served: Collection[str] = (),
        budget: TimeBudget | None = None,
        asked: StopRequest | None = None,
    ) -> None:
        self._path, self._budget, self._asked = path, budget, asked
        self._seen: tuple[int, int, int] | None = None
        self._served = set(served)
        self._voted: Request | None = None
        self._interrupts = 0
        self.stop: Stop | None = None

    def watch(self, budget: TimeBudget | None) -> None:
        """Count the time from now on.

        Args:
            budget: the time that the run may take, on rank 0; None on other ranks.
        """
        self._budget = budget

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Turn Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 into a stop at the next step; a second Ctrl-C interrupts at once.

        A signal that is ignored (SIGHUP under nohup) stays so; at the end every handler is what it was before. Only
        where another worker was lost does SIGTERM stay without effect: the launcher sends it to those that are left
        at once, and this one still has to say why it ends; what does not end within seconds, it kills.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {n: signal.getsignal(n) for n in SIGNALS if signal.getsignal(n) is not signal.SIG_IGN}
        for number in previous:
            signal.signal(number, self._on_signal)
        try:
            yield
        except WorkerLostError:
            previous.pop(signal.SIGTERM, None)
            raise
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            self._interrupts += 1
            if self._interrupts > 1:
                raise KeyboardInterrupt
        self.stop = self.stop or Stop("signal", f"signal {signal.Signals(number).name}")

    def votes(self) -> np.ndarray:
        """Give what this rank asks for in the step's exchange; what is voted for once is agreed on in that exchange.

        Returns:
            Shape (VOTES,), float64, each exact in float32 too, and so is their sum over the ranks: the first two are
            0 or 1, and only rank 0 gives a rate.
        """
        request = self._voted = self._new_request()
        if request is not None and request.request == "stop_early":
            self.stop = self.stop or Stop(request.by, request.reason)
        if self.stop is None and self._asked is not None and self._asked.is_made:
            self.stop = Stop("request", self._asked.reason or "asked to stop")
        if self.stop is None and self._budget is not None and self._budget.is_spent():
            self.stop = Stop("time_budget", self._budget.reason)
        is_checkpoint = request is not None and request.request == "checkpoint"
        rate = request.learning_rate if request is not None and request.learning_rate is not None else 0.0
        return np.array([self.stop is not None, is_checkpoint, np.float32(rate)], np.float64)

    def served(self, agreement: Agreement, step: int) -> list[RequestServed]:
        """Give the events of what rank 0 asked for in its last votes and all agreed on.

        Args:
            agreement: of those votes.
            step: steps of the run done, the one with the exchange included.

        Returns:
            One at most; none on other ranks and where nothing was asked for through control.json.
        """
        request = self._voted
        if request is None:
            return []
        return [
            RequestServed(
                request=request.request,
                step=step,
                reason=request.reason,
                id=request.id,
                learning_rate=agreement.learning_rate,
                steps=request.steps,
            )
        ]

    def missed(self) -> list[RequestMissed]:
        """Give the event of a request that came after the last votes, when nobody serves it any more; one at most."""
        request = self._new_request()
        if request is None:
            return []
        return [RequestMissed(request=request.request, reason=request.reason, id=request.id)]

    def shared_stop(self, communicator: Communicator) -> Stop:
        """Give every rank the cause of the stop, that of the lowest rank that knows one.

        Args:
            communicator: the ranks; all must call this.
        """
        stops = communicator.gather_objects(self.stop)
        return next((stop for stop in stops if stop), Stop("signal", "another worker was asked to stop"))

    def _new_request(self) -> Request | None:
        """Read control.json where it has changed; a malformed one is warned about once and ignored."""
        if self._path is None:
            return None
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)  # a file may be read before it is whole
            if stamp == self._seen:
                return None
            self._seen = stamp
            request = _parsed(self._path.read_text(encoding="utf-8-sig"), stat.st_mtime_ns)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _log.warning("%s is ignored: %s", self._path, error)
            return None
        if request.id in self._served:
            return None
        self._served.add(request.id)
        return request


def _parsed(text: str, written_ns: int) -> Request:
    """Read a request; ValueError says what is wrong with it."""
    content = json.loads(text)
    name = content.get("request") if isinstance(content, Mapping) else None
    if name not in _REQUESTS:
        raise ValueError(f"its request must be one of {', '.join(_REQUESTS)}; received {text.strip()[:80]}")
    rate = content.get("learning_rate") if name == "set_learning_rate" else None
    if name == "set_learning_rate" and not _is_rate(rate):
        raise ValueError(f"its learning_rate must be a positive number like 1e-4; received {rate!r}")
    steps = content.get("steps", 5) if name == "profile" else None
    if name == "profile" and not _is_traceable(steps):
        raise ValueError(f"its steps must be from 1 to {_MOST_TRACED}; received {steps!r}")
    # Written by hand, it may lack an id: then its content and the time of writing stand for it.
    id_ = str(content.get("id") or f"{text} of {written_ns}")
    by: StoppedBy = "signal" if content.get("by") == "signal" else "request"
    return Request(name, str(content.get("reason") or "control.json"), id_, rate, by, steps)
