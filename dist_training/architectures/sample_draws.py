"""What a network draws for a sample: from that sample's seed, so that it does not depend on how a batch was spread."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras
from keras import ops

__all__ = ["draw_normal", "draw_numbers", "sample_seeds"]

_SEEDS: ContextVar[Any] = ContextVar("sample_seeds", default=None)


@contextmanager
def sample_seeds(seeds: Any) -> Iterator[None]:
    """Give the layers of a network that is called within their samples' seeds.

    Args:
        seeds: uint32 (n,), a number for each sample of the batch and step; a tensor of a function being traced, too.

    >>> with sample_seeds(ops.array([3, 4], "uint32")):
    ...     drawn = draw_numbers(2, (4,), salt=0)
    >>> bool(ops.any(drawn[0] != drawn[1]))
    True
    """
    token = _SEEDS.set(seeds)
    try:
        yield
    finally:
        _SEEDS.reset(token)


def draw_numbers(count: Any, places: tuple[Any, ...], salt: int) -> Any:
    """Draw numbers for each sample from (seed of the sample, salt, place).

    A draw is a hash of the three (the finaliser "lowbias32" of C. Wellons, a bijection of 32 bits, applied to each in
    turn), a few operations a number. Outside `sample_seeds` the seeds are drawn from Keras's global generator.

    Args:
        count: of samples.
        places: shape of what is drawn for each.
        salt: of the layer, 0 to 2**31 - 1.

    Returns:
        uint32 (count, *places), each number as likely as the others.
    """
    seeds = _SEEDS.get()
    if seeds is None:
        seeds = ops.cast(keras.random.randint((count,), 0, 2**31 - 1), "uint32")
    drawn = _hash(ops.bitwise_xor(seeds, ops.cast(salt, "uint32")))[:, None] + _counted(places)
    return ops.reshape(_hash(drawn), (-1, *places))


def draw_normal(count: Any, places: tuple[Any, ...], salts: tuple[int, int], dtype: str) -> Any:
    """Draw numbers of the standard normal distribution for each sample (Box and Muller 1958).

    Args:
        count: of samples.
        places: shape of what is drawn for each.
        salts: of the layer, two of them.
        dtype: float32 or float64.

    Returns:
        (count, *places).
    """
    radius, angle = ((ops.cast(draw_numbers(count, places, salt), dtype) + 0.5) * 2.0**-32 for salt in salts)
    return ops.sqrt(-2 * ops.log(radius)) * ops.cos(2 * math.pi * angle)


def _counted(shape: tuple[Any, ...]) -> Any:
    """Number the places of a map, far apart: (1, places) of uint32."""
    return ops.cast(ops.arange(math.prod(shape)), "uint32")[None] * ops.cast(0x9E3779B9, "uint32")


def _hash(values: Any) -> Any:
    """Mix the bits of uint32."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        values = ops.bitwise_xor(values, ops.right_shift(values, ops.cast(shift, "uint32")))
        values = values * ops.cast(factor, "uint32")
    return ops.bitwise_xor(values, ops.right_shift(values, ops.cast(16, "uint32")))
