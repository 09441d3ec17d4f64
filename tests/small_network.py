"""A network of few operations, for tests of what is done with a network: a step is traced, or taken, within moments."""

import keras
from keras import layers

__all__ = ["SMALL", "SMALL_WORDS", "build"]

SMALL = {"architecture": "custom", "build": "tests.small_network:build"}
SMALL_WORDS = [f"network.{name}={value}" for name, value in SMALL.items()]
"""The same for a command line."""


def build(input_channels: int, num_outputs: int, filters: int = 4) -> keras.Model:
    """Two convolutions with a normalisation between: kernels, biases and scales, as larger networks have."""
    images = keras.Input((None, None, input_channels))
    features = layers.Conv2D(filters, 3, padding="same", name="encoder")(images)
    features = layers.GroupNormalization(2, name="norm")(features)
    features = layers.Activation("relu")(features)
    return keras.Model(images, layers.Conv2D(num_outputs, 3, padding="same", name="head")(features))
