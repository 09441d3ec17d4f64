"""Dist-U-Net: the U-Net of Ronneberger, Fischer and Brox (MICCAI 2015, arXiv 1505.04597) with ``same`` padding."""

from typing import Any

import keras
from keras import layers

from dist_training.architectures.convolutions import Convolutions
from dist_training.architectures.dropout import SampleDropout
from dist_training.architectures.ends import open_images, read_logits
from dist_training.architectures.settings import UNetSettings

__all__ = ["build"]


def build(settings: UNetSettings, input_channels: int, num_outputs: int, seed: int) -> keras.Model:
    """Build a Dist-U-Net.

    Two 3x3 convolutions with ReLU a level, 2x2 max pooling between levels, filters doubling downwards; 2x2
    transposed convolutions that halve the channels upwards, each joined by the contracting map of its level; a
    1x1 convolution to the logits. With normalisation, it stands between convolution and ReLU (see ``Convolutions``).
    Dropout, where wanted, stands at the end of the contracting path: after its last level and after the bottom.
    Images whose height or width is no multiple of 2**depth are padded with zeros inside the network and the logits
    cropped back.

    Args:
        settings: depth, filters, normalisation and dropout.
        input_channels: channels of an image.
        num_outputs: channels of the logits.
        seed: of the initial weights.

    Returns:
        A Keras model from (N, H, W, input_channels) to logits (N, H, W, num_outputs).

    >>> build(UNetSettings(base_filters=64, normalisation="none"), 1, 1, seed=0).count_params()
    31030593
    """
    convolve = Convolutions(settings.normalisation, settings.groups, seed)
    images, maps = open_images(input_channels, settings.size_multiple)
    skips = []
    for level in range(settings.depth):
        maps = _level(maps, f"down{level}", settings.base_filters * 2**level, convolve)
        if level == settings.depth - 1:
            maps = _dropout(maps, f"down{level}_dropout", settings)
        skips.append(maps)
        maps = layers.MaxPooling2D(2, name=f"down{level}_pool")(maps)
    maps = _level(maps, "bottom", settings.base_filters * 2**settings.depth, convolve)
    maps = _dropout(maps, "bottom_dropout", settings)
    for level in reversed(range(settings.depth)):
        filters, name = settings.base_filters * 2**level, f"up{level}"
        maps = convolve.enlarge(maps, f"{name}_transposed", filters)
        maps = layers.Concatenate(name=f"{name}_join")([skips[level], maps])
        maps = _level(maps, name, filters, convolve)
    return keras.Model(images, read_logits(maps, images, num_outputs, seed), name="dist_unet")


def _level(maps: Any, name: str, filters: int, convolve: Convolutions) -> Any:
    """Apply two 3x3 convolutions, each with its normalisation and ReLU."""
    return convolve(convolve(maps, f"{name}a", filters), f"{name}b", filters)


def _dropout(maps: Any, name: str, settings: UNetSettings) -> Any:
    if settings.dropout == 0.0:
        return maps
    return SampleDropout(settings.dropout, name=name)(maps)
