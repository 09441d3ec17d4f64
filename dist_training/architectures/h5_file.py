"""A Keras .h5 file from anywhere, looked at before Keras builds anything from it.

It holds a configuration and the numbers, but not, as a .keras file does, for which shapes its layers were built. So
Keras itself tells what it asks for: it builds the network in a scope in which variables have a shape and no memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dist_training.architectures.network_config import check_numbers
from dist_training.architectures.network_file import count_numbers
from dist_training.errors import WeightsError

__all__ = ["check_h5_sizes"]

WEIGHTS = "model_weights"


def check_h5_sizes(path: Path, config: Any) -> None:
    """Refuse an .h5 file whose layers ask for other weights than it holds, or that holds fewer numbers than it says.

    Args:
        path: the file.
        config: the network's configuration in it, whose classes have been checked.

    Raises:
        WeightsError: says in a line what is refused.
    """
    import h5py
    import keras

    with h5py.File(path) as file:
        if not isinstance(file.get(WEIGHTS, getlink=True), h5py.HardLink):
            raise WeightsError(f"it has no {WEIGHTS}")
        stored = count_numbers(file[WEIGHTS], WEIGHTS)
    for name, settings in _settings_in(config):
        check_numbers(settings, name, stored)
    with _without_memory():
        try:
            keras.saving.load_model(path, compile=False)
        except Exception as error:
            raise WeightsError(" ".join(str(error).split())[:300]) from error


def _settings_in(config: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The settings of everything that is made, with its name; without recursion, as depth is the file's choice."""
    pending = [config]
    while pending:
        entry = pending.pop()
        if isinstance(entry, list):
            pending += entry
        elif isinstance(entry, dict):
            pending += entry.values()
            settings = entry.get("config")
            if "class_name" in entry and isinstance(settings, dict):
                yield f"{settings.get('name', entry['class_name'])!s:.60}", settings


@contextmanager
def _without_memory() -> Iterator[None]:
    """Let Keras make variables that never get values, and forget them afterwards: it would make up for it later."""
    import keras
    from keras.src.backend.common import global_state

    waiting = global_state.get_global_attribute("uninitialized_variables", [])
    global_state.set_global_attribute("uninitialized_variables", [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        global_state.set_global_attribute("uninitialized_variables", waiting)
