"""Normalisation layers of the networks, by name."""

import keras

from dist_training.architectures.settings import NormalisationKind

__all__ = ["build_normalisation", "group_count"]


def group_count(filters: int, groups: int) -> int:
    """Give the number of groups for a layer: the largest divisor of ``filters`` that is not above ``groups``.

    >>> group_count(64, 8), group_count(12, 8), group_count(4, 8), group_count(7, 4)
    (8, 6, 4, 1)
    """
    return max(divisor for divisor in range(1, min(filters, groups) + 1) if filters % divisor == 0)


def build_normalisation(kind: NormalisationKind, filters: int, groups: int, name: str) -> keras.layers.Layer | None:
    """Build the layer that normalises the output of a convolution.

    Args:
        kind: ``group`` (Wu and He 2018), ``instance`` (each channel a group of its own), ``batch`` (Ioffe and
            Szegedy 2015) or ``none``.
        filters: channels of the convolution.
        groups: wanted number of groups, see ``group_count``.
        name: of the layer.

    Returns:
        The layer, or None for ``none``.
    """
    if kind == "none":
        return None
    if kind == "batch":
        return keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=name)
    count = filters if kind == "instance" else group_count(filters, groups)
    return keras.layers.GroupNormalization(groups=count, epsilon=1e-5, name=name)
