"""Our group normalisation against the paper's equations and against Keras's layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from dist_training.architectures.normalisation import GroupNormalisation, group_count
from tests.dist_training.architectures.numpy_networks import group_normalisation


def maps_of(*shape: int, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, shape)


def build(of: type, groups: int, channels: int, dtype: str) -> keras.layers.Layer:
    """A layer whose scale and shift are not the initial ones."""
    layer = of(groups, epsilon=1e-5, dtype=dtype)
    layer.build((None, None, None, channels))
    layer.gamma.assign(np.linspace(0.5, 2.0, channels))
    layer.beta.assign(np.linspace(-1.0, 1.0, channels))
    return layer


def outputs_and_gradients(layer: keras.layers.Layer, maps: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    inputs = tf.constant(maps, layer.variable_dtype)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs)
        total = tf.reduce_sum(outputs * tf.constant(weights, outputs.dtype))
    gradients = tape.gradient(total, [inputs, layer.gamma.value, layer.beta.value])
    return [np.asarray(value) for value in (outputs, *gradients)]


@settings(max_examples=30)
@given(
    samples=st.integers(1, 3),
    size=st.tuples(st.integers(1, 6), st.integers(2, 6)),
    groups=st.integers(1, 4),
    of_each=st.integers(1, 4),
    mean=st.sampled_from([0.0, -5.0, 1000.0]),
)
def test_equals_the_papers_equations(samples, size, groups, of_each, mean):
    channels = groups * of_each
    layer = build(GroupNormalisation, groups, channels, "float64")
    maps = maps_of(samples, *size, channels, mean=mean)
    expected = group_normalisation(maps, np.linspace(0.5, 2.0, channels), np.linspace(-1.0, 1.0, channels), groups)
    np.testing.assert_allclose(np.asarray(layer(maps)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("groups", [1, 4, 12])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_equals_keras_forward_and_backward(groups, dtype, tolerance):
    maps, weights = maps_of(3, 7, 9, 12), maps_of(3, 7, 9, 12, seed=1)
    ours, theirs = (
        outputs_and_gradients(build(of, groups, 12, dtype), maps, weights)
        for of in (GroupNormalisation, keras.layers.GroupNormalization)
    )
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)


def test_gradient_equals_finite_differences():
    maps, weights = maps_of(2, 3, 2, 4), maps_of(2, 3, 2, 4, seed=1)
    gamma, beta = np.linspace(0.5, 2.0, 4), np.linspace(-1.0, 1.0, 4)
    gradient = outputs_and_gradients(build(GroupNormalisation, 2, 4, "float64"), maps, weights)[1]
    for index in np.ndindex(*maps.shape):
        step = np.zeros_like(maps)
        step[index] = 1e-5
        above, below = (group_normalisation(maps + sign * step, gamma, beta, 2) for sign in (1, -1))
        assert gradient[index] == pytest.approx(np.sum((above - below) * weights) / 2e-5, rel=1e-5, abs=1e-8)


def test_a_large_mean_costs_no_more_digits_than_the_input_lost():
    # In single precision, a value near 1000 is rounded to 6e-5; E[x^2] - E[x]^2 would lose 0.06 of the variance 1.
    maps = maps_of(2, 16, 16, 8, mean=1000.0).astype(np.float32)
    weights = maps_of(2, 16, 16, 8, seed=1)
    exact = outputs_and_gradients(build(GroupNormalisation, 2, 8, "float64"), maps, weights)
    single = outputs_and_gradients(build(GroupNormalisation, 2, 8, "float32"), maps, weights)
    np.testing.assert_allclose(single[0], exact[0], atol=3e-4)
    np.testing.assert_allclose(single[1], exact[1], atol=3e-4)
    np.testing.assert_allclose(single[2], exact[2], atol=1e-2)  # a sum over 512 pixels
    np.testing.assert_allclose(single[3], exact[3], atol=1e-4)


def test_constant_maps_become_the_shift():
    layer = build(GroupNormalisation, 2, 4, "float32")
    outputs = np.asarray(layer(np.full((1, 3, 3, 4), 7.0, np.float32)))
    np.testing.assert_allclose(outputs, np.broadcast_to(np.linspace(-1, 1, 4), (1, 3, 3, 4)), atol=1e-6)


def test_an_empty_batch_has_zero_gradients():
    layer = build(GroupNormalisation, 2, 4, "float32")
    outputs, _, by_gamma, by_beta = outputs_and_gradients(layer, np.zeros((0, 3, 3, 4)), np.zeros((0, 3, 3, 4)))
    assert outputs.shape == (0, 3, 3, 4)
    assert not by_gamma.any()
    assert not by_beta.any()


def test_half_precision_comes_back_half_and_is_summed_in_single():
    layer = build(GroupNormalisation, 2, 4, "mixed_float16")
    maps = (300 * maps_of(1, 64, 64, 4)).astype(np.float16)  # squares and sums exceed float16's 65,504
    outputs = np.asarray(layer(maps))
    assert outputs.dtype == np.float16
    expected = group_normalisation(maps.astype(np.float64), np.linspace(0.5, 2, 4), np.linspace(-1, 1, 4), 2)
    np.testing.assert_allclose(outputs, expected, atol=1e-2)


def test_works_in_a_compiled_function_of_unknown_sizes():
    layer = build(GroupNormalisation, 2, 4, "float64")
    maps = maps_of(2, 5, 3, 4)
    compiled = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, 4), tf.float64)])
    np.testing.assert_allclose(np.asarray(compiled(maps)), np.asarray(layer(maps)), rtol=1e-12)


def test_groups_must_divide_the_channels():
    with pytest.raises(ValueError, match="received 3 groups of 4 channels"):
        GroupNormalisation(3).build((None, None, None, 4))


@given(filters=st.integers(1, 300), groups=st.integers(1, 64))
def test_group_count_is_the_largest_divisor_up_to_the_wish(filters, groups):
    count = group_count(filters, groups)
    assert filters % count == 0
    assert count <= groups
    assert all(filters % larger for larger in range(count + 1, min(groups, filters) + 1))
