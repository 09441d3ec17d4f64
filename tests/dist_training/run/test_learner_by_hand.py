"""All that learns, wired together from the settings, against the same steps in NumPy: on one rank and on several.

A fault that is the same on any number of workers passes every comparison between them; these values come from outside.
The network is a convolution of 1 x 1, so that NumPy can do it; slopes are differences of NumPy's own loss.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from dist_training.architectures import CustomSettings, NetworkSettings, ResidualUNetSettings, UNetSettings
from dist_training.architectures.precision import dtype_policy
from dist_training.inference.outputs import outputs_of
from dist_training.inputs.feed import Batch, Feed, SliceFeed, Step, rank_share
from dist_training.inputs.patch_feed import PatchFeed
from dist_training.learning.learner import Learner
from dist_training.learning.transfer import TransferSettings
from dist_training.settings import TrainingSettings
from imgmed import AugmentationSettings, PreparedDataset
from tests.dist_training.losses.numpy_losses import sample_losses
from tests.dist_training.optimizers.numpy_optimizers import Reference
from tests.dist_training.ranks.thread_ranks import ThreadCommunicator, on_ranks

MODULE = """
import keras
from keras import layers

def linear(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels), dtype=keras.config.dtype_policy().variable_dtype)
    return keras.Model(images, layers.Conv2D(num_outputs, 1, name="head")(images))

def entropy(y_true, y_pred, real, factor):
    log_p = y_pred - keras.ops.logsumexp(y_pred, axis=-1, keepdims=True)
    pixels = keras.ops.maximum(keras.ops.sum(real, axis=(1, 2, 3)), 1)
    return -factor * keras.ops.sum(y_true * log_p, axis=(1, 2, 3)) / pixels

def normalised(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels), dtype=keras.config.dtype_policy().variable_dtype)
    maps = layers.BatchNormalization(name="encoder_norm")(layers.Conv2D(2, 1, name="encoder")(images))
    return keras.Model(images, layers.Conv2D(num_outputs, 1, name="head")(keras.ops.tanh(maps)))
"""
RATES = (0.25, 0.0625)
INDICES = np.array([2, 5, 9])
"""Slices with labels, of which three ranks have one each, and two 2 and 1."""

BUILDING = Lock()


@pytest.fixture(autouse=True)
def own_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "by_hand.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("by_hand", None)
    importlib.invalidate_caches()


def build(
    dataset: PreparedDataset,
    network: str,
    job: ThreadCommunicator,
    augmentation: AugmentationSettings | None = None,
    **settings: Any,
) -> tuple[Learner, SliceFeed]:
    """A learner and the feed of all training slices; one rank after the other, as Keras's seed is one for all."""
    given, train = TrainingSettings(dtype="float64", **settings), dataset.splits.train
    augmentation = augmentation or AugmentationSettings()
    feed = SliceFeed(dataset, train, train, "float64", augmentation=augmentation, seed=3)
    outputs = outputs_of(dataset.labels, dataset.description.regions, has_regions=False)
    with BUILDING:
        learner = Learner(
            CustomSettings(build=f"by_hand:{network}"), outputs, given, job, feed, augmentation, TransferSettings()
        )
    return learner, feed


def take(learner: Learner, feed: Feed, job: ThreadCommunicator, indices: np.ndarray, rate: float) -> float:
    """Take a step on this rank's share of some slices; gives the loss."""
    mine = indices[rank_share(len(indices), job.rank, job.world_size)]
    learner.begin_epoch(0)
    return learner.step(feed.batch(Step(mine, len(indices))), learning_rate=rate, votes=np.zeros(3)).loss


def numpy_loss(settings: TrainingSettings, batch: Batch, weights: list[np.ndarray]) -> float:
    """The loss of a linear network, mean over the slices, from the formulas in NumPy."""
    logits = batch.images @ weights[0][0, 0] + weights[1]
    given = {"weights": settings.class_weights, "alpha": settings.tversky_alpha, "beta": settings.tversky_beta}
    if settings.loss == "by_hand:entropy":
        return 2 * float(np.mean(sample_losses("cross_entropy", logits, batch.classes)))
    return float(np.mean(sample_losses(settings.loss, logits, batch.classes, gamma=settings.focal_gamma, **given)))


def slopes(settings: TrainingSettings, batch: Batch, weights: list[np.ndarray], step: float = 1e-5) -> list[np.ndarray]:
    found = []
    for position, weight in enumerate(weights):
        slope = np.zeros_like(weight)
        for index in np.ndindex(weight.shape):
            moved = [[w.copy() for w in weights] for _ in range(2)]
            moved[0][position][index] += step
            moved[1][position][index] -= step
            up, down = (numpy_loss(settings, batch, each) for each in moved)
            slope[index] = (up - down) / (2 * step)
        found.append(slope)
    return found


CASES: dict[str, dict[str, Any]] = {
    "momentum, corrected": {"optimizer": "sgd", "loss": "cross_entropy"},
    "momentum, not corrected": {"optimizer": "sgd", "loss": "dice", "momentum_correction": False, "momentum": 0.8},
    "decay, clipped": {
        "optimizer": "sgd",
        "weight_decay": 0.3,
        "clip_norm": 0.05,
        "loss": "dice_cross_entropy",
        "nesterov": True,
        "class_weights": (0.5, 2.0, 3.0),
    },
    "adamw, in parts": {
        "optimizer": "adamw",
        "weight_decay": 0.3,
        "loss": "tversky_cross_entropy",
        "tversky_alpha": 0.2,
        "tversky_beta": 0.9,
        "accumulation_steps": 2,
    },
    "a loss of the user's own": {"optimizer": "sgd", "loss": "by_hand:entropy", "loss_options": {"factor": 2.0}},
    "focal": {"optimizer": "sgd", "momentum": 0.0, "loss": "focal", "focal_gamma": 1.5},
}


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_two_steps_are_those_of_numpy(dataset: PreparedDataset, name: str, world_size: int) -> None:
    """At two rates, from the slices to the weights, by every setting of the optimisation."""
    settings = TrainingSettings(dtype="float64", **CASES[name])

    def work(job: ThreadCommunicator) -> tuple[list[float], list[np.ndarray], list[np.ndarray], Batch]:
        learner, feed = build(dataset, "linear", job, **CASES[name])
        start = [weight.astype(np.float64) for weight in learner.weights()]
        losses = [take(learner, feed, job, INDICES, rate) for rate in RATES]
        return losses, start, list(learner.weights()), feed.batch(Step(INDICES, len(INDICES)))

    ranks = on_ranks(world_size, work)
    _, start, _, batch = ranks[0]
    assert len(np.unique(batch.classes)) > 2
    momentum = settings.momentum if settings.optimizer == "sgd" else 0.0
    clip = np.inf if settings.clip_norm is None else settings.clip_norm
    reference = Reference(
        settings.optimizer, start, momentum=momentum, nesterov=settings.nesterov,
        decay=settings.weight_decay, clip=clip,
    )  # fmt: skip
    expected = []
    for number, rate in enumerate(RATES):
        expected.append(numpy_loss(settings, batch, reference.weights))
        if number and settings.momentum_correction and momentum:  # Goyal et al. 2017, remark 2
            reference.first = [velocity * rate / RATES[number - 1] for velocity in reference.first]
        reference.apply(slopes(settings, batch, reference.weights), rate)
    for losses, _, weights, _ in ranks:
        assert losses == pytest.approx(expected, rel=1e-8)
        for found, right in zip(weights, reference.weights, strict=True):
            np.testing.assert_allclose(found, right, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("architecture", ["unet", "residual_unet"])
def test_networks_of_volumes_learn_alike_on_any_number_of_workers_and_in_parts(
    dataset: PreparedDataset, architecture: str
) -> None:
    networks: dict[str, NetworkSettings] = {
        "unet": UNetSettings(dimensions=3, depth=2, base_filters=2, dropout=0.3),
        "residual_unet": ResidualUNetSettings(
            dimensions=3, blocks=(1, 1, 1, 1), base_filters=2, strides=((1, 2, 2), (2, 2, 2), (2, 2, 2))
        ),
    }
    outputs = outputs_of(dataset.labels, dataset.description.regions, has_regions=False)
    augmentation = AugmentationSettings(rotation_degrees=20, noise_std=0.1)
    indices = np.array([5, 0, 7, 3])

    def learned(parts: int) -> Callable[[ThreadCommunicator], tuple[list[float], list[np.ndarray]]]:
        def work(job: ThreadCommunicator) -> tuple[list[float], list[np.ndarray]]:
            given = TrainingSettings(dtype="float64", loss="batch_dice_cross_entropy" if parts == 1 else "dice_focal")
            given = given.model_copy(update={"accumulation_steps": parts, "autoencoder": architecture == "unet"})
            feed = PatchFeed(dataset, dataset.splits.train, (4, 16, 24), "float64", augmentation=augmentation, seed=3)
            with BUILDING:
                learner = Learner(networks[architecture], outputs, given, job, feed, augmentation, TransferSettings())
            losses = [take(learner, feed, job, indices, rate) for rate in RATES]
            return losses, list(learner.weights())

        return work

    for parts, sizes in ((1, (1, 2, 3)), (2, (1, 3))):
        expected, weights = on_ranks(sizes[0], learned(parts))[0]
        assert expected[0] != expected[1]
        for size in sizes[1:]:
            for losses, found in on_ranks(size, learned(parts)):
                assert losses == pytest.approx(expected, rel=1e-9)
                for mine, theirs in zip(found, weights, strict=True):
                    np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)


def test_padding_counts_nowhere_in_synchronised_batch_normalisation(dataset: PreparedDataset) -> None:
    """Three ranks, two slices: the last rank has padding only. Plain Keras on the two gives loss and statistics."""
    two = INDICES[:2]

    def work(job: ThreadCommunicator) -> tuple[float, list[np.ndarray], list[np.ndarray], Batch]:
        learner, feed = build(dataset, "normalised", job, optimizer="sgd", momentum=0.0, loss="cross_entropy")
        start = list(learner.weights())
        loss = take(learner, feed, job, two, RATES[0])
        return loss, start, list(learner.weights()), feed.batch(Step(two, 2))

    ranks = on_ranks(3, work)
    _, start, _, batch = ranks[0]
    with dtype_policy("float64"):  # the ranks have one each
        plain = sys.modules["by_hand"].normalised(batch.images.shape[-1], start[-1].size)
    assert type(plain.layers[2]) is keras.layers.BatchNormalization
    plain.set_weights(start)
    real = tf.constant(batch.classes >= 0, tf.float64)
    with tf.GradientTape() as tape:
        logits = plain(batch.images, training=True)
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(np.maximum(batch.classes, 0), logits)
        expected = tf.reduce_mean(tf.reduce_sum(entropy * real, (1, 2)) / tf.reduce_sum(real, (1, 2)))
    variables = plain.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(expected, [v.value for v in variables]), strict=True):
        variable.assign_sub(RATES[0] * gradient)
    for loss, _, weights, _ in ranks:
        assert loss == pytest.approx(float(expected), rel=1e-9)
        for found, variable in zip(weights, plain.weights, strict=True):
            np.testing.assert_allclose(found, variable.numpy(), rtol=1e-8, atol=1e-10, err_msg=variable.path)


def test_what_the_device_augments_is_what_the_host_would_have(dataset: PreparedDataset) -> None:
    """Turned and moved by half the slice, images and labels alike: the step is the one of slices that come so."""
    steps = []
    for where in ("host", "device"):
        moved = AugmentationSettings(rotation_degrees=90, translation_px=12, zoom=(0.7, 1.3), where=where)

        def work(job: ThreadCommunicator, moved: AugmentationSettings = moved) -> tuple[float, list[np.ndarray]]:
            learner, feed = build(dataset, "linear", job, moved, optimizer="sgd", loss="dice_cross_entropy")
            return take(learner, feed, job, INDICES, RATES[0]), list(learner.weights())

        steps += on_ranks(1, work)
    (host_loss, host), (device_loss, device) = steps
    assert device_loss == pytest.approx(host_loss, rel=1e-3)
    for found, right in zip(device, host, strict=True):
        np.testing.assert_allclose(found, right, atol=1e-3)
