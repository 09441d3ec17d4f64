"""Dist-U-Net: the U-Net of Ronneberger, Fischer and Brox (MICCAI 2015, arXiv 1505.04597) with ``same`` padding."""

from typing import Any

import keras
from keras import layers

from dist_training.architectures.dropout import SampleDropout
from dist_training.architectures.initial import layer_seed
from dist_training.architectures.normalisation import build_normalisation
from dist_training.architectures.padding import CropLike, PadToMultiple
from dist_training.architectures.settings import UNetSettings

__all__ = ["build"]


def build(settings: UNetSettings, input_channels: int, num_outputs: int, seed: int) -> keras.Model:
    """Build a Dist-U-Net.

    Two 3x3 convolutions with ReLU a level, 2x2 max pooling between levels, filters doubling downwards; 2x2
    transposed convolutions that halve the channels upwards, each joined by the contracting map of its level; a
    1x1 convolution to the logits. Weights are drawn as He et al. (2015) say. With normalisation, it stands
    between convolution and ReLU, and the convolution has no bias: the normalisation's own shift takes its place
    (for batch and instance normalisation a bias would change nothing; for group normalisation only the
    channels' offsets within a group). Dropout, where wanted, stands at the end of the contracting path: after
    its last level and after the bottom. Images whose height or width is no multiple of 2**depth are padded with
    zeros inside the network and the logits cropped back.

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
    precision = keras.config.dtype_policy().variable_dtype
    images = keras.Input((None, None, input_channels), dtype=precision, name="images")
    maps = PadToMultiple(settings.size_multiple, name="pad")(images)
    skips = []
    for level in range(settings.depth):
        maps = _level(maps, f"down{level}", settings.base_filters * 2**level, settings, seed)
        if level == settings.depth - 1:
            maps = _dropout(maps, f"down{level}_dropout", settings)
        skips.append(maps)
        maps = layers.MaxPooling2D(2, name=f"down{level}_pool")(maps)
    maps = _level(maps, "bottom", settings.base_filters * 2**settings.depth, settings, seed)
    maps = _dropout(maps, "bottom_dropout", settings)
    for level in reversed(range(settings.depth)):
        filters, name = settings.base_filters * 2**level, f"up{level}"
        maps = _upwards(maps, f"{name}_transposed", filters, seed)
        maps = layers.Concatenate(name=f"{name}_join")([skips[level], maps])
        maps = _level(maps, name, filters, settings, seed)
    # The logits keep the precision of the weights under mixed precision: the loss is computed from them.
    logits = layers.Conv2D(num_outputs, 1, kernel_initializer=_he(seed, "logits"), dtype=precision, name="logits")(maps)
    return keras.Model(images, CropLike(dtype=precision, name="crop")([logits, images]), name="dist_unet")


def _he(seed: int, layer_name: str) -> keras.initializers.Initializer:
    return keras.initializers.HeNormal(seed=layer_seed(seed, layer_name))


def _level(maps: Any, name: str, filters: int, settings: UNetSettings, seed: int) -> Any:
    """Apply two 3x3 convolutions, each with its normalisation and ReLU."""
    for part in ("a", "b"):
        layer_name = f"{name}{part}"
        normalisation = build_normalisation(
            settings.normalisation, filters, settings.groups, f"{layer_name}_normalisation"
        )
        maps = layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=normalisation is None,
            activation="relu" if normalisation is None else None,
            kernel_initializer=_he(seed, layer_name),
            name=layer_name,
        )(maps)
        if normalisation is not None:
            maps = layers.ReLU(name=f"{layer_name}_relu")(normalisation(maps))
    return maps


def _upwards(maps: Any, name: str, filters: int, seed: int) -> Any:
    """Double height and width by a 2x2 transposed convolution, without an activation, as in the paper.

    Keras's He initialiser counts the fan-in of a transposed kernel (2, 2, filters, 2 * filters) as 4 * filters:
    its variance 2 / (4 * filters) is 1 / (2 * filters), one over the inputs of each output pixel, which keeps
    the signal's variance where no ReLU follows.
    """
    return layers.Conv2DTranspose(filters, 2, strides=2, kernel_initializer=_he(seed, name), name=name)(maps)


def _dropout(maps: Any, name: str, settings: UNetSettings) -> Any:
    if settings.dropout == 0.0:
        return maps
    return SampleDropout(settings.dropout, name=name)(maps)
