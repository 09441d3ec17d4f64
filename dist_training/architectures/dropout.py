"""Dropout whose draws belong to samples, so that they do not depend on how a batch was spread over workers."""

from typing import Any

import keras
from keras import ops

from dist_training.architectures.initial import layer_seed
from dist_training.architectures.sample_draws import draw_numbers

__all__ = ["SampleDropout"]


@keras.saving.register_keras_serializable(package="dist_training")
class SampleDropout(keras.layers.Layer):
    """Dropout (Srivastava et al. 2014) drawn from (seed of the sample, name of the layer, place in its maps).

    A sample loses the same features on whichever worker and in whichever part of a batch it is computed, see
    `sample_draws.draw_numbers`.

    Args:
        rate: share of the features that are set to zero, in [0, 1); the others are divided by 1 - rate.
        spatial: drop whole channels (Tompson et al. 2015).

    >>> from dist_training.architectures.sample_draws import sample_seeds
    >>> with sample_seeds(ops.array([3, 4], "uint32")):
    ...     dropped = SampleDropout(0.5)(ops.ones((2, 8, 8, 1)), training=True)
    >>> bool(ops.any(dropped == 0)), bool(ops.any(dropped[0] != dropped[1]))
    (True, True)
    >>> float(ops.sum(SampleDropout(0.5)(ops.ones((1, 2, 2, 1)))))  # not training
    4.0
    """

    def __init__(self, rate: float, spatial: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate
        self.spatial = spatial
        self._salt = layer_seed(0, self.name)

    def call(self, maps: Any, training: bool = False) -> Any:
        """Drop features of maps (N, H, W, C), or of volumes, while training."""
        if not training or self.rate == 0:
            return maps
        count, *sizes, channels = ops.shape(maps)
        places = (*([1] * len(sizes) if self.spatial else sizes), channels)
        drawn = draw_numbers(count, places, self._salt)
        kept = ops.cast(drawn >= ops.cast(int(self.rate * 2**32), "uint32"), maps.dtype)
        return maps * kept * ops.cast(1 / (1 - self.rate), maps.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Give the shape of the maps, which stays."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Give what rebuilds this layer."""
        return {**super().get_config(), "rate": self.rate, "spatial": self.spatial}
