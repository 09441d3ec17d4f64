"""Linear interpolation of maps to a multiple of their size, in each precision and on each of Keras's backends."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

__all__ = ["LinearEnlargement"]


@keras.saving.register_keras_serializable(package="dist_training")
class LinearEnlargement(keras.layers.Layer):
    """Maps with each pixel made several along each axis, interpolated linearly between the pixels' centres.

    Of volumes it is trilinear. Beyond the centres of the outermost pixels their values go on.

    Args:
        strides: pixels that one becomes along each axis.

    >>> maps = ops.reshape(ops.array([0.0, 4.0]), (1, 2, 1, 1))
    >>> [float(value) for value in ops.ravel(LinearEnlargement((2, 1))(maps))]
    [0.0, 1.0, 3.0, 4.0]
    """

    def __init__(self, strides: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.strides = tuple(strides)

    def call(self, maps: Any) -> Any:
        """Enlarge maps (N, H, W, C) or (N, D, H, W, C)."""
        for axis, stride in enumerate(self.strides, start=1):
            if stride > 1:
                maps = _enlarged(maps, axis, stride)
        return maps

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Give the shape of what is enlarged; an unknown size stays unknown."""
        sizes = zip(input_shape[1:-1], self.strides, strict=True)
        return (input_shape[0], *(None if s is None else s * stride for s, stride in sizes), input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Give what rebuilds this layer."""
        return {**super().get_config(), "strides": self.strides}


def _enlarged(maps: Any, axis: int, stride: int) -> Any:
    """Place so many pixels evenly within each pixel of an axis, each between that one and its neighbour."""
    before = (slice(None),) * axis
    lower = ops.concatenate([maps[(*before, slice(0, 1))], maps[(*before, slice(None, -1))]], axis=axis)
    upper = ops.concatenate([maps[(*before, slice(1, None))], maps[(*before, slice(-1, None))]], axis=axis)
    offsets = [(place + 0.5) / stride - 0.5 for place in range(stride)]
    parts = [maps * (1 - abs(offset)) + (upper if offset > 0 else lower) * abs(offset) for offset in offsets]
    shape = ops.shape(maps)
    return ops.reshape(ops.stack(parts, axis=axis + 1), (*shape[:axis], shape[axis] * stride, *shape[axis + 1 :]))
