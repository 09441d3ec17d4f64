"""The one place where the command line sets environment variables."""

from __future__ import annotations

import logging
import os
import warnings

__all__ = ["quiet_tensorflow"]


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
