"""Bilinear interpolation as the initial weights of a transposed convolution."""

from typing import Any

import keras
import numpy as np
from keras import ops

__all__ = ["Bilinear"]


@keras.saving.register_keras_serializable(package="dist_training")
class Bilinear(keras.initializers.Initializer):
    """Weights with which a transposed convolution interpolates each channel bilinearly (Long et al. 2015, 3.3).

    For an even kernel of k pixels, moved by k / 2: f = k / 2, c = f - 1/2, weight (i, j) =
    (1 - |i - c| / f) (1 - |j - c| / f) from each channel to itself, and 0 between channels.

    >>> [float(weight) for weight in Bilinear()((4, 4, 1, 1))[0, :, 0, 0]]
    [0.0625, 0.1875, 0.1875, 0.0625]
    """

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Any:
        """Give the kernel of a shape (height, width, output channels, input channels)."""
        height, width, outputs, inputs = shape
        kernel = np.multiply.outer(np.outer(_ramp(height), _ramp(width)), np.eye(outputs, inputs))
        return ops.convert_to_tensor(kernel, dtype=dtype or keras.config.floatx())

    def get_config(self) -> dict[str, Any]:
        """Give what rebuilds this initialiser: nothing."""
        return {}


def _ramp(size: int) -> np.ndarray:
    half = (size + 1) // 2
    centre = half - 0.5 if size % 2 == 0 else half - 1
    return 1 - np.abs(np.arange(size) - centre) / half
