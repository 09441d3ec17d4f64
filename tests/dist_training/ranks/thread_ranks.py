"""Ranks that are threads of this process: what several workers do together, in seconds and without Horovod.

TensorFlow must run eagerly (``run_eagerly=True``, or as in ``tests/dist_training/run``): a rank waits for the others
in Python.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

T = TypeVar("T")
SECONDS = 60
"""After which a rank that waits for one that does not come raises ``BrokenBarrierError``."""


class Meeting:
    """Where the ranks meet for one kind of exchange; those that wait for another kind are not met, as in Horovod."""

    def __init__(self, world_size: int) -> None:
        self.values: list[Any] = [None] * world_size
        self.barrier = Barrier(world_size)

    def exchange(self, rank: int, value: Any) -> list[Any]:
        self.values[rank] = value
        self.barrier.wait(timeout=SECONDS)
        found = list(self.values)
        self.barrier.wait(timeout=SECONDS)
        return found


class ThreadCommunicator:
    """A rank among threads of this process; each exchange waits for all of them."""

    local_rank, local_size = 0, 1

    def __init__(self, rank: int, world_size: int, meetings: dict[str, Meeting]) -> None:
        self.rank, self.world_size, self._meetings = rank, world_size, meetings
        self.sent: list[tf.Tensor] = []

    def sum_tensor(self, tensor: tf.Tensor) -> tf.Tensor:
        """Sum; backwards too, as Horovod's gradient of a sum is the sum of the gradients."""

        @tf.custom_gradient
        def summed(value: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            self.sent.append(value)
            return tf.add_n(self._meetings["tensor"].exchange(self.rank, value)), self.sum_tensor

        return summed(tf.convert_to_tensor(tensor))

    def sum_array(self, array: np.ndarray) -> np.ndarray:
        return np.sum(self._meetings["array"].exchange(self.rank, np.asarray(array)), axis=0)

    def broadcast_object(self, value: Any) -> Any:
        return self._meetings["broadcast"].exchange(self.rank, value)[0]

    def gather_objects(self, value: Any) -> list[Any]:
        return self._meetings["gather"].exchange(self.rank, value)


def on_ranks(world_size: int, work: Callable[[ThreadCommunicator], T]) -> list[T]:
    """Do some work on so many ranks at once and give what each returns; the first error of one is raised.

    A rank that fails lets those that wait for it fail too, as when its process ends.
    """
    meetings = {kind: Meeting(world_size) for kind in ("tensor", "array", "broadcast", "gather")}

    def do(rank: int) -> T:
        try:
            return work(ThreadCommunicator(rank, world_size, meetings))
        except BaseException:
            for meeting in meetings.values():
                meeting.barrier.abort()
            raise

    with ThreadPoolExecutor(world_size) as pool:
        futures = [pool.submit(do, rank) for rank in range(world_size)]
        errors = [error for future in futures if (error := future.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, BrokenBarrierError)):
        raise error
    return [future.result() for future in futures]
