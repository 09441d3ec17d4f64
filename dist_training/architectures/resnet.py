"""The ResNets of He et al. (CVPR 2016, arXiv 1512.03385) as encoders, and weights for them from Keras's files.

Layers are called as in ``keras.applications.ResNet50``, with ``encoder_`` before and without ``_conv`` behind: its
``conv2_block1_1_conv`` is ``encoder_conv2_block1_1`` here, its ``conv2_block1_1_bn`` is followed by
``encoder_conv2_block1_1_normalisation``. Convolutions have no bias before a normalisation; one from a file is
subtracted from the moving mean, which gives the same function.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from dist_training.architectures.convolutions import Convolutions
from dist_training.architectures.first_kernel import fit_first_kernel, spread_over_channels
from dist_training.architectures.weight_files import read_layer_arrays
from dist_training.errors import WeightsError, WeightsNotFoundError

__all__ = ["BLOCKS", "assign_encoder_weights", "encode", "read_encoder_weights"]

BLOCKS = (3, 4, 6, 3)
"""Blocks of each stage, in ResNet34 and ResNet50 alike."""

_PREFIX = "encoder_"
_FIRST = "conv1"


def encode(maps: Any, encoder: str, base_filters: int, convolve: Convolutions) -> list[Any]:
    """Apply a ResNet up to its last block.

    Args:
        maps: images (N, H, W, C), height and width multiples of 32.
        encoder: ``resnet34`` (blocks of two 3x3 convolutions) or ``resnet50`` (1x1, 3x3, 1x1; the stride is that of
            the first, as in the paper and in Keras).
        base_filters: filters of the first convolution, 64 in the paper.
        convolve: how its convolutions are made.

    Returns:
        The maps at 1/2, 1/4, 1/8, 1/16 and 1/32 of the size.
    """
    maps = convolve(maps, f"{_PREFIX}{_FIRST}", base_filters, 7, stride=2)
    levels = [maps]
    maps = layers.ZeroPadding2D(1, name=f"{_PREFIX}pool1_pad")(maps)  # after ReLU: no smaller than any value
    maps = layers.MaxPooling2D(3, strides=2, name=f"{_PREFIX}pool1")(maps)
    block = _basic_block if encoder == "resnet34" else _bottleneck
    for stage, count in enumerate(BLOCKS):
        for number in range(1, count + 1):
            stride = 2 if stage > 0 and number == 1 else 1
            name = f"{_PREFIX}conv{stage + 2}_block{number}"
            maps = block(maps, name, base_filters * 2**stage, stride, convolve)
        levels.append(maps)
    return levels


def _basic_block(maps: Any, name: str, filters: int, stride: int, convolve: Convolutions) -> Any:
    skip = _shortcut(maps, name, filters, stride, convolve)
    maps = convolve(maps, f"{name}_1", filters, stride=stride)
    maps = convolve(maps, f"{name}_2", filters, is_activated=False)
    return convolve.activate(layers.Add(name=f"{name}_add")([skip, maps]), name)


def _bottleneck(maps: Any, name: str, filters: int, stride: int, convolve: Convolutions) -> Any:
    skip = _shortcut(maps, name, 4 * filters, stride, convolve)
    maps = convolve(maps, f"{name}_1", filters, 1, stride=stride)
    maps = convolve(maps, f"{name}_2", filters)
    maps = convolve(maps, f"{name}_3", 4 * filters, 1, is_activated=False)
    return convolve.activate(layers.Add(name=f"{name}_add")([skip, maps]), name)


def _shortcut(maps: Any, name: str, filters: int, stride: int, convolve: Convolutions) -> Any:
    """Give the maps themselves, or where the block changes their shape, their projection (option B of the paper)."""
    if stride == 1 and maps.shape[-1] == filters:
        return maps
    return convolve(maps, f"{name}_0", filters, 1, stride=stride, is_activated=False)


def read_encoder_weights(encoder: str, source: str) -> dict[str, list[np.ndarray]]:
    """Read the weights of a ResNet.

    Args:
        encoder: ``resnet34`` or ``resnet50``.
        source: ``imagenet`` (resnet50), which Keras fetches into its cache, or the path of a Keras file (see
            ``weight_files``) whose layers are called as in ``keras.applications.ResNet50``; other layers do not
            matter. The first kernel of a resnet50 is taken to expect what Keras's does, that of a resnet34, which
            Keras does not have, normalised red, green and blue.

    Returns:
        Arrays by the name of the layer in the source: kernel (and bias) of each ``..._conv``; scale, shift, moving
        mean and moving variance of each ``..._bn``.

    Raises:
        WeightsNotFoundError: there is no such file, or it cannot be fetched.
        WeightsError: it is no Keras file of weights.
    """
    if source != "imagenet":
        return read_layer_arrays(Path(source))
    try:
        network = keras.applications.ResNet50(weights="imagenet", include_top=False)
    except Exception as error:
        raise WeightsNotFoundError(
            f"the ImageNet weights of {encoder} could not be fetched ({error}); "
            "give the path of a Keras ResNet50 file as encoder_weights"
        ) from error
    return {layer.name: layer.get_weights() for layer in network.layers}


def assign_encoder_weights(model: keras.Model, encoder: str, arrays: dict[str, list[np.ndarray]], source: str) -> None:
    """Give the encoder of a network the weights of a ResNet.

    Args:
        model: a network whose encoder ``encode`` made, with batch normalisation and 64 base filters.
        encoder: which of the two it is.
        arrays: what ``read_encoder_weights`` gave.
        source: where they are from, for the error.

    Raises:
        WeightsError: naming a layer that is missing or has another shape.
    """
    names = [layer.name for layer in model.layers if layer.name.startswith(_PREFIX) and layer.weights]
    for name in [name for name in names if not name.endswith("_normalisation")]:
        stem = name.removeprefix(_PREFIX)
        try:
            kernel, *biases = arrays[f"{stem}_conv"]
            scale, shift, mean, variance = arrays[f"{stem}_bn"]
            if stem == _FIRST:
                fit = fit_first_kernel if encoder == "resnet50" else spread_over_channels
                kernel = fit(kernel, model.input_shape[-1])
            model.get_layer(name).set_weights([kernel])
            moved = mean - biases[0] if biases else mean
            model.get_layer(f"{name}_normalisation").set_weights([scale, shift, moved, variance])
        except (KeyError, ValueError) as error:
            raise WeightsError(
                f"{source}: not the weights of {encoder} ({stem}_conv or {stem}_bn is missing or differs: {error}); "
                "its layers must be called and shaped as docs/reference/architectures.md says"
            ) from error
