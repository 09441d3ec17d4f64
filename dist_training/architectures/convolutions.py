"""What the networks are made of: convolution, normalisation and activation, as one step with one name."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras import layers

from dist_training.architectures.initial import he_normal, keeping_variance
from dist_training.architectures.normalisation import build_normalisation
from dist_training.architectures.one_pixel import ENOUGH_CHANNELS
from dist_training.architectures.padding import ZeroBorder
from dist_training.architectures.settings import NormalisationKind

__all__ = ["CONVOLUTIONS", "Convolutions"]

CONVOLUTIONS = {2: layers.Conv2D, 3: layers.Conv3D}
ENLARGEMENTS = {2: layers.Conv2DTranspose, 3: layers.Conv3DTranspose}
PADDINGS = {2: layers.ZeroPadding2D, 3: ZeroBorder}
SUBSAMPLINGS = {2: layers.AveragePooling2D, 3: layers.AveragePooling3D}
"""Layers by the number of axes of what they take."""

Extent = int | Sequence[int]
"""Pixels along all axes, or along each."""


@dataclass(frozen=True)
class Convolutions:
    """How the convolutions of one network are made.

    Weights are drawn as He et al. (2015) say. With normalisation the convolution has no bias: the normalisation's own
    shift takes its place (for batch and instance normalisation a bias would change nothing; for group normalisation
    only the channels' offsets within a group).

    Attributes:
        normalisation: what follows each convolution.
        groups: wanted number of groups, see ``group_count``.
        seed: the network's.
        negative_slope: of the activation below zero: 0 is ReLU.
    """

    normalisation: NormalisationKind
    groups: int
    seed: int
    negative_slope: float = 0.0

    def __call__(
        self, maps: Any, name: str, filters: int, size: Extent = 3, *, stride: Extent = 1, is_activated: bool = True
    ) -> Any:
        """Convolve, normalise and activate; the layers are ``name``, ``name_normalisation`` and ``name_relu``.

        Args:
            maps: (N, H, W, C), or (N, D, H, W, C).
            name: of the convolution.
            filters: channels of the result.
            size: pixels of the kernel along all axes, or along each, odd.
            stride: pixels of the maps between two of the result. The border is as wide on all sides, as in the papers
                and other than Keras's "same", which gives a strided convolution less above and on the left. Where
                a kernel of one pixel meets few channels, a layer of its own leaves out the pixels, see `one_pixel`.
            is_activated: whether the activation follows.

        Returns:
            (N, H / stride, W / stride, filters), or that of volumes.
        """
        axes = len(maps.shape) - 2
        sizes, strides = _along(size, axes), _along(stride, axes)
        normalisation = build_normalisation(self.normalisation, filters, self.groups, f"{name}_normalisation")
        is_padded = max(strides) > 1 and max(sizes) > 1
        if is_padded:
            maps = PADDINGS[axes](tuple(pixels // 2 for pixels in sizes), name=f"{name}_pad")(maps)
        elif max(strides) > 1 and maps.shape[-1] < ENOUGH_CHANNELS:  # with more it would take a fifth longer
            maps, strides = SUBSAMPLINGS[axes](1, strides=strides, name=f"{name}_subsample")(maps), (1,) * axes
        maps = CONVOLUTIONS[axes](
            filters,
            sizes,
            strides=strides,
            padding="valid" if is_padded else "same",
            use_bias=normalisation is None,
            kernel_initializer=he_normal(self.seed, name),
            name=name,
        )(maps)
        if normalisation is not None:
            maps = normalisation(maps)
        return self.activate(maps, name) if is_activated else maps

    def activate(self, maps: Any, name: str) -> Any:
        """Apply the activation, as the layer ``name_relu``."""
        return layers.ReLU(negative_slope=self.negative_slope, name=f"{name}_relu")(maps)

    def enlarge(self, maps: Any, name: str, filters: int, strides: Sequence[int], *, has_bias: bool = True) -> Any:
        """Make each pixel a block by a transposed convolution as large as its strides, unactivated, as U-Net does.

        The variance of its weights is one over the inputs of each output pixel, which keeps the signal's where no ReLU
        follows.

        Args:
            maps: (N, H, W, C) or (N, D, H, W, C).
            name: of the layer.
            filters: channels of the result.
            strides: pixels of a block along each axis.
            has_bias: whether a number is added to each channel.
        """
        return ENLARGEMENTS[len(strides)](
            filters,
            tuple(strides),
            strides=tuple(strides),
            use_bias=has_bias,
            kernel_initializer=keeping_variance(self.seed, name, math.prod(strides) * filters / maps.shape[-1]),
            name=name,
        )(maps)


def _along(pixels: Extent, axes: int) -> tuple[int, ...]:
    return (pixels,) * axes if isinstance(pixels, int) else tuple(pixels)
