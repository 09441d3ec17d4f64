"""Segmentation networks, by name. Settings load without Keras; building a network loads it."""

from dist_training.architectures.registry import (
    ARCHITECTURES,
    Architecture,
    build_network,
    read_network,
)
from dist_training.architectures.settings import FCNSettings, NetworkSettings, UNetSettings

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "FCNSettings",
    "NetworkSettings",
    "UNetSettings",
    "build_network",
    "read_network",
]
