"""Estimates of the memory that training takes, from sizes alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from dist_training.architectures import ResidualUNetSettings, UNetSettings

__all__ = ["FRAMEWORK_BYTES", "training_bytes"]

BYTES_PER_NUMBER = 4
MAPS_PER_CONVOLUTION = {"none": 1, "group": 2, "instance": 2, "batch": 2.5}
MAPS_PER_CLASS = 6  # logits, their softmax, its logarithm, the reference, and gradients
WEIGHT_COPIES = 5
FRAMEWORK_BYTES = 700 * 2**20


def training_bytes(
    network: UNetSettings | ResidualUNetSettings, size: Sequence[int], channels: int, outputs: int, slices: int
) -> int:
    """Estimate the memory that training a U-Net takes, in float32.

    Level l of a Dist-U-Net has f = base_filters x 2^l filters on 1/4^l of the pixels (by its strides, where it has
    others). There the forward pass keeps for the backward pass, in units of f maps: m for each of the two convolutions
    on the way down (1 without normalisation, 2 with group, 2.5 with batch normalisation), on the way up the transposed
    convolution (1), its join with the map from the way down (2) and again two convolutions (2 m); the bottom has two
    convolutions only. Where filters double early, as in volumes, the second convolution of a level has 2 f filters and
    the transposed one 4 f, so that it is 3 m, 4, 6 and 4 m. A residual U-Net keeps for each block two convolutions and
    their sum, on the way up the transposed convolution, the join and one convolution.
    To this come six maps a class for logits and loss, each weight five times (itself, gradient, two moments of
    Adam, the buffer in which gradients are summed), and 700 MiB that TensorFlow takes by itself.

    Measured on a CPU (peak resident memory of two steps, 16 base filters, depth 4, 3 classes): 1385 bytes a pixel
    with group normalisation, 928 without, 1690 with batch normalisation; by this formula 1412, 924 and 1656.

    Args:
        network: the network.
        size: (height, width) of a slice in pixels, or (slices, rows, columns) of a patch.
        channels: of an image.
        outputs: channels of the logits.
        slices: slices or patches of a step on one worker that are computed at once.

    Returns:
        Bytes.

    >>> from r2d2_base.machine import format_bytes
    >>> format_bytes(training_bytes(UNetSettings(), (256, 256), 1, 3, 8))  # 1.4 measured
    '1.4 GiB'
    """
    pixels = prod(-(-edge // to) * to for edge, to in zip(size, network.size_multiples, strict=True))
    maps = float(channels + MAPS_PER_CLASS * max(2, outputs))
    of_levels = _maps_of_unet(network) if isinstance(network, UNetSettings) else _maps_of_residual_unet(network)
    shares = _shares(network)
    maps += sum(count / share for count, share in zip(of_levels, shares, strict=True))
    weights = WEIGHT_COPIES * (_weights(network) if isinstance(network, UNetSettings) else _residual_weights(network))
    return FRAMEWORK_BYTES + round(BYTES_PER_NUMBER * (maps * pixels * slices + weights))


def _shares(network: UNetSettings | ResidualUNetSettings) -> list[int]:
    """How many pixels of the image one of each level stands for."""
    shares = [1]
    for strides in network.level_strides:
        shares.append(shares[-1] * prod(strides))
    return shares


def _growth(network: UNetSettings) -> int:
    """By how much filters grow within a level."""
    return 2 if network.doubles_early else 1


def _maps_of_unet(network: UNetSettings) -> Iterator[float]:
    """Maps of each level that are kept for the backward pass."""
    kept, growth = MAPS_PER_CONVOLUTION[network.normalisation], _growth(network)
    for level in range(network.levels):
        maps = kept * (1 + growth)
        if level < network.depth:
            transposed = growth * growth
            maps += transposed + (growth + transposed) + 2 * kept * growth
        yield maps * network.base_filters * 2**level


def _maps_of_residual_unet(network: ResidualUNetSettings) -> Iterator[float]:
    kept = MAPS_PER_CONVOLUTION[network.normalisation]
    for level, (filters, blocks) in enumerate(zip(network.filters, network.blocks, strict=True)):
        maps = blocks * (2 * kept + 1) + kept  # the stem, or the skip of the first block
        if level < network.levels - 1:
            maps += 1 + 2 + kept
        yield maps * filters


def _weights(network: UNetSettings) -> float:
    """Weights of the convolutions, which are nearly all."""
    growth, before, count = _growth(network), 1, 0.0
    for level, kernel in enumerate(network.level_kernels):
        filters, pixels = network.base_filters * 2**level, prod(kernel)
        taken = filters // 2 * growth if level else before
        count += pixels * (taken * filters + filters * growth * filters)
        if level < network.depth:
            below = 2 * growth * filters
            transposed = below * growth // 2
            count += prod(network.level_strides[level]) * below * transposed
            count += pixels * growth * filters * (growth * filters + transposed + growth * filters)
    return count


def _residual_weights(network: ResidualUNetSettings) -> float:
    count, before = 0.0, 1
    for level, (filters, blocks, kernel) in enumerate(
        zip(network.filters, network.blocks, network.level_kernels, strict=True)
    ):
        pixels = prod(kernel)
        count += pixels * filters * (before + filters * (2 * blocks - 1))
        if level < network.levels - 1:
            count += prod(network.level_strides[level]) * network.filters[level + 1] * filters
            count += 2 * pixels * filters * filters
        before = filters
    return count
