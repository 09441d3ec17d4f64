"""Losses against their formulas in NumPy, and the properties that training relies on."""

from typing import get_args

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from dist_training.losses import Loss, build_loss
from dist_training.settings import WHOLE_BATCH_LOSSES, LossName, TrainingSettings
from r2d2_base.errors import ConfigurationError
from tests.dist_training.losses.numpy_losses import ALPHA, BETA, GAMMA, sample_losses, step_loss

NAMES = get_args(LossName)
PER_SAMPLE = [name for name in NAMES if name not in WHOLE_BATCH_LOSSES]


def batch(
    outputs: int, samples: int = 3, size: tuple[int, int] = (5, 7), seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and classes of which a quarter is ignored."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (samples, *size, outputs))
    classes = rng.integers(0, max(2, outputs), (samples, *size))
    classes[rng.random(classes.shape) < 0.25] = -1
    return logits, classes.astype(np.int32)


def build(name: str, outputs: int, weights=None, **options) -> Loss:
    options = {"focal_gamma": GAMMA, "tversky_alpha": ALPHA, "tversky_beta": BETA, **options}
    return build_loss(name, outputs, class_weights=weights, **options)


def losses(name: str, logits: np.ndarray, classes: np.ndarray, weights=None, **options) -> np.ndarray:
    """One loss a sample: that of a step in which it alone has a weight."""
    loss = build(name, logits.shape[-1], weights, **options)
    found = [loss(tf.constant(logits), tf.constant(classes), one, 1.0) for one in np.eye(len(logits))]
    return np.array([one.numpy() for one in found])


def gradients(name: str, logits: np.ndarray, classes: np.ndarray, weights=None, **options) -> np.ndarray:
    """Of the sum over the samples; of the whole batch's loss where that is no sum."""
    variable, loss = tf.Variable(logits), build(name, logits.shape[-1], weights, **options)
    with tf.GradientTape() as tape:
        total = loss(variable, tf.constant(classes), np.ones(len(logits)), 1.0)
    return np.asarray(tape.gradient(total, variable))


def assert_slopes(found: np.ndarray, expected, logits: np.ndarray) -> None:
    """Compare a gradient with the finite differences of an independent function of the logits."""
    for index in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[index] = 1e-5
        slope = (expected(logits + step) - expected(logits - step)) / 2e-5
        assert found[index] == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_whole_batch_losses_say_so():
    assert {name for name in NAMES if build(name, 3).batch_overlap} == WHOLE_BATCH_LOSSES


@pytest.mark.parametrize("name", PER_SAMPLE)
@pytest.mark.parametrize("outputs", [1, 2, 3, 6])
def test_equals_its_definition(name, outputs):
    logits, classes = batch(outputs)
    result = losses(name, logits, classes)
    assert result.shape == (3,)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, sample_losses(name, logits, classes), rtol=1e-12)
    single = losses(name, logits.astype(np.float32), classes)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, result, rtol=1e-5)


def test_arithmetic_of_a_binary_sample():
    # Four pixels, of which one is ignored; sigmoid(0) = 1/2, sigmoid(ln 3) = 3/4.
    logits = np.array([0.0, np.log(3), np.log(3), 50.0]).reshape(1, 2, 2, 1)
    classes = np.array([1, 1, 0, -1], np.int32).reshape(1, 2, 2)
    # Cross-entropy: -(ln 1/2 + ln 3/4 + ln 1/4) / 3 = ln(32/3) / 3 = 0.789041...
    assert losses("cross_entropy", logits, classes)[0] == pytest.approx(np.log(32 / 3) / 3, rel=1e-12)
    # Dice: (2 (1/2 + 3/4) + 1) / ((1/2 + 3/4 + 3/4) + 2 + 1) = 3.5 / 5 = 0.7.
    assert losses("dice", logits, classes)[0] == pytest.approx(0.3, rel=1e-12)


def test_dice_of_a_class_that_the_reference_lacks():
    # Three classes, ten pixels of background; softmax ~ one-hot at these logits. Class 1 is predicted on 4 pixels,
    # class 2 nowhere: scores 1/(4+1) and 1/1, so the loss is 1 - (0.2 + 1) / 2 = 0.4. With nothing predicted it is 0.
    predicted = np.array([1] * 4 + [0] * 6)
    logits = 200.0 * np.eye(3)[predicted].reshape(1, 2, 5, 3)
    classes = np.zeros((1, 2, 5), np.int32)
    assert losses("dice", logits, classes)[0] == pytest.approx(0.4, abs=1e-9)
    nothing = 200.0 * np.eye(3)[np.zeros(10, int)].reshape(1, 2, 5, 3)
    assert losses("dice", nothing, classes)[0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("outputs", [1, 4])
def test_a_perfect_prediction_costs_nothing(name, outputs):
    _, classes = batch(outputs)
    known = np.maximum(classes, 0)
    logits = (2.0 * known[..., None] - 1 if outputs == 1 else np.eye(outputs)[known]) * 1e3
    np.testing.assert_allclose(losses(name, logits, classes), 0.0, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("outputs", [1, 3])
def test_ignored_pixels_have_no_influence_and_no_gradient(name, outputs):
    logits, classes = batch(outputs)
    changed = np.where((classes < 0)[..., None], logits + 7.0, logits)
    np.testing.assert_array_equal(losses(name, changed, classes), losses(name, logits, classes))
    gradient = gradients(name, logits, classes)
    assert not gradient[classes < 0].any()
    assert np.abs(gradient[classes >= 0]).max() > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("outputs", [1, 3])
def test_a_sample_without_a_real_pixel_counts_nothing(name, outputs):
    logits, classes = batch(outputs)
    classes[1] = -1
    assert losses(name, logits, classes)[1] == 0
    gradient = gradients(name, logits, classes)
    assert np.isfinite(gradient).all()
    assert not gradient[1].any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_logits_stay_finite(name, outputs, dtype):
    logits, classes = batch(outputs)
    logits = (np.sign(logits) * 1e4).astype(dtype)
    assert np.isfinite(losses(name, logits, classes)).all()
    assert np.isfinite(gradients(name, logits, classes)).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("outputs", [1, 3])
def test_gradient_equals_finite_differences(name, outputs):
    logits, classes = batch(outputs, samples=1, size=(2, 3))
    assert_slopes(gradients(name, logits, classes), lambda z: step_loss(name, z, classes), logits)


def test_half_precision_is_summed_in_single():
    # 300 x 300 pixels: their sum exceeds float16's largest number, 65,504.
    logits = np.zeros((1, 300, 300, 2), np.float16)
    classes = np.ones((1, 300, 300), np.int32)
    result = losses("dice_cross_entropy", logits, classes)
    assert result.dtype == np.float32
    # Dice (2 * 45,000 + 1) / (45,000 + 90,000 + 1)
    assert result[0] == pytest.approx(np.log(2) + 1 - 90_001 / 135_001, rel=1e-5)


@settings(max_examples=10)
@given(
    name=st.sampled_from(NAMES),
    outputs=st.sampled_from([1, 2, 4]),
    rows=st.integers(0, 4),
    columns=st.integers(0, 4),
    seed=st.integers(0, 2**16),
)
def test_padding_a_sample_changes_nothing(name, outputs, rows, columns, seed):
    logits, classes = batch(outputs, samples=2, seed=seed)
    margin = ((0, 0), (rows, columns), (columns, rows))
    padded = losses(
        name,
        np.pad(logits, (*margin, (0, 0)), constant_values=3.0),
        np.pad(classes, margin, constant_values=-1),
    )
    np.testing.assert_allclose(padded, losses(name, logits, classes), rtol=1e-12, atol=1e-14)


@settings(max_examples=10)
@given(name=st.sampled_from(NAMES), outputs=st.sampled_from([1, 3]), samples=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_batch_is_its_samples_one_by_one(name, outputs, samples, seed):
    logits, classes = batch(outputs, samples=samples, seed=seed)
    one_by_one = [losses(name, logits[i : i + 1], classes[i : i + 1])[0] for i in range(samples)]
    np.testing.assert_allclose(losses(name, logits, classes), one_by_one, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_costs_nothing(name):
    logits, classes = np.zeros((0, 4, 4, 3)), np.zeros((0, 4, 4), np.int32)
    assert float(build(name, 3)(tf.constant(logits), tf.constant(classes), np.ones(0), 1.0)) == 0
    assert gradients(name, logits, classes).shape == (0, 4, 4, 3)


def test_works_in_a_compiled_function_of_unknown_sizes():
    signature = [
        tf.TensorSpec((None, None, None, 3), tf.float64),
        tf.TensorSpec((None, None, None), tf.int32),
        tf.TensorSpec((None,), tf.float64),
        tf.TensorSpec((), tf.float64),
    ]
    logits, classes = batch(3)
    for name in ("dice_focal", "batch_dice_cross_entropy"):
        compiled = tf.function(build(name, 3).__call__, input_signature=signature)
        result = compiled(logits, classes, np.ones(3), 1 / 3)
        assert float(result) == pytest.approx(step_loss(name, logits, classes), rel=1e-12)


def test_unknown_names_and_counts_are_refused():
    with pytest.raises(
        ConfigurationError, match=r"one of dice_cross_entropy, .*tversky_cross_entropy; received 'jaccard'"
    ):
        build_loss("jaccard", 2)
    with pytest.raises(ConfigurationError, match="at least 1; received 0"):
        build_loss("dice", 0)
    with pytest.raises(ConfigurationError, match=r"focal_gamma must be at least 0; received -0\.5"):
        build_loss("focal", 2, focal_gamma=-0.5)
    with pytest.raises(ConfigurationError, match="must not both be 0"):
        build_loss("tversky", 2, tversky_alpha=0, tversky_beta=0)


def test_cross_entropy_equals_keras():
    logits, classes = batch(4)
    classes = np.maximum(classes, 0)
    by_pixel = keras.ops.sparse_categorical_crossentropy(classes, logits, from_logits=True)
    np.testing.assert_allclose(
        losses("cross_entropy", logits, classes), np.asarray(by_pixel).mean(axis=(1, 2)), rtol=1e-6
    )


def test_focal_loss_of_gamma_0_is_the_cross_entropy():
    logits, classes = batch(3)
    expected = losses("cross_entropy", logits, classes)
    np.testing.assert_array_equal(losses("focal", logits, classes, focal_gamma=0.0), expected)


@pytest.mark.parametrize("gamma", [0.25, 1.0, 2.0])
@pytest.mark.parametrize("outputs", [1, 3])
def test_focal_slopes_stay_finite_where_a_pixel_is_certain(gamma, outputs):
    logits, classes = batch(outputs)
    known = np.maximum(classes, 0)
    logits = (2.0 * known[..., None] - 1 if outputs == 1 else np.eye(outputs)[known]) * 1e4
    for certain in (logits, -logits):
        assert np.isfinite(gradients("focal", certain.astype(np.float32), classes, focal_gamma=gamma)).all()


def test_arithmetic_of_the_focal_and_tversky_losses():
    # The three real pixels above have p = 1/2, 3/4 and 1/4 of their class; with gamma 2:
    # (1/4 ln 2 + 1/16 ln 4/3 + 9/16 ln 4) / 3.
    logits = np.array([0.0, np.log(3), np.log(3), 50.0]).reshape(1, 2, 2, 1)
    classes = np.array([1, 1, 0, -1], np.int32).reshape(1, 2, 2)
    expected = (np.log(2) / 4 + np.log(4 / 3) / 16 + 9 * np.log(4) / 16) / 3
    assert losses("focal", logits, classes, focal_gamma=2.0)[0] == pytest.approx(expected, rel=1e-12)
    # Shared 5/4, false positives 3/4, false negatives 3/4: (5/4 + 1/2) / (5/4 + 1/5 * 3/4 + 3/5 * 3/4 + 1/2) = 35/47.
    tversky = losses("tversky", logits, classes, tversky_alpha=0.2, tversky_beta=0.6)[0]
    assert tversky == pytest.approx(1 - 35 / 47, rel=1e-12)


def test_tversky_of_halves_is_dice():
    logits, classes = batch(3)
    halves = losses("tversky", logits, classes, tversky_alpha=0.5, tversky_beta=0.5)
    np.testing.assert_array_equal(halves, losses("dice", logits, classes))


@pytest.mark.parametrize("name", NAMES)
def test_samples_may_be_split_into_parts_unless_the_whole_batch_counts(name):
    """What makes a loss the same on any number of workers, and of accumulated parts: it is a sum over samples."""
    logits, classes = batch(3, samples=5)
    loss = build(name, 3)
    whole = float(loss(tf.constant(logits), tf.constant(classes), np.ones(5), 0.2))
    parts = [slice(0, 3), slice(3, 5)]
    split = sum(
        float(loss(tf.constant(logits[p]), tf.constant(classes[p]), np.ones(len(logits[p])), 0.2)) for p in parts
    )
    assert whole == pytest.approx(step_loss(name, logits, classes), rel=1e-12)
    assert (abs(whole - split) < 1e-12) is (name not in WHOLE_BATCH_LOSSES)


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_of_weight_0_changes_nothing(name):
    logits, classes = batch(3, samples=4)
    loss, weights = build(name, 3), np.array([1.0, 1.0, 0.0, 1.0])
    others = weights > 0
    result = float(loss(tf.constant(logits), tf.constant(classes), weights, 1 / 3))
    assert result == pytest.approx(step_loss(name, logits[others], classes[others]), rel=1e-12)


WEIGHTS = (0.25, 3.0, 1.5, 7.0)


@pytest.mark.parametrize("name", ["cross_entropy", "dice_cross_entropy", "focal"])
@pytest.mark.parametrize("outputs", [1, 2, 4])
def test_class_weights_equal_their_definition(name, outputs):
    logits, classes = batch(outputs)
    weights = WEIGHTS[: max(2, outputs)]
    expected = sample_losses(name, logits, classes, weights)
    np.testing.assert_allclose(losses(name, logits, classes, weights), expected, rtol=1e-12)
    assert np.abs(expected - sample_losses(name, logits, classes)).min() > 1e-3
    np.testing.assert_allclose(losses(name, logits.astype(np.float32), classes, weights), expected, rtol=1e-5)


def test_arithmetic_of_a_weighted_binary_sample():
    # The sample of the arithmetic above with weight 2 for the background and 5 for the foreground:
    # -(5 ln 1/2 + 5 ln 3/4 + 2 ln 1/4) / 3 = (9 ln 2 - 5 ln 3/4) / 3 = 2.558911...
    logits = np.array([0.0, np.log(3), np.log(3), 50.0]).reshape(1, 2, 2, 1)
    classes = np.array([1, 1, 0, -1], np.int32).reshape(1, 2, 2)
    expected = (9 * np.log(2) - 5 * np.log(3 / 4)) / 3
    assert losses("cross_entropy", logits, classes, (2.0, 5.0))[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["cross_entropy", "dice_focal", "batch_dice_cross_entropy"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_weighted_gradient_equals_finite_differences(name, outputs):
    logits, classes = batch(outputs, samples=1, size=(2, 3))
    weights = WEIGHTS[: max(2, outputs)]
    found = gradients(name, logits, classes, weights)
    assert_slopes(found, lambda z: step_loss(name, z, classes, weights), logits)


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_one_are_no_weights(name):
    logits, classes = batch(3)
    np.testing.assert_array_equal(losses(name, logits, classes, (1.0, 1.0, 1.0)), losses(name, logits, classes))


@settings(max_examples=8)
@given(samples=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_weighted_batch_is_its_samples_one_by_one(samples, seed):
    """What a pixel counts for must not depend on which slices share its batch, or the workers would show."""
    logits, classes = batch(3, samples=samples, seed=seed)
    one_by_one = [
        losses("cross_entropy", logits[i : i + 1], classes[i : i + 1], WEIGHTS[:3])[0] for i in range(samples)
    ]
    np.testing.assert_allclose(losses("cross_entropy", logits, classes, WEIGHTS[:3]), one_by_one, rtol=1e-12)


def test_wrong_class_weights_are_refused():
    with pytest.raises(ConfigurationError, match="each of 2 classes, background included; received 1"):
        build_loss("cross_entropy", 1, class_weights=(1.0,))
    with pytest.raises(ValueError, match="class_weights weigh the cross-entropy"):
        TrainingSettings(loss="dice", class_weights=(1.0, 2.0))
    with pytest.raises(ValueError, match="greater than 0"):
        TrainingSettings(class_weights=(1.0, 0.0))
