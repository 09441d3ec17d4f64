"""A network of your own: save this beside your r2d2.yaml and train it by name.

    r2d2 train --dataset work/liver network.architecture=own_network:build_network network.options.filters=24

R2D2 calls the function with the number of channels of an image and of outputs, and with the options. What it gives
must take images (N, H, W, input_channels) and give logits (N, H, W, num_outputs): no sigmoid or softmax at the end.
"""

import keras
from keras import layers

from dist_training.architectures.padding import CropLike, PadToMultiple


@keras.saving.register_keras_serializable(package="own_network")  # so that a saved model can be read again
class SqueezeAndExcite(layers.Layer):
    """Weigh each channel by what all of them hold (Hu et al. 2018, arXiv 1709.01507)."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the two dense layers, which halve the channels and bring them back."""
        channels = input_shape[-1]
        self.squeeze = layers.Dense(channels // 2, activation="relu", dtype=self.dtype_policy)
        self.excite = layers.Dense(channels, activation="sigmoid", dtype=self.dtype_policy)
        self.squeeze.build((None, channels))
        self.excite.build((None, channels // 2))

    def call(self, maps):
        """Weigh maps (N, H, W, C)."""
        weights = self.excite(self.squeeze(keras.ops.mean(maps, axis=(1, 2))))
        return maps * weights[:, None, None, :]


def build_network(input_channels: int, num_outputs: int, *, filters: int = 16) -> keras.Model:
    """Build a small encoder and decoder.

    Names that begin with encoder, decoder or head let a transfer freeze the network by stage. Images of any size come
    in: they are padded to a multiple of 4 pixels, and the logits cropped back. Under mixed precision the images and
    the logits keep the precision of the weights.
    """
    precision = keras.config.dtype_policy().variable_dtype
    images = keras.Input((None, None, input_channels), dtype=precision, name="images")
    maps = PadToMultiple(4, name="pad")(images)
    maps = layers.Conv2D(filters, 3, 2, padding="same", activation="relu", name="encoder_half")(maps)
    maps = layers.Conv2D(2 * filters, 3, 2, padding="same", activation="relu", name="encoder_quarter")(maps)
    maps = SqueezeAndExcite(name="encoder_weigh")(maps)
    maps = layers.Conv2DTranspose(filters, 4, 4, activation="relu", name="decoder_enlarge")(maps)
    logits = layers.Conv2D(num_outputs, 3, padding="same", dtype=precision, name="head_logits")(maps)
    return keras.Model(images, CropLike(dtype=precision, name="crop")([logits, images]), name="own_network")
