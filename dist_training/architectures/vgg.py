"""The VGG networks (Simonyan and Zisserman 2015), and their ImageNet weights made to fit medical images.

See ``first_kernel`` for the channels of an image.
"""

import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np

from dist_training.errors import WeightsError, WeightsNotFoundError

__all__ = ["CHANNELS", "CONVOLUTIONS", "FC_CHANNELS", "read_vgg_weights"]

CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
"""3x3 convolutions in each of the five blocks: configurations D and E."""

CHANNELS = (64, 128, 256, 512, 512)
"""Channels of each block."""

FC_CHANNELS = 4096
"""Channels of the two fully connected layers."""

LayerWeights = tuple[np.ndarray, np.ndarray]

_NAMES = {"fc1": "fc6", "fc2": "fc7"}
_POOL5_SHAPE = (7, 7, CHANNELS[-1])
"""What fc1 sees of an image of 224 x 224 pixels, flattened."""

logger = logging.getLogger(__name__)


def read_vgg_weights(trunk: str, source: str) -> dict[str, LayerWeights]:
    """Read the weights of a Keras VGG network.

    Args:
        trunk: ``vgg16`` or ``vgg19``.
        source: ``imagenet``, which Keras fetches into its cache, or the path of a ``.h5``, ``.weights.h5`` or
            ``.keras`` file of that network, with or without its top.

    Returns:
        Kernel and bias by the name of the layer of Dist-FCN; fc6 and fc7, as convolutions, only where the source
        has the network's top.

    Raises:
        WeightsNotFoundError: there is no such file, or it cannot be fetched.
        WeightsError: the file does not hold the weights of this network.
    """
    network = _fetch(trunk) if source == "imagenet" else _open(trunk, Path(source))
    weights: dict[str, LayerWeights] = {}
    for layer in network.layers:
        if layer.name.startswith("block") and layer.weights:
            kernel, bias = layer.get_weights()
            weights[layer.name] = (kernel, bias)
        elif layer.name in _NAMES:
            kernel, bias = layer.get_weights()
            # Flattening ran over rows, columns and channels in this order: the dense kernel is a convolution's.
            shape = _POOL5_SHAPE if layer.name == "fc1" else (1, 1, kernel.shape[0])
            weights[_NAMES[layer.name]] = (kernel.reshape(*shape, kernel.shape[1]), bias)
    if "fc6" not in weights:
        logger.info("%s: no top; fc6 and fc7 start from random weights", source)
    return weights


def _vgg(trunk: str, **choices: Any) -> keras.Model:
    builders = {"vgg16": keras.applications.VGG16, "vgg19": keras.applications.VGG19}
    return builders[trunk](**choices)


def _fetch(trunk: str) -> keras.Model:
    try:
        return _vgg(trunk, weights="imagenet", include_top=True)
    except Exception as error:
        raise WeightsNotFoundError(
            f"the ImageNet weights of {trunk} could not be fetched ({error}); "
            "give the path of a Keras VGG file as pretrained_weights"
        ) from error


def _open(trunk: str, path: Path) -> keras.Model:
    if not path.is_file():
        raise WeightsNotFoundError(f"{path}: no such file; pretrained_weights takes 'imagenet' or a Keras {trunk} file")
    try:
        if path.suffix == ".keras":
            network = keras.saving.load_model(path, compile=False)
        else:
            network = _vgg(trunk, weights=None, include_top=_has_top(path))
            network.load_weights(path)
        _check_layers(network, trunk)
    except Exception as error:
        raise WeightsError(f"{path}: not the weights of Keras's {trunk} ({error})") from error
    return network


def _has_top(path: Path) -> bool:
    """Tell whether a file of weights holds the first fully connected layer, by the shape of its kernel."""
    import h5py

    shapes: list[tuple[int, ...]] = []
    with h5py.File(path) as file:
        file.visititems(lambda _, item: shapes.append(getattr(item, "shape", ())))
    return (int(np.prod(_POOL5_SHAPE)), FC_CHANNELS) in shapes


def _check_layers(network: keras.Model, trunk: str) -> None:
    """Refuse a network whose convolutions are not those of the trunk."""
    expected = {
        f"block{block}_conv{number}"
        for block, count in enumerate(CONVOLUTIONS[trunk], start=1)
        for number in range(1, count + 1)
    }
    found = {layer.name for layer in network.layers if layer.name.startswith("block") and layer.weights}
    if found != expected:
        raise WeightsError(f"its convolutions differ: {', '.join(sorted(found ^ expected))}")
