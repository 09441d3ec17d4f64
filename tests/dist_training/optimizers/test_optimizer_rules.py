"""Every optimizer's steps against its paper's equations in NumPy, and what it leaves alone."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

from dist_training.architectures import UNetSettings, build_network
from dist_training.optimizers import Lars, build_optimizer
from dist_training.optimizers.per_variable import is_decayed
from dist_training.settings import TrainingSettings
from r2d2_base.errors import ConfigurationError
from tests.dist_training.optimizers.numpy_optimizers import Reference

NAMES = ("adam", "adamw", "sgd", "lamb", "lars")
SHAPES = {"kernel": (3, 2), "bias": (2,), "gamma": (2,), "deep_kernel": (2, 2, 2, 3)}
RATES = (0.01, 0.02, 0.03, 0.03, 0.015, 0.0)


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)


def arrays(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in SHAPES.values()]


class Weights(keras.layers.Layer):
    """Variables with the names and shapes above, as a network has them."""

    def __init__(self) -> None:
        super().__init__(name="head")
        for (name, shape), value in zip(SHAPES.items(), arrays(0), strict=True):
            self.add_weight(shape=shape, name=name, initializer=lambda shape, dtype, value=value: value)


def stepped(settings: TrainingSettings, rate_factors: dict[str, float] | None = None) -> list[np.ndarray]:
    network = Weights()
    optimizer = build_optimizer(settings, network, rate_factors=rate_factors)
    optimizer.build(network.trainable_variables)
    for seed, rate in enumerate(RATES, start=1):
        optimizer.learning_rate.assign(rate)
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in arrays(seed)], network.trainable_variables)
    return [variable.numpy() for variable in network.trainable_variables]


def by_the_paper(name: str, **choices: Any) -> list[np.ndarray]:
    reference = Reference(name, arrays(0), **choices)
    for seed, rate in enumerate(RATES, start=1):
        reference.apply(arrays(seed), rate)
    return reference.weights


def assert_equal(received: list[np.ndarray], expected: list[np.ndarray]) -> None:
    # a float32 anywhere in the rule would show as 1e-8
    for value, other, name in zip(received, expected, SHAPES, strict=True):
        np.testing.assert_allclose(value, other, rtol=0, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("name", NAMES)
def test_plain_steps(name: str) -> None:
    momentum = 0.9 if name in ("sgd", "lars") else 0.0
    settings = TrainingSettings(optimizer=name, momentum=0.9, dtype="float64")
    assert_equal(stepped(settings), by_the_paper(name, momentum=momentum))


@pytest.mark.parametrize("name", NAMES)
def test_steps_with_decay_clipping_and_rate_factors(name: str) -> None:
    momentum = 0.9 if name in ("sgd", "lars") else 0.0
    settings = TrainingSettings(optimizer=name, momentum=0.9, weight_decay=0.3, clip_norm=2.0, dtype="float64")
    factors = {"head/kernel": 0.3, "head/gamma": 7.0}
    expected = by_the_paper(name, momentum=momentum, decay=0.3, clip=2.0, factors=[0.3, 1.0, 7.0, 1.0])
    assert_equal(stepped(settings, factors), expected)


def test_lars_with_the_trust_coefficient_of_its_paper() -> None:
    network = Weights()
    optimizer, reference = Lars(weight_decay=0.3), Reference("lars", arrays(0), momentum=0.9, decay=0.3, trust=0.001)
    for seed in (1, 2, 3):
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in arrays(seed)], network.trainable_variables)
        reference.apply(arrays(seed), rate=1.0)
    assert_equal([variable.numpy() for variable in network.weights], reference.weights)


def test_nesterov() -> None:
    settings = TrainingSettings(optimizer="sgd", momentum=0.9, nesterov=True, dtype="float64")
    assert_equal(stepped(settings), by_the_paper("sgd", momentum=0.9, nesterov=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_factor_of_zero_freezes_bit_for_bit(name: str) -> None:
    settings = TrainingSettings(optimizer=name, weight_decay=0.3, dtype="float64")
    kernel, bias, *_ = stepped(settings, {"head/kernel": 0.0})
    assert np.array_equal(kernel, arrays(0)[0])
    assert not np.array_equal(bias, arrays(0)[1])


@pytest.mark.parametrize("name", NAMES)
def test_without_a_gradient_kernels_decay_and_the_rest_stays(name: str) -> None:
    network = Weights()
    settings = TrainingSettings(optimizer=name, learning_rate=0.5, weight_decay=0.1, momentum=0.0, dtype="float64")
    optimizer = build_optimizer(settings)
    optimizer.apply([keras.ops.zeros_like(v) for v in network.trainable_variables], network.trainable_variables)
    # lars and lamb: 0.5 |w| / |0.1 w| * 0.1; the others: 0.5 * 0.1
    share = 0.5 if name in ("lars", "lamb") else 0.05
    kernel, bias, gamma, deep = arrays(0)
    assert_equal([v.numpy() for v in network.weights], [kernel * (1 - share), bias, gamma, deep * (1 - share)])


def test_lars_and_lamb_leave_a_kernel_of_zeros() -> None:
    for name in ("lars", "lamb"):
        kernel = keras.Variable(np.zeros((2, 2)), name="kernel", dtype="float64")
        optimizer = build_optimizer(TrainingSettings(optimizer=name, learning_rate=0.5, weight_decay=0.1))
        optimizer.apply([keras.ops.ones((2, 2), dtype="float64")], [kernel])
        np.testing.assert_allclose(kernel.numpy(), -0.5, atol=1e-6)  # a plain step: Adam's first is its rate


def test_a_bias_reaches_its_place_under_lamb() -> None:
    # With a trust ratio it would be at 0.01 * 1.01**199 = 0.07.
    bias = keras.Variable(np.zeros(1), name="bias", dtype="float64")
    optimizer = build_optimizer(TrainingSettings(optimizer="lamb", learning_rate=0.01))
    for _ in range(200):
        optimizer.apply([bias - 1.0], [bias])
    assert abs(float(bias[0]) - 1) < 0.1


def test_what_decays_is_the_kernels_of_a_network() -> None:
    network = build_network(UNetSettings(depth=2, base_filters=2), 1, 3, seed=0)
    decayed = {variable.path for variable in network.trainable_variables if is_decayed(variable)}
    assert decayed == {variable.path for variable in network.trainable_variables if variable.path.endswith("/kernel")}
    assert len(decayed) < len(network.trainable_variables)


def test_biases_and_scales_of_several_axes_do_not_decay() -> None:
    attention = keras.layers.MultiHeadAttention(num_heads=2, key_dim=3)
    attention.build((None, 4, 5), (None, 4, 5))
    normalisation = keras.layers.LayerNormalization(axis=(1, 2))
    normalisation.build((None, 4, 5))
    variables = attention.trainable_variables + normalisation.trainable_variables
    wide = [variable.name for variable in variables if len(variable.shape) > 1 and not is_decayed(variable)]
    assert sorted(wide) == ["beta", "bias", "bias", "bias", "gamma"]
    assert [variable.name for variable in variables if is_decayed(variable)] == ["kernel"] * 4


def test_rate_factors_must_name_variables() -> None:
    with pytest.raises(ConfigurationError, match=r"received 'head/kernl'; nearest: head/kernel$"):
        build_optimizer(TrainingSettings(), Weights(), rate_factors={"head/kernl": 0.5})
    with pytest.raises(ConfigurationError, match=r"received no model"):
        build_optimizer(TrainingSettings(), rate_factors={"head/kernel": 0.5})
    for factor in (-0.5, float("nan"), float("inf")):
        with pytest.raises(ConfigurationError, match=r"at least 0; received .* for head/kernel; use 0 to freeze"):
            build_optimizer(TrainingSettings(), Weights(), rate_factors={"head/kernel": factor})
