"""A trace of a few steps, as TensorFlow's profiler makes it: what ran on processors and GPUs, and for how long."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dist_training.record.events import Event, StepsProfiled

__all__ = ["StepProfile"]

_log = logging.getLogger(__name__)


class StepProfile:
    """Traces the steps of this process that are asked for; a context, at whose end no trace goes on.

    What fails in it is told, and costs the trace alone.

    Args:
        folder: of TensorBoard's files; a trace goes into ``plugins/profile/`` of it.
        record: told what came of a trace.
    """

    def __init__(self, folder: Path, record: Callable[[Event], None]) -> None:
        self._folder, self._record = folder, record
        self._asked = self._traced = 0
        self._first: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._first is not None and kind is not None:
            self._tried(lambda profiler: profiler.stop(save=False))
            self._first = None
        self.end()

    def ask(self, steps: int) -> None:
        """Trace the next steps, of one epoch; more, where some are being traced.

        Args:
            steps: how many, 1 or more.
        """
        self._asked += steps

    @contextmanager
    def of_step(self, step: int) -> Iterator[None]:
        """Trace what is done within, if it was asked for.

        Args:
            step: number of the step in the run, from 1.
        """
        if not self._asked:
            yield
            return
        import tensorflow as tf

        if self._first is None:
            if not self._tried(lambda profiler: profiler.start(str(self._folder))):
                self._asked = 0
                yield
                return
            self._first = step
        with tf.profiler.experimental.Trace("train", step_num=step, _r=1):
            yield
        self._asked, self._traced = self._asked - 1, self._traced + 1
        if not self._asked:
            self.end()

    def end(self) -> None:
        """End the trace, if one goes on, and have it written: also with the epoch, whose validation would swamp it."""
        if self._first is None:
            return
        first, steps = self._first, self._traced
        self._first, self._asked, self._traced = None, 0, 0
        if self._tried(lambda profiler: profiler.stop()):
            self._record(StepsProfiled(step=first, steps=steps))

    def _tried(self, act: Callable[[Any], None]) -> bool:
        """Have the profiler do something; False: it could not, and the log says why."""
        import tensorflow as tf

        try:
            act(tf.profiler.experimental)
        except (tf.errors.OpError, OSError) as error:
            _log.warning("no trace of these steps: %s", str(error).splitlines()[0][:300])
            return False
        return True
