"""livermask's U-Nets against the counts of its own code and an independent implementation in NumPy."""

import numpy as np
import pytest

from dist_training.architectures import LivermaskUNetSettings, build_network
from dist_training.architectures.dropout import SampleDropout
from tests.dist_training.architectures.numpy_networks import (
    convolution,
    crop,
    maximum_pooling,
    pad_to_multiple,
    relu,
    weights_by_layer,
)


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("variant", "parameters"), [("full", 31_405_063), ("half", 1_481_607)])
def test_number_of_parameters_of_livermask(variant, parameters):
    """One channel and three outputs; each normalisation counts its moving mean and variance too."""
    assert build_network(LivermaskUNetSettings(variant=variant), 1, 3).count_params() == parameters


@pytest.mark.parametrize("variant", ["full", "half"])
def test_equals_an_independent_implementation(variant):
    model = build_network(LivermaskUNetSettings(variant=variant, base_filters=3), 2, 3)
    rng = np.random.default_rng(1)
    model.set_weights([np.abs(weight + rng.normal(0, 0.1, weight.shape)) for weight in model.get_weights()])
    weights = weights_by_layer(model)

    def level(maps: np.ndarray, name: str) -> np.ndarray:
        for part in ("a", "b"):
            gamma, beta, mean, variance = weights[f"{name}{part}_normalisation"]
            maps = (maps - mean) / np.sqrt(variance + 1e-5) * gamma + beta
            maps = relu(convolution(maps, *weights[f"{name}{part}"]))
        return maps

    depth = {"full": 4, "half": 2}[variant]
    inputs, skips = images(2, 21, 32, 2), []
    maps = pad_to_multiple(inputs.astype(np.float64), 2**depth)
    for number in range(depth):
        maps = level(maps, f"down{number}")
        skips.append(maps)
        maps = maximum_pooling(maps)
    maps = level(maps, "bottom")
    for number in reversed(range(depth)):
        maps = np.concatenate([skips[number], maps.repeat(2, axis=1).repeat(2, axis=2)], axis=-1)
        maps = level(maps, f"up{number}")
    expected = crop(convolution(maps, *weights["logits"]), (21, 32))

    scale = np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(model(inputs)), expected, rtol=1e-4, atol=1e-5 * scale)


def test_dropout_takes_whole_maps_of_the_expanding_path_in_training_only():
    model = build_network(LivermaskUNetSettings(base_filters=4), 1, 1)
    dropped = [layer for layer in model.layers if isinstance(layer, SampleDropout)]
    assert [layer.name for layer in dropped] == [f"up{level}{part}_dropout" for level in (1, 0) for part in "ab"]
    assert {(layer.rate, layer.spatial) for layer in dropped} == {(0.5, True)}
    maps = np.asarray(dropped[0](np.ones((4, 3, 3, 16), np.float32), training=True))
    assert set(maps.max(axis=(1, 2)).ravel()) == {0.0, 2.0}  # those that stay are doubled, which keeps the mean
    assert (maps.max(axis=(1, 2)) == maps.min(axis=(1, 2))).all()
    none = build_network(LivermaskUNetSettings(base_filters=4, dropout=0.0), 1, 1)
    assert not any(isinstance(layer, SampleDropout) for layer in none.layers)
