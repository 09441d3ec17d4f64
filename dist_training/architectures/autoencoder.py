"""A variational autoencoder beside a network of volumes, which keeps what the encoder finds true to the volume.

It draws the volume anew from 128 numbers that the end of the encoder gives (Myronenko 2018, arXiv 1810.11654, and, for
pancreata, Wang et al. 2020, arXiv 2009.13148). Only training has it. How its decoder is made is ours.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from dist_training.architectures.convolutions import Convolutions
from dist_training.architectures.enlargement import LinearEnlargement
from dist_training.architectures.initial import he_normal, keeping_variance, layer_seed
from dist_training.architectures.layer_stages import STAGES
from dist_training.architectures.padding import CropLike
from dist_training.architectures.sample_draws import draw_normal
from r2d2_base.errors import ConfigurationError

__all__ = ["with_autoencoder"]

FEATURES = 128
NARROW = 16
"""Channels of the maps that are flattened, as Myronenko has them."""

FEWEST = 8
"""Filters that no level of the decoder has less of, unless the encoder's end has."""


def with_autoencoder(
    model: keras.Model, size: Sequence[int], seed: int, *, kl_weight: float, l2_weight: float
) -> keras.Model:
    """Give a network a branch that draws its input again, and a further output: what that adds to a sample's loss.

    From the end of the encoder a 3x3x3 convolution of stride 2 gives 16 channels; two dense layers give the mean and
    the logarithm of the variance of 128 numbers, which are drawn while training and are the mean otherwise. A dense
    layer gives maps of that size again; then each level is a 1x1x1 convolution to half the filters, a trilinear
    enlargement by two and a residual block of two 3x3x3 convolutions, without a connection to the encoder, until the
    size of the volume is reached; a 1x1x1 convolution gives its channels. Group normalisation follows each convolution
    of the decoder but the last.

    The further output is, for each sample, ``kl_weight`` times the Kullback-Leibler divergence from the standard normal
    distribution, a mean over the numbers, plus ``l2_weight`` times the mean square of the differences of voxels.

    Args:
        model: a network of volumes; its layers and weights are shared, not copied.
        size: (depth, height, width) of what it is trained on, and of nothing else while it has the branch.
        seed: of the initial weights.
        kl_weight: of the divergence.
        l2_weight: of the squared differences.

    Returns:
        A Keras model with the outputs of the network and, last, (N,).

    Raises:
        ConfigurationError: no layer of the network is named as one of an encoder.

    >>> from dist_training.architectures import UNetSettings, build_network, prediction_network
    >>> network = build_network(UNetSettings(dimensions=3, depth=1, base_filters=2), 1, 3)
    >>> trained = with_autoencoder(network, (4, 8, 8), seed=0, kl_weight=0.2, l2_weight=0.3)
    >>> [output.shape[-1] for output in trained(ops.ones((2, 4, 8, 8, 1)))]
    [3, 2]
    >>> prediction_network(trained).count_params() == network.count_params()
    True
    """
    images, end = model.inputs[0], _encoder_end(model)
    convolve, precision = Convolutions("group", 8, seed), keras.config.dtype_policy().variable_dtype
    found = keras.Model(images, end).compute_output_shape((1, *size, images.shape[-1]))
    reduced = [math.ceil(pixels / 2) for pixels in found[1:-1]]

    flat = layers.Reshape((math.prod(reduced) * NARROW,), name="autoencoder_flat")(_reduced(end, convolve))
    mean = _dense("autoencoder_mean", FEATURES, seed, flat, dtype=precision)
    spread = layers.Dense(FEATURES, kernel_initializer="zeros", dtype=precision, name="autoencoder_log_variance")(flat)
    features = SampledFeatures(dtype=precision, name="autoencoder_features")([mean, spread])
    maps = _dense("autoencoder_maps", math.prod(reduced) * NARROW, seed, features, activation="relu")
    maps = layers.Reshape((*reduced, NARROW), name="autoencoder_grid")(maps)
    again = _drawn_again(maps, reduced, size, end.shape[-1], convolve)
    again = layers.Conv3D(
        images.shape[-1],
        1,
        kernel_initializer=keeping_variance(seed, "autoencoder_images", 1.0),
        dtype=precision,
        name="autoencoder_images",
    )(again)
    again = CropLike(dtype=precision, name="autoencoder_crop")([again, images])
    penalties = AutoencoderPenalty(kl_weight, l2_weight, dtype=precision, name="autoencoder_penalty")(
        [images, again, mean, spread]
    )
    return keras.Model(images, [*model.outputs, penalties], name=model.name)


def _encoder_end(model: keras.Model) -> Any:
    """Give the maps at the end of the encoder, by the names of its layers."""
    encoder = [layer for layer in model.layers if layer.name.startswith(STAGES["encoder"])]
    if not encoder:
        raise ConfigurationError(
            f"training.autoencoder begins at the end of the encoder, and no layer of {model.name} has a name that "
            "begins with encoder; name them so, or use training.autoencoder=false"
        )
    return encoder[-1].output


def _reduced(maps: Any, convolve: Convolutions) -> Any:
    """Halve maps, and make them few; where the border is wider does not matter, so the convolution pads by itself."""
    name = "autoencoder_reduce"
    maps = layers.Conv3D(
        NARROW, 3, strides=2, padding="same", kernel_initializer=he_normal(convolve.seed, name), name=name
    )(maps)
    return convolve.activate(maps, name)


def _dense(name: str, units: int, seed: int, inputs: Any, **options: Any) -> Any:
    return layers.Dense(units, kernel_initializer=keeping_variance(seed, name, 1.0), name=name, **options)(inputs)


def _drawn_again(maps: Any, grid: Sequence[int], size: Sequence[int], filters: int, convolve: Convolutions) -> Any:
    """Enlarge maps until they cover the volume."""
    doublings = [math.ceil(math.log2(wanted / pixels)) for pixels, wanted in zip(grid, size, strict=True)]
    maps = convolve(maps, "autoencoder_wide", filters, 1)
    for level in range(max(doublings)):
        name, filters = f"autoencoder_up{level}", max(filters // 2, min(filters, FEWEST))
        maps = convolve(maps, f"{name}_narrow", filters, 1)
        strides = [2 if level < count else 1 for count in doublings]
        maps = LinearEnlargement(strides, name=f"{name}_linear")(maps)
        more = convolve(convolve(maps, f"{name}_1", filters), f"{name}_2", filters, is_activated=False)
        maps = convolve.activate(layers.Add(name=f"{name}_add")([maps, more]), name)
    return maps


class SampledFeatures(layers.Layer):
    """Numbers drawn about their mean while training, from the seed of each sample; otherwise the mean."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._salts = layer_seed(0, self.name), layer_seed(1, self.name)

    def call(self, inputs: list[Any], training: bool = False) -> Any:
        """Draw (N, features) by their mean and the logarithm of their variance."""
        mean, log_variance = inputs
        if not training:
            return mean
        count, features = ops.shape(mean)
        noise = draw_normal(count, (features,), self._salts, self.compute_dtype)
        return mean + ops.exp(log_variance / 2) * noise

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Give the shape of the mean."""
        return input_shape[0]


class AutoencoderPenalty(layers.Layer):
    """What an autoencoder adds to the loss of each sample.

    Args:
        kl_weight: of the divergence from the standard normal distribution.
        l2_weight: of the squared differences of voxels.
    """

    def __init__(self, kl_weight: float, l2_weight: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kl_weight, self.l2_weight = kl_weight, l2_weight

    def call(self, inputs: list[Any]) -> Any:
        """Give (N,), of images, the images drawn again, and mean and logarithm of the variance of the features."""
        images, again, mean, log_variance = inputs
        squares = ops.mean(ops.square(again - images), axis=tuple(range(1, len(images.shape))))
        divergences = ops.square(mean) + ops.exp(log_variance) - log_variance - 1
        return self.kl_weight * ops.mean(divergences, axis=-1) / 2 + self.l2_weight * squares

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Give (N,)."""
        return input_shape[0][:1]
