"""Segmentation networks, by name. Settings load without Keras; building a network loads it."""

from dist_training.architectures.layer_stages import STAGES, stages
from dist_training.architectures.outputs import check_sizes, prediction_network
from dist_training.architectures.precision import with_precision
from dist_training.architectures.registry import (
    ARCHITECTURES,
    Architecture,
    build_network,
    read_network,
)
from dist_training.architectures.settings import (
    C2FNASStyleSettings,
    CustomSettings,
    FCNSettings,
    ImportedSettings,
    LivermaskUNetSettings,
    NetworkSettings,
    ResidualUNetSettings,
    ResNetUNetSettings,
    UNetSettings,
)

__all__ = [
    "ARCHITECTURES",
    "STAGES",
    "Architecture",
    "C2FNASStyleSettings",
    "CustomSettings",
    "FCNSettings",
    "ImportedSettings",
    "LivermaskUNetSettings",
    "NetworkSettings",
    "ResNetUNetSettings",
    "ResidualUNetSettings",
    "UNetSettings",
    "build_network",
    "check_sizes",
    "prediction_network",
    "read_network",
    "stages",
    "with_precision",
]
