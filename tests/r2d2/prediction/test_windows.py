"""Overlapping windows: where they lie, what they weigh, and that what they say is blended as told."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from r2d2.prediction.windows import Windows


@pytest.mark.parametrize(("length", "window", "overlap"), [(7, 4, 0.5), (64, 16, 0.25), (65, 16, 0.9), (5, 5, 0.5)])
def test_windows_reach_from_end_to_end_and_overlap_enough(length: int, window: int, overlap: float) -> None:
    starts = [row for row, _ in Windows((window, 3), overlap).corners((length, 3))]
    assert starts[0] == 0 and starts[-1] == length - window
    assert max(np.diff(starts), default=0) <= max(1, np.ceil(window * (1 - overlap)))


def test_weights_are_the_gaussian_of_nnunet() -> None:
    """Isensee et al. 2021 filter a single 1 in the middle, with an eighth of the window as standard deviation."""
    middle = np.zeros((17, 33))
    middle[8, 16] = 1
    expected = gaussian_filter(middle, [17 / 8, 33 / 8], mode="constant", cval=0, truncate=20)
    np.testing.assert_allclose(Windows((17, 33)).weights, np.maximum(expected / expected.max(), 1e-4), atol=2e-4)


def test_what_windows_say_is_weighted_by_hand() -> None:
    """A network that says where in its window a pixel lies."""
    windows, rng = Windows((4, 6), overlap=0.5), np.random.default_rng(0)
    inputs = rng.normal(size=(3, 9, 11, 2)).astype(np.float32)
    place = np.arange(24, dtype=np.float32).reshape(4, 6, 1)
    calls: list[int] = []

    def network(batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        return batch.sum(axis=-1, keepdims=True) * [1.0, -2.0] + place

    blended = np.stack(list(windows.blend(inputs, network, outputs=2, at_a_time=5)))
    total, weights = np.zeros((3, 9, 11, 2)), np.zeros((9, 11, 1))
    for row, column in windows.corners((9, 11)):
        part = (slice(row, row + 4), slice(column, column + 6))
        said = inputs[:, *part].sum(axis=-1, keepdims=True) * [1.0, -2.0] + place
        total[:, *part] += said * windows.weights[..., np.newaxis]
        weights[part] += windows.weights[..., np.newaxis]
    np.testing.assert_allclose(blended, total / weights, rtol=1e-5, atol=1e-5)
    assert max(calls) == 5 and blended.dtype == np.float32
