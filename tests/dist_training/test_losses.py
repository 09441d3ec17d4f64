"""Losses against their formulas in NumPy, and the properties that training relies on."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from dist_training.errors import ConfigurationError
from dist_training.losses import LOSSES, build_loss
from dist_training.settings import TrainingSettings

NAMES = ("cross_entropy", "dice", "dice_cross_entropy")


def expected_loss(name: str, logits: np.ndarray, classes: np.ndarray, weights=None) -> np.ndarray:
    """The definitions, sample by sample and class by class, in float64."""
    weights = np.ones(max(2, logits.shape[-1])) if weights is None else weights
    losses = []
    for z, y in zip(logits.astype(np.float64), classes, strict=True):
        real = y >= 0
        if not real.any():
            losses.append(0.0)
            continue
        z, y = z[real], y[real]
        if z.shape[1] == 1:
            foreground = 1 / (1 + np.exp(-z[:, 0]))
            p = np.stack([1 - foreground, foreground], axis=1)
        else:
            p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        cross_entropy = np.mean([-weights[y[i]] * np.log(p[i, y[i]]) for i in range(len(y))])
        dice = [(2 * p[y == k, k].sum() + 1) / (p[:, k].sum() + np.sum(y == k) + 1) for k in range(1, p.shape[1])]
        parts = {"cross_entropy": cross_entropy, "dice": 1 - np.mean(dice)}
        losses.append(parts[name] if name in parts else sum(parts.values()))
    return np.array(losses)


def batch(
    outputs: int, samples: int = 3, size: tuple[int, int] = (5, 7), seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and classes of which a quarter is ignored."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (samples, *size, outputs))
    classes = rng.integers(0, max(2, outputs), (samples, *size))
    classes[rng.random(classes.shape) < 0.25] = -1
    return logits, classes.astype(np.int32)


def losses(name: str, logits: np.ndarray, classes: np.ndarray, weights=None) -> np.ndarray:
    return np.asarray(build_loss(name, logits.shape[-1], weights)(tf.constant(logits), tf.constant(classes)))


def gradients(name: str, logits: np.ndarray, classes: np.ndarray, weights=None) -> np.ndarray:
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(build_loss(name, logits.shape[-1], weights)(variable, tf.constant(classes)))
    return np.asarray(tape.gradient(total, variable))


def test_the_names_are_those_promised():
    assert tuple(LOSSES) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("outputs", [1, 2, 3, 6])
def test_equals_its_definition(name, outputs):
    logits, classes = batch(outputs)
    result = losses(name, logits, classes)
    assert result.shape == (3,)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, expected_loss(name, logits, classes), rtol=1e-12)
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
    gradient = gradients(name, logits, classes)
    for index in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[index] = 1e-5
        slope = (expected_loss(name, logits + step, classes) - expected_loss(name, logits - step, classes))[0] / 2e-5
        assert gradient[index] == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_half_precision_is_summed_in_single():
    # 300 x 300 pixels: their sum exceeds float16's largest number, 65,504.
    logits = np.zeros((1, 300, 300, 2), np.float16)
    classes = np.ones((1, 300, 300), np.int32)
    result = losses("dice_cross_entropy", logits, classes)
    assert result.dtype == np.float32
    # Dice (2 * 45,000 + 1) / (45,000 + 90,000 + 1)
    assert result[0] == pytest.approx(np.log(2) + 1 - 90_001 / 135_001, rel=1e-5)


@settings(max_examples=25, deadline=None)
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


@settings(max_examples=25, deadline=None)
@given(name=st.sampled_from(NAMES), outputs=st.sampled_from([1, 3]), samples=st.integers(1, 5), seed=st.integers(0, 99))
def test_a_batch_is_its_samples_one_by_one(name, outputs, samples, seed):
    logits, classes = batch(outputs, samples=samples, seed=seed)
    one_by_one = [losses(name, logits[i : i + 1], classes[i : i + 1])[0] for i in range(samples)]
    np.testing.assert_allclose(losses(name, logits, classes), one_by_one, rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_gives_no_losses(name):
    assert losses(name, np.zeros((0, 4, 4, 3)), np.zeros((0, 4, 4), np.int32)).shape == (0,)
    assert gradients(name, np.zeros((0, 4, 4, 3)), np.zeros((0, 4, 4), np.int32)).shape == (0, 4, 4, 3)


def test_works_in_a_compiled_function_of_unknown_sizes():
    loss = build_loss("dice_cross_entropy", 3)
    signature = [tf.TensorSpec((None, None, None, 3), tf.float64), tf.TensorSpec((None, None, None), tf.int32)]
    logits, classes = batch(3)
    compiled = tf.function(loss, input_signature=signature)(logits, classes)
    np.testing.assert_allclose(np.asarray(compiled), expected_loss("dice_cross_entropy", logits, classes), rtol=1e-12)


def test_unknown_names_and_counts_are_refused():
    with pytest.raises(ConfigurationError, match="one of cross_entropy, dice, dice_cross_entropy; received 'jaccard'"):
        build_loss("jaccard", 2)
    with pytest.raises(ConfigurationError, match="at least 1; received 0"):
        build_loss("dice", 0)


def test_cross_entropy_equals_keras():
    logits, classes = batch(4)
    classes = np.maximum(classes, 0)
    by_pixel = keras.ops.sparse_categorical_crossentropy(classes, logits, from_logits=True)
    np.testing.assert_allclose(
        losses("cross_entropy", logits, classes), np.asarray(by_pixel).mean(axis=(1, 2)), rtol=1e-6
    )


WEIGHTS = (0.25, 3.0, 1.5, 7.0)


@pytest.mark.parametrize("name", ["cross_entropy", "dice_cross_entropy"])
@pytest.mark.parametrize("outputs", [1, 2, 4])
def test_class_weights_equal_their_definition(name, outputs):
    logits, classes = batch(outputs)
    weights = WEIGHTS[: max(2, outputs)]
    expected = expected_loss(name, logits, classes, weights)
    np.testing.assert_allclose(losses(name, logits, classes, weights), expected, rtol=1e-12)
    assert np.abs(expected - expected_loss(name, logits, classes)).min() > 0.01
    np.testing.assert_allclose(losses(name, logits.astype(np.float32), classes, weights), expected, rtol=1e-5)


def test_arithmetic_of_a_weighted_binary_sample():
    # The sample of the arithmetic above with weight 2 for the background and 5 for the foreground:
    # -(5 ln 1/2 + 5 ln 3/4 + 2 ln 1/4) / 3 = (9 ln 2 - 5 ln 3/4) / 3 = 2.558911...
    logits = np.array([0.0, np.log(3), np.log(3), 50.0]).reshape(1, 2, 2, 1)
    classes = np.array([1, 1, 0, -1], np.int32).reshape(1, 2, 2)
    expected = (9 * np.log(2) - 5 * np.log(3 / 4)) / 3
    assert losses("cross_entropy", logits, classes, (2.0, 5.0))[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["cross_entropy", "dice_cross_entropy"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_weighted_gradient_equals_finite_differences(name, outputs):
    logits, classes = batch(outputs, samples=1, size=(2, 3))
    weights = WEIGHTS[: max(2, outputs)]
    gradient = gradients(name, logits, classes, weights)
    for index in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[index] = 1e-5
        both = [expected_loss(name, logits + sign * step, classes, weights)[0] for sign in (1, -1)]
        assert gradient[index] == pytest.approx((both[0] - both[1]) / 2e-5, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_one_are_no_weights(name):
    logits, classes = batch(3)
    np.testing.assert_array_equal(losses(name, logits, classes, (1.0, 1.0, 1.0)), losses(name, logits, classes))


@settings(max_examples=15, deadline=None)
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
        build_loss("cross_entropy", 1, (1.0,))
    with pytest.raises(ValueError, match="class_weights weigh the cross-entropy"):
        TrainingSettings(loss="dice", class_weights=(1.0, 2.0))
    with pytest.raises(ValueError, match="greater than 0"):
        TrainingSettings(class_weights=(1.0, 0.0))
