"""Convolutions of one pixel with strides, whose gradient oneDNN writes past the end of its memory; transposed ones too.

So it is in single precision on processors with AVX2 where the convolution has fewer than 8 input channels (seen here
with TensorFlow 2.18), and with AVX-512 fewer than 16: https://github.com/uxlfoundation/oneDNN/issues/6035. The process
ends in "corrupted size vs. prev_size", or goes on with memory that is not what it was. Leaving the pixels out before
the convolution is the same function.
"""

import os
import platform

import keras

from r2d2_base.errors import ConfigurationError

__all__ = ["ENOUGH_CHANNELS", "check_one_pixel_convolutions"]

ENOUGH_CHANNELS = 16


def check_one_pixel_convolutions(model: keras.Model) -> None:
    """Refuse a network that this processor could not train safely.

    Args:
        model: built.

    Raises:
        ConfigurationError: naming the layer, and what to write instead.
    """
    if platform.machine() not in ("x86_64", "AMD64") or os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0":
        return
    for layer in model._flatten_layers():
        if not isinstance(layer, keras.layers.Conv2D | keras.layers.Conv2DTranspose):
            continue
        channels = layer.kernel.shape[-2]  # of a transposed one those that it gives, which its gradient takes
        if layer.kernel_size == (1, 1) and layer.strides != (1, 1) and channels < ENOUGH_CHANNELS:
            instead = (
                "give it a kernel as large as its strides"
                if isinstance(layer, keras.layers.Conv2DTranspose)
                else f"put keras.layers.AveragePooling2D(1, strides={layer.strides}) before it, and leave out its "
                "strides, which is the same"
            )
            raise ConfigurationError(
                f"the layer {layer.name} is a convolution of 1 x 1 pixels with strides {layer.strides} and fewer than "
                f"{ENOUGH_CHANNELS} channels, whose gradient oneDNN writes past the end of its memory (its issue "
                f"6035): {instead}; or set TF_ENABLE_ONEDNN_OPTS=0"
            )
