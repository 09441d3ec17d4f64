"""From slices to a network's input, against NumPy by hand."""

import numpy as np
import pytest

from imgmed import Normalisation
from imgmed.network_input import NetworkInput
from imgmed.slices import centred_window


def by_hand(stack: np.ndarray, kind: str, index: int, neighbours: int, canvas: tuple[int, int]) -> np.ndarray:
    """Each channel normalised over the scan; the slices around, the last one repeated; the middle of zeros."""
    channels = []
    for around in range(index - neighbours, index + neighbours + 1):
        for channel in np.moveaxis(stack.astype(np.float64), -1, 0):
            values = channel[channel != 0] if kind == "zscore_nonzero" else channel
            result = (channel - values.mean()) / values.std()
            if kind == "zscore_nonzero":
                result[channel == 0] = 0
            channels.append(result[min(max(around, 0), len(stack) - 1)])
    before = [(whole - part) // 2 for whole, part in zip(canvas, stack.shape[1:3], strict=True)]
    after = [whole - part - b for whole, part, b in zip(canvas, stack.shape[1:3], before, strict=True)]
    return np.stack([np.pad(image, list(zip(before, after, strict=True))) for image in channels], axis=-1)


@pytest.mark.parametrize("kind", ["zscore_case", "zscore_nonzero"])
@pytest.mark.parametrize("neighbours", [0, 2])
def test_slices_are_normalised_joined_by_their_neighbours_and_centred(kind: str, neighbours: int) -> None:
    rng = np.random.default_rng(0)
    stack = rng.gamma(2, 50, (4, 5, 6, 2)).astype(np.float32) * (rng.random((4, 5, 6, 2)) > 0.2)
    rule = NetworkInput(Normalisation(kind=kind), neighbours, slice_size=(8, 3))
    canvas = rule.canvas_of([stack.shape[1:3], (7, 9)])
    assert canvas == (8, 9)
    inputs = rule.centred(stack, np.array([3, 0, 1]), rule.normalisation.statistics(stack), canvas)
    assert inputs.dtype == np.float32 and inputs.shape == (3, 8, 9, 2 * (2 * neighbours + 1))
    for found, index in zip(inputs, (3, 0, 1), strict=True):
        np.testing.assert_allclose(found, by_hand(stack, kind, index, neighbours, canvas), atol=1e-5)
    window = centred_window(stack.shape[1:3], canvas)
    assert window == (slice(1, 6), slice(1, 7))
