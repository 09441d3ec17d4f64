"""The one place where the command line sets environment variables, and how its processes load TensorFlow and Keras."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

__all__ = ["quiet_tensorflow"]


def quiet_tensorflow(is_verbose: bool) -> None:
    """Silence TensorFlow unless it is to be verbose, and have it and Keras load faster; call before either is."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if not any(isinstance(finder, _Hastened) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Hastened())
        atexit.register(gc.freeze)  # else the interpreter's last collection looks through all of it, for a second
    if is_verbose:
        logging.basicConfig(level=logging.INFO)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(tensorflow|keras|horovod)\b")


class _Hastened(MetaPathFinder):
    """Loads TensorFlow and Keras in half the time: without matplotlib and without collections of garbage.

    Keras would load matplotlib for its galleries. What both leave in memory stays there, a million objects, through
    which no collection needs to look, then or later.
    """

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        keras = sys.modules.get("keras")
        if name == "matplotlib" and keras is not None and not hasattr(keras, "Model"):
            raise ModuleNotFoundError("matplotlib is hidden while Keras is imported", name=name)
        spec = PathFinder.find_spec(name, path, target) if name in ("tensorflow", "keras") else None
        if spec is not None and spec.loader is not None:
            setattr(spec.loader, "exec_module", partial(_without_collections, spec.loader.exec_module))  # noqa: B010
        return spec


def _without_collections(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    is_outermost = gc.isenabled()
    gc.disable()
    try:
        execute(module)
    finally:
        if is_outermost:
            gc.freeze()
            gc.enable()
