"""Bands of volumes by overlapping windows: the weighted mean of all windows, whatever is held meanwhile."""

import tracemalloc
from math import prod

import numpy as np
import pytest

from dist_training.inference.windows import Windows

Size = tuple[int, ...]


def answers(image: np.ndarray, size: Size, corners: list[Size]) -> np.ndarray:
    """Two numbers of each pixel of windows: its own, 9 beyond the image; and where in the window it lies."""
    wide = np.pad(image, [(length, length) for length in size], constant_values=9)
    parts = [
        wide[tuple(slice(at + length, at + 2 * length) for at, length in zip(corner, size, strict=True))]
        for corner in corners
    ]
    place = np.arange(np.prod(size), dtype=np.float32).reshape(size)
    return np.stack([np.stack([part, place], axis=-1) for part in parts]).astype(np.float32)


def whole_by_hand(image: np.ndarray, windows: Windows) -> np.ndarray:
    """The same in float64 over a whole array, window after window, that holds the image in its middle."""
    canvas = tuple(map(max, image.shape, windows.size))
    margins = [(wide - length) // 2 for wide, length in zip(canvas, image.shape, strict=True)]
    total, weights = np.zeros((*canvas, 2)), np.zeros((*canvas, 1))
    for corner in windows.corners(canvas):
        part = tuple(slice(at, at + length) for at, length in zip(corner, windows.size, strict=True))
        moved = tuple(at - margin for at, margin in zip(corner, margins, strict=True))
        total[part] += windows.weights[..., None].astype(np.float64) * answers(image, windows.size, [moved])[0]
        weights[part] += windows.weights[..., None]
    inside = tuple(slice(at, at + length) for at, length in zip(margins, image.shape, strict=True))
    return (total / weights)[inside]


@pytest.mark.parametrize(
    ("shape", "size", "overlap"),
    [
        ((9, 11, 7), (4, 4, 4), 0.5),
        ((17, 5, 6), (3, 5, 4), 0.0),
        ((12, 8, 8), (4, 8, 8), 0.75),
        ((3, 9, 2), (4, 4, 5), 0.5),  # smaller than a window along two axes
        ((2, 3, 4), (5, 6, 7), 0.5),
        ((10, 9), (4, 6), 0.5),
    ],
)
def test_bands_are_the_weighted_mean_of_all_windows(shape: Size, size: Size, overlap: float) -> None:
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    windows = Windows(size, overlap)
    found = []
    for at_a_time in (1, 3, 1000):
        bands = list(windows.bands(shape, lambda corners: answers(image, size, corners), 2, at_a_time))
        assert all(len(band) for band in bands) and bands[0].dtype == np.float32
        found.append(np.concatenate(bands))
    np.testing.assert_allclose(found[0], whole_by_hand(image, windows), rtol=1e-5, atol=1e-5)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


def test_a_band_is_ready_as_soon_as_no_further_window_reaches_it() -> None:
    asked: list[int] = []

    def said(corners: list[Size]) -> np.ndarray:
        asked.extend(first for first, *_ in corners)
        return np.zeros((len(corners), 4, 2, 2, 1), np.float32)

    lengths = []
    for band in Windows((4, 2, 2), overlap=0.5).bands((12, 4, 2), said, 1, at_a_time=1):
        lengths.append(len(band))
        assert max(asked) <= sum(lengths)  # the next depth at most
    assert lengths == [2, 2, 2, 2, 4]
    assert asked == sorted(asked) and len(asked) == 5 * 3


def test_no_more_than_a_band_is_held() -> None:
    """Of 400 slices by windows of 8: less than a sixth of what the whole takes."""
    shape, windows, outputs = (400, 24, 24), Windows((8, 12, 12), overlap=0.5), 5

    def said(corners: list[Size]) -> np.ndarray:
        return np.ones((len(corners), 8, 12, 12, outputs), np.float32)

    tracemalloc.start()
    held = sum(float(band.sum()) for band in windows.bands(shape, said, outputs, at_a_time=2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held == pytest.approx(prod(shape) * outputs)
    assert peak < prod(shape) * outputs * 4 / 6


def test_a_network_that_sees_a_pixel_alone_gives_the_same_by_windows_and_whole() -> None:
    image = np.random.default_rng(1).normal(size=(13, 10, 11)).astype(np.float32)
    size = (4, 6, 5)

    def said(corners: list[Size]) -> np.ndarray:
        return np.tanh(answers(image, size, corners)[..., :1])

    whole = np.concatenate(list(Windows(size).bands(image.shape, said, 1, at_a_time=4)))[..., 0]
    np.testing.assert_allclose(whole, np.tanh(image), rtol=0, atol=1e-6)
