"""Both ends that the networks share: images of any size in, logits of that size out."""

from typing import Any

import keras
from keras import layers

from dist_training.architectures.initial import he_normal
from dist_training.architectures.padding import CropLike, PadToMultiple

__all__ = ["open_images", "read_logits"]


def open_images(input_channels: int, multiple: int) -> tuple[Any, Any]:
    """Make the input of a network.

    Args:
        input_channels: channels of an image.
        multiple: pixels of which the network needs a multiple, see ``PadToMultiple``.

    Returns:
        The images (N, H, W, input_channels), and the same padded.
    """
    precision = keras.config.dtype_policy().variable_dtype
    images = keras.Input((None, None, input_channels), dtype=precision, name="images")
    return images, PadToMultiple(multiple, name="pad")(images)


def read_logits(maps: Any, images: Any, num_outputs: int, seed: int, *, size: int = 1, stride: int = 1) -> Any:
    """Make logits by a convolution, the layer ``logits``, cropped to the images.

    Coarser ones, for deep supervision, are not cropped, since the padding need not be a whole number of their pixels:
    the loss pads the class maps as the images are padded. The logits keep the precision of the weights under mixed
    precision: the loss is computed from them.

    Args:
        maps: (N, H' / stride, W' / stride, C), of the padded images.
        images: (N, H, W, channels), not padded.
        num_outputs: channels of the logits.
        seed: the network's.
        size: pixels of the kernel along both axes.
        stride: pixels of an image between two of the maps; where it is not 1, it is added to the layer's name.

    Returns:
        (N, H, W, num_outputs); with a stride, (N, H' / stride, W' / stride, num_outputs).
    """
    precision = keras.config.dtype_policy().variable_dtype
    name = "logits" if stride == 1 else f"logits_{stride}"
    logits = layers.Conv2D(
        num_outputs, size, padding="same", kernel_initializer=he_normal(seed, name), dtype=precision, name=name
    )(maps)
    return CropLike(dtype=precision, name="crop")([logits, images]) if stride == 1 else logits
