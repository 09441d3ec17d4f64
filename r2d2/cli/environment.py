"""The one place where the command line reads and sets environment variables."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

__all__ = ["launched_rank", "launched_world_size", "patient_key_file", "quiet_tensorflow"]

_SIZES = ("HOROVOD_SIZE", "OMPI_COMM_WORLD_SIZE")
_RANKS = ("HOROVOD_RANK", "OMPI_COMM_WORLD_RANK")


def launched_world_size() -> int | None:
    """Give the number of workers of the job that a launcher started this process in; None without a launcher."""
    return next((int(os.environ[name]) for name in _SIZES if name in os.environ), None)


def launched_rank() -> int:
    """Give this process's rank in the launcher's job; 0 without one."""
    return next((int(os.environ[name]) for name in _RANKS if name in os.environ), 0)


def patient_key_file() -> Path:
    """Give where this user's key for pseudonyms lies: r2d2/patient_key in the folder of configurations."""
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "r2d2" / "patient_key"


def quiet_tensorflow(is_verbose: bool) -> None:
    """Silence TensorFlow's start-up messages unless they are asked for; call before it is imported."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if is_verbose:
        logging.basicConfig(level=logging.INFO)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(tensorflow|keras|horovod)\b")
