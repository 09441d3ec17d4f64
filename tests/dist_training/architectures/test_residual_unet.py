"""The residual U-Net against the paper's layout and an independent implementation in NumPy."""

import numpy as np
import pytest
from pydantic import ValidationError

from dist_training.architectures import ResidualUNetSettings, build_network, prediction_network, read_network
from dist_training.losses.supervision import classes_at
from tests.dist_training.architectures.numpy_networks import (
    convolution,
    group_normalisation,
    pad_to_multiple,
    transposed_convolution,
    weights_by_layer,
)


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def leaky(maps: np.ndarray) -> np.ndarray:
    return np.where(maps > 0, maps, 0.01 * maps)


SETTINGS = ResidualUNetSettings(base_filters=3, max_filters=6, blocks=(1, 2, 1, 1))


def test_number_of_parameters_of_a_small_network():
    # f = 2, then 4; 1 channel in, 3 out, instance normalisation (scale and shift), no bias before it.
    # Stem 9*1*2 + 4 = 22. Stage 0, one block: 2 * (9*2*2 + 4) = 80. Stage 1, one block: 9*2*4 + 8 = 80,
    # 9*4*4 + 8 = 152, skip 2*4 + 8 = 16: 248. Up: transposed 4*4*2 + 2 = 34, joined 9*4*2 + 4 = 76. Logits 2*3 + 3 = 9.
    settings = ResidualUNetSettings(base_filters=2, blocks=(1, 1))
    assert build_network(settings, 1, 3).count_params() == 22 + 80 + 248 + 34 + 76 + 9


def test_equals_an_independent_implementation_at_every_resolution():
    model = build_network(SETTINGS, 2, 3)
    rng = np.random.default_rng(1)
    model.set_weights([weight + rng.normal(0, 0.1, weight.shape) for weight in model.get_weights()])
    weights = weights_by_layer(model)

    def convolve(maps: np.ndarray, name: str, stride: int = 1) -> np.ndarray:
        maps = convolution(maps, *weights[name])[:, ::stride, ::stride]
        return group_normalisation(maps, *weights[f"{name}_normalisation"], groups=maps.shape[-1])

    def halve(maps: np.ndarray) -> np.ndarray:
        samples, rows, columns, channels = maps.shape
        return maps.reshape(samples, rows // 2, 2, columns // 2, 2, channels).mean(axis=(2, 4))

    inputs = images(2, 37, 48, 2)  # 3 rows are missing to a multiple of 8: 1 above, 2 below
    maps = leaky(convolve(pad_to_multiple(inputs.astype(np.float64), 8), "down0_stem"))
    stages = []
    for stage, count in enumerate((1, 2, 1, 1)):
        for number in range(count):
            name, stride = f"down{stage}_block{number}", 2 if stage > 0 and number == 0 else 1
            skip = halve(maps) if stride == 2 else maps
            if f"{name}_skip" in weights:
                skip = convolve(skip, f"{name}_skip")
            maps = leaky(skip + convolve(leaky(convolve(maps, f"{name}_1", stride)), f"{name}_2"))
        stages.append(maps)
    assert [f"down{stage}_block0_skip" in weights for stage in range(4)] == [False, True, False, False]
    expected = []
    for level in (2, 1, 0):
        kernel, bias = weights[f"up{level}_transposed"]
        maps = np.concatenate([stages[level], transposed_convolution(maps, kernel, 2, bias)], axis=-1)
        maps = leaky(convolve(maps, f"up{level}"))
        if level < 2:
            expected.insert(0, convolution(maps, *weights["logits" if level == 0 else "logits_2"]))
    expected = [expected[0][:, 1:38], expected[1]]
    assert expected[1].shape == (2, 20, 24, 3)  # of the padded image: the loss pads the class maps alike

    found = model(inputs)
    assert len(found) == len(expected) == 2
    for logits, values in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(logits), values, rtol=1e-3, atol=1e-4 * np.abs(values).max())


@pytest.mark.parametrize(("blocks", "strides"), [((1, 1), (1,)), ((1, 1, 1), (1,)), ((1,) * 5, (1, 2, 4))])
def test_deep_supervision_has_every_resolution_but_the_coarsest(blocks, strides):
    settings = ResidualUNetSettings(base_filters=2, blocks=blocks)
    assert settings.output_strides == tuple((stride, stride) for stride in strides)
    outputs = build_network(settings, 1, 2).outputs
    assert len(outputs) == len(strides)


def test_what_predicts_is_one_output_and_is_read_back_as_such(tmp_path):
    model, inputs = build_network(SETTINGS, 1, 3), images(1, 37, 50, 1)
    predicting = prediction_network(model)
    predicting.save(tmp_path / "model.keras")
    read = read_network(tmp_path / "model.keras")
    assert read.output_shape == (None, None, None, 3)
    assert not [layer for layer in read.layers if layer.name == "logits_2"]
    np.testing.assert_array_equal(np.asarray(read(inputs)), np.asarray(model(inputs)[0]))
    single = build_network(SETTINGS.model_copy(update={"deep_supervision": False}), 1, 3)
    np.testing.assert_array_equal(np.asarray(single(inputs)), np.asarray(read(inputs)))  # heads share no draw
    assert prediction_network(single) is single


def test_filters_double_up_to_the_largest():
    assert ResidualUNetSettings(blocks=(1,) * 7, base_filters=32).filters == (32, 64, 128, 256, 512, 512, 512)


@pytest.mark.parametrize("fault", [{"blocks": (1,)}, {"blocks": (1, 0)}, {"blocks": (1,) * 9}, {"max_filters": 0}])
def test_settings_refuse_what_cannot_work(fault):
    with pytest.raises(ValidationError, match=next(iter(fault))):
        ResidualUNetSettings(**fault)


def test_the_loss_compares_each_output_with_the_pixels_that_it_covers():
    # 37 rows are padded to 40: one above. A row of the logits at half the size covers rows 2i - 1 and 2i of the image,
    # and the loss looks at the later one, 2i.
    logits = build_network(SETTINGS, 1, 3)(images(1, 37, 48, 1))[1]
    rows = np.broadcast_to(np.arange(37, dtype=np.int32)[:, None], (37, 48))[None]
    found = np.asarray(classes_at(rows, *logits.shape[1:3]))[0, :, 0]
    assert found.tolist() == [*range(0, 37, 2), -1]
