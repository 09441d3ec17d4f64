"""Both ends that the networks share: images or volumes of any size in, logits of that size out."""

from typing import Any

import keras

from dist_training.architectures.convolutions import CONVOLUTIONS
from dist_training.architectures.initial import he_normal
from dist_training.architectures.padding import CropLike, PadToMultiple

__all__ = ["open_images", "read_logits"]


def open_images(input_channels: int, multiples: tuple[int, ...]) -> tuple[Any, Any]:
    """Make the input of a network.

    Args:
        input_channels: channels of an image.
        multiples: pixels of which the network needs a multiple along each axis, see ``PadToMultiple``.

    Returns:
        The images (N, H, W, input_channels), or volumes (N, D, H, W, input_channels), and the same padded.
    """
    precision = keras.config.dtype_policy().variable_dtype
    images = keras.Input((*[None] * len(multiples), input_channels), dtype=precision, name="images")
    is_even = len(set(multiples)) == 1
    return images, PadToMultiple(multiples[0] if is_even else multiples, name="pad")(images)


def read_logits(maps: Any, images: Any, num_outputs: int, seed: int, *, size: int = 1, level: int = 0) -> Any:
    """Make logits by a convolution, the layer ``logits``, cropped to the images.

    Coarser ones, for deep supervision, are not cropped, since the padding need not be a whole number of their pixels:
    the loss pads the class maps as the images are padded. The logits keep the precision of the weights under mixed
    precision: the loss is computed from them.

    Args:
        maps: (N, H' / stride, W' / stride, C), of the padded images; or of volumes.
        images: (N, H, W, channels), not padded.
        num_outputs: channels of the logits.
        seed: the network's.
        size: pixels of the kernel along all axes.
        level: how many times the maps were made coarser than the images; where it is not 0, 2 to its power is added
            to the layer's name.

    Returns:
        (N, H, W, num_outputs); of a coarser level, (N, H' / stride, W' / stride, num_outputs).
    """
    precision = keras.config.dtype_policy().variable_dtype
    name = "logits" if level == 0 else f"logits_{2**level}"
    logits = CONVOLUTIONS[len(maps.shape) - 2](
        num_outputs, size, padding="same", kernel_initializer=he_normal(seed, name), dtype=precision, name=name
    )(maps)
    return CropLike(dtype=precision, name="crop")([logits, images]) if level == 0 else logits
