"""Networks in another precision; that of every architecture is in tests/contracts."""

import keras
import numpy as np
import pytest
from keras import layers

from dist_training.architectures import ResidualUNetSettings, UNetSettings, build_network, read_network, with_precision
from dist_training.errors import WeightsError
from r2d2_base.errors import ConfigurationError

IMAGES = np.random.default_rng(0).normal(size=(2, 12, 20, 1)).astype("float32")


@pytest.fixture
def policy():
    """Sets Keras's global policy for one test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def test_one_trained_in_mixed_precision_computes_in_single(policy):
    """Its weights are in single precision already: the same network built in single precision says what it gives."""
    settings = ResidualUNetSettings(blocks=(1, 1, 1), base_filters=2)
    single = build_network(settings, 1, 3)
    policy("mixed_bfloat16")
    model = build_network(settings, 1, 3)
    assert any(layer.compute_dtype != "float32" for layer in model.layers)
    rebuilt = with_precision(model, "float32")
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert {layer.dtype_policy.name for layer in rebuilt.layers} == {"float32"}
    np.testing.assert_array_equal(np.asarray(rebuilt(IMAGES)), np.asarray(single(IMAGES)))


def test_more_precision_and_back_changes_no_bit():
    model = build_network(UNetSettings(base_filters=2, depth=1), 1, 3)
    double = with_precision(model, "float64")
    expected = np.asarray(model(IMAGES))
    assert np.asarray(double(IMAGES.astype("float64"))).dtype == np.float64
    for same in (with_precision(model, "float32"), with_precision(double, "float32")):
        np.testing.assert_array_equal(np.asarray(same(IMAGES)), expected)
        assert not {id(weight) for weight in same.weights} & {id(weight) for weight in model.weights}


@pytest.mark.parametrize(
    ("stored", "computed"), [("float16", "float32"), ("mixed_float16", "mixed_float16"), ("float64", "float64")]
)
def test_only_what_is_stored_in_half_precision_is_read_in_another(stored, computed, policy, tmp_path):
    policy(stored)
    model = build_network(UNetSettings(base_filters=2, depth=1, normalisation="batch"), 1, 2)
    policy("float32")
    model.save(tmp_path / "model.keras")
    read = read_network(tmp_path / "model.keras")
    assert read.get_layer("down0a").dtype_policy.name == computed
    for mine, theirs in zip(read.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs.astype(mine.dtype))
    assert read(IMAGES).dtype == ("float64" if stored == "float64" else "float32")


def test_layers_within_a_layer_and_shared_ones_change_too():
    shared = layers.Conv2D(1, 3, padding="same")
    inner = keras.Sequential([keras.Input((None, None, 1)), layers.Conv2D(1, 1)])
    images = keras.Input((None, None, 1))
    model = keras.Model(images, shared(inner(shared(images))))
    double = with_precision(model, "float64")
    assert {weight.dtype for weight in double.weights} == {"float64"}
    assert len(double.weights) == len(model.weights) == 4
    np.testing.assert_allclose(np.asarray(double(IMAGES)), np.asarray(model(IMAGES)), rtol=1e-4, atol=1e-6)


def test_what_cannot_be_is_refused():
    model = build_network(UNetSettings(base_filters=2, depth=1), 1, 2)
    with pytest.raises(ConfigurationError, match=r"one of float16, float32, float64; received 'int8'"):
        with_precision(model, "int8")
    model.get_layer("logits").bias.assign([7e4, 0.0])
    with pytest.raises(WeightsError, match=r"logits/bias holds weights up to 7e\+04, too large for float16"):
        with_precision(model, "float16")
