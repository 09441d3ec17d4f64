"""U-Net with a ResNet as its contracting path, which can start from weights that have learned from many pictures."""

from typing import Any

import keras
from keras import layers

from dist_training.architectures.convolutions import Convolutions
from dist_training.architectures.ends import open_images, read_logits
from dist_training.architectures.resnet import assign_encoder_weights, encode, read_encoder_weights
from dist_training.architectures.settings import ResNetUNetSettings

__all__ = ["build"]

DECODER_FACTORS = (4, 2, 1, 0.5, 0.25)
"""Filters of the decoder's levels from the coarsest, by those of the encoder's first convolution: 256 ... 16."""


def build(settings: ResNetUNetSettings, input_channels: int, num_outputs: int, seed: int) -> keras.Model:
    """Build a U-Net with ResNet encoder.

    The encoder is that of He et al. (2016) without its top (see ``resnet``). The decoder is the one that this kind of
    network has in segmentation_models (Yakubovskiy 2019): five times nearest-neighbour enlarging, the encoder's map
    of that size where there is one, and two 3x3 convolutions with normalisation and ReLU; then a 3x3 convolution to
    the logits. With batch normalisation, three channels and one output it has their 24,436,369 (ResNet34) and
    32,521,105 (ResNet50) trainable parameters. Images whose height or width is no multiple of 32 are padded with zeros
    inside the network and the logits cropped back.

    Args:
        settings: encoder, its weights, filters and normalisation.
        input_channels: channels of an image.
        num_outputs: channels of the logits.
        seed: of the initial weights.

    Returns:
        A Keras model from (N, H, W, input_channels) to logits (N, H, W, num_outputs).

    Raises:
        WeightsNotFoundError: there is no such file of weights, or it cannot be fetched.
        WeightsError: the file does not hold the weights of this encoder.

    >>> build(ResNetUNetSettings(base_filters=4), 1, 2, seed=0).output_shape
    (None, None, None, 2)
    """
    source = settings.encoder_weights
    # Read first, since a wrong path should not cost the time of building.
    arrays = read_encoder_weights(settings.encoder, source) if source is not None else {}
    convolve = Convolutions(settings.normalisation, settings.groups, seed)
    images, padded = open_images(input_channels, settings.size_multiples)
    *skips, maps = encode(padded, settings.encoder, settings.base_filters, convolve)
    for level, factor in zip(reversed(range(5)), DECODER_FACTORS, strict=True):
        skip = skips[level - 1] if level > 0 else None
        maps = _decode(maps, skip, f"up{level}", max(1, int(settings.base_filters * factor)), convolve)
    logits = read_logits(maps, images, num_outputs, seed, size=3)
    model = keras.Model(images, logits, name=f"unet_{settings.encoder}")
    if source is not None:
        assign_encoder_weights(model, settings.encoder, arrays, source)
    return model


def _decode(maps: Any, skip: Any, name: str, filters: int, convolve: Convolutions) -> Any:
    maps = layers.UpSampling2D(2, interpolation="nearest", name=f"{name}_enlarge")(maps)
    if skip is not None:
        maps = layers.Concatenate(name=f"{name}_join")([skip, maps])
    return convolve(convolve(maps, f"{name}a", filters), f"{name}b", filters)
