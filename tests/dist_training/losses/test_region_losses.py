"""One sigmoid a region: losses against their formulas, region by region."""

from typing import get_args

import numpy as np
import pytest
import tensorflow as tf

from dist_training.losses import build_loss
from dist_training.settings import LossName
from r2d2_base.errors import ConfigurationError
from tests.dist_training.losses.numpy_losses import ALPHA, BETA, GAMMA, step_loss

NAMES = get_args(LossName)
# Background, then composite labels such as oedema, necrosis, enhancing tumour and a vessel that crosses the tumour.
REGIONS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1], [1, 1, 1]], bool)
WEIGHTS = (0.5, 2.0, 3.0, 1.0, 4.0)


def batch(samples: int = 3, size: tuple[int, int] = (5, 6)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return rng.normal(0, 3, (samples, *size, 3)), rng.integers(-1, 5, (samples, *size)).astype(np.int32)


def build(name: str, **options):
    return build_loss(
        name, 3, focal_gamma=GAMMA, tversky_alpha=ALPHA, tversky_beta=BETA, **{"regions": REGIONS, **options}
    )


@pytest.mark.parametrize("name", NAMES)
def test_equals_its_definition(name):
    logits, classes = batch()
    result = build(name)(tf.constant(logits), tf.constant(classes), np.ones(3), 1 / 3)
    assert float(result) == pytest.approx(step_loss(name, logits, classes, regions=REGIONS), rel=1e-12)


@pytest.mark.parametrize("name", ["dice_focal", "batch_dice_cross_entropy", "tversky"])
def test_gradient_equals_finite_differences(name):
    logits, classes = batch(2, (2, 2))
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        total = build(name)(variable, tf.constant(classes), np.ones(2), 0.5)
    gradient = tape.gradient(total, variable).numpy()
    for index in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[index] = 1e-5
        both = [step_loss(name, logits + sign * step, classes, regions=REGIONS) for sign in (1, -1)]
        assert gradient[index] == pytest.approx((both[0] - both[1]) / 2e-5, rel=1e-6, abs=1e-9)


def test_binary_cross_entropy_equals_that_of_tensorflow():
    logits, classes = batch()
    classes = np.maximum(classes, 0)
    expected = tf.nn.sigmoid_cross_entropy_with_logits(REGIONS[classes].astype(float), logits).numpy().mean()
    result = build("cross_entropy")(tf.constant(logits), tf.constant(classes), np.ones(3), 1 / 3)
    assert float(result) == pytest.approx(expected, rel=1e-12)


def test_a_pixel_has_the_weight_of_its_class_in_every_region():
    logits, classes = batch()
    loss = build("cross_entropy", class_weights=WEIGHTS)
    result = float(loss(tf.constant(logits), tf.constant(classes), np.ones(3), 1 / 3))
    assert result == pytest.approx(step_loss("cross_entropy", logits, classes, WEIGHTS, REGIONS), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_one_region_of_the_foreground_is_the_binary_task(name):
    logits, classes = batch()
    logits, classes = tf.constant(logits[..., :1]), np.minimum(classes, 1)
    one = build_loss(name, 1, regions=np.array([[False], [True]]))(logits, classes, np.ones(3), 1 / 3)
    binary = build_loss(name, 1)(logits, classes, np.ones(3), 1 / 3)
    assert float(one) == pytest.approx(float(binary), rel=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_ignored_samples_and_extreme_logits(name):
    logits, classes = batch()
    classes[1] = -1
    variable = tf.Variable((np.sign(logits) * 6e4).astype(np.float16))
    with tf.GradientTape() as tape:
        total = build(name)(variable, tf.constant(classes), np.ones(3), 1 / 3)
    gradient = tape.gradient(total, variable).numpy()
    assert total.dtype == tf.float32
    assert np.isfinite(float(total)) and np.isfinite(gradient).all()
    assert not gradient[1].any()


def test_a_table_of_another_shape_is_refused():
    with pytest.raises(ConfigurationError, match=r"regions must have shape .*num_outputs=2; received \(5, 3\)"):
        build_loss("dice", 2, regions=REGIONS)
    with pytest.raises(ConfigurationError, match="each of 5 classes, background included; received 3"):
        build_loss("cross_entropy", 3, regions=REGIONS, class_weights=(1, 2, 3))
