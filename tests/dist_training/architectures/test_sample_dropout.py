"""Dropout by sample: the share that is dropped, and what a draw depends on."""

import keras
import numpy as np
import pytest
from keras import ops

from dist_training.architectures.dropout import SampleDropout
from dist_training.architectures.sample_draws import sample_seeds

RATE, SAMPLES = 0.3, 24


def kept(layer: SampleDropout, seeds: np.ndarray, shape: tuple[int, int, int] = (16, 16, 32)) -> np.ndarray:
    with sample_seeds(ops.convert_to_tensor(seeds.astype(np.uint32))):
        return np.asarray(layer(ops.ones((len(seeds), *shape)), training=True)) != 0


def test_the_share_that_is_dropped_is_the_rate() -> None:
    """197,000 independent draws: the share lies within five standard errors, in every sample and channel too."""
    drawn = kept(SampleDropout(RATE, name="a"), np.arange(SAMPLES))
    for axes in ((0, 1, 2, 3), (1, 2, 3), (0, 1, 2), (0, 3)):
        shares = drawn.mean(axis=axes)
        draws = drawn.size / max(1, np.size(shares))
        assert np.abs(shares - (1 - RATE)).max() < 5 * np.sqrt(RATE * (1 - RATE) / draws)


def test_neighbours_samples_and_layers_are_independent() -> None:
    """Correlations of 8192 draws stay within five standard errors (0.055)."""
    one = kept(SampleDropout(RATE, name="a"), np.arange(SAMPLES)).reshape(SAMPLES, -1).astype(float)
    other = kept(SampleDropout(RATE, name="b"), np.arange(SAMPLES)).reshape(SAMPLES, -1).astype(float)
    between = np.corrcoef(one) - np.eye(SAMPLES)
    layers = [np.corrcoef(a, b)[0, 1] for a, b in zip(one, other, strict=True)]
    neighbours = [np.corrcoef(row[:-step], row[step:])[0, 1] for row in one for step in (1, 32, 512)]
    assert max(np.abs(between).max(), np.abs(layers).max(), np.abs(neighbours).max()) < 5 / np.sqrt(one.shape[1])


def test_a_draw_belongs_to_the_sample() -> None:
    layer, seeds = SampleDropout(RATE, name="a"), np.array([3, 2**32 - 1, 7, 0])
    np.testing.assert_array_equal(kept(layer, seeds)[[2, 0]], kept(layer, seeds[[2, 0]]))
    assert (kept(layer, seeds)[0] != kept(layer, seeds)[2]).any()


def test_what_is_kept_grows_so_that_the_mean_stays() -> None:
    layer = SampleDropout(RATE, name="a")
    with sample_seeds(ops.arange(SAMPLES, dtype="uint32")):
        dropped = np.asarray(layer(ops.full((SAMPLES, 16, 16, 32), 2.0), training=True))
    np.testing.assert_allclose(np.unique(dropped), [0, 2 / (1 - RATE)], rtol=1e-6)
    np.testing.assert_array_equal(layer(ops.ones((1, 4, 4, 1)), training=False), np.ones((1, 4, 4, 1)))


def test_spatial_dropout_drops_whole_channels() -> None:
    drawn = kept(SampleDropout(0.5, spatial=True, name="a"), np.arange(SAMPLES))
    np.testing.assert_array_equal(drawn, np.broadcast_to(drawn[:, :1, :1], drawn.shape))
    assert 0.3 < drawn[:, 0, 0].mean() < 0.7


@pytest.mark.parametrize("spatial", [False, True])
def test_it_is_rebuilt_from_its_configuration(spatial: bool) -> None:
    layer = SampleDropout(RATE, spatial=spatial, name="a")
    again = SampleDropout.from_config(layer.get_config())
    np.testing.assert_array_equal(kept(layer, np.arange(3)), kept(again, np.arange(3)))


def test_without_seeds_the_draws_follow_keras() -> None:
    layer = SampleDropout(0.5, name="a")
    keras.utils.set_random_seed(1)
    first = np.asarray(layer(ops.ones((2, 8, 8, 1)), training=True))
    second = np.asarray(layer(ops.ones((2, 8, 8, 1)), training=True))
    keras.utils.set_random_seed(1)
    np.testing.assert_array_equal(first, layer(ops.ones((2, 8, 8, 1)), training=True))
    assert (first != second).any()
