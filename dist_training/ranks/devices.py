"""A worker's device and threads, set before TensorFlow runs anything."""

from __future__ import annotations

import logging

from dist_training.ranks.communicator import Communicator
from r2d2_base.machine import processor_computes_in, whole_cores

__all__ = ["configure_devices", "has_gpu", "is_slow_here"]

_log = logging.getLogger(__name__)


def configure_devices(communicator: Communicator, threads: int | None = None) -> None:
    """Give this worker its device and its share of the host's cores; call before TensorFlow runs anything.

    A process in which TensorFlow runs already keeps the threads that it has.

    Args:
        communicator: where this worker stands among those of its host.
        threads: CPU threads of one operation; None shares the cores that may be used here among the host's workers.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        mine = gpus[communicator.local_rank % len(gpus)]
        tf.config.set_visible_devices(mine, "GPU")
        tf.config.experimental.set_memory_growth(mine, True)
    share = max(1, whole_cores() // communicator.local_size)
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads or share)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:  # TensorFlow has begun, as where a process trains again: the result does not depend on it
        _log.info("TensorFlow keeps the threads that it began with; %d were asked for", threads or share)


def has_gpu() -> bool:
    """Tell whether this worker has a GPU."""
    import tensorflow as tf

    return bool(tf.config.get_visible_devices("GPU"))


def is_slow_here(dtype: str) -> bool:
    """Tell whether 16 bits cost time here: there is no GPU, and the processor has no instructions for them.

    Args:
        dtype: a Keras policy, such as mixed_bfloat16.
    """
    short = dtype.removeprefix("mixed_")
    return short in ("bfloat16", "float16") and processor_computes_in(short) is False and not has_gpu()
