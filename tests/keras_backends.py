"""Keras's other backends, for processes of their own: a backend is chosen once, when Keras is imported."""

import os
import sys
from pathlib import Path

import pytest

FOLDER = Path(sys.prefix) / "backends"
"""Where `make install-tests` puts them, apart from TensorFlow."""


def environment_of(backend: str, *folders: Path) -> dict[str, str]:
    """The environment of a process in which Keras has another backend; skips the test where it is not installed.

    Args:
        backend: "jax" or "torch".
        folders: what such a process searches for modules besides.
    """
    if not (FOLDER / backend).is_dir():
        pytest.skip(f"{backend} is not installed; pip install --target {FOLDER} {backend} runs this test")
    search_path = [str(FOLDER), *map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(search_path)}
