"""All ranks of a fit take the same steps: before each they tell each other whether they go on."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from dist_training.errors import RanksApartError
from dist_training.keras_kit.model_state import learning_rates
from dist_training.ranks.communicator import Communicator, join_job

__all__ = ["Lockstep", "RankCallback"]

STEP, STEPS_DONE, EPOCH_DONE, FIT_DONE = range(4)
"""Where a rank is: before a step, after the last one of an epoch, after what follows it, after the last epoch."""

PLACES = ("goes on with another step", "has no more steps in this epoch", "has ended the epoch", "has ended training")

MISSED_SECONDS = 10.0
"""How long a rank whose data ran out waits for the others to run out of theirs: they took the step before together."""

_A_CALLBACK = "a callback of its own"
_log = logging.getLogger(__name__)


class Lockstep:
    """What the ranks of one ``fit`` agree on: one small exchange before each step, which says who goes on.

    Without it, a rank that stops alone (TerminateOnNaN, data that ran out) would leave the others waiting for its
    gradients for ever. Callbacks of one fit share one of these.

    Args:
        communicator: the ranks.
        model: what they train.

    Attributes:
        reason: why training stops, where ranks were asked to or one stopped alone; the same on all ranks.
    """

    def __init__(self, communicator: Communicator, model: Any) -> None:
        self._communicator, self._model = communicator, model
        self._members: list[Any] = []
        self._asked: str | None = None
        self._rates: list[float] = []
        self._has_begun_step, self._is_epoch_open = False, False
        self._quiet = contextlib.ExitStack()
        self.reason: str | None = None

    def join(self, member: Any) -> None:
        """Take a callback in, in the order in which Keras calls them: the first speaks for all, the last sees most."""
        self._members.append(member)

    def ask(self, reason: str) -> None:
        """Stop all ranks after the step that this one has just taken."""
        self._asked, self._model.stop_training = reason, True
        if self._communicator.world_size == 1:
            self.reason = f"rank 0: {reason}"

    def begin_epoch(self) -> None:
        """Note that steps follow."""
        self._is_epoch_open = True

    def before_step(self, member: Any, batch: int) -> None:
        """Agree to take a step.

        Raises:
            StopIteration: another rank has no more steps; Keras ends the epoch, as where data has run out.
            RanksApartError: the ranks are at places that cannot be brought together, or learn at other rates.
        """
        if not self._leads(member):
            return
        if batch == 0:
            self._rates = learning_rates(self._model)
        places = self._exchange(STEP)
        if any(place != STEP for place in places):
            self._is_epoch_open = False  # agreed on just now
            self._end_quietly(places)
            raise StopIteration
        self._has_begun_step = True

    def after_step(self, member: Any) -> None:
        """Note that the step was taken."""
        if self._leads(member):
            self._has_begun_step = False

    def after_steps(self, member: Any) -> None:
        """Agree that the epoch has no more steps; where it is validated, before that."""
        if self._leads(member) and self._is_epoch_open:
            self._is_epoch_open = False
            self._exchange(STEPS_DONE)

    def after_epoch(self, member: Any) -> None:
        """Agree on whether another epoch follows, once the callbacks before the last of ours have decided."""
        self._quiet.close()
        if self._communicator.world_size > 1 and self._members and self._members[-1] is member:
            self._exchange(EPOCH_DONE)

    def after_fit(self, member: Any) -> None:
        """Agree that training is over."""
        if self._leads(member):
            self._exchange(FIT_DONE)

    def _leads(self, member: Any) -> bool:
        return self._communicator.world_size > 1 and bool(self._members) and self._members[0] is member

    def _exchange(self, place: int) -> list[int]:
        """Tell the other ranks where this one is; gives the places of all, and stops all where one is to stop."""
        self._rates = self._rates or learning_rates(self._model)
        row = np.array([place, bool(self._model.stop_training), *self._rates], np.float64)
        rows = np.zeros((self._communicator.world_size, row.size))
        rows[self._communicator.rank] = row
        rows = self._sum(rows)
        places = rows[:, 0].astype(int).tolist()
        if len(set(places)) > 1 and not set(places) <= {STEP, STEPS_DONE}:
            raise RanksApartError(f"ranks must train together: {_said(places)}; {_ADVICE}")
        if (rows[:, 2:] != rows[0, 2:]).any():
            rates = {rank: rows[rank, 2:].tolist() for rank in range(len(rows))}
            listed = ", ".join(f"rank {rank} at {' and '.join(f'{r:g}' for r in rate)}" for rank, rate in rates.items())
            raise RanksApartError(f"ranks must learn at the same rate; received {listed}; {_ADVICE}")
        stops = rows[:, 1] > 0
        if stops.any() and place != FIT_DONE:
            self._stop(stops.tolist())
        return places

    def _sum(self, rows: np.ndarray) -> np.ndarray:
        """Sum over the ranks; where this rank has begun a step that its data was too short for, not for ever."""
        if not self._has_begun_step:
            return self._communicator.sum_array(rows)
        self._has_begun_step = False
        found: list[np.ndarray] = []

        def exchange() -> None:
            with contextlib.suppress(Exception):  # what ends the others ends this, too
                found.append(self._communicator.sum_array(rows))

        waiting = threading.Thread(target=exchange, daemon=True)
        waiting.start()
        waiting.join(MISSED_SECONDS)
        if not found:
            raise RanksApartError(
                f"the data of rank {self._communicator.rank} ran out in a step that the other ranks are taking; give "
                "every rank the same number of batches, or pass fit the same steps_per_epoch on all"
            )
        return found[0]

    def _stop(self, stops: Sequence[bool]) -> None:
        """Stop this rank as well, and find out why."""
        self._model.stop_training = True
        asked = self._communicator.gather_objects(self._asked)
        reasons = [reason or (_A_CALLBACK if stop else None) for reason, stop in zip(asked, stops, strict=True)]
        if self.reason is None and (any(asked) or not all(stops)):
            self.reason = next(f"rank {rank}: {reason}" for rank, reason in enumerate(reasons) if reason is not None)
            self._warn(0, "training stops on all ranks after the same step: %s", self.reason)

    def _warn(self, rank: int, message: str, *words: str | None) -> None:
        """Say something once: the rank that does is one that knows of it."""
        if self._communicator.rank == rank:
            _log.warning(message, *words)

    def _end_quietly(self, places: Sequence[int]) -> None:
        """End the epoch by the way that Keras has for data that ran out, without its warning, which would mislead."""
        if not self._model.stop_training:
            self._warn(places.index(STEP), "the epoch ends early on all ranks: %s; %s", _said(places), _ADVICE)
        self._quiet.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", message="Your input ran out of data")


_ADVICE = (
    "give every rank the same number of steps and the same callbacks, those that stop training or change the learning "
    "rate behind MetricReductionCallback"
)


def _said(places: Sequence[int]) -> str:
    """Say which ranks are where."""
    groups = [(place, [str(rank) for rank, other in enumerate(places) if other == place]) for place in range(4)]
    return ", ".join(f"rank {', '.join(ranks)} {PLACES[place]}" for place, ranks in groups if ranks)


class RankCallback(keras.callbacks.Callback):
    """A callback that every rank has; those of one fit keep the ranks at the same step.

    Args:
        communicator: the ranks; None joins the job that this process was started in.
    """

    def __init__(self, communicator: Communicator | None = None) -> None:
        super().__init__()
        self._communicator = communicator or join_job()
        self.lockstep = Lockstep(self._communicator, None)  # until there is a fit

    def on_train_begin(self, logs: Any = None) -> None:
        """Join the others of this fit, to all of which Keras gives the same ``params``."""
        shared = {} if self.params is None else self.params
        self.lockstep = shared.setdefault("lockstep", Lockstep(self._communicator, self.model))
        self.lockstep.join(self)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note that steps follow."""
        self.lockstep.begin_epoch()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Agree to take a step."""
        self.lockstep.before_step(self, batch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Note that it was taken."""
        self.lockstep.after_step(self)

    def on_test_begin(self, logs: Any = None) -> None:
        """Agree that the epoch has no more steps, before it is validated."""
        self.lockstep.after_steps(self)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Agree that the epoch has no more steps, and on whether another follows."""
        self.lockstep.after_steps(self)
        self.lockstep.after_epoch(self)

    def on_train_end(self, logs: Any = None) -> None:
        """Agree that training is over."""
        self.lockstep.after_fit(self)
