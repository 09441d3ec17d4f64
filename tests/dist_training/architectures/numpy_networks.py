"""The layers of both networks in plain NumPy, in float64: an independent implementation to compare with."""

import numpy as np

__all__ = [
    "convolution",
    "crop",
    "group_normalisation",
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
    """Cross-correlation of (N, H, W, C) with (h, w, C, K), odd sizes, zeros around: the maps keep their size."""
    height, width = kernel.shape[:2]
    rows, columns = maps.shape[1:3]
    top, left = height // 2, width // 2
    padded = np.pad(maps, ((0, 0), (top, top), (left, left), (0, 0)))
    result = np.zeros((*maps.shape[:3], kernel.shape[3]))
    for i in range(height):
        for j in range(width):
            result += padded[:, i : i + rows, j : j + columns] @ kernel[i, j]
    return result + bias


def transposed_convolution(
    maps: np.ndarray, kernel: np.ndarray, stride: int, bias: np.ndarray | float = 0.0
) -> np.ndarray:
    """Each pixel stamps its kernel (h, w, K, C) every `stride` pixels; what juts out is cut off evenly."""
    samples, rows, columns, _ = maps.shape
    height, width, outputs, _ = kernel.shape
    stamped = np.zeros((samples, (rows - 1) * stride + height, (columns - 1) * stride + width, outputs))
    for i in range(rows):
        for j in range(columns):
            part = np.einsum("nc,hwkc->nhwk", maps[:, i, j], kernel)
            stamped[:, i * stride : i * stride + height, j * stride : j * stride + width] += part
    top, left = (height - stride) // 2, (width - stride) // 2
    return stamped[:, top : top + rows * stride, left : left + columns * stride] + bias


def group_normalisation(maps: np.ndarray, gamma: np.ndarray, beta: np.ndarray, groups: int) -> np.ndarray:
    """Wu and He (2018), equations 1 to 6, epsilon 1e-5."""
    samples, rows, columns, channels = maps.shape
    grouped = maps.reshape(samples, rows, columns, groups, channels // groups)
    mean = grouped.mean(axis=(1, 2, 4), keepdims=True)
    deviation = np.sqrt(grouped.var(axis=(1, 2, 4), keepdims=True) + 1e-5)
    return ((grouped - mean) / deviation).reshape(maps.shape) * gamma + beta


def maximum_pooling(maps: np.ndarray) -> np.ndarray:
    """Largest of every two by two pixels."""
    samples, rows, columns, channels = maps.shape
    return maps.reshape(samples, rows // 2, 2, columns // 2, 2, channels).max(axis=(2, 4))


def relu(maps: np.ndarray) -> np.ndarray:
    """Negative values become 0."""
    return np.maximum(maps, 0.0)


def pad_to_multiple(maps: np.ndarray, multiple: int) -> np.ndarray:
    """Zeros around (N, H, W, C) until height and width are multiples; an odd one goes below or to the right."""
    missing = [-size % multiple for size in maps.shape[1:3]]
    return np.pad(maps, ((0, 0), *((number // 2, number - number // 2) for number in missing), (0, 0)))


def crop(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Undo `pad_to_multiple`."""
    top, left = ((padded - wanted) // 2 for padded, wanted in zip(maps.shape[1:3], size, strict=True))
    return maps[:, top : top + size[0], left : left + size[1]]
