"""Images of any height and width in networks that halve them several times: pad on the way in, crop on the way out."""

from typing import Any

import keras
from keras import ops

__all__ = ["CropLike", "PadToMultiple"]


@keras.saving.register_keras_serializable(package="dist_training")
class PadToMultiple(keras.layers.Layer):
    """Pad images with zeros until height and width are multiples of a number of pixels.

    The zeros are shared between both sides; where their number is odd, the lower or right side gets one more.
    An image whose size is a multiple passes unchanged.

    Args:
        multiple: of how many pixels height and width must be a multiple, at least 1.

    >>> PadToMultiple(16)(ops.ones((1, 37, 48, 2))).shape[1:3] == (48, 48)
    True
    """

    def __init__(self, multiple: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.multiple = multiple

    def call(self, images: Any) -> Any:
        """Pad images (N, H, W, C)."""
        shape = ops.shape(images)
        # Of numbers that are never negative: the division of ONNX rounds towards zero.
        missing = [(self.multiple - shape[axis] % self.multiple) % self.multiple for axis in (1, 2)]
        if all(isinstance(pixels, int) and pixels == 0 for pixels in missing):
            return images
        before = [pixels // 2 for pixels in missing]
        return ops.pad(
            images,
            [[0, 0], *([low, pixels - low] for low, pixels in zip(before, missing, strict=True)), [0, 0]],
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Give the padded shape; an unknown height or width stays unknown."""
        padded = [size if size is None else size + -size % self.multiple for size in input_shape[1:3]]
        return (input_shape[0], *padded, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        """Give what rebuilds this layer."""
        return {**super().get_config(), "multiple": self.multiple}


@keras.saving.register_keras_serializable(package="dist_training")
class CropLike(keras.layers.Layer):
    """Undo ``PadToMultiple``: cut the centre out of maps, of the height and width of a reference.

    >>> CropLike()([ops.ones((1, 48, 48, 2)), ops.ones((1, 37, 48, 1))]).shape[1:] == (37, 48, 2)
    True
    """

    def call(self, inputs: list[Any]) -> Any:
        """Crop maps (N, H', W', K) to the size of a reference (N, H, W, C); both come as a list."""
        maps, reference = inputs
        padded, wanted = ops.shape(maps), ops.shape(reference)
        if all(isinstance(padded[axis], int) and padded[axis] == wanted[axis] for axis in (1, 2)):
            return maps
        top, left = ((padded[axis] - wanted[axis]) // 2 for axis in (1, 2))
        return maps[:, top : top + wanted[1], left : left + wanted[2], :]

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Give the height and width of the reference with the channels of the maps."""
        maps, reference = input_shape
        return (maps[0], reference[1], reference[2], maps[3])
