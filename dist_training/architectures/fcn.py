"""Dist-FCN: the FCN-8s, 16s and 32s of Long, Shelhamer and Darrell (CVPR 2015, arXiv 1411.4038) on a VGG trunk."""

from typing import Any

import keras
from keras import layers

from dist_training.architectures.bilinear import Bilinear
from dist_training.architectures.dropout import SampleDropout
from dist_training.architectures.ends import open_images
from dist_training.architectures.first_kernel import fit_first_kernel
from dist_training.architectures.initial import he_normal
from dist_training.architectures.padding import CropLike
from dist_training.architectures.settings import FCNSettings
from dist_training.architectures.vgg import (
    CHANNELS,
    CONVOLUTIONS,
    FC_CHANNELS,
    read_vgg_weights,
)

__all__ = ["build"]


def build(settings: FCNSettings, input_channels: int, num_outputs: int, seed: int) -> keras.Model:
    """Build a Dist-FCN.

    The five blocks of the trunk, each closed by 2x2 max pooling; fc6 (7x7) and fc7 (1x1) as convolutions with
    ReLU and dropout; 1x1 score heads on pool3, pool4 and fc7, which start at zero as in the paper. The scores
    of fc7 are doubled in size and added to those of pool4, their sum doubled and added to those of pool3, and
    that sum enlarged eightfold: transposed convolutions without bias (4, 4 and 16 pixels wide), which start as
    bilinear interpolation and are learned. With stride 16, pool3 is left out and the enlarging 16-fold; with
    stride 32, so is pool4, and the scores of fc7 are enlarged 32-fold. Other weights are drawn as He et al. (2015)
    say, or read (see ``vgg``). The reference pads images by 100 pixels and crops; here every convolution pads
    ``same``, and images whose height or width is no multiple of 32 are padded with zeros and the logits cropped back.

    Args:
        settings: trunk, stride, width, dropout and pretrained weights.
        input_channels: channels of an image.
        num_outputs: channels of the logits.
        seed: of the initial weights.

    Returns:
        A Keras model from (N, H, W, input_channels) to logits (N, H, W, num_outputs).

    Raises:
        WeightsNotFoundError: there is no such file of pretrained weights, or it cannot be fetched.
        WeightsError: the file does not hold the weights of this trunk.

    >>> build(FCNSettings(width=0.02), 1, 2, seed=0).output_shape
    (None, None, None, 2)
    """
    pretrained = {}
    if settings.pretrained_weights is not None:  # first, since a wrong path should not cost a minute
        pretrained = read_vgg_weights(settings.trunk, settings.pretrained_weights)
    images, maps = open_images(input_channels, settings.size_multiples)
    pools = []
    for block, count in enumerate(CONVOLUTIONS[settings.trunk], start=1):
        for number in range(1, count + 1):
            maps = _convolution(maps, f"block{block}_conv{number}", CHANNELS[block - 1], 3, settings, seed)
        maps = layers.MaxPooling2D(2, name=f"block{block}_pool")(maps)
        pools.append(maps)
    for name, size in (("fc6", 7), ("fc7", 1)):
        maps = _convolution(maps, name, FC_CHANNELS, size, settings, seed)
        if settings.dropout > 0.0:
            name = f"{name}_dropout"
            maps = SampleDropout(settings.dropout, name=name)(maps)
    scores = _scores(maps, "score_fc7", num_outputs)
    for pool in {32: (), 16: (4,), 8: (4, 3)}[settings.stride]:
        scores = _enlarge(scores, f"enlarge_to_pool{pool}", num_outputs, 2)
        skip = _scores(pools[pool - 1], f"score_pool{pool}", num_outputs)
        scores = layers.Add(name=f"add_pool{pool}")([scores, skip])
    precision = keras.config.dtype_policy().variable_dtype
    # The logits keep the precision of the weights under mixed precision: the loss is computed from them.
    logits = _enlarge(scores, "logits", num_outputs, settings.stride, dtype=precision)
    model = keras.Model(images, CropLike(dtype=precision, name="crop")([logits, images]), name="dist_fcn")
    for name, (kernel, bias) in pretrained.items():
        fitted = fit_first_kernel(kernel, input_channels) if name == "block1_conv1" else kernel
        model.get_layer(name).set_weights([fitted, bias])
    return model


def _convolution(maps: Any, name: str, channels: int, size: int, settings: FCNSettings, seed: int) -> Any:
    return layers.Conv2D(
        max(1, round(channels * settings.width)),
        size,
        padding="same",
        activation="relu",
        kernel_initializer=he_normal(seed, name),
        name=name,
    )(maps)


def _scores(maps: Any, name: str, num_outputs: int) -> Any:
    return layers.Conv2D(num_outputs, 1, kernel_initializer="zeros", name=name)(maps)


def _enlarge(scores: Any, name: str, num_outputs: int, factor: int, dtype: str | None = None) -> Any:
    return layers.Conv2DTranspose(
        num_outputs,
        2 * factor,
        strides=factor,
        padding="same",
        use_bias=False,
        kernel_initializer=Bilinear(),
        dtype=dtype,
        name=name,
    )(scores)
