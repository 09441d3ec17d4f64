"""Pooling of volumes against NumPy, in each precision, and its gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dist_training.architectures.pooling import VolumePooling

REDUCED = {"average": np.mean, "maximum": np.max}


@pytest.mark.parametrize("kind", ["average", "maximum"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_each_block_becomes_one_voxel_in_every_precision(kind, dtype):
    maps = np.random.default_rng(0).integers(0, 64, (2, 3, 6, 4, 5)).astype("float64")
    expected = REDUCED[kind](maps.reshape(2, 3, 3, 2, 2, 2, 5), axis=(3, 5))
    found = VolumePooling(kind, (1, 2, 2), dtype=dtype)(keras.ops.cast(maps, dtype))
    assert keras.backend.standardize_dtype(found.dtype) == dtype
    np.testing.assert_allclose(keras.ops.convert_to_numpy(keras.ops.cast(found, "float64")), expected, rtol=1e-2)


@pytest.mark.parametrize("kind", ["average", "maximum"])
def test_what_is_left_over_is_dropped(kind):
    maps = np.random.default_rng(0).normal(size=(1, 5, 7, 3, 1))
    for dtype in ("float32", "float64"):
        found = np.asarray(VolumePooling(kind, (2, 3, 2), dtype=dtype)(maps.astype(dtype)))
        blocks = maps[:, :4, :6, :2].reshape(1, 2, 2, 2, 3, 1, 2, 1)
        np.testing.assert_allclose(found, REDUCED[kind](blocks, axis=(2, 4, 6)), rtol=1e-6)


@pytest.mark.parametrize("kind", ["average", "maximum"])
def test_gradients_agree_between_the_precisions(kind):
    maps, found = np.random.default_rng(0).normal(size=(1, 4, 4, 4, 2)), {}
    for dtype in ("float32", "float64"):
        values = tf.constant(maps, dtype)
        with tf.GradientTape() as tape:
            tape.watch(values)
            total = tf.reduce_sum(VolumePooling(kind, (2, 2, 2), dtype=dtype)(values) ** 2)
        found[dtype] = np.asarray(tape.gradient(total, values))
    np.testing.assert_allclose(found["float32"], found["float64"], rtol=1e-5, atol=1e-6)
    assert found["float64"].any()
