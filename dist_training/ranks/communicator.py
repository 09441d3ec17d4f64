"""How workers talk to each other; besides, only what starts them imports Horovod."""

from __future__ import annotations

import importlib.util
import os
from typing import Any, Protocol

import numpy as np

from dist_training.errors import HorovodMissingError
from dist_training.ranks.launched import check_job, launched_world_size
from r2d2_base.errors import ConfigurationError

__all__ = [
    "Communicator",
    "HorovodCommunicator",
    "SoloCommunicator",
    "build_communicator",
    "has_horovod",
    "join_job",
]

# Horovod's background thread wakes once per cycle. A training step has a single reduction, so waking more
# often only takes the core from the network (measured: see benchmarks/README.md).
CYCLE_TIME_MS = "5"


class Communicator(Protocol):
    """What a training run needs from the ranks of its job.

    Attributes:
        rank: this worker's number, 0 to ``world_size - 1``.
        world_size: the number of workers.
        local_rank: this worker's number on its own host.
        local_size: the number of workers on this host.
    """

    rank: int
    world_size: int
    local_rank: int
    local_size: int

    def sum_tensor(self, tensor: Any) -> Any:
        """Sum a TensorFlow tensor of equal shape over the ranks; works inside ``tf.function``."""
        ...

    def sum_array(self, array: np.ndarray) -> np.ndarray:
        """Sum a NumPy array of equal shape over the ranks."""
        ...

    def broadcast_object(self, value: Any) -> Any:
        """Give every rank the value that rank 0 passed."""
        ...

    def gather_objects(self, value: Any) -> list[Any]:
        """Give every rank the values of all ranks, by rank."""
        ...


class SoloCommunicator:
    """A job of one worker: every reduction is the identity. Needs no Horovod.

    >>> SoloCommunicator().broadcast_object("run-1")
    'run-1'
    >>> SoloCommunicator().gather_objects("host-1")
    ['host-1']
    """

    rank = 0
    world_size = 1
    local_rank = 0
    local_size = 1

    def sum_tensor(self, tensor: Any) -> Any:
        """Return the tensor: there is no other rank."""
        return tensor

    def sum_array(self, array: np.ndarray) -> np.ndarray:
        """Return the array: there is no other rank."""
        return array

    def broadcast_object(self, value: Any) -> Any:
        """Return the value: there is no other rank."""
        return value

    def gather_objects(self, value: Any) -> list[Any]:
        """Return the value in a list: there is no other rank."""
        return [value]


class HorovodCommunicator:
    """Ring-allreduce over the processes that ``horovodrun`` started (Sergeev and Del Balso 2018)."""

    def __init__(self) -> None:
        if not has_horovod():
            raise HorovodMissingError(
                "several workers need Horovod, which is not installed; run 'make install' or train with one worker"
            )
        os.environ.setdefault("HOROVOD_CYCLE_TIME", CYCLE_TIME_MS)
        os.environ.setdefault("HOROVOD_FUSION_THRESHOLD", "0")
        import horovod.tensorflow as hvd

        self._hvd = hvd
        hvd.init()
        self.rank: int = hvd.rank()
        self.world_size: int = hvd.size()
        self.local_rank: int = hvd.local_rank()
        self.local_size: int = hvd.local_size()

    def sum_tensor(self, tensor: Any) -> Any:
        """Sum a TensorFlow tensor of equal shape over the ranks; works inside ``tf.function``."""
        return self._hvd.allreduce(tensor, op=self._hvd.Sum)

    def sum_array(self, array: np.ndarray) -> np.ndarray:
        """Sum a NumPy array of equal shape over the ranks."""
        return self._hvd.allreduce(array, op=self._hvd.Sum).numpy()

    def broadcast_object(self, value: Any) -> Any:
        """Give every rank the value that rank 0 passed."""
        return self._hvd.broadcast_object(value, root_rank=0)

    def gather_objects(self, value: Any) -> list[Any]:
        """Give every rank the values of all ranks, by rank."""
        # Horovod names the exchange after the value's type, which may differ between ranks.
        return self._hvd.allgather_object(value, name="gather_objects")


def has_horovod() -> bool:
    """Whether Horovod is installed; loads nothing."""
    return importlib.util.find_spec("horovod") is not None


def build_communicator(world_size: int) -> Communicator:
    """Join the job this process belongs to.

    Args:
        world_size: the number of workers that the launcher announced; 1 without a launcher.

    Raises:
        HorovodMissingError: for more than one worker, where Horovod is not installed.
        ConfigurationError: the job is not there any more, this host cannot be found by its own name, or Horovod finds
            other workers than were announced, each of which would train for itself.
    """
    if world_size == 1:
        return SoloCommunicator()
    check_job(world_size)
    communicator = HorovodCommunicator()
    if communicator.world_size != world_size:
        raise ConfigurationError(
            f"the launcher announced {world_size} workers, Horovod finds {communicator.world_size}: it is built "
            "without MPI, or with another one than mpirun's; start the workers with horovodrun"
        )
    return communicator


def join_job() -> Communicator:
    """Join the job that ``horovodrun`` or ``mpirun`` started this process in; alone where neither did.

    For scripts of one's own: what they hand to the optimizer and the callbacks, and ask for their rank.

    Raises:
        HorovodMissingError: for more than one worker, where Horovod is not installed.
        ConfigurationError: see ``build_communicator``.

    >>> join_job().world_size
    1
    """
    return build_communicator(launched_world_size() or 1)
