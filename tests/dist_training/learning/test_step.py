"""One step of descent against the same step taken by hand, in double precision."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from dist_training.architectures import UNetSettings, build_network
from dist_training.inference.outputs import NetworkOutputs
from dist_training.inputs.feed import IGNORED, Batch
from dist_training.learning.step import StepOutcome, TrainingStep, build_predict
from dist_training.losses import build_loss
from dist_training.optimizers import build_optimizer
from dist_training.ranks.communicator import SoloCommunicator
from dist_training.ranks.distributed_optimizer import DistributedOptimizer
from dist_training.settings import TrainingSettings
from r2d2_base.errors import ConfigurationError

SHAPE = (6, 8, 2)
RATE = 0.125  # a power of two: the same number in every precision
SETTINGS = TrainingSettings(optimizer="sgd", momentum=0.0, loss="cross_entropy", dtype="float64")


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)


def network(num_outputs: int, dropout: float = 0.0) -> keras.Model:
    settings = UNetSettings(depth=1, base_filters=2, dropout=dropout)
    return build_network(settings, SHAPE[2], num_outputs, seed=1)


def batch(count: int, num_classes: int, seed: int = 0) -> Batch:
    """Random slices; of the first, a border is padding, so that means over real pixels differ from others."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(count, *SHAPE))
    classes = rng.integers(0, num_classes, (count, *SHAPE[:2]), dtype=np.int32)
    classes[0, :2], classes[0, :, 5:] = IGNORED, IGNORED
    seeds = np.arange(count, dtype=np.uint32)
    return Batch(images, classes, np.ones(count), seeds, count)


def with_weightless_slice(full: Batch) -> Batch:
    extra = batch(1, 2, seed=9)
    return Batch(
        np.concatenate([full.images, extra.images]),
        np.concatenate([full.classes, extra.classes]),
        np.append(full.weights, 0.0),
        np.append(full.sample_seeds, np.uint32(0)),
        full.global_count,
    )


def make_step(
    model: keras.Model, settings: TrainingSettings = SETTINGS
) -> tuple[keras.optimizers.Optimizer, TrainingStep]:
    optimizer = build_optimizer(settings)
    optimizer.build(model.trainable_variables)
    distributed = DistributedOptimizer(optimizer, communicator=SoloCommunicator(), reduction="sum")
    loss = build_loss(settings.loss, model.output_shape[-1])
    return distributed, TrainingStep(model, loss, distributed, settings, SHAPE)


def take_step(
    model: keras.Model, given: Batch, *, rate: float = RATE, votes: Sequence[float] = (0.0, 0.0, 0.0)
) -> StepOutcome:
    return make_step(model)[1](given, learning_rate=rate, votes=np.array(votes))


def by_hand(model: keras.Model, given: Batch, rate: float = RATE) -> tuple[list[np.ndarray], float]:
    """Weights after w - rate * gradient of the mean over slices of the cross-entropy's mean over real pixels."""
    real = tf.constant(given.classes >= 0, tf.float64)
    target = np.maximum(given.classes, 0)
    with tf.GradientTape() as tape:
        logits = model(given.images, training=True)
        if logits.shape[-1] == 1:
            entropy = tf.nn.sigmoid_cross_entropy_with_logits(target.astype(np.float64), logits[..., 0])
        else:
            entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(target, logits)
        loss = tf.reduce_mean(tf.reduce_sum(entropy * real, (1, 2)) / tf.reduce_sum(real, (1, 2)))
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    weights = [
        variable.numpy() - rate * gradient.numpy()
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
    ]
    return weights, float(loss)


def assert_weights(model: keras.Model, expected: list[np.ndarray]) -> None:
    for variable, value in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=0, atol=1e-12, err_msg=variable.path)


@pytest.mark.parametrize(("num_outputs", "num_classes"), [(1, 2), (3, 3)])
def test_a_step_is_that_of_plain_gradient_descent(num_outputs: int, num_classes: int) -> None:
    model, given = network(num_outputs), batch(5, num_classes)
    before = [variable.numpy() for variable in model.trainable_variables]
    expected, loss = by_hand(model, given)
    returned = take_step(model, given).loss
    assert returned == pytest.approx(loss, rel=1e-12)
    assert_weights(model, expected)
    assert all(np.abs(old - new).max() > 1e-6 for old, new in zip(before, expected, strict=True))


def test_a_slice_of_weight_0_changes_nothing() -> None:
    model, given = network(3), batch(4, 2)
    expected, loss = by_hand(model, given)
    returned = take_step(model, with_weightless_slice(given)).loss
    assert returned == pytest.approx(loss, rel=1e-12)
    assert_weights(model, expected)


def test_the_loss_is_divided_by_the_slices_of_all_ranks() -> None:
    """A rank that holds 4 of a step's 16 slices contributes a quarter of its own mean."""
    model, given = network(3), batch(4, 3)
    expected, loss = by_hand(model, given, rate=RATE / 4)
    returned = take_step(model, replace(given, global_count=16)).loss
    assert returned == pytest.approx(loss / 4, rel=1e-12)
    assert_weights(model, expected)


def test_what_decides_by_the_values_of_a_tensor_is_refused() -> None:
    """Its source is not rewritten for it (AutoGraph), and Keras's other backends could not do it either."""

    def loss(logits: Any, classes: Any, weights: Any, inverse_count: Any) -> Any:
        total = keras.ops.sum(logits)
        return total if total > 0 else -total

    model = network(3)
    distributed, _ = make_step(model)
    step = TrainingStep(model, loss, distributed, SETTINGS, SHAPE)
    with pytest.raises(ConfigurationError, match=r"decides by the values of a tensor.*use keras\.ops\.where"):
        step(batch(2, 3), learning_rate=RATE, votes=np.zeros(3))


def test_votes_come_back() -> None:
    outcome = take_step(network(1), batch(2, 2), votes=(1.0, 0.0, 0.25))
    np.testing.assert_array_equal(outcome.votes, [1.0, 0.0, 0.25])


def test_each_step_has_its_own_learning_rate() -> None:
    model, given = network(3), batch(3, 3)
    optimizer, step = make_step(model)
    for rate in (0.25, 0.03125):
        expected, _ = by_hand(model, given, rate)
        step(given, learning_rate=rate, votes=np.zeros(3))
        assert float(optimizer.learning_rate) == rate
        assert_weights(model, expected)


class Unused(keras.layers.Layer):
    """What it has learned to do, it does not do."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.weight = self.add_weight(shape=(1,))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs


def test_a_weight_that_the_loss_does_not_depend_on_is_left_alone_in_parts_too() -> None:
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1)(Unused()(inputs)))
    before = model.weights[0].numpy()
    _, step = make_step(model, SETTINGS.model_copy(update={"accumulation_steps": 2}))
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        step(batch(4, 2), learning_rate=RATE, votes=np.zeros(3))
    np.testing.assert_array_equal(model.weights[0].numpy(), before)


class Sparse(keras.layers.Layer):
    """What it lets through costs something: 3 times the mean of its magnitudes."""

    def call(self, maps: tf.Tensor) -> tf.Tensor:
        self.add_loss(3.0 * keras.ops.mean(keras.ops.abs(maps)))
        return maps


@pytest.mark.parametrize("parts", [1, 2])
def test_what_a_network_adds_to_the_loss_counts_once(parts: int) -> None:
    """A rank has 5 of a step's 20 slices, in one part or two (3 + 2): a quarter of what is added for its 5 alone."""
    inputs, weighed = keras.Input(SHAPE, dtype="float64"), {"kernel_regularizer": keras.regularizers.L2(0.5)}
    model = keras.Model(inputs, Sparse()(keras.layers.Conv2D(3, 1, use_bias=False, **weighed)(inputs)))
    given, kernel = batch(5, 3), model.weights[0].numpy()
    (plain,), loss = by_hand(model, given, rate=RATE / 4)
    logits = model(given.images).numpy()
    added = 0.5 * np.sum(kernel**2) + 3 * np.abs(logits).mean()
    slope = kernel + 3 * np.einsum("nhwi,nhwo->io", given.images, np.sign(logits)) / logits.size
    _, step = make_step(model, SETTINGS.model_copy(update={"accumulation_steps": parts}))
    outcome = step(replace(given, global_count=20), learning_rate=RATE, votes=np.zeros(3))
    assert outcome.loss == pytest.approx((loss + added) / 4, rel=1e-12)
    assert_weights(model, [plain - RATE / 4 * slope])


@pytest.mark.parametrize("parts", [2, 3, 9])
def test_a_step_in_parts_is_the_whole_step(parts: int) -> None:
    """Five slices in two parts (3 + 2), in three (2 + 2 + 1), and in more parts than slices."""
    given = batch(5, 3)
    whole, split = network(3), network(3)
    outcome = take_step(whole, given, votes=(0.0, 1.0, 0.0))
    in_parts = make_step(split, SETTINGS.model_copy(update={"accumulation_steps": parts}))[1]
    again = in_parts(given, learning_rate=RATE, votes=np.array([0.0, 1.0, 0.0]))
    assert again.loss == pytest.approx(outcome.loss, rel=1e-12)
    np.testing.assert_array_equal(again.votes, outcome.votes)
    assert_weights(split, whole.get_weights())


def test_dropout_depends_on_the_samples_seeds_alone() -> None:
    """The same seeds, whatever was drawn before, drop the same features; others drop others."""
    model, given = network(3, dropout=0.5), batch(4, 3)
    _, step = make_step(model)
    start = model.get_weights()

    def loss(seeds: int) -> float:
        model.set_weights(start)
        shifted = replace(given, sample_seeds=given.sample_seeds + np.uint32(seeds))
        return step(shifted, learning_rate=RATE, votes=np.zeros(3)).loss

    losses = [loss(0), loss(100), loss(0)]
    assert losses[0] == losses[2]
    assert losses[0] != losses[1]


def test_a_sample_drops_the_same_features_in_any_part_of_a_batch() -> None:
    given = batch(5, 3)
    whole, split = network(3, dropout=0.5), network(3, dropout=0.5)
    outcome = take_step(whole, given)
    in_parts = make_step(split, SETTINGS.model_copy(update={"accumulation_steps": 2}))[1]
    assert in_parts(given, learning_rate=RATE, votes=np.zeros(3)).loss == pytest.approx(outcome.loss, rel=1e-12)
    assert_weights(split, whole.get_weights())


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_predicted_classes_are_the_likeliest(num_outputs: int) -> None:
    model, images = network(num_outputs), batch(3, 2).images
    *others, bias = model.get_weights()
    mean = model(images, training=False).numpy().mean(axis=(0, 1, 2))
    model.set_weights([*others, bias - mean])  # so that each class is the likeliest somewhere
    logits = model(images, training=False).numpy()
    likeliest = logits[..., 0] > 0 if num_outputs == 1 else logits.argmax(-1)
    predicted = build_predict(model, NetworkOutputs.of_classes(max(2, num_outputs)))(images)
    np.testing.assert_array_equal(predicted, likeliest)
    assert np.issubdtype(predicted.dtype, np.integer)
    assert np.unique(predicted).size == max(2, num_outputs)
