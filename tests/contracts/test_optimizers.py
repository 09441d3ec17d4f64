"""What holds for every optimizer that can be named: precision, determinism, state, settings."""

from collections.abc import Iterator
from typing import Any, get_args

import keras
import numpy as np
import pytest
import tensorflow as tf

from dist_training.optimizers import build_optimizer
from dist_training.settings import OptimizerName, TrainingSettings

NAMES = get_args(OptimizerName)
RATE = 0.01
ALL_ON = {"weight_decay": 0.01, "clip_norm": 0.5, "ema_momentum": 0.9}
INPUTS = np.random.default_rng(0).normal(size=(32, 3))
TARGETS = INPUTS @ [[1.0], [-2.0], [0.5]] + 0.3


@pytest.fixture(autouse=True)
def policy() -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)


class Regression:
    """Least squares: convex, its optimum known."""

    def __init__(self, name: str, **choices: Any) -> None:
        initial = keras.initializers.GlorotUniform(seed=3)
        inputs, dense = (
            keras.Input((3,), dtype=keras.config.dtype_policy().variable_dtype),
            keras.layers.Dense(1, kernel_initializer=initial, name="head"),
        )
        self.model = keras.Model(inputs, dense(inputs))
        own = {"nesterov": True} if choices and name == "sgd" else {}
        self.settings = TrainingSettings(
            optimizer=name, learning_rate=RATE, dtype=keras.config.dtype_policy().name, **choices, **own
        )
        factors = {"head/kernel": 0.5} if choices else None
        self.optimizer = build_optimizer(self.settings, self.model, rate_factors=factors)
        self.optimizer.build(self.model.trainable_variables)
        self.compiled = tf.function(self.step)

    def loss(self) -> tf.Tensor:
        return tf.reduce_mean((tf.cast(self.model(INPUTS), TARGETS.dtype) - TARGETS) ** 2)

    def step(self) -> tf.Tensor:
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            loss = self.loss()
            scaled = self.optimizer.scale_loss(loss)
        self.optimizer.apply(tape.gradient(scaled, [v.value for v in variables]), variables)
        return loss

    def train(self, steps: int) -> None:
        for _ in range(steps):
            self.compiled()

    def state(self) -> list[np.ndarray]:
        return [v.numpy().copy() for v in (*self.model.variables, *self.optimizer.variables)]

    def assign(self, state: list[np.ndarray]) -> None:
        for variable, value in zip((*self.model.variables, *self.optimizer.variables), state, strict=True):
            variable.assign(value)


def assert_same_bits(received: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert [a.tobytes() for a in received] == [b.tobytes() for b in expected]


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_falls_to_nothing(name: str) -> None:
    problem = Regression(name)
    before = float(problem.loss())
    problem.train(600)
    assert float(problem.loss()) < 0.01 * before


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_single_precision_under_a_double_policy(name: str) -> None:
    problem = Regression(name, **ALL_ON)
    assert {keras.backend.standardize_dtype(v.dtype) for v in problem.optimizer.variables} == {"int64", "float64"}
    graph = problem.compiled.get_concrete_function().graph
    singles = [op.name for op in graph.get_operations() for output in op.outputs if output.dtype == tf.float32]
    assert singles == []


@pytest.mark.parametrize("choices", [{}, ALL_ON], ids=["plain", "all_on"])
@pytest.mark.parametrize("name", NAMES)
def test_state_as_arrays_continues_bit_for_bit(name: str, choices: dict[str, Any]) -> None:
    whole, resumed = Regression(name, **choices), Regression(name, **choices)
    whole.train(3)
    checkpoint = whole.state()
    whole.train(4)
    resumed.assign(checkpoint)
    resumed.train(4)
    assert_same_bits(resumed.state(), whole.state())
    assert not np.array_equal(whole.state()[0], checkpoint[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_part_of_the_state_is_not_enough(name: str) -> None:
    """What the test above would miss if nothing but the weights mattered."""
    whole, resumed = Regression(name), Regression(name)
    whole.train(3)
    for variable, value in zip(resumed.model.variables, whole.model.variables, strict=True):
        variable.assign(value)
    whole.train(4)
    resumed.train(4)
    assert not np.array_equal(resumed.state()[0], whole.state()[0])


@pytest.mark.parametrize("name", NAMES)
def test_configuration_recreates_the_optimizer(name: str) -> None:
    one, other = Regression(name, **ALL_ON), Regression(name, **ALL_ON)
    config = keras.optimizers.serialize(one.optimizer)
    other.optimizer = keras.optimizers.deserialize(config)
    assert type(other.optimizer) is type(one.optimizer)
    other.optimizer.build(other.model.trainable_variables)
    for problem in (one, other):
        problem.train(5)
    assert_same_bits(other.state(), one.state())


@pytest.mark.parametrize("name", NAMES)
def test_the_rate_can_be_set_before_every_step(name: str) -> None:
    problem = Regression(name)
    problem.train(1)
    before = problem.model.get_weights()
    problem.optimizer.learning_rate.assign(0.0)
    if name in ("sgd", "lars"):  # their momentum holds the rate of the step before
        for velocity in problem.optimizer.momentums:
            velocity.assign(velocity * 0)
    problem.train(1)
    assert_same_bits(problem.model.get_weights(), before)


@pytest.mark.parametrize("name", NAMES)
def test_mixed_float16_scales_the_loss_and_skips_what_overflows(name: str) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    problem = Regression(name, **ALL_ON)
    assert isinstance(problem.optimizer, keras.optimizers.LossScaleOptimizer)
    before = problem.model.get_weights()
    problem.train(5)  # the first few overflow until the scale has come down
    trained = problem.model.get_weights()
    assert not np.array_equal(trained[0], before[0])
    variables, scale = problem.model.trainable_variables, float(problem.optimizer.dynamic_scale)
    problem.optimizer.apply([keras.ops.full(v.shape, np.inf) for v in variables], variables)
    assert_same_bits(problem.model.get_weights(), trained)
    assert float(problem.optimizer.dynamic_scale) == scale / 2
    recreated = keras.optimizers.deserialize(keras.optimizers.serialize(problem.optimizer))
    assert type(recreated.inner_optimizer) is type(problem.optimizer.inner_optimizer)
    assert recreated.inner_optimizer.rate_factors == {"head/kernel": 0.5}
