"""One rank of a Keras job: run scenarios and write what this rank ends with.

Alone, it is the expected value: plain Keras on the whole batch, without anything of ours in the optimizer.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from dist_training import (
    BroadcastCallback,
    CheckpointCallback,
    LearningRateWarmupCallback,
    MetricReductionCallback,
    StopCallback,
)
from dist_training.ranks.communicator import Communicator
from dist_training.ranks.distributed_optimizer import DistributedOptimizer
from dist_training.ranks.gradients import sum_over_ranks
from dist_training.ranks.synchronised import SyncBatchNormalisation, sample_weights
from r2d2_base.errors import ConfigurationError

OPTIMIZERS: dict[str, Callable[[], keras.optimizers.Optimizer]] = {
    "SGD": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "SGD clipnorm": lambda: keras.optimizers.SGD(0.1, clipnorm=0.05),
    "SGD clipvalue": lambda: keras.optimizers.SGD(0.1, clipvalue=0.02),
    "SGD global_clipnorm": lambda: keras.optimizers.SGD(0.1, global_clipnorm=0.05),
    "SGD schedule": lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)),
    "RMSprop": lambda: keras.optimizers.RMSprop(0.01, centered=True),
    "Adam": lambda: keras.optimizers.Adam(0.01, amsgrad=True),
    "Adam EMA": lambda: keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2),
    "Adam accumulation": lambda: keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
    "AdamW": lambda: without_decay_of_biases(keras.optimizers.AdamW(0.01, weight_decay=0.1)),
    "Adadelta": lambda: keras.optimizers.Adadelta(1.0),
    "Adagrad": lambda: keras.optimizers.Adagrad(0.1),
    "Adamax": lambda: keras.optimizers.Adamax(0.01),
    "Adafactor": lambda: keras.optimizers.Adafactor(0.01),
    "Nadam": lambda: keras.optimizers.Nadam(0.01),
    "Ftrl": lambda: keras.optimizers.Ftrl(0.1),
    "Lion": lambda: keras.optimizers.Lion(0.01),
    "Lamb": lambda: keras.optimizers.Lamb(0.01),
    "Muon": lambda: keras.optimizers.Muon(0.01),
    "ScheduleFreeAdamW": lambda: keras.optimizers.ScheduleFreeAdamW(0.01),
    "LossScaleOptimizer": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)),
    "MultiOptimizer": lambda: multi_optimizer(),
    "LossScaleOptimizer of MultiOptimizer": lambda: keras.optimizers.LossScaleOptimizer(multi_optimizer()),
}


def without_decay_of_biases(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def multi_optimizer() -> keras.optimizers.MultiOptimizer:
    """By a function, which no configuration can hold."""
    adam, sgd = keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.1)
    return keras.optimizers.MultiOptimizer(lambda variable: adam if "dense" in variable.path else sgd)


class Table(keras.layers.Layer):
    """An embedding by a product, whose gradient is dense."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.table = self.add_weight(shape=(7, 4), initializer="glorot_uniform")

    def call(self, tokens: tf.Tensor) -> tf.Tensor:
        return keras.ops.matmul(keras.ops.one_hot(tokens, 7, dtype=self.table.dtype), self.table)


def build_model(seed: int, rows: keras.layers.Layer | None = None) -> keras.Model:
    """Tokens to a number: an embedding, whose gradients are rows, and two layers."""
    keras.utils.set_random_seed(seed)
    tokens = keras.Input((3,), dtype="int32")
    rows = (rows or keras.layers.Embedding(7, 4))(tokens)
    hidden = keras.layers.Dense(5, activation="tanh", name="dense_hidden")(keras.layers.Flatten()(rows))
    return keras.Model(tokens, keras.layers.Dense(1, name="dense_last")(hidden))


def samples(count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(5)
    return generator.integers(0, 7, (count, 3)), generator.normal(size=(count, 1))


def weights(model: keras.Model) -> dict[str, np.ndarray]:
    return {f"weight {i}": variable.numpy() for i, variable in enumerate(model.weights)}


@dataclass(frozen=True)
class Job:
    """Where this rank stands, and the folder that it writes to."""

    communicator: Communicator
    out: Path

    @property
    def rank(self) -> int:
        return self.communicator.rank

    @property
    def world_size(self) -> int:
        return self.communicator.world_size

    def distributed(self, optimizer: keras.optimizers.Optimizer, **options: object) -> keras.optimizers.Optimizer:
        """The optimizer of several ranks; alone, Keras's own."""
        if self.world_size == 1:
            return optimizer
        return DistributedOptimizer(optimizer, communicator=self.communicator, **options)

    def share(self, array: np.ndarray, batch: int) -> np.ndarray:
        """This rank's part of every batch of `batch` samples."""
        batches = [array[start : start + batch] for start in range(0, len(array), batch)]
        return np.concatenate([np.array_split(part, self.world_size)[self.rank] for part in batches])

    def save(self, name: str, **arrays: object) -> None:
        path = self.out / f"{name}-{self.world_size}-{self.rank}.npz"
        np.savez(path, **{key: np.asarray(value) for key, value in arrays.items()})


def optimizers(job: Job) -> None:
    """Three steps of a custom loop with every optimizer, on other data on every rank."""
    x, y = samples(24)
    x, y = job.share(x, 8), job.share(y, 8)
    size = len(x) // 3
    for name, build in OPTIMIZERS.items():
        model, optimizer = build_model(0), job.distributed(build())
        for step in range(3):
            part = slice(step * size, (step + 1) * size)
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((model(x[part]) - y[part]) ** 2)
                if not optimizer.built:
                    optimizer.build(model.trainable_variables)
                loss = optimizer.scale_loss(loss)
            gradients = tape.gradient(loss, model.trainable_variables)
            assert isinstance(gradients[0], tf.IndexedSlices)
            if job.world_size == 1:  # else Keras squares and clips each occurrence of a row, not their sum
                gradients[0] = tf.convert_to_tensor(gradients[0])
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        slots = {f"slot {i}": variable.numpy() for i, variable in enumerate(optimizer.variables)}
        job.save(f"optimizer {name}", **weights(model), **slots)


def fit(job: Job) -> None:
    """`model.fit` with all callbacks: compiled, eager, with passes added up, compressed; weights differ at first."""
    x, y = samples(32)
    x_test, y_test = samples(10)
    validation = (
        (job.share(x_test, 10), job.share(y_test, 10))
        if job.world_size == 1
        else ((x_test[:7], y_test[:7]) if job.rank == 0 else (x_test[7:], y_test[7:]))
    )
    for name, eager, batch, options in (
        ("compiled", False, 8, {}),
        ("eager", True, 8, {}),
        ("passes", False, 4, {"backward_passes_per_step": 2}),
        ("fp16", False, 8, {"compression": "fp16"}),
    ):
        model = build_model(job.rank, Table())
        optimizer = job.distributed(keras.optimizers.Adam(0.02, global_clipnorm=0.5), **options)
        model.compile(optimizer, loss="mse", metrics=["mae"], run_eagerly=eager, jit_compile=False)
        local = batch // job.world_size if job.world_size > 1 else 8
        callbacks = [] if job.world_size == 1 else [BroadcastCallback(), MetricReductionCallback(), StopCallback()]
        if name == "compiled":
            callbacks.append(LearningRateWarmupCallback(0.02, base=0.01, warmup_epochs=1))
        history = model.fit(
            job.share(x, batch if job.world_size > 1 else 8), job.share(y, batch if job.world_size > 1 else 8),
            batch_size=local, shuffle=False, epochs=2, verbose=0,
            callbacks=callbacks, validation_data=validation,
        )  # fmt: skip
        job.save(f"fit {name}", **weights(model), **history.history, steps=optimizer.iterations.numpy())


def uneven(job: Job) -> None:
    """A last batch of another size on each rank, traced again on one of them alone, in float32."""
    keras.config.set_dtype_policy("float32")
    x, y = samples(9)
    count = 9 if job.rank == 0 else 8
    model = build_model(0)
    model.compile(job.distributed(keras.optimizers.SGD(0.1)), loss="mse", jit_compile=False)
    model.fit(x[:count], y[:count], batch_size=4 if job.rank == 0 else 3, shuffle=False, epochs=2, verbose=0)
    model.train_on_batch(x[: job.rank + 2], y[: job.rank + 2])
    job.save("uneven", **weights(model))
    keras.config.set_dtype_policy("float64")


def overflow(job: Job) -> None:
    """An overflow on rank 1 alone: nobody waits, nobody steps, the scale is halved everywhere."""
    variable = keras.Variable([1.0, 2.0], dtype="float32")
    inner = keras.optimizers.SGD(1.0)
    optimizer = job.distributed(keras.optimizers.LossScaleOptimizer(inner, initial_scale=8.0))
    step = tf.function(lambda gradient: optimizer.apply([gradient], [variable]))
    values, scales = [], []
    for bad in (False, True, False):
        gradient = np.full(2, np.inf if bad and job.rank == 1 else 4.0 * (job.rank + 1), np.float32)
        step(tf.constant(gradient))
        values.append(variable.numpy())
        scales.append(optimizer.dynamic_scale.numpy())
    job.save("overflow", values=values, scales=scales)


def refusals(job: Job) -> None:
    """What must end with one clear error on every rank, at once."""
    messages = []
    plain, other = build_model(0), keras.Sequential([keras.Input((3,)), keras.layers.Dense(job.rank + 1)])
    plain.compile(keras.optimizers.SGD(), loss="mse", jit_compile=False)
    other.compile(DistributedOptimizer(keras.optimizers.SGD()), loss="mse", jit_compile=False)
    xla = build_model(0)
    xla.compile(DistributedOptimizer(keras.optimizers.SGD()), loss="mse", jit_compile=job.rank == 1)
    for model in (plain, other, xla):
        try:
            model.fit(np.zeros((2, 3)), np.zeros((2, 1)), verbose=0, callbacks=[BroadcastCallback()])
        except ConfigurationError as error:
            messages.append(str(error))
    job.save("refusals", messages=messages)


def stop(job: Job) -> None:
    """A signal to the last rank ends all after the same step; a run in two parts ends as one in one part."""
    x, y = samples(16)
    x, y = job.share(x, 4), job.share(y, 4)

    def train(path: Path, epochs: int, signal_at: int | None = None) -> tuple[keras.Model, str | None]:
        model = build_model(job.rank)
        model.compile(DistributedOptimizer(keras.optimizers.Adam(0.02)), loss="mse", jit_compile=False)
        checkpoint, stopping = CheckpointCallback(path), StopCallback()
        first = checkpoint.restore(model)
        ask = keras.callbacks.LambdaCallback(
            on_train_batch_begin=lambda batch, logs: (
                os.kill(os.getpid(), signal.SIGUSR1)
                if job.rank == job.world_size - 1 and int(model.optimizer.iterations) == signal_at else None
            )
        )  # fmt: skip
        callbacks = [BroadcastCallback(), ask, stopping, checkpoint]
        model.fit(
            x, y, batch_size=4 // job.world_size, shuffle=False,
            initial_epoch=first, epochs=epochs, verbose=0, callbacks=callbacks,
        )  # fmt: skip
        return model, stopping.reason

    model, reason = train(job.out / "parts.npz", epochs=3, signal_at=5)
    job.save("stopped", reason=str(reason), steps=int(model.optimizer.iterations))
    job.save("resumed", **weights(train(job.out / "parts.npz", epochs=3)[0]))
    job.save("in one part", **weights(train(job.out / "whole.npz", epochs=3)[0]))


def stopped_alone(job: Job) -> None:
    """NaN in the third of five batches of the last rank, whose TerminateOnNaN stops it: nobody waits."""
    x, y = np.ones((20, 4)), np.ones((20, 1))
    if job.rank == job.world_size - 1:
        x[9] = np.nan
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(DistributedOptimizer(keras.optimizers.SGD(0.01)), loss="mse", jit_compile=False)
    stopping = StopCallback()
    callbacks = [BroadcastCallback(), MetricReductionCallback(), stopping, keras.callbacks.TerminateOnNaN()]
    model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0, callbacks=callbacks)
    job.save("stopped_alone", reason=str(stopping.reason), steps=int(model.optimizer.iterations))


def gather(job: Job) -> None:
    """Objects of other types and sizes on every rank, some of them nothing."""
    values = job.communicator.gather_objects({"rank": job.rank} if job.rank else None)
    job.save("gather", is_right=values == [None, *({"rank": rank} for rank in range(1, job.world_size))])


def compression(job: Job) -> None:
    """Sums in half precision of numbers that half precision cannot hold."""
    gradients = [tf.constant([1e6, -3e5, 1e2]) * (job.rank + 1), tf.constant([3e-9, 1e-10]), tf.zeros(2), None]
    (large, small, zero, none), scalars = sum_over_ranks(
        job.communicator, gradients, tf.constant([job.rank + 0.1], tf.float64), compression="fp16"
    )
    lost, _ = sum_over_ranks(
        job.communicator, [tf.constant([np.inf if job.rank == 0 else 1.0])], tf.constant([1.0]), compression="fp16"
    )
    job.save("compression", large=large, small=small, zero=zero, is_none=none is None, scalars=scalars, lost=lost[0])


def normalisation(job: Job) -> None:
    """Two layers in a row on a share of 7 samples: forward, gradients, moving statistics; once with padding."""
    for name, counts in (("shares", np.array_split(np.arange(7), job.world_size)), ("padding", [np.arange(7)])):
        mine = counts[job.rank] if len(counts) > job.rank else np.arange(0)
        x, slope, parameters = normalisation_inputs()
        images = x[mine] if mine.size else np.full((1, *x.shape[1:]), 50.0)
        real = np.full(len(images), float(mine.size > 0))
        layers = [SyncBatchNormalisation(momentum=0.7, communicator=job.communicator) for _ in range(2)]

        @tf.function
        def run(images: tf.Tensor, slope: tf.Tensor, real: tf.Tensor, layers: list = layers) -> tuple:
            with tf.GradientTape() as tape, sample_weights(real):
                tape.watch(images)
                outputs = layers[1](keras.ops.tanh(layers[0](images, training=True)), training=True)
                loss = tf.reduce_sum(outputs * slope * real[:, None, None, None])
            sources = [images, *(v.value for layer in layers for v in layer.trainable_variables)]
            return outputs, tape.gradient(loss, sources)

        for layer in layers:
            layer.build(x.shape)
            layer.gamma.assign(parameters[0])
            layer.beta.assign(parameters[1])
        outputs, gradients = run(images, slope[mine] if mine.size else np.zeros_like(images), real)
        own = slice(None) if mine.size else slice(0, 0)
        statistics = {f"statistic {i}": w for i, w in enumerate(w for ly in layers for w in ly.non_trainable_variables)}
        summed = {f"sum {i}": job.communicator.sum_array(g.numpy()) for i, g in enumerate(gradients[1:])}
        job.save(
            f"normalisation {name}",
            outputs=outputs.numpy()[own], images=gradients[0].numpy()[own],
            **{key: value.numpy() for key, value in statistics.items()}, **summed,
        )  # fmt: skip


def normalisation_inputs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    x = generator.normal(5, 2, (7, 3, 2, 4))
    return x, generator.normal(size=x.shape), generator.normal(1, 0.3, (2, 4))


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (
        optimizers, fit, uneven, overflow, refusals, stop, stopped_alone, gather, compression, normalisation,
    )
}  # fmt: skip


def main(communicator: Communicator, out: str, *scenarios: str) -> None:
    keras.config.set_dtype_policy("float64")
    keras.config.set_floatx("float64")
    for scenario in scenarios:
        SCENARIOS[scenario](Job(communicator, Path(out)))
