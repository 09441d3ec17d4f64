"""Momentum across changes of the learning rate, and averaged weights, against their equations."""

from collections.abc import Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf

from dist_training.optimizers import averaged_weights, build_optimizer, momentum_correction
from dist_training.schedules import learning_rate_at
from dist_training.settings import TrainingSettings

START = np.random.default_rng(0).normal(size=(3, 2))
GRADIENTS = np.random.default_rng(1).normal(size=(12, 3, 2))
WARMUP = [learning_rate_at(t, peak=3.2, base=0.1, warmup_steps=8, total_steps=12, schedule="cosine") for t in range(12)]


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)


def over_warmup(settings: TrainingSettings, *, is_corrected: bool, wrapped: bool = False) -> np.ndarray:
    kernel = keras.Variable(START, name="kernel", dtype="float64")
    optimizer = build_optimizer(settings)
    if wrapped:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1.0)
    optimizer.build([kernel])
    previous = WARMUP[0]
    for gradient, rate in zip(GRADIENTS, WARMUP, strict=True):
        if is_corrected:
            momentum_correction(optimizer, previous, rate)
        optimizer.learning_rate.assign(rate)
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [kernel])
        previous = rate
    return kernel.numpy()


def over_warmup_compiled(settings: TrainingSettings) -> np.ndarray:
    kernel = keras.Variable(START, name="kernel", dtype="float64")
    optimizer = build_optimizer(settings)
    optimizer.build([kernel])

    @tf.function
    def step(gradient: tf.Tensor, rate: tf.Tensor) -> None:
        momentum_correction(optimizer, optimizer.learning_rate, rate)
        optimizer.learning_rate.assign(rate)
        optimizer.apply([gradient], [kernel])

    for gradient, rate in zip(GRADIENTS, WARMUP, strict=True):
        step(tf.constant(gradient), tf.constant(rate, tf.float64))
    return kernel.numpy()


def goyal_equation_9(*, nesterov: bool = False, trust: float | None = None, decay: float = 0.0) -> np.ndarray:
    """u = m u + g; w = w - rate u: the rate never enters the momentum."""
    weights, velocity = START.copy(), np.zeros_like(START)
    for gradient, rate in zip(GRADIENTS, WARMUP, strict=True):
        step = gradient
        if trust is not None:
            norm = np.linalg.norm(weights)
            step = trust * norm / (np.linalg.norm(gradient) + decay * norm) * (gradient + decay * weights)
        velocity = 0.9 * velocity + step
        weights = weights - rate * (0.9 * velocity + step if nesterov else velocity)
    return weights


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_sgd_is_free_of_the_rates_before(nesterov: bool, wrapped: bool) -> None:
    settings = TrainingSettings(optimizer="sgd", momentum=0.9, nesterov=nesterov)
    expected = goyal_equation_9(nesterov=nesterov)
    corrected = over_warmup(settings, is_corrected=True, wrapped=wrapped)
    np.testing.assert_allclose(corrected, expected, rtol=0, atol=1e-12)
    assert np.abs(over_warmup(settings, is_corrected=False) - expected).max() > 0.1


def test_the_same_within_a_compiled_step() -> None:
    settings = TrainingSettings(optimizer="sgd", momentum=0.9)
    np.testing.assert_allclose(over_warmup_compiled(settings), goyal_equation_9(), rtol=0, atol=1e-12)


def test_lars_is_free_of_the_rates_before() -> None:
    settings = TrainingSettings(optimizer="lars", momentum=0.9, weight_decay=0.1)
    expected = goyal_equation_9(trust=1.0, decay=0.1)
    np.testing.assert_allclose(over_warmup(settings, is_corrected=True), expected, rtol=1e-12, atol=1e-12)
    assert np.abs(over_warmup(settings, is_corrected=False) - expected).max() > 0.1


@pytest.mark.parametrize("name", ["adam", "adamw", "lamb"])
def test_moments_without_the_rate_stay(name: str) -> None:
    settings = TrainingSettings(optimizer=name)
    assert np.array_equal(over_warmup(settings, is_corrected=True), over_warmup(settings, is_corrected=False))


def test_sgd_without_momentum_and_a_rate_of_zero() -> None:
    settings = TrainingSettings(optimizer="sgd", momentum=0.0)
    assert np.array_equal(over_warmup(settings, is_corrected=True), over_warmup(settings, is_corrected=False))
    optimizer = build_optimizer(TrainingSettings(optimizer="sgd", momentum=0.5))
    optimizer.apply([keras.ops.ones((1,), dtype="float64")], [keras.Variable([0.0], dtype="float64")])
    before = optimizer.momentums[0].numpy().copy()
    momentum_correction(optimizer, old_rate=0.0, new_rate=0.1)
    assert np.array_equal(optimizer.momentums[0].numpy(), before)


def network() -> keras.Model:
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.BatchNormalization()(keras.layers.Dense(2)(inputs)))


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_average_comes_and_goes(wrapped: bool) -> None:
    model = network()
    optimizer = build_optimizer(TrainingSettings(optimizer="sgd", ema_momentum=0.8, learning_rate=0.1))
    if wrapped:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1.0)
    optimizer.build(model.trainable_variables)
    rng, averages = np.random.default_rng(2), None
    for _ in range(4):
        gradients = [keras.ops.convert_to_tensor(rng.normal(size=v.shape)) for v in model.trainable_variables]
        optimizer.apply(gradients, model.trainable_variables)
        values = [v.numpy().copy() for v in model.trainable_variables]
        averages = (
            values
            if averages is None
            else [0.8 * average + 0.2 * value for average, value in zip(averages, values, strict=True)]
        )
    before = [v.numpy().copy() for v in model.variables]
    with averaged_weights(optimizer, model.trainable_variables):
        for variable, average in zip(model.trainable_variables, averages, strict=True):
            np.testing.assert_allclose(variable.numpy(), average, rtol=0, atol=1e-15)
        assert not np.array_equal(model.trainable_variables[0].numpy(), before[0])
    assert [v.numpy().tobytes() for v in model.variables] == [b.tobytes() for b in before]
    with pytest.raises(KeyError), averaged_weights(optimizer, model.trainable_variables):
        raise KeyError
    assert [v.numpy().tobytes() for v in model.variables] == [b.tobytes() for b in before]


@pytest.mark.parametrize("momentum", [None, 0.8])
def test_without_an_average_the_weights_stay(momentum: float | None) -> None:
    model = network()
    optimizer = build_optimizer(TrainingSettings(optimizer="adam", ema_momentum=momentum))
    optimizer.build(model.trainable_variables)  # slots of the average are zero until the first step
    before = [v.numpy().copy() for v in model.variables]
    with averaged_weights(optimizer, model.trainable_variables):
        assert all(np.array_equal(v.numpy(), b) for v, b in zip(model.variables, before, strict=True))
