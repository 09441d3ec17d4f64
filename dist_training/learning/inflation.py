"""A network of volumes that starts from one of slices: its settings, and its kernels.

Carreira and Zisserman (2017, arXiv 1705.07750) made networks of videos from those of pictures by repeating each kernel
along the new axis and dividing it by its length, so that a picture repeated gives what the picture gave. Here a kernel
lies in the middle of the new axis, in zeros, as Girdhar et al. (2018, arXiv 1712.09184) have it: the same holds, at the
ends too, where zeros are joined to a volume and repeated kernels would give less; and where no level strides along the
slices, each slice of any volume gives what it gave alone, but for normalisations over the volume. A kernel that meets a
slice with its neighbours as channels (2.5D) has one place along the new axis for each of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dist_training.architectures.settings import LeveledSettings, NetworkSettings, ResidualUNetSettings, UNetSettings
from r2d2_base.errors import ConfigurationError

__all__ = ["inflated_kernel", "inflated_settings", "inflated_weights"]

_Axes = tuple[tuple[int, ...], ...]


def inflated_settings(
    slices: NetworkSettings, asked: NetworkSettings, neighbours: int = 0
) -> UNetSettings | ResidualUNetSettings:
    """Give the settings of a network of volumes that takes the weights of one of slices.

    Along the slices its strides and kernels are those that are asked for, else those along the rows.

    Args:
        slices: settings of the network of slices.
        asked: settings of a network of volumes, of which the strides and kernels count.
        neighbours: slices on either side that the network of slices has as channels.

    Raises:
        ConfigurationError: the network of slices is of a kind that has no form for volumes, the strides or kernels that
            are asked for are others in the plane of the slices, or the first kernels do not reach the neighbours.

    >>> inflated = inflated_settings(UNetSettings(depth=1), UNetSettings(depth=1, dimensions=3, strides=[[1, 2, 2]]))
    >>> inflated.strides, inflated.doubling
    (((1, 2, 2),), 'late')
    """
    if not isinstance(slices, LeveledSettings):
        raise ConfigurationError(
            f"a network of volumes cannot start from one of the architecture {slices.architecture}, which is of slices "
            "only; start from a unet or a residual_unet"
        )
    strides, kernels = (asked.strides, asked.kernels) if isinstance(asked, LeveledSettings) else (None, None)
    update: dict[str, Any] = {
        "dimensions": 3,
        "strides": _with_third_axis("strides", slices.strides, slices.level_strides, strides),
        "kernels": _with_third_axis("kernels", slices.kernels, slices.level_kernels, kernels),
    }
    if isinstance(slices, UNetSettings):
        update["doubling"] = slices.doubling or "late"
    inflated = type(slices).model_validate({**slices.model_dump(), **update})
    if 2 * neighbours + 1 > inflated.level_kernels[0][0]:
        raise ConfigurationError(
            f"the network of slices to start from has {neighbours} neighbours on either side as channels, and the "
            f"first of network.kernels looks along {inflated.level_kernels[0][0]} slices; begin network.kernels with "
            f"{2 * neighbours + 1} along the slices, or start from a network with fewer"
        )
    return inflated


def _with_third_axis(name: str, given: _Axes | None, in_plane: _Axes, asked: _Axes | None) -> _Axes | None:
    """Give strides or kernels of volumes; None where all are the default."""
    if asked is None:
        return None if given is None else tuple((rows, rows, columns) for rows, columns in given)
    if tuple(one[1:] for one in asked) != in_plane:
        raise ConfigurationError(
            f"network.{name} must be those of the network of slices to start from along rows and columns, "
            f"{[list(one) for one in in_plane]}; received {[list(one) for one in asked]}"
        )
    return asked


def inflated_weights(layer: Any, source: Any) -> list[np.ndarray] | None:
    """Give a layer of volumes the weights of a layer of slices.

    Args:
        layer: of the network of volumes.
        source: the layer of the same name in the network of slices.

    Returns:
        Its weights in their order; None where the two are no convolutions of volumes and slices.
    """
    import keras

    pairs = (keras.layers.Conv3D, keras.layers.Conv2D), (keras.layers.Conv3DTranspose, keras.layers.Conv2DTranspose)
    if not any(type(layer) is volumes and type(source) is slices for volumes, slices in pairs):
        return None
    kernel, *bias = (keras.ops.convert_to_numpy(weight) for weight in source.weights)
    length, channels = layer.kernel_size[0], layer.kernel.shape[-2]
    if isinstance(layer, keras.layers.Conv3DTranspose):
        # as long as its stride, so that each output has one place of it
        return [np.repeat(kernel[np.newaxis], length, axis=0), *bias] if length == layer.strides[0] else None
    slices, others = divmod(kernel.shape[-2], channels)
    is_fitting = others == 0 and slices % 2 == 1 and slices <= length
    return [inflated_kernel(kernel, length, slices), *bias] if is_fitting else None


def inflated_kernel(kernel: np.ndarray, length: int, slices: int = 1) -> np.ndarray:
    """Give a kernel of slices a third axis, before the others, and lie it in the middle of that.

    Args:
        kernel: (height, width, channels, filters); the channels are those of each slice in turn.
        length: along the new axis.
        slices: that it meets as channels: an odd number, no more than the length.

    Returns:
        (length, height, width, channels / slices, filters).

    >>> inflated_kernel(np.ones((1, 1, 1, 1)), 3).ravel()
    array([0., 1., 0.])
    >>> inflated_kernel(np.arange(1.0, 4.0).reshape(1, 1, 3, 1), 5, slices=3).ravel()
    array([0., 1., 2., 3., 0.])
    """
    height, width, channels, filters = kernel.shape
    inflated = np.zeros((length, height, width, channels // slices, filters), kernel.dtype)
    first = (length - slices) // 2
    parts = kernel.reshape(height, width, slices, channels // slices, filters)
    inflated[first : first + slices] = np.moveaxis(parts, 2, 0)
    return inflated
