"""Keras's files of weights, read as arrays by the name of the layer, without building the network that wrote them."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from dist_training.errors import WeightsError, WeightsNotFoundError

__all__ = ["read_layer_arrays"]

LayerArrays = dict[str, list[np.ndarray]]


def read_layer_arrays(path: Path) -> LayerArrays:
    """Read the weights of every layer.

    No code from the file runs, so that it may come from anywhere.

    Args:
        path: a ``.keras`` file, a ``.weights.h5`` file of Keras 3, or an ``.h5`` file of the older layout, as Keras
            publishes its own weights.

    Returns:
        By the name of the layer its arrays, in the order of the layer's ``get_weights()``.

    Raises:
        WeightsNotFoundError: there is no such file.
        WeightsError: it is no such file, or names no layers.

    >>> read_layer_arrays(Path("nowhere.h5"))
    Traceback (most recent call last):
    ...
    dist_training.errors.WeightsNotFoundError: nowhere.h5: no such file; give a .keras or .h5 file of weights
    """
    import h5py

    if not path.is_file():
        raise WeightsNotFoundError(f"{path}: no such file; give a .keras or .h5 file of weights")
    try:
        with h5py.File(_weights_of(path), "r") as file:
            root = file.get("model_weights", file)
            found = _older(root) if "layer_names" in root.attrs else _newer(file)
    except Exception as error:
        raise WeightsError(f"{path}: not a readable Keras file of weights ({error})") from error
    if not found:
        raise WeightsError(f"{path} names no layers; write it again with Keras 3.15 or later")
    return found


def _weights_of(path: Path) -> Any:
    if not zipfile.is_zipfile(path):
        return path
    with zipfile.ZipFile(path) as archive:
        return io.BytesIO(archive.read("model.weights.h5"))


def _newer(file: Any) -> LayerArrays:
    """Groups called ``vars`` bear the layer's name and hold its arrays by number."""
    groups: list[Any] = []
    file.visititems(lambda path, item: groups.append(item) if path.endswith("/vars") else None)
    return {
        str(group.attrs["name"]): [np.asarray(group[str(number)]) for number in range(len(group))]
        for group in groups
        if "name" in group.attrs and len(group)
    }


def _older(root: Any) -> LayerArrays:
    """A group a layer, which lists its arrays."""
    return {
        _text(name): [np.asarray(root[_text(name)][_text(array)]) for array in root[_text(name)].attrs["weight_names"]]
        for name in root.attrs["layer_names"]
    }


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
