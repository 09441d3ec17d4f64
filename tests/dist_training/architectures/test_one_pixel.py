"""Convolutions of one pixel with strides: the same without them; none whose gradient is written past its memory."""

import platform

import keras
import numpy as np
import pytest
from keras import layers

from dist_training.architectures import UNetSettings, build_network
from dist_training.architectures.convolutions import Convolutions
from dist_training.architectures.one_pixel import check_one_pixel_convolutions
from r2d2_base.errors import ConfigurationError

pytestmark = pytest.mark.tensorflow

POOLED = r"AveragePooling2D\(1, strides="


class Nested(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = keras.Sequential([layers.Conv2D(8, 3, padding="same"), layers.Conv2D(4, 1, 2, name="hidden")])

    def call(self, images):
        return self.inner(images)


def network(*given: layers.Layer, channels: int = 3) -> keras.Model:
    return keras.Sequential([keras.Input((None, None, channels)), *given])


def nested() -> keras.Model:
    model = Nested()
    model(np.ones((1, 4, 4, 3), np.float32))
    return model


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN's fault is one of x86")
@pytest.mark.parametrize(
    ("make", "name", "instead"),
    [
        (lambda: network(layers.Conv2D(8, 1, 2, name="first")), "first", POOLED),
        (lambda: network(layers.Conv2D(15, 3), layers.Conv2D(64, 1, (1, 2), name="second")), "second", POOLED),
        (lambda: network(layers.Conv2DTranspose(4, 1, 2, name="enlarging"), channels=32), "enlarging", "as large as"),
        (nested, "hidden", POOLED),
    ],
)
def test_what_cannot_be_trained_safely_is_refused_unless_onednn_is_off(make, name, instead, monkeypatch):
    model = make()
    with pytest.raises(ConfigurationError, match=rf"the layer {name} .*{instead}.*ONEDNN_OPTS=0"):
        check_one_pixel_convolutions(model)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    check_one_pixel_convolutions(model)


@pytest.mark.parametrize(
    "model",
    [
        lambda: network(layers.Conv2D(8, 1)),
        lambda: network(layers.Conv2D(8, 3, 2)),
        lambda: network(layers.Conv2D(8, 1, 2), channels=16),
        lambda: build_network(UNetSettings(base_filters=2, depth=1), 1, 2),
    ],
)
def test_others_are_not(model):
    check_one_pixel_convolutions(model())


@pytest.mark.parametrize("size", [(8, 6), (7, 9)])
@pytest.mark.parametrize("channels", [3, 16])
def test_leaving_pixels_out_before_is_the_same(size, channels):
    images = np.random.default_rng(0).normal(size=(2, *size, channels)).astype(np.float32)
    inputs = keras.Input((None, None, channels))
    maps = Convolutions("none", 1, seed=4)(inputs, "skip", 5, 1, stride=2, is_activated=False)
    model = keras.Model(inputs, maps)
    strided = layers.Conv2D(5, 1, strides=2, padding="same")
    strided.build((None, None, None, channels))
    strided.set_weights(model.get_layer("skip").get_weights())
    check_one_pixel_convolutions(model)
    expected = np.asarray(strided(images))
    found = np.asarray(model(images))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
