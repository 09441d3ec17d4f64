"""The one place where the command line sets environment variables."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

__all__ = ["quiet_tensorflow"]


def quiet_tensorflow(is_verbose: bool) -> None:
    """Silence TensorFlow unless it is to be verbose and keep matplotlib from Keras; call before either is imported."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if not any(isinstance(finder, _NoGalleries) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NoGalleries())
    if is_verbose:
        logging.basicConfig(level=logging.INFO)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(tensorflow|keras|horovod)\b")


class _NoGalleries(MetaPathFinder):
    """Hides matplotlib while Keras is imported: it would load it for its galleries, a second of every start."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> None:
        keras = sys.modules.get("keras")
        if name == "matplotlib" and keras is not None and not hasattr(keras, "Model"):
            raise ModuleNotFoundError("matplotlib is hidden while Keras is imported", name=name)
