"""The one place where the command line reads and sets environment variables."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path

__all__ = ["patient_key_file", "quiet_tensorflow"]


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
