"""The U-Nets of livermask (Actor, Fuentes and Pauloski, github.com/gpauloski/livermask, ``liver.py``)."""

from typing import Any

import keras
from keras import layers

from dist_training.architectures.dropout import SampleDropout
from dist_training.architectures.ends import open_images, read_logits
from dist_training.architectures.initial import he_normal
from dist_training.architectures.normalisation import build_normalisation
from dist_training.architectures.settings import LivermaskUNetSettings

__all__ = ["build"]


def build(settings: LivermaskUNetSettings, input_channels: int, num_outputs: int, seed: int) -> keras.Model:
    """Build a livermask U-Net.

    A block normalises its input, drops whole maps (expanding path only) and convolves, 3x3 with bias and ReLU; two
    blocks a level, 2x2 max pooling downwards, nearest-neighbour enlarging without a convolution upwards, each joined
    by the contracting map of its level, a 1x1 convolution to the logits. livermask ends in a sigmoid for each of three
    overlapping structures; here the sigmoid, or softmax, belongs to the loss and to prediction. Images of any size are
    padded inside, which livermask, for 256 x 256 pixels, does not need.

    Args:
        settings: variant, filters, normalisation and dropout.
        input_channels: channels of an image.
        num_outputs: channels of the logits.
        seed: of the initial weights and the dropout.

    Returns:
        A Keras model from (N, H, W, input_channels) to logits (N, H, W, num_outputs).

    >>> build(LivermaskUNetSettings(variant="half"), 1, 3, seed=0).count_params()
    1481607
    """
    *contracting, bottom = settings.filters
    images, maps = open_images(input_channels, settings.size_multiples)
    skips = []
    for level, filters in enumerate(contracting):
        maps = _level(maps, f"down{level}", filters, settings, seed, dropout=0.0)
        skips.append(maps)
        maps = layers.MaxPooling2D(2, name=f"down{level}_pool")(maps)
    maps = _level(maps, "bottom", bottom, settings, seed, dropout=0.0)
    for level in reversed(range(len(contracting))):
        maps = layers.UpSampling2D(2, interpolation="nearest", name=f"up{level}_enlarge")(maps)
        maps = layers.Concatenate(name=f"up{level}_join")([skips[level], maps])
        maps = _level(maps, f"up{level}", contracting[level], settings, seed, dropout=settings.dropout)
    return keras.Model(images, read_logits(maps, images, num_outputs, seed), name="livermask_unet")


def _level(maps: Any, name: str, filters: int, settings: LivermaskUNetSettings, seed: int, *, dropout: float) -> Any:
    """Apply two blocks: normalisation, dropout of maps, 3x3 convolution and ReLU."""
    for part in ("a", "b"):
        block = f"{name}{part}"
        normalisation = build_normalisation(
            settings.normalisation, maps.shape[-1], settings.groups, f"{block}_normalisation"
        )
        if normalisation is not None:
            maps = normalisation(maps)
        if dropout > 0.0:
            dropped = f"{block}_dropout"
            maps = SampleDropout(dropout, spatial=True, name=dropped)(maps)
        maps = layers.Conv2D(
            filters,
            3,
            padding="same",
            activation="relu",
            kernel_initializer=he_normal(seed, block),
            name=block,
        )(maps)
    return maps
