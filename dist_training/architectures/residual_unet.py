"""A residual U-Net with deep supervision, in the style of nnU-Net (Isensee et al. 2024, arXiv 2404.09556)."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from dist_training.architectures.convolutions import Convolutions
from dist_training.architectures.ends import open_images, read_logits
from dist_training.architectures.pooling import pool
from dist_training.architectures.settings import ResidualUNetSettings

__all__ = ["build"]

NEGATIVE_SLOPE = 0.01
"""Of the leaky ReLU below zero, as in nnU-Net."""


def build(settings: ResidualUNetSettings, input_channels: int, num_outputs: int, seed: int) -> keras.Model:
    """Build a residual U-Net.

    A 3x3 convolution, then stages of residual blocks. A block is two 3x3 convolutions, each normalised, the first
    activated by a leaky ReLU; its input is added, and their sum activated. The first convolution of every stage but
    the first has stride 2. Where a block changes the size, its input is averaged over 2x2 pixels (He et al. 2019,
    ResNet-D); where it changes the number of channels, a normalised 1x1 convolution follows. The decoder doubles the
    size by 2x2 transposed convolutions, joins the encoder's maps and applies one 3x3 convolution a stage. With
    ``dimensions=3`` all of that has a third axis; kernels and strides may differ by stage and axis.

    With deep supervision there are logits at every resolution of the decoder but the lowest (where it has one only, at
    that), all of them outputs of the model: the image's size first, then half, a quarter ... ; ``prediction_network``
    gives the network without the others. Output k has the size of the padded image by 2**k.

    Args:
        settings: blocks, filters, normalisation and deep supervision.
        input_channels: channels of an image.
        num_outputs: channels of the logits.
        seed: of the initial weights.

    Returns:
        A Keras model from (N, H, W, input_channels) to logits (N, H, W, num_outputs), or to a list of such logits; of
        volumes (N, D, H, W, ...).

    >>> model = build(ResidualUNetSettings(blocks=(1, 1, 1, 1), base_filters=2), 1, 3, seed=0)
    >>> [logits.shape[1:] == (size, size, 3) for logits, size in zip(model(keras.ops.ones((1, 20, 20, 1))), (20, 12))]
    [True, True]
    """
    convolve = Convolutions(settings.normalisation, settings.groups, seed, NEGATIVE_SLOPE)
    images, maps = open_images(input_channels, settings.size_multiples)
    kernels = settings.level_kernels
    maps = convolve(maps, "down0_stem", settings.filters[0], kernels[0])
    stages = []
    for stage, (filters, count) in enumerate(zip(settings.filters, settings.blocks, strict=True)):
        for number in range(count):
            stride = settings.level_strides[stage - 1] if stage > 0 and number == 0 else None
            maps = _residual_block(maps, f"down{stage}_block{number}", filters, kernels[stage], stride, convolve)
        stages.append(maps)
    outputs: list[Any] = []
    for level in reversed(range(len(stages) - 1)):
        filters = settings.filters[level]
        maps = convolve.enlarge(maps, f"up{level}_transposed", filters, settings.level_strides[level])
        maps = layers.Concatenate(name=f"up{level}_join")([stages[level], maps])
        maps = convolve(maps, f"up{level}", filters, kernels[level])
        if level < len(settings.output_strides):
            outputs.insert(0, read_logits(maps, images, num_outputs, seed, level=level))
    return keras.Model(images, outputs if len(outputs) > 1 else outputs[0], name="residual_unet")


def _residual_block(
    maps: Any, name: str, filters: int, kernel: Sequence[int], stride: Sequence[int] | None, convolve: Convolutions
) -> Any:
    """Add what two convolutions make of the maps to the maps."""
    skip = maps if stride is None else pool(maps, "average", stride, f"{name}_average")
    if maps.shape[-1] != filters:
        skip = convolve(skip, f"{name}_skip", filters, 1, is_activated=False)
    maps = convolve(maps, f"{name}_1", filters, kernel, stride=stride or 1)
    maps = convolve(maps, f"{name}_2", filters, kernel, is_activated=False)
    return convolve.activate(layers.Add(name=f"{name}_add")([skip, maps]), name)
