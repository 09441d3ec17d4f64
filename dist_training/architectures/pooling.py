"""Pooling of slices and volumes; TensorFlow 2.18 pools no volumes of doubles or halves on a CPU, so we do."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

__all__ = ["VolumePooling", "pool"]

PoolingKind = Literal["average", "maximum"]


def pool(maps: Any, kind: PoolingKind, strides: Sequence[int], name: str) -> Any:
    """Take the largest, or the mean, of every block of pixels.

    Args:
        maps: (N, H, W, C) or (N, D, H, W, C), multiples of the strides.
        kind: ``average`` or ``maximum``.
        strides: pixels of a block along each axis.
        name: of the layer.
    """
    if len(strides) == 3:
        return VolumePooling(kind, strides, name=name)(maps)
    layer = keras.layers.MaxPooling2D if kind == "maximum" else keras.layers.AveragePooling2D
    return layer(tuple(strides), name=name)(maps)


@keras.saving.register_keras_serializable(package="dist_training")
class VolumePooling(keras.layers.Layer):
    """The largest value, or the mean, of every block of voxels, in each precision.

    Args:
        kind: ``average`` or ``maximum``.
        strides: voxels of a block along each axis; what is left over at the ends is dropped.

    >>> maps = ops.reshape(ops.arange(8.0), (1, 2, 2, 2, 1))
    >>> [float(value) for value in ops.ravel(VolumePooling("average", (1, 2, 2))(maps))]
    [1.5, 5.5]
    """

    def __init__(self, kind: PoolingKind, strides: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kind, self.strides = kind, tuple(strides)

    def call(self, maps: Any) -> Any:
        """Pool maps (N, D, H, W, C)."""
        if keras.backend.standardize_dtype(maps.dtype) in ("float32", "bfloat16"):
            return (ops.max_pool if self.kind == "maximum" else ops.average_pool)(maps, self.strides, self.strides)
        for axis, stride in enumerate(self.strides, start=1):
            if stride > 1:
                shape = ops.shape(maps)
                count = shape[axis] // stride
                maps = maps[(*[slice(None)] * axis, slice(count * stride))]
                blocks = ops.reshape(maps, (*shape[:axis], count, stride, *shape[axis + 1 :]))
                maps = (ops.max if self.kind == "maximum" else ops.mean)(blocks, axis=axis + 1)
        return maps

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Give the shape of what is pooled; an unknown size stays unknown."""
        sizes = zip(input_shape[1:-1], self.strides, strict=True)
        return (input_shape[0], *(None if s is None else s // stride for s, stride in sizes), input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Give what rebuilds this layer."""
        return {**super().get_config(), "kind": self.kind, "strides": self.strides}
