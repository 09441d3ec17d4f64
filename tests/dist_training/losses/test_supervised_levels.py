"""Deep supervision: losses at several resolutions against the same losses of class maps cut by hand."""

from typing import get_args

import numpy as np
import pytest
import tensorflow as tf

from dist_training.losses import build_loss
from dist_training.losses.supervision import classes_at, level_weights
from dist_training.settings import LossName
from r2d2_base.errors import ConfigurationError
from tests.dist_training.losses.numpy_losses import ALPHA, BETA, GAMMA, step_loss

NAMES = get_args(LossName)


def levels(sizes: list[tuple[int, int]], samples: int = 3, outputs: int = 3) -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(4)
    logits = [rng.normal(0, 2, (samples, *size, outputs)) for size in sizes]
    classes = rng.integers(-1, outputs, (samples, *sizes[0])).astype(np.int32)
    return logits, classes


@pytest.mark.parametrize("name", NAMES)
def test_each_resolution_counts_half_of_the_one_before(name):
    outputs, classes = levels([(8, 12), (4, 6), (2, 3)])
    # The pixel after the centre of blocks of 2 and of 4.
    maps = [classes, classes[:, 1::2, 1::2], classes[:, 2::4, 2::4]]
    loss = build_loss(name, 3, focal_gamma=GAMMA, tversky_alpha=ALPHA, tversky_beta=BETA)
    variables = [tf.Variable(logits) for logits in outputs]
    with tf.GradientTape() as tape:
        result = loss(variables, tf.constant(classes), np.ones(3), 1 / 3)
    parts = [step_loss(name, logits, small) for logits, small in zip(outputs, maps, strict=True)]
    assert float(result) == pytest.approx(np.dot(parts, [4, 2, 1]) / 7, rel=1e-12)
    for gradient in tape.gradient(result, variables):
        assert np.abs(np.asarray(gradient)).max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_volumes_are_compared_as_slices_of_the_same_pixels_are(name):
    """At full size, and at coarser ones, with other strides along each axis."""
    outputs, classes = levels([(4, 6, 8), (4, 3, 4), (2, 3, 2)])
    maps = [classes, classes[:, :, 1::2, 1::2], classes[:, 1::2, 1::2, 2::4]]
    loss = build_loss(name, 3, focal_gamma=GAMMA, tversky_alpha=ALPHA, tversky_beta=BETA)
    result = float(loss([tf.constant(one) for one in outputs], tf.constant(classes), np.ones(3), 1 / 3))
    flat = [
        step_loss(name, logits.reshape(3, 1, -1, 3), small.reshape(3, 1, -1))
        for logits, small in zip(outputs, maps, strict=True)
    ]
    assert result == pytest.approx(np.dot(flat, [4, 2, 1]) / 7, rel=1e-12)


def test_one_output_in_a_list_is_that_output():
    (logits,), classes = levels([(4, 6)])
    loss = build_loss("dice_cross_entropy", 3)
    alone, listed = (float(loss(one, tf.constant(classes), np.ones(3), 1 / 3)) for one in (logits, [logits]))
    assert alone == listed


def test_weights_are_normalised():
    np.testing.assert_allclose(level_weights(4), np.array([8, 4, 2, 1]) / 15, rtol=1e-15)
    assert level_weights(1) == [1.0]


def test_ignored_pixels_stay_ignored():
    outputs, classes = levels([(8, 8), (4, 4)])
    classes[:, 1::2, 1::2] = -1  # all that the coarse logits are compared with
    loss = build_loss("dice_cross_entropy", 3)
    changed = [outputs[0], outputs[1] + np.arange(3)]
    before, after = (float(loss(one, tf.constant(classes), np.ones(3), 1 / 3)) for one in (outputs, changed))
    assert before == after == pytest.approx(step_loss("dice_cross_entropy", outputs[0], classes) * 2 / 3, rel=1e-12)


@pytest.mark.parametrize(("size", "multiple", "count"), [(37, 16, 24), (37, 16, 6), (37, 16, 3), (8, 4, 2), (7, 2, 4)])
def test_logits_of_a_padded_image_lie_where_the_padded_image_does(size, multiple, count):
    """PadToMultiple adds (-size % multiple) pixels, half of them before; a coarse logit is of a block of the whole."""
    classes = np.arange(1, size + 1, dtype=np.int32)
    missing = -size % multiple
    padded = np.pad(classes, (missing // 2, missing - missing // 2), constant_values=-1)
    block = len(padded) // count
    result = np.asarray(classes_at(classes.reshape(1, size, 1), count, 1))[0, :, 0]
    np.testing.assert_array_equal(result, padded[block // 2 :: block])


def test_logits_larger_than_the_image_are_refused():
    with pytest.raises(ConfigurationError, match=r"at most as large as its input, .*received outputs of \(9, 4\)"):
        classes_at(np.zeros((1, 8, 8), np.int32), 9, 4)
