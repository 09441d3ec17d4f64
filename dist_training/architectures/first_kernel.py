"""The first kernel of a network that learned from ImageNet's pictures, made to fit normalised medical images.

Images here have mean 0 and standard deviation 1 a channel. Keras's VGG and ResNet weights expect blue, green and red
from 0 to 255 less the ImageNet means: there the kernel is multiplied by the standard deviations of ImageNet, which
brings a normalised image to the range that it has learned. Three channels are taken as red, green and blue. Any other
number of channels has no colours: each gets the sum of the kernel's three, divided by the number of channels, so that
equal channels cause the response that a grey picture of theirs would have caused.
"""

import numpy as np

__all__ = ["IMAGENET_STD_RGB", "fit_first_kernel", "spread_over_channels"]

IMAGENET_STD_RGB = (58.393, 57.12, 57.375)
"""Standard deviations of ImageNet's red, green and blue, 0 to 255: the usual 0.229, 0.224 and 0.225, times 255."""


def fit_first_kernel(kernel: np.ndarray, input_channels: int) -> np.ndarray:
    """Adapt the first kernel of a Keras network to normalised images with any number of channels.

    Args:
        kernel: (height, width, 3, filters), for blue, green and red from 0 to 255.
        input_channels: channels of an image.

    Returns:
        (height, width, input_channels, filters).

    >>> fit_first_kernel(np.ones((1, 1, 3, 1)), input_channels=2).ravel().round(3)
    array([86.444, 86.444])
    """
    return spread_over_channels(kernel[:, :, ::-1, :] * np.asarray(IMAGENET_STD_RGB)[:, None], input_channels)


def spread_over_channels(kernel: np.ndarray, input_channels: int) -> np.ndarray:
    """Adapt a first kernel for normalised red, green and blue to any number of channels.

    Args:
        kernel: (height, width, 3, filters).
        input_channels: channels of an image.

    Returns:
        (height, width, input_channels, filters).

    >>> spread_over_channels(np.array([1.0, 2.0, 3.0]).reshape((1, 1, 3, 1)), input_channels=4).ravel()
    array([1.5, 1.5, 1.5, 1.5])
    """
    if input_channels == 3:
        return kernel
    return np.repeat(kernel.sum(axis=2, keepdims=True) / input_channels, input_channels, axis=2)
