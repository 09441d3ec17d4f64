"""Dropout whose draws belong to samples, so that they do not depend on how a batch was spread over workers."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras
from keras import ops

from dist_training.architectures.initial import layer_seed

__all__ = ["SampleDropout", "sample_seeds"]

_SEEDS: ContextVar[Any] = ContextVar("sample_seeds", default=None)


@contextmanager
def sample_seeds(seeds: Any) -> Iterator[None]:
    """Give the layers of a network that is called within their samples' seeds.

    Args:
        seeds: uint32 (n,), a number for each sample of the batch and step; a tensor of a function being traced, too.

    >>> with sample_seeds(ops.array([3, 4], "uint32")):
    ...     dropped = SampleDropout(0.5)(ops.ones((2, 8, 8, 1)), training=True)
    >>> bool(ops.any(dropped == 0)), bool(ops.any(dropped[0] != dropped[1]))
    (True, True)
    """
    token = _SEEDS.set(seeds)
    try:
        yield
    finally:
        _SEEDS.reset(token)


@keras.saving.register_keras_serializable(package="dist_training")
class SampleDropout(keras.layers.Layer):
    """Dropout (Srivastava et al. 2014) drawn from (seed of the sample, name of the layer, place in its maps).

    A sample loses the same features on whichever worker and in whichever part of a batch it is computed. The draw is a
    hash of the three (the finaliser "lowbias32" of C. Wellons, a bijection of 32 bits, applied to each in turn), a few
    operations an element. Outside `sample_seeds` the seeds are drawn from Keras's global generator.

    Args:
        rate: share of the features that are set to zero, in [0, 1); the others are divided by 1 - rate.
        spatial: drop whole channels (Tompson et al. 2015).

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
        seeds = _SEEDS.get()
        count, *sizes, channels = ops.shape(maps)
        if seeds is None:
            seeds = ops.cast(keras.random.randint((count,), 0, 2**31 - 1), "uint32")
        places = (*([1] * len(sizes) if self.spatial else sizes), channels)
        drawn = _hash(ops.bitwise_xor(seeds, ops.cast(self._salt, "uint32")))[:, None] + _counted(places)
        drawn = ops.reshape(_hash(drawn), (-1, *places))
        kept = ops.cast(drawn >= ops.cast(int(self.rate * 2**32), "uint32"), maps.dtype)
        return maps * kept * ops.cast(1 / (1 - self.rate), maps.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Give the shape of the maps, which stays."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Give what rebuilds this layer."""
        return {**super().get_config(), "rate": self.rate, "spatial": self.spatial}


def _counted(shape: tuple[Any, ...]) -> Any:
    """Number the places of a map, far apart: (1, places) of uint32."""
    return ops.cast(ops.arange(math.prod(shape)), "uint32")[None] * ops.cast(0x9E3779B9, "uint32")


def _hash(values: Any) -> Any:
    """Mix the bits of uint32."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        values = ops.bitwise_xor(values, ops.right_shift(values, ops.cast(shift, "uint32")))
        values = values * ops.cast(factor, "uint32")
    return ops.bitwise_xor(values, ops.right_shift(values, ops.cast(16, "uint32")))
