"""Dist-U-Net against the paper's arithmetic and an independent implementation in NumPy."""

import math
import subprocess
import sys

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from dist_training.architectures import UNetSettings, build_network
from dist_training.architectures.dropout import SampleDropout
from dist_training.architectures.normalisation import GroupNormalisation
from tests.dist_training.architectures.numpy_networks import (
    convolution,
    crop,
    group_normalisation,
    maximum_pooling,
    pad_to_multiple,
    relu,
    transposed_convolution,
    weights_by_layer,
)


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def shuffle_weights(model: keras.Model, seed: int = 1) -> None:
    """Move every weight, so that a zero bias or a unit scale cannot hide a fault."""
    rng = np.random.default_rng(seed)
    model.set_weights([weight + rng.normal(0, 0.1, weight.shape) for weight in model.get_weights()])


@pytest.mark.parametrize(
    ("base_filters", "parameters"),
    [
        # Contracting: 9*1*64+64 + 9*64*64+64 = 37,568; 221,440; 885,248; 3,539,968; bottom 14,157,824.
        # Expanding: 2x2 transposed 4*2f*f+f: 2,097,664; 524,544; 131,200; 32,832;
        # two convolutions 9*2f*f+f + 9*f*f+f: 7,078,912; 1,769,984; 442,624; 110,720. Last: 64+1 = 65.
        # Sum: 31,030,593, the count of the published network with one input and one output.
        (64, 31_030_593),
        (32, 7_759_521),
    ],
)
def test_published_number_of_parameters(base_filters, parameters):
    settings = UNetSettings(base_filters=base_filters, depth=4, normalisation="none")
    assert build_network(settings, 1, 1).count_params() == parameters


def test_number_of_parameters_of_a_small_network_with_normalisation():
    # f = 2, one pooling, 3 channels in, 4 out; no biases but in the transposed and the last convolution:
    # down 9*3*2 + 9*2*2 = 90; bottom 9*2*4 + 9*4*4 = 216; transposed 4*4*2 + 2 = 34;
    # up 9*4*2 + 9*2*2 = 108; last 2*4 + 4 = 12; scale and shift 2*(2+2 + 4+4 + 2+2) = 32. Sum 492.
    for normalisation in ("group", "instance"):
        settings = UNetSettings(base_filters=2, depth=1, normalisation=normalisation)
        assert build_network(settings, 3, 4).count_params() == 492


@pytest.mark.parametrize("size", [(16, 8), (13, 10), (5, 7, 8)])
@pytest.mark.parametrize("normalisation", ["group", "none"])
def test_equals_an_independent_implementation(size, normalisation):
    depth = 2
    settings = UNetSettings(base_filters=4, depth=depth, normalisation=normalisation, groups=2, dimensions=len(size))
    model = build_network(settings, 2, 3)
    shuffle_weights(model)
    weights = weights_by_layer(model)

    def level(maps: np.ndarray, name: str) -> np.ndarray:
        for part in ("a", "b"):
            maps = convolution(maps, *weights[name + part])
            if normalisation == "group":
                maps = group_normalisation(maps, *weights[f"{name}{part}_normalisation"], groups=2)
            maps = relu(maps)
        return maps

    inputs = images(2, *size, 2)
    maps, skips = pad_to_multiple(inputs.astype(np.float64), 2**depth), []
    for i in range(depth):
        maps = level(maps, f"down{i}")
        skips.append(maps)
        maps = maximum_pooling(maps)
    maps = level(maps, "bottom")
    for i in reversed(range(depth)):
        kernel, *bias = weights[f"up{i}_transposed"]
        maps = np.concatenate([skips[i], transposed_convolution(maps, kernel, 2, *bias)], axis=-1)
        maps = level(maps, f"up{i}")
    expected = crop(convolution(maps, *weights["logits"]), size)

    np.testing.assert_allclose(np.asarray(model(inputs)), expected, rtol=1e-4, atol=1e-4)


def test_initial_weights_have_the_variance_of_he():
    model = build_network(UNetSettings(base_filters=32, depth=2, normalisation="none"), 1, 1)
    for name, inputs in (("bottoma", 9 * 64), ("up0a", 9 * 64), ("down1b", 9 * 64)):
        kernel, bias = model.get_layer(name).get_weights()
        assert math.isclose(kernel.std(), math.sqrt(2 / inputs), rel_tol=0.02)
        assert not bias.any()
    # No ReLU follows a transposed convolution, and one pixel of each of its 128 inputs reaches an output pixel.
    kernel, _ = model.get_layer("up1_transposed").get_weights()
    assert kernel.shape == (2, 2, 64, 128)
    assert math.isclose(kernel.std(), math.sqrt(1 / 128), rel_tol=0.02)


@pytest.mark.parametrize("normalisation", ["group", "instance"])
def test_group_and_instance_normalisation_do_not_depend_on_the_batch(normalisation):
    model = build_network(UNetSettings(base_filters=4, depth=2, normalisation=normalisation), 1, 2)
    batch = images(3, 16, 16, 1) * np.array([1.0, 10.0, 0.1], np.float32)[:, None, None, None]
    together = np.asarray(model(batch, training=True))
    for number in range(3):
        alone = np.asarray(model(batch[number : number + 1], training=True))
        np.testing.assert_allclose(together[number : number + 1], alone, rtol=1e-4, atol=1e-5)


def test_normalisation_by_name():
    def layers(kind: str, of: type) -> list:
        model = build_network(UNetSettings(base_filters=6, depth=1, normalisation=kind, groups=4), 1, 1)
        return [layer for layer in model.layers if isinstance(layer, of)]

    assert [layer.groups for layer in layers("group", GroupNormalisation)] == [3, 3, 4, 4, 3, 3]  # of 6, 12, 6 filters
    assert [layer.groups for layer in layers("instance", GroupNormalisation)] == [6, 6, 12, 12, 6, 6]
    assert len(layers("batch", keras.layers.BatchNormalization)) == 6
    assert not layers("none", GroupNormalisation | keras.layers.BatchNormalization)


def test_dropout_stands_at_the_end_of_the_contracting_path_and_acts_in_training_only():
    settings = UNetSettings(base_filters=4, depth=2, dropout=0.5)
    model = build_network(settings, 1, 1)
    names = [layer.name for layer in model.layers if isinstance(layer, SampleDropout)]
    assert names == ["down1_dropout", "bottom_dropout"]
    inputs = images(1, 16, 16, 1)
    still = build_network(settings.model_copy(update={"dropout": 0.0}), 1, 1)
    np.testing.assert_array_equal(np.asarray(model(inputs)), np.asarray(still(inputs)))
    assert np.abs(np.asarray(model(inputs, training=True)) - np.asarray(model(inputs))).max() > 1e-3


def test_a_shift_by_the_stride_shifts_the_logits():
    # Without normalisation, a pixel that is far from all borders sees a window only: convolutions commute with shifts.
    model = build_network(UNetSettings(base_filters=4, depth=1, normalisation="none"), 1, 1)
    inputs = images(1, 40, 40, 1)
    logits = np.asarray(model(inputs))
    shifted = np.asarray(model(np.roll(inputs, (2, 4), axis=(1, 2))))
    np.testing.assert_allclose(shifted[:, 16:28, 16:28], logits[:, 14:26, 12:24], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "fault",
    [{"depth": 0}, {"depth": 8}, {"base_filters": 0}, {"normalisation": "layer"}, {"dropout": 1.0}, {"filters": 16}],
)
def test_settings_refuse_what_cannot_work(fault):
    with pytest.raises(ValidationError, match=next(iter(fault))):
        UNetSettings(**fault)


def test_settings_and_names_of_losses_load_no_keras():
    code = (
        "import sys, dist_training.architectures, dist_training.losses\n"
        "dist_training.architectures.UNetSettings()\n"
        "print([name for name in ('keras', 'tensorflow') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
