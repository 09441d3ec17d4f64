"""Dist-FCN against the paper's layout, an independent implementation in NumPy, and Keras's own VGG networks."""

import logging
from pathlib import Path

import cv2
import h5py
import keras
import numpy as np
import pytest
from pydantic import ValidationError

from dist_training.architectures import FCNSettings, build_network, fcn
from dist_training.architectures.bilinear import Bilinear
from dist_training.architectures.dropout import SampleDropout
from dist_training.architectures.first_kernel import fit_first_kernel
from dist_training.errors import WeightsError, WeightsNotFoundError
from tests.dist_training.architectures.numpy_networks import (
    convolution,
    crop,
    maximum_pooling,
    pad_to_multiple,
    relu,
    transposed_convolution,
    weights_by_layer,
)


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def few_fc_channels(monkeypatch):
    """Spare the memory of 4096 channels in fc6 and fc7 (half a gigabyte) where only the trunk matters."""
    monkeypatch.setattr(fcn, "FC_CHANNELS", 8)


@pytest.fixture(scope="module")
def keras_vgg16() -> keras.Model:
    """Keras's VGG-16 without its top; biases are moved, since zeros would hide them."""
    network = keras.applications.VGG16(weights=None, include_top=False, input_shape=(None, None, 3))
    rng = np.random.default_rng(2)
    network.set_weights([w + (rng.normal(0, 0.1, w.shape) if w.ndim == 1 else 0.0) for w in network.get_weights()])
    return network


@pytest.mark.parametrize(("trunk", "parameters"), [("vgg16", 14_714_688), ("vgg19", 20_024_384)])
def test_full_trunk_has_the_published_number_of_parameters(trunk, parameters, few_fc_channels):
    model = build_network(FCNSettings(trunk=trunk, width=1.0), 3, 2)
    counts = [layer.count_params() for layer in model.layers if layer.name.startswith("block")]
    assert sum(counts) == parameters


def test_number_of_parameters_of_the_default():
    # Width 1/8: 8, 16, 32, 64, 64 channels and 512. vgg19 on one channel:
    # 9*8+8 + 9*8*8+8 = 664; 9*8*16+16 + 9*16*16+16 = 3,488; 9*16*32+32 + 3*(9*32*32+32) = 32,384;
    # 9*32*64+64 + 3*(9*64*64+64) = 129,280; 4*(9*64*64+64) = 147,712; fc6 49*64*512+512 = 1,606,144;
    # fc7 512*512+512 = 262,656; for 3 outputs: heads 3*(512+64+32) + 9 = 1,833, enlarging 9*(16+16+256) = 2,592.
    expected = 664 + 3_488 + 32_384 + 129_280 + 147_712 + 1_606_144 + 262_656 + 1_833 + 2_592
    assert build_network(FCNSettings(), 1, 3).count_params() == expected


@pytest.mark.parametrize("size", [(32, 64), (37, 50)])
@pytest.mark.parametrize(
    ("trunk", "stride", "joined"), [("vgg16", 8, (4, 3)), ("vgg19", 8, (4, 3)), ("vgg16", 16, (4,)), ("vgg16", 32, ())]
)
def test_equals_an_independent_implementation(trunk, stride, joined, size):
    model = build_network(FCNSettings(trunk=trunk, width=0.03, stride=stride), 2, 3)
    rng = np.random.default_rng(1)
    model.set_weights([weight + rng.normal(0, 0.05, weight.shape) for weight in model.get_weights()])
    weights = weights_by_layer(model)

    inputs = images(2, *size, 2)
    maps, pools = pad_to_multiple(inputs.astype(np.float64), 32), {}
    for block, count in enumerate({"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}[trunk], start=1):
        for number in range(1, count + 1):
            maps = relu(convolution(maps, *weights[f"block{block}_conv{number}"]))
        maps = pools[block] = maximum_pooling(maps)
    maps = relu(convolution(relu(convolution(maps, *weights["fc6"])), *weights["fc7"]))
    scores = convolution(maps, *weights["score_fc7"])
    for block in joined:
        enlarged = transposed_convolution(scores, *weights[f"enlarge_to_pool{block}"], stride=2)
        scores = enlarged + convolution(pools[block], *weights[f"score_pool{block}"])
    expected = crop(transposed_convolution(scores, *weights["logits"], stride=stride), size)

    np.testing.assert_allclose(np.asarray(model(inputs)), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_enlarging_starts_as_bilinear_interpolation(factor):
    layer = keras.layers.Conv2DTranspose(
        2, 2 * factor, strides=factor, padding="same", use_bias=False, kernel_initializer=Bilinear()
    )
    maps = images(1, 4, 5, 2)
    enlarged = np.asarray(layer(maps))[0]
    size = (5 * factor, 4 * factor)  # OpenCV: columns first; its pixels are squares with centres at halves, as here
    expected = np.stack([cv2.resize(maps[0, :, :, c], size, interpolation=cv2.INTER_LINEAR) for c in range(2)], axis=-1)
    inner = slice(factor, -factor)  # beyond, OpenCV repeats the border and a convolution sees zeros
    np.testing.assert_allclose(enlarged[inner, inner], expected[inner, inner], atol=1e-5)


def test_score_heads_start_at_zero_so_that_no_class_is_preferred():
    logits = np.asarray(build_network(FCNSettings(width=0.03), 1, 3)(images(1, 32, 32, 1)))
    assert not logits.any()


def test_dropout_follows_fc6_and_fc7():
    def names(rate: float) -> list[str]:
        model = build_network(FCNSettings(width=0.03, dropout=rate), 1, 1)
        return [layer.name for layer in model.layers if isinstance(layer, SampleDropout)]

    assert names(0.5) == ["fc6_dropout", "fc7_dropout"]
    assert names(0.0) == []


def write_weights_h5(network: keras.Model, folder: Path) -> Path:
    path = folder / "vgg16.weights.h5"
    network.save_weights(path)
    return path


def write_keras(network: keras.Model, folder: Path) -> Path:
    path = folder / "vgg16.keras"
    network.save(path)
    return path


def write_old_h5(network: keras.Model, folder: Path) -> Path:
    """In the layout of the files that Keras publishes: a group for each layer, which lists its weights."""
    path = folder / "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.0.0"
        for layer in network.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}_{part}_1:0" for part in ("W", "b")][: len(layer.weights)]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.get_weights(), strict=True):
                group[name] = weight
    return path


@pytest.mark.parametrize("write", [write_weights_h5, write_keras, write_old_h5])
def test_trunk_starts_from_a_keras_file(write, keras_vgg16, tmp_path, few_fc_channels, caplog):
    source = write(keras_vgg16, tmp_path)
    settings = FCNSettings(trunk="vgg16", width=1.0, pretrained_weights=str(source))
    with caplog.at_level(logging.INFO):
        model = build_network(settings, 3, 2)
    assert "fc6 and fc7 start from random weights" in caplog.text

    # Three channels are red, green and blue; a standardised picture is one of ImageNet's less its mean, over its std.
    standardised = images(1, 64, 64, 3)
    rgb = standardised * np.array([0.229, 0.224, 0.225]) * 255 + np.array([123.68, 116.779, 103.939])
    expected = keras_vgg16(keras.applications.vgg16.preprocess_input(rgb.astype(np.float32)))
    pool5 = keras.Model(model.input, model.get_layer("block5_pool").output)(standardised)
    np.testing.assert_allclose(np.asarray(pool5), np.asarray(expected), rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_channels_without_colours_meet_the_pretrained_trunk_as_a_grey_picture(channels):
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 5))
    picture = np.random.default_rng(1).normal(size=(1, 8, 8, 1))
    grey = np.repeat(picture, 3, axis=3) * np.array([57.375, 57.12, 58.393])  # blue, green, red, from 0 to 255
    fitted = fit_first_kernel(kernel, channels)
    assert fitted.shape == (3, 3, channels, 5)
    response = convolution(np.repeat(picture, channels, axis=3), fitted)
    np.testing.assert_allclose(response, convolution(grey, kernel), rtol=1e-9, atol=1e-9)


def test_fully_connected_layers_become_convolutions(tmp_path, monkeypatch):
    # A VGG-16 with a top of 5 and 6 in place of 4096 channels. What its fc2 says of a picture of 224 x 224 pixels is
    # what fc7 says at the centre of pool5's 7 x 7 pixels: there the 7 x 7 window of fc6 meets no border.
    monkeypatch.setattr(fcn, "FC_CHANNELS", 5)
    trunk = keras.applications.VGG16(weights=None, include_top=False, input_shape=(224, 224, 3))
    maps = keras.layers.Dense(5, "relu", name="fc1", bias_initializer="ones")(keras.layers.Flatten()(trunk.output))
    top = keras.layers.Dense(5, "relu", name="fc2", bias_initializer="ones")(maps)
    source = write_keras(keras.Model(trunk.input, top), tmp_path)

    model = build_network(FCNSettings(trunk="vgg16", width=1.0, pretrained_weights=str(source)), 3, 2)
    standardised = images(1, 224, 224, 3)
    bgr = standardised[..., ::-1] * np.array([57.375, 57.12, 58.393], np.float32)
    expected = np.asarray(keras.Model(trunk.input, top)(bgr))
    fc7 = np.asarray(keras.Model(model.input, model.get_layer("fc7").output)(standardised))
    assert fc7.shape == (1, 7, 7, 5)
    np.testing.assert_allclose(fc7[:, 3, 3], expected, rtol=1e-3, atol=1e-4)


def test_a_missing_file_of_weights_is_named():
    with pytest.raises(WeightsNotFoundError, match=r"nowhere/vgg19\.h5: no such file"):
        build_network(FCNSettings(width=1.0, pretrained_weights="nowhere/vgg19.h5"), 1, 1)


def test_a_damaged_file_of_weights_is_named(tmp_path, few_fc_channels):
    path = tmp_path / "vgg19.weights.h5"
    path.write_bytes(b"not HDF5")
    with pytest.raises(WeightsError, match=r"vgg19\.weights\.h5: not the weights of Keras's vgg19"):
        build_network(FCNSettings(width=1.0, pretrained_weights=str(path)), 1, 1)


@pytest.mark.parametrize("write", [write_weights_h5, write_keras])
def test_weights_of_another_network_are_refused(write, keras_vgg16, tmp_path, few_fc_channels):
    path = write(keras_vgg16, tmp_path)
    with pytest.raises(WeightsError, match="not the weights of Keras's vgg19"):
        build_network(FCNSettings(trunk="vgg19", width=1.0, pretrained_weights=str(path)), 1, 1)


def test_pretrained_weights_need_the_full_width():
    with pytest.raises(ValidationError, match=r"full width only; received width=0\.5; use width=1\.0"):
        FCNSettings(width=0.5, pretrained_weights="imagenet")
