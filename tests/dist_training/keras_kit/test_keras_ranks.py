"""Callbacks on several ranks that are threads: logs as of one worker, the same steps on all, all optimizers."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from dist_training import (
    BroadcastCallback,
    DistributedOptimizer,
    MetricReductionCallback,
    SegmentationScores,
    StopCallback,
)
from dist_training.errors import RanksApartError
from dist_training.keras_kit import lockstep
from r2d2_base.errors import ConfigurationError
from tests.dist_training.ranks.thread_ranks import ThreadCommunicator, on_ranks

SHARES = {2: [slice(0, 3), slice(3, None)], 3: [slice(0, 2), slice(2, 3), slice(3, None)]}
"""Of eight samples."""


class OwnRatio(keras.metrics.Metric):
    """A user's own: the sum of the errors by the sum of the references."""

    def __init__(self) -> None:
        super().__init__(name="own_ratio")
        self.errors, self.references = (
            self.add_weight(initializer="zeros", name=name) for name in ("errors", "references")
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.errors.assign_add(keras.ops.sum(keras.ops.abs(y_true - y_pred)))
        self.references.assign_add(keras.ops.sum(y_true))

    def result(self) -> Any:
        return self.errors / self.references


class Largest(keras.metrics.Metric):
    """A user's own that is no sum, and says so."""

    def __init__(self) -> None:
        super().__init__(name="largest")
        self.value = self.add_variable((), "zeros", aggregation="none", name="value")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.value.assign(keras.ops.maximum(self.value, keras.ops.max(y_pred)))

    def result(self) -> Any:
        return self.value


def metrics() -> list[keras.metrics.Metric]:
    return [
        keras.metrics.Precision(name="precision"),
        keras.metrics.Recall(name="recall"),
        keras.metrics.AUC(name="auc"),
        keras.metrics.F1Score(threshold=0.5, name="f1"),
        keras.metrics.BinaryIoU([0, 1], name="iou"),
        keras.metrics.RootMeanSquaredError(name="rmse"),
        keras.metrics.R2Score(name="r2"),
        keras.metrics.BinaryAccuracy(name="accuracy"),
        OwnRatio(),
    ]


def logs_on(
    job: ThreadCommunicator, model: keras.Model, x: np.ndarray, y: np.ndarray, optimizer: Any = None, **compiled: Any
) -> dict[str, float]:
    """Train a step at a rate of 0 on this rank's share, validate on it, and give the reduced logs."""
    optimizer = optimizer or DistributedOptimizer(keras.optimizers.SGD(0.0), communicator=job)
    model.compile(optimizer, run_eagerly=True, jit_compile=False, **compiled)
    mine = SHARES[job.world_size][job.rank]
    callbacks = [BroadcastCallback(job), MetricReductionCallback(job)]
    part = x[mine], y[mine]
    history = model.fit(
        *part, batch_size=8, verbose=0, validation_data=part, validation_batch_size=4, callbacks=callbacks
    )
    return {name: values[0] for name, values in history.history.items()}


def test_ratios_of_sums_are_those_of_all_samples() -> None:
    """Of three ranks the last has none of the positives: its own precision, recall and F1 are 0 or undefined."""
    x = np.array([0.9, 0.2, 0.7, 0.6, 0.1, 0.3, 0.2, 0.4], np.float32).reshape(8, 1)
    y = np.array([1, 1, 1, 0, 0, 0, 0, 0], np.float32).reshape(8, 1)

    def work(job: ThreadCommunicator) -> dict[str, float]:
        model = keras.Sequential([keras.Input((1,)), keras.layers.Activation("linear"), keras.layers.Dense(1)])
        model.layers[-1].set_weights([np.ones((1, 1)), np.zeros(1)])
        return logs_on(job, model, x, y, loss="mse", metrics=[*metrics(), Largest()])

    mine = [x[share] for share in SHARES[3]]
    expected = {
        "loss": np.mean((x - y) ** 2),
        "largest": sum(share.max() * len(share) for share in mine) / 8,  # of each rank, weighted by its samples
    }
    for metric in metrics():
        metric.update_state(y, x)
        expected[metric.name] = np.asarray(metric.result())
    for logs in on_ranks(3, work):
        for name, value in expected.items():
            np.testing.assert_allclose(logs[name], value, rtol=1e-5, err_msg=name)
            np.testing.assert_allclose(logs[f"val_{name}"], value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(("false_pixels", "has_stranger"), [(0, False), (1, False), (0, True)])
def test_segmentation_scores_are_those_of_all_pixels(false_pixels: int, has_stranger: bool) -> None:
    """Rank 1 has background alone, of which a pixel may be false, or have a class that there is not."""
    y = np.zeros((8, 8, 8), np.int32)
    y[0, :6, :6], y[1, :4, :4], y[2, :2, :2] = 1, 1, 1
    x = y.astype(np.float32)
    x[0, 0, 0], x[1, 7, 7] = 0, 1
    x[5, 0, :false_pixels] = 1
    y[6, 0, 0] = 9 if has_stranger else 0

    def work(job: ThreadCommunicator) -> dict[str, float]:
        model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 1)])
        model.layers[0].set_weights([np.array([-4, 4], np.float32).reshape(1, 1, 1, 2), np.array([2, -2], np.float32)])
        scores = SegmentationScores(2, scores=("dice", "mean_iou"), prediction="logits")
        return logs_on(job, model, x[..., None], y, loss=lambda a, b: keras.ops.mean(b), metrics=[scores])

    both, either = 55, 57 + false_pixels  # of 36 + 16 + 4 pixels one is missed, and one is false
    background = 512 - either
    expected = {
        "dice": 2 * both / (56 + 56 + false_pixels),
        "mean_iou": (both / either + background / (512 - both)) / 2,
    }
    for logs in on_ranks(2, work):
        for name, value in expected.items():
            for logged in (name, f"val_{name}"):
                assert logs[logged] == pytest.approx(np.nan if has_stranger else value, rel=1e-6, nan_ok=True)


def test_counts_of_several_ranks_exceed_what_one_number_holds() -> None:
    """Sums of three counts just below 2**30 do not fit into the int32 that each is."""
    metric, count = SegmentationScores(1, prediction="classes", scores=("pixel_accuracy",)), 2**30 - 1
    metric.assign_state([np.array([3 * count, 0]), np.array([1, 0])])
    assert metric.confusion().tolist() == [[3 * count + 2**30]]


def test_the_loss_is_the_sum_over_the_ranks_where_gradients_are_summed() -> None:
    """Squared errors divided by the four samples of a step of both ranks, of which one has three; NumPy's mean."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)).astype(np.float32), rng.normal(size=(8, 1)).astype(np.float32)
    kernel = rng.normal(size=(3, 1)).astype(np.float32)
    steps = [slice(0, 4), slice(4, 8)]

    def work(job: ThreadCommunicator) -> dict[str, list[float]]:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False)])
        model.set_weights([kernel])
        optimizer = DistributedOptimizer(keras.optimizers.SGD(0.1), reduction="sum", communicator=job)
        model.compile(optimizer, loss=lambda a, b: keras.ops.sum((a - b) ** 2) / 4, run_eagerly=True)
        part = (slice(0, 3), slice(3, 4))[job.rank]
        mine = [np.concatenate([array[step][part] for step in steps]) for array in (x, y)]
        size = part.stop - part.start
        callbacks = [BroadcastCallback(job), MetricReductionCallback(job)]
        validation = (mine[0][:size], mine[1][:size])
        return model.fit(
            *mine, batch_size=size, shuffle=False, verbose=0, validation_data=validation, callbacks=callbacks
        ).history

    weights, losses = kernel.astype(np.float64), []
    for step in steps:
        error = x[step] @ weights - y[step]
        losses.append(np.mean(error**2))
        weights = weights - 0.1 * 2 * x[step].T @ error / 4
    for history in on_ranks(2, work):
        assert history["loss"] == [pytest.approx(np.mean(losses), rel=1e-5)]
        assert history["val_loss"] == [pytest.approx(np.mean((x[:4] @ weights - y[:4]) ** 2), rel=1e-5)]


class At(keras.callbacks.Callback):
    """Does something to the model after a step, or an epoch, of this rank."""

    def __init__(self, act: Callable[[Any], None], *, step: int | None = None, epoch: int | None = None) -> None:
        super().__init__()
        self.act, self.step, self.epoch = act, step, epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if int(self.model.optimizer.iterations) == self.step:
            self.act(self.model)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == self.epoch:
            self.act(self.model)


def stop(model: Any) -> None:
    model.stop_training = True


def slow_down(model: Any) -> None:
    model.optimizer.learning_rate = 0.001


Fitted = tuple[int, int, str | None]


def fit(
    job: ThreadCommunicator,
    on_last: Callable[[], keras.callbacks.Callback] | None = None,
    *,
    batches: tuple[int, int] = (3, 3),
    unknown_on: tuple[int, ...] = (),
    has_stop: bool = False,
    nan_at: int | None = None,
) -> Fitted:
    """Train three epochs, with something on the last rank alone; gives its steps, its epochs and why it stopped."""
    x, y = np.ones((2 * batches[job.rank], 2), np.float32), np.ones((2 * batches[job.rank], 1), np.float32)
    if nan_at is not None and job.rank == 1:
        x[nan_at] = np.nan
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    optimizer = DistributedOptimizer(keras.optimizers.SGD(0.01), communicator=job)
    model.compile(optimizer, loss="mse", run_eagerly=True, jit_compile=False)
    stopping = StopCallback(communicator=job)
    callbacks = [BroadcastCallback(job), MetricReductionCallback(job)]
    callbacks += [on_last()] if on_last is not None and job.rank == 1 else []
    callbacks += [stopping] if has_stop else []
    is_length_known = job.rank not in unknown_on
    data: Any = x if is_length_known else tf.data.Dataset.from_tensor_slices((x, y)).batch(2).filter(lambda a, b: True)
    target = y if is_length_known else None
    history = model.fit(
        data, target, epochs=3, batch_size=2 if is_length_known else None,
        shuffle=False, verbose=0, callbacks=callbacks, validation_data=(x, y),
    )  # fmt: skip
    return int(model.optimizer.iterations), len(history.history["loss"]), stopping.reason if has_stop else None


@pytest.mark.parametrize("step", [4, 6])
def test_where_one_rank_stops_all_do_after_the_same_step(step: int) -> None:
    """In the middle of the second epoch and at its end; TerminateOnNaN stops so."""
    ends = on_ranks(2, lambda job: fit(job, lambda: At(stop, step=step)))
    assert ends == [(step, 2, None)] * 2


def test_terminate_on_nan_on_one_rank_stops_all(capsys: pytest.CaptureFixture[str]) -> None:
    ends = on_ranks(2, lambda job: fit(job, keras.callbacks.TerminateOnNaN, nan_at=3, has_stop=True))
    assert ends == [(2, 1, "rank 1: a callback of its own")] * 2


def test_a_stop_at_the_end_of_an_epoch_is_spread_by_the_last_callback() -> None:
    ends = on_ranks(2, lambda job: fit(job, lambda: At(stop, epoch=1), has_stop=True))
    assert ends == [(6, 2, "rank 1: a callback of its own")] * 2


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (stop, "rank 0 goes on with another step, rank 1 has ended training"),
        (slow_down, "must learn at the same rate; received rank 0 at 0.01, rank 1 at 0.001"),
    ],
)
def test_ranks_that_decide_otherwise_at_the_end_of_an_epoch_end_with_one_line(act: Any, message: str) -> None:
    """As EarlyStopping and ReduceLROnPlateau on one rank do, with no callback of ours behind them."""
    with pytest.raises(RanksApartError, match=message):
        on_ranks(2, lambda job: fit(job, lambda: At(act, epoch=0)))


def test_epochs_of_other_lengths_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"received rank 0 3, rank 1 2; .* pass fit steps_per_epoch=2"):
        on_ranks(2, lambda job: fit(job, batches=(3, 2)))


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_data_of_unknown_length_may_run_out_on_all_ranks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras finds out in the step for which there is none: the others are waiting for its gradients by then."""
    (steps, epochs, _), other = on_ranks(2, lambda job: fit(job, unknown_on=(0, 1)))
    assert (steps, epochs, None) == other
    assert epochs == 3
    monkeypatch.setattr(lockstep, "MISSED_SECONDS", 0.2)
    with pytest.raises(RanksApartError, match="the data of rank 1 ran out in a step that the other ranks are taking"):
        on_ranks(2, lambda job: fit(job, batches=(3, 2), unknown_on=(0, 1)))


def test_an_optimizer_that_is_left_local_is_refused_once_it_is_applied() -> None:
    """One that is compiled and never applied, as a GAN's often is, does no harm."""

    def train(job: ThreadCommunicator, *, is_distributed: bool) -> int:
        model = OwnStep()
        plain = keras.optimizers.SGD(0.1)
        model.compile("rmsprop", run_eagerly=True, jit_compile=False)
        model.others = [plain, DistributedOptimizer(keras.optimizers.SGD(0.1), communicator=job)]
        model.applied = model.others[int(is_distributed)]
        model.fit(np.ones((4, 2)), np.ones((4, 1)), batch_size=2, verbose=0, callbacks=[BroadcastCallback(job)])
        return int(model.applied.iterations)

    assert on_ranks(2, lambda job: train(job, is_distributed=True)) == [2, 2]
    with pytest.raises(ConfigurationError, match=r"the model's others\[0\] is SGD, which leaves the gradients local"):
        on_ranks(2, lambda job: train(job, is_distributed=False))


class OwnStep(keras.Model):
    """A model whose training step is its own, with optimizers in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        self.build((None, 2))

    def call(self, x: Any) -> Any:
        return self.net(x)

    def train_step(self, data: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self(data[0]) - data[1]) ** 2)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.applied.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return {"loss": loss}


def test_an_epoch_ends_on_all_ranks_with_that_of_a_known_length(caplog: pytest.LogCaptureFixture) -> None:
    """Three steps on rank 0, five on rank 1, of which Keras does not know how many there are."""
    ends = on_ranks(2, lambda job: fit(job, batches=(3, 5), unknown_on=(1,)))
    assert ends == [(9, 3, None)] * 2
    assert (
        "the epoch ends early on all ranks: rank 1 goes on with another step, rank 0 has no more steps" in caplog.text
    )
