"""The distributed optimizer on one worker: what it is to Keras, what is saved, what is refused."""

import contextlib
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from dist_training.ranks.distributed_optimizer import DistributedOptimizer, is_distributed, load_model
from dist_training.ranks.synchronised import SyncBatchNormalisation
from r2d2_base.errors import ConfigurationError


def compiled(optimizer: keras.optimizers.Optimizer) -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = [keras.Input((3,)), keras.layers.Dense(2), SyncBatchNormalisation()]
    model = keras.Sequential(layers)
    model.compile(optimizer, loss="mse", jit_compile=False)
    return model


def train(model: keras.Model, epochs: int) -> None:
    x = np.random.default_rng(0).normal(size=(8, 3))
    model.fit(x, x[:, :2], batch_size=4, epochs=epochs, shuffle=False, verbose=0)


def test_a_saved_model_is_plain_and_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = compiled(DistributedOptimizer(keras.optimizers.SGD(0.1, momentum=0.9)))
    train(whole, 4)
    half = compiled(DistributedOptimizer(keras.optimizers.SGD(0.1, momentum=0.9)))
    train(half, 2)
    half.save(tmp_path / "half.keras")
    plain = keras.models.load_model(tmp_path / "half.keras")
    assert type(plain.optimizer) is keras.optimizers.SGD
    assert type(plain.layers[-1]) is keras.layers.BatchNormalization
    loaded = load_model(tmp_path / "half.keras")
    assert is_distributed(loaded.optimizer)
    assert int(loaded.optimizer.iterations) == 4
    train(loaded, 2)
    for found, expected in zip(loaded.weights, whole.weights, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_weights_of_an_ordinary_network_fit(tmp_path: Path) -> None:
    model = compiled(DistributedOptimizer(keras.optimizers.SGD()))
    model.save_weights(tmp_path / "a.weights.h5")
    layers = [keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()]
    other = keras.Sequential(layers)
    other.load_weights(tmp_path / "a.weights.h5")
    for found, expected in zip(other.weights, model.weights, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("wrap", [keras.optimizers.LossScaleOptimizer, keras.optimizers.OptimizerMap])
def test_inside_another_optimizer_is_refused_at_once(wrap: type) -> None:
    inner = DistributedOptimizer(keras.optimizers.SGD())
    with pytest.raises(ConfigurationError, match="must be the outermost"):
        keras.optimizers.MultiOptimizer(wrap(inner)) if wrap is keras.optimizers.OptimizerMap else wrap(inner)


def test_mixed_precision_is_refused_by_compile_unless_scaled_within() -> None:
    inputs = keras.Input((2,))
    outputs = keras.layers.Dense(1, dtype="mixed_float16")(inputs)
    model = keras.Model(inputs, outputs)
    model.dtype_policy = keras.DTypePolicy("mixed_float16")
    with pytest.raises(ConfigurationError, match="must be the outermost"):
        model.compile(DistributedOptimizer(keras.optimizers.SGD()), loss="mse")
    model.compile(DistributedOptimizer(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())), loss="mse")
    assert is_distributed(model.optimizer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": "mean"}, "reduction must be one of average, sum; received 'mean'"),
        ({"compression": "bf16"}, "compression must be one of none, fp16; received 'bf16'"),
        ({"backward_passes_per_step": 0}, "at least 1; received 0"),
    ],
)
def test_unknown_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        DistributedOptimizer(keras.optimizers.SGD(), **options)
    with pytest.raises(ConfigurationError, match="already distributed"):
        DistributedOptimizer(DistributedOptimizer(keras.optimizers.SGD()))


@pytest.mark.parametrize(("reduction", "expected"), [("average", -2.0), ("sum", -6.0)])
def test_passes_are_added_up_and_applied_once(reduction: str, expected: float) -> None:
    """Gradients 1, 2, 3, of which an unused variable has none, in one step of rate 1; the fourth waits."""
    used, unused = keras.Variable(0.0), keras.Variable(5.0)
    optimizer = DistributedOptimizer(keras.optimizers.SGD(1.0), reduction=reduction, backward_passes_per_step=3)
    for gradient in (1.0, 2.0, 3.0, 100.0):
        with pytest.warns(UserWarning, match="Gradients do not exist") if gradient == 3 else contextlib.nullcontext():
            optimizer.apply([tf.constant(gradient), None], [used, unused])
    assert (float(used), float(unused), int(optimizer.iterations)) == (expected, 5.0, 1)


def test_passes_are_added_up_by_variable_where_others_learn_later() -> None:
    """As where a layer is frozen after the first step: gradients 1 + 3 of the first, then 5 + 7 of the second alone."""
    frozen, learning = keras.Variable(0.0), keras.Variable([0.0, 0.0])
    optimizer = DistributedOptimizer(keras.optimizers.SGD(1.0), backward_passes_per_step=2)
    for gradient in (1.0, 3.0):
        optimizer.apply([tf.constant(gradient), tf.fill([2], gradient)], [frozen, learning])
    for gradient in (5.0, 7.0):
        optimizer.apply([tf.fill([2], gradient)], [learning])
    assert (float(frozen), learning.numpy().tolist()) == (-2.0, [-8.0, -8.0])


def test_scalars_come_back_and_need_an_exchange_in_every_call() -> None:
    variable = keras.Variable(1.0)
    optimizer = DistributedOptimizer(keras.optimizers.SGD(1.0))
    scalars = optimizer.apply_with_scalars([tf.constant(0.5)], [variable], tf.constant([3.0, 4.0]))
    assert (float(variable), scalars.numpy().tolist()) == (0.5, [3.0, 4.0])
    passes = DistributedOptimizer(keras.optimizers.SGD(), backward_passes_per_step=2)
    with pytest.raises(ConfigurationError, match="use 1"):
        passes.apply_with_scalars([tf.constant(0.5)], [variable], scalars)
