"""The layers of both networks in plain NumPy, in float64: an independent implementation to compare with."""

import numpy as np

__all__ = [
    "convolution",
    "crop",
    "group_normalisation",
    "linear_enlargement",
    "maximum_pooling",
    "pad_to_multiple",
    "relu",
    "transposed_convolution",
    "weights_by_layer",
]


def weights_by_layer(model) -> dict[str, list[np.ndarray]]:
    """Weights of a Keras model in float64, by the name of the layer."""
    return {
        layer.name: [np.asarray(w, np.float64) for w in layer.get_weights()] for layer in model.layers if layer.weights
    }


def convolution(maps: np.ndarray, kernel: np.ndarray, bias: np.ndarray | float = 0.0) -> np.ndarray:
    """Cross-correlation of (N, ..., C) with (..., C, K), odd sizes, zeros around: the maps keep their size."""
    extent, sizes = kernel.shape[:-2], maps.shape[1:-1]
    padded = np.pad(maps, ((0, 0), *((pixels // 2, pixels // 2) for pixels in extent), (0, 0)))
    result = np.zeros((*maps.shape[:-1], kernel.shape[-1]))
    for place in np.ndindex(extent):
        window = tuple(slice(start, start + size) for start, size in zip(place, sizes, strict=True))
        result += padded[(slice(None), *window)] @ kernel[place]
    return result + bias


def transposed_convolution(
    maps: np.ndarray, kernel: np.ndarray, stride: int, bias: np.ndarray | float = 0.0
) -> np.ndarray:
    """Each pixel stamps its kernel (..., K, C) every `stride` pixels; what juts out is cut off evenly."""
    extent, sizes = kernel.shape[:-2], maps.shape[1:-1]
    wide = [(size - 1) * stride + pixels for size, pixels in zip(sizes, extent, strict=True)]
    stamped = np.zeros((len(maps), *wide, kernel.shape[-2]))
    for place in np.ndindex(sizes):
        window = tuple(slice(at * stride, at * stride + pixels) for at, pixels in zip(place, extent, strict=True))
        stamped[(slice(None), *window)] += np.einsum("nc,...kc->n...k", maps[(slice(None), *place)], kernel)
    kept = (
        slice((pixels - stride) // 2, (pixels - stride) // 2 + size * stride)
        for size, pixels in zip(sizes, extent, strict=True)
    )
    return stamped[(slice(None), *kept)] + bias


def group_normalisation(maps: np.ndarray, gamma: np.ndarray, beta: np.ndarray, groups: int) -> np.ndarray:
    """Wu and He (2018), equations 1 to 6, epsilon 1e-5."""
    grouped = maps.reshape(*maps.shape[:-1], groups, maps.shape[-1] // groups)
    axes = (*range(1, maps.ndim - 1), maps.ndim)
    mean = grouped.mean(axis=axes, keepdims=True)
    deviation = np.sqrt(grouped.var(axis=axes, keepdims=True) + 1e-5)
    return ((grouped - mean) / deviation).reshape(maps.shape) * gamma + beta


def maximum_pooling(maps: np.ndarray) -> np.ndarray:
    """Largest of every two pixels along each axis."""
    for axis in range(1, maps.ndim - 1):
        maps = np.maximum(*np.moveaxis(maps.reshape(*maps.shape[:axis], -1, 2, *maps.shape[axis + 1 :]), axis + 1, 0))
    return maps


def linear_enlargement(maps: np.ndarray) -> np.ndarray:
    """Twice as many pixels along each axis, by NumPy's interpolation between the pixels' centres."""
    for axis in range(1, maps.ndim - 1):
        centres = np.arange(maps.shape[axis]) + 0.5
        places = (np.arange(2 * maps.shape[axis]) + 0.5) / 2
        maps = np.apply_along_axis(lambda line, at=places, of=centres: np.interp(at, of, line), axis, maps)
    return maps


def relu(maps: np.ndarray) -> np.ndarray:
    """Negative values become 0."""
    return np.maximum(maps, 0.0)


def pad_to_multiple(maps: np.ndarray, multiple: int) -> np.ndarray:
    """Zeros around (N, ..., C) until each size is a multiple; an odd one goes below or to the right."""
    missing = [-size % multiple for size in maps.shape[1:-1]]
    return np.pad(maps, ((0, 0), *((number // 2, number - number // 2) for number in missing), (0, 0)))


def crop(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Undo `pad_to_multiple`."""
    starts = [(padded - wanted) // 2 for padded, wanted in zip(maps.shape[1:-1], size, strict=True)]
    return maps[(slice(None), *(slice(start, start + wanted) for start, wanted in zip(starts, size, strict=True)))]
