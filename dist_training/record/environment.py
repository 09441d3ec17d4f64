"""environment.json: where a run takes place, and with which versions."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from dist_training.ranks.communicator import Communicator
from r2d2_base.machine import usable_cores

__all__ = ["environment", "versions"]

_DISTRIBUTIONS = ("r2d2", "tensorflow-cpu", "tensorflow", "keras", "horovod", "numpy")


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
        "cores": usable_cores(),
        "threads_per_worker": tf.config.threading.get_intra_op_parallelism_threads(),
        "world_size": communicator.world_size,
        "command": sys.argv,
    }


def _commit() -> str | None:
    """Give the commit of the checkout that this code runs from; None where it is installed elsewhere."""
    here = Path(__file__).parent
    try:
        asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return asked.stdout.strip() or None
