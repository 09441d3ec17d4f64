"""The TensorFlow side of a worker: devices, threads, versions."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from dist_training.communicator import Communicator

__all__ = ["configure_devices", "environment", "has_gpu", "log_to_file", "versions"]

_DISTRIBUTIONS = ("r2d2", "tensorflow-cpu", "tensorflow", "keras", "horovod", "numpy")


def configure_devices(communicator: Communicator, threads: int | None = None, cores: int | None = None) -> None:
    """Give this worker its device and its share of the host's cores; call before TensorFlow runs anything.

    Args:
        communicator: where this worker stands among those of its host.
        threads: CPU threads of one operation; None shares the host's cores among its workers.
        cores: cores of this host that may be used; None counts those of this process's affinity.
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        mine = gpus[communicator.local_rank % len(gpus)]
        tf.config.set_visible_devices(mine, "GPU")
        tf.config.experimental.set_memory_growth(mine, True)
    share = max(1, (cores or len(os.sched_getaffinity(0))) // communicator.local_size)
    tf.config.threading.set_intra_op_parallelism_threads(threads or share)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def has_gpu() -> bool:
    """Tell whether this worker has a GPU."""
    import tensorflow as tf

    return bool(tf.config.get_visible_devices("GPU"))


def versions() -> dict[str, str]:
    """List the versions of Python and of what training depends on."""
    found = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def environment(communicator: Communicator) -> dict[str, Any]:
    """Describe where a run takes place, for environment.json."""
    import tensorflow as tf

    return {
        "schema_version": 1,
        "versions": versions(),
        "commit": _commit(),
        "host": platform.node(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "threads_per_worker": tf.config.threading.get_intra_op_parallelism_threads(),
        "world_size": communicator.world_size,
        "command": sys.argv,
    }


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Send this process's log records to a file of its own.

    Args:
        path: the log file, appended to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        with suppress(OSError):
            handler.close()


def _commit() -> str | None:
    """Give the commit of the checkout that this code runs from; None where it is installed elsewhere."""
    here = Path(__file__).parent
    try:
        asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return asked.stdout.strip() or None
