"""Images and volumes of any size in networks that halve them several times: pad on the way in, crop on the way out."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

__all__ = ["CropLike", "PadToMultiple", "ZeroBorder"]


@keras.saving.register_keras_serializable(package="dist_training")
class PadToMultiple(keras.layers.Layer):
    """Pad images or volumes with zeros until each of their axes is a multiple of a number of pixels.

    The zeros are shared between both sides; where their number is odd, the lower or right side gets one more.
    An image whose size is a multiple passes unchanged.

    Args:
        multiple: of how many pixels each axis must be a multiple, at least 1; a number for all axes, or one for each.

    >>> PadToMultiple(16)(ops.ones((1, 37, 48, 2))).shape[1:3] == (48, 48)
    True
    >>> PadToMultiple((1, 4, 8))(ops.ones((1, 5, 5, 5, 2))).shape[1:4] == (5, 8, 8)
    True
    """

    def __init__(self, multiple: int | Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.multiple = multiple if isinstance(multiple, int) else tuple(multiple)

    def _multiples(self, axes: int) -> tuple[int, ...]:
        return (self.multiple,) * axes if isinstance(self.multiple, int) else self.multiple

    def call(self, images: Any) -> Any:
        """Pad images (N, H, W, C) or volumes (N, D, H, W, C)."""
        sizes = ops.shape(images)[1:-1]
        # Of numbers that are never negative: the division of ONNX rounds towards zero.
        multiples = self._multiples(len(sizes))
        missing = [(multiple - size % multiple) % multiple for size, multiple in zip(sizes, multiples, strict=True)]
        if all(isinstance(pixels, int) and pixels == 0 for pixels in missing):
            return images
        widths = [(pixels // 2, pixels - pixels // 2) for pixels in missing]
        return _with_zeros(images, widths) if len(sizes) == 3 else ops.pad(images, [(0, 0), *widths, (0, 0)])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Give the padded shape; an unknown size stays unknown."""
        sizes = input_shape[1:-1]
        multiples = self._multiples(len(sizes))
        padded = (s if s is None else s + -s % multiple for s, multiple in zip(sizes, multiples, strict=True))
        return (input_shape[0], *padded, input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Give what rebuilds this layer."""
        return {**super().get_config(), "multiple": self.multiple}


def _with_zeros(volumes: Any, widths: Sequence[tuple[Any, Any]]) -> Any:
    """Join zeros to volumes (N, D, H, W, C).

    Where TensorFlow 2.18 knows the size and uses oneDNN, its graph optimiser (the "remapper") makes one operation of
    a padding and a convolution of volumes that follows, and forgets that the convolution pads too. Where this pads
    nothing and has strides, it gives up, with an error in the log, and leaves all else as it is.
    """
    for axis, around in enumerate(widths, start=1):
        if all(isinstance(width, int) and width == 0 for width in around):
            continue
        shape = ops.shape(volumes)
        low, high = (ops.zeros((*shape[:axis], width, *shape[axis + 1 :]), volumes.dtype) for width in around)
        volumes = ops.concatenate([low, volumes, high], axis=axis)
    return volumes


@keras.saving.register_keras_serializable(package="dist_training")
class ZeroBorder(keras.layers.Layer):
    """Join zeros around volumes, as ``keras.layers.ZeroPadding3D`` pads them, without an operation that pads.

    Args:
        widths: voxels on either side along each axis.

    >>> ZeroBorder((0, 1, 2))(ops.ones((1, 5, 5, 5, 2))).shape[1:4] == (5, 7, 9)
    True
    """

    def __init__(self, widths: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.widths = tuple(widths)

    def call(self, volumes: Any) -> Any:
        """Pad volumes (N, D, H, W, C)."""
        return _with_zeros(volumes, [(width, width) for width in self.widths])

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Give the padded shape; an unknown size stays unknown."""
        sizes = zip(input_shape[1:-1], self.widths, strict=True)
        return (input_shape[0], *(None if s is None else s + 2 * width for s, width in sizes), input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Give what rebuilds this layer."""
        return {**super().get_config(), "widths": self.widths}


@keras.saving.register_keras_serializable(package="dist_training")
class CropLike(keras.layers.Layer):
    """Undo ``PadToMultiple``: cut the centre out of maps, of the size of a reference.

    >>> CropLike()([ops.ones((1, 48, 48, 2)), ops.ones((1, 37, 48, 1))]).shape[1:] == (37, 48, 2)
    True
    """

    def call(self, inputs: list[Any]) -> Any:
        """Crop maps (N, H', W', K) to the size of a reference (N, H, W, C), or of volumes; both come as a list."""
        maps, reference = inputs
        pairs = list(zip(ops.shape(maps)[1:-1], ops.shape(reference)[1:-1], strict=True))
        if all(isinstance(padded, int) and padded == wanted for padded, wanted in pairs):
            return maps
        starts = [(padded - wanted) // 2 for padded, wanted in pairs]
        parts = [slice(start, start + wanted) for start, (_, wanted) in zip(starts, pairs, strict=True)]
        return maps[(slice(None), *parts, slice(None))]

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Give the size of the reference with the channels of the maps."""
        maps, reference = input_shape
        return (maps[0], *reference[1:-1], maps[-1])
