"""Callbacks in one process: checkpoints that a restart goes on from exactly, and the ends of training."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from dist_training import (
    BroadcastCallback,
    CheckpointCallback,
    DistributedOptimizer,
    LearningRateWarmupCallback,
    StopCallback,
)
from dist_training.checkpoints import TrainingProgress
from dist_training.checkpoints.archive import Snapshot
from dist_training.checkpoints.folder import write_alone
from dist_training.errors import CheckpointError
from r2d2_base.errors import ConfigurationError

X = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
Y = X[:, :1]


@pytest.fixture(autouse=True)
def policy() -> Iterator[None]:
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


def build_model() -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = [keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile(DistributedOptimizer(keras.optimizers.SGD(0.1, momentum=0.9)), loss="mse", jit_compile=False)
    return model


def fit(epochs: int, path: Path | None = None, data: Any = None, others: Any = ()) -> keras.Model:
    """Train until an epoch, from the checkpoint if there is one."""
    model = build_model()
    checkpoint = None if path is None else CheckpointCallback(path)
    first = 0 if checkpoint is None else checkpoint.restore(model)
    callbacks = [*others, *([] if checkpoint is None else [checkpoint])]
    x, y = (X, Y) if data is None else (data, None)
    batch = 4 if data is None else None
    model.fit(x, y, batch_size=batch, shuffle=False, initial_epoch=first, epochs=epochs, verbose=0, callbacks=callbacks)
    return model


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_with_dropout_in_two_parts_is_the_run_in_one(tmp_path: Path, dtype: str) -> None:
    keras.config.set_dtype_policy(dtype)
    whole = fit(2)
    fit(1, tmp_path / "last.npz")
    parts = fit(2, tmp_path / "last.npz")
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_of_data_of_unknown_length_an_epoch_that_was_cut_short_is_not_written(tmp_path: Path) -> None:
    shapes = (tf.TensorSpec((2, 3)), tf.TensorSpec((2, 1)))
    batches = [(X[start : start + 2], Y[start : start + 2]) for start in range(0, 8, 2)]
    data = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=shapes)
    stop = StopCallback()
    ask = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: batch == 1 and stop.request("test"))
    path = tmp_path / "last.npz"
    fit(3, path, data, [ask, stop])
    assert stop.reason == "rank 0: test"
    assert not path.exists()


def test_a_model_without_weights_is_refused_before_its_optimizer_is_spoilt(tmp_path: Path) -> None:
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(DistributedOptimizer(keras.optimizers.SGD()), loss="mse", jit_compile=False)
    with pytest.raises(ConfigurationError, match=r"has no weights yet; start it with keras\.Input"):
        CheckpointCallback(tmp_path / "last.npz").restore(model)
    with pytest.raises(ConfigurationError, match="has no weights yet"):
        model.fit(X, Y, verbose=0, callbacks=[BroadcastCallback()])
    model.fit(X, Y, verbose=0)


def test_the_warm_up_ends_at_the_full_rate_where_an_execution_passes_over_its_end() -> None:
    """Of 5 steps, in executions of 4: the rates of steps 0, 4 and 8; then it is left to others."""
    model, rates = build_model(), []
    model.compile(model.optimizer, loss="mse", jit_compile=False, steps_per_execution=4)

    def note(batch: int, logs: Any) -> None:
        rates.append(float(model.optimizer.learning_rate))
        if len(rates) == 3:
            model.optimizer.learning_rate = 0.25e-3

    callbacks = [
        LearningRateWarmupCallback(1e-3, base=1e-4, warmup_epochs=5 / 8),
        keras.callbacks.LambdaCallback(on_train_batch_end=note),
    ]
    model.fit(X, Y, batch_size=1, epochs=2, verbose=0, callbacks=callbacks)
    np.testing.assert_allclose(rates, [1e-4, 1e-4 + 9e-4 * 4 / 5, 1e-3, 0.25e-3], rtol=1e-6)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "last.npz"
    fit(1, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match=r"last\.npz is damaged"):
        CheckpointCallback(path).restore(build_model())


@pytest.mark.parametrize("number", [0, -1])
def test_intervals_are_positive(tmp_path: Path, number: int) -> None:
    with pytest.raises(ConfigurationError, match="every_epochs must be at least 1"):
        CheckpointCallback(tmp_path / "last.npz", every_epochs=number)


class TwoNets(keras.Model):
    """Two networks that learn by turns, as those of a GAN, each by an optimizer of its own."""

    def __init__(self) -> None:
        super().__init__()
        keras.utils.set_random_seed(0)
        self.first = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
        self.second = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        self.others: dict[str, Any] = {}
        self.build((None, 3))

    def call(self, x: Any) -> Any:
        return self.second(self.first(x))

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        for net, optimizer in ((self.first, self.others["first"]), (self.second, self.optimizer)):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((self(x) - y) ** 2)
            gradients = tape.gradient(loss, net.trainable_variables)
            optimizer.apply_gradients(zip(gradients, net.trainable_variables, strict=True))
        return {"loss": loss}


def two_nets(*, is_other_distributed: bool = True) -> TwoNets:
    model, adam = TwoNets(), keras.optimizers.Adam(0.01)
    model.compile(DistributedOptimizer(keras.optimizers.SGD(0.1, momentum=0.9)), jit_compile=False)
    model.others["first"] = DistributedOptimizer(adam) if is_other_distributed else adam
    return model


def fit_two_nets(path: Path, epochs: int) -> TwoNets:
    model, checkpoint = two_nets(), CheckpointCallback(path)
    first = checkpoint.restore(model)
    model.fit(X, Y, batch_size=4, shuffle=False, initial_epoch=first, epochs=epochs, verbose=0, callbacks=[checkpoint])
    return model


def test_a_model_with_two_optimizers_in_two_parts_is_the_one_in_one(tmp_path: Path) -> None:
    whole = fit_two_nets(tmp_path / "whole.npz", 4)
    fit_two_nets(tmp_path / "parts.npz", 2)
    parts = fit_two_nets(tmp_path / "parts.npz", 4)
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert int(parts.others["first"].iterations) == int(parts.optimizer.iterations) == 8


def test_a_checkpoint_without_an_optimizer_of_the_model_is_refused(tmp_path: Path) -> None:
    """One that knew the compiled optimizer only, which is what commit f74575b wrote; it fits a model of that one."""
    path, plain = tmp_path / "last.npz", fit(1)
    slots = [variable.numpy() for variable in plain.optimizer.variables]
    write_alone(path, Snapshot(TrainingProgress(1), {}, {"draws": [2]}, plain.get_weights(), slots))
    model = build_model()
    assert CheckpointCallback(path).restore(model) == 1
    for one, other in zip(model.optimizer.variables, slots, strict=True):
        np.testing.assert_array_equal(one.numpy(), other)
    with pytest.raises(CheckpointError, match="is of the compiled optimizer alone, without others"):
        CheckpointCallback(path).restore(two_nets())
    fit_two_nets(path.with_name("two.npz"), 1)
    with pytest.raises(CheckpointError, match="is of another set of optimizers"):
        CheckpointCallback(path.with_name("two.npz")).restore(build_model())


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    stop = StopCallback()
    before = signal.getsignal(signal.SIGINT)
    stop.on_train_begin()
    try:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        stop.on_train_end()
    assert signal.getsignal(signal.SIGINT) is before
