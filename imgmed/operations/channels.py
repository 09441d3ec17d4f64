"""Choosing channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from imgmed.errors import InvalidVolumeError
from imgmed.volume import Volume

__all__ = ["select_channels"]


def select_channels(volume: Volume, indices: Sequence[int]) -> Volume:
    """Return a volume (i, j, k, len(indices)) of some channels, in the order asked for.

    Args:
        volume: (i, j, k, channels), or (i, j, k) with the one channel 0; it is not changed.
        indices: 0-based channels, at least one.

    Raises:
        InvalidVolumeError: a channel that the volume does not have.

    >>> four = Volume(np.arange(4.0).reshape(1, 1, 1, 4), np.eye(4))
    >>> select_channels(four, [2, 0]).array.ravel().tolist()
    [2.0, 0.0]
    """
    missing = [index for index in indices if not 0 <= index < volume.channels]
    if missing or not indices:
        raise InvalidVolumeError(
            f"{volume.origin}: channels {list(indices)} are asked for; the volume has {volume.channels},"
            f" numbered from 0 to {volume.channels - 1}"
        )
    array = volume.array if volume.array.ndim == 4 else volume.array[..., np.newaxis]
    first, last = indices[0], indices[-1]
    adjacent = list(indices) == list(range(first, last + 1))
    return replace(volume, array=array[..., first : last + 1] if adjacent else array[..., list(indices)])
