"""Dist-U-Net: the U-Net of Ronneberger, Fischer and Brox (MICCAI 2015, arXiv 1505.04597) with ``same`` padding.

Of volumes it is that of Çiçek et al. (MICCAI 2016, arXiv 1606.06650), with ``same`` padding too.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from dist_training.architectures.convolutions import Convolutions
from dist_training.architectures.dropout import SampleDropout
from dist_training.architectures.ends import open_images, read_logits
from dist_training.architectures.pooling import pool
from dist_training.architectures.settings import UNetSettings

__all__ = ["build"]


def build(settings: UNetSettings, input_channels: int, num_outputs: int, seed: int) -> keras.Model:
    """Build a Dist-U-Net.

    Two 3x3 convolutions with ReLU a level, 2x2 max pooling between levels, filters doubling downwards; 2x2
    transposed convolutions that halve the channels upwards, each joined by the contracting map of its level; a
    1x1 convolution to the logits. Where filters double early, as Çiçek et al. have it for volumes, they do so in the
    second convolution of a level, before the pooling, and transposed convolutions keep the channels and have no
    bias. With normalisation, it stands between convolution and
    ReLU (see ``Convolutions``). Dropout, where wanted, stands at the end of the contracting path: after its last level
    and after the bottom. Images whose size is no multiple of the product of the strides (2**depth) are padded with
    zeros inside the network and the logits cropped back.

    Args:
        settings: dimensions, depth, filters and where they double, kernels, strides, normalisation and dropout.
        input_channels: channels of an image.
        num_outputs: channels of the logits.
        seed: of the initial weights.

    Returns:
        A Keras model from (N, H, W, input_channels) to logits (N, H, W, num_outputs); of volumes (N, D, H, W, ...).

    >>> build(UNetSettings(base_filters=64, normalisation="none"), 1, 1, seed=0).count_params()
    31030593
    >>> published = UNetSettings(dimensions=3, depth=3, base_filters=32, normalisation="none")
    >>> build(published, 3, 3, seed=0).count_params()
    19069955
    """
    convolve = Convolutions(settings.normalisation, settings.groups, seed)
    images, maps = open_images(input_channels, settings.size_multiples)
    growth = 2 if settings.doubles_early else 1
    filters = [settings.base_filters * 2**level for level in range(settings.depth + 1)]
    kernels, strides = settings.level_kernels, settings.level_strides
    skips = []
    for level in range(settings.depth):
        maps = _level(maps, f"down{level}", (filters[level], growth * filters[level]), kernels[level], convolve)
        if level == settings.depth - 1:
            maps = _dropout(maps, f"down{level}_dropout", settings)
        skips.append(maps)
        maps = pool(maps, "maximum", strides[level], f"down{level}_pool")
    maps = _level(maps, "bottom", (filters[-1], growth * filters[-1]), kernels[-1], convolve)
    maps = _dropout(maps, "bottom_dropout", settings)
    for level in reversed(range(settings.depth)):
        name, wide = f"up{level}", growth * filters[level]
        maps = convolve.enlarge(
            maps,
            f"{name}_transposed",
            maps.shape[-1] * growth // 2,
            strides[level],
            has_bias=not settings.doubles_early,
        )
        maps = layers.Concatenate(name=f"{name}_join")([skips[level], maps])
        maps = _level(maps, name, (wide, wide), kernels[level], convolve)
    return keras.Model(images, read_logits(maps, images, num_outputs, seed), name="dist_unet")


def _level(maps: Any, name: str, filters: tuple[int, int], kernel: Sequence[int], convolve: Convolutions) -> Any:
    """Apply two convolutions, each with its normalisation and ReLU."""
    return convolve(convolve(maps, f"{name}a", filters[0], kernel), f"{name}b", filters[1], kernel)


def _dropout(maps: Any, name: str, settings: UNetSettings) -> Any:
    if settings.dropout == 0.0:
        return maps
    return SampleDropout(settings.dropout, name=name)(maps)
