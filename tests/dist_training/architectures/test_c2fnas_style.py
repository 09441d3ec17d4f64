"""The network of cells against an independent implementation in NumPy, and its table against what a table must be."""

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from dist_training.architectures import C2FNASStyleSettings, build_network
from dist_training.architectures.c2fnas_style import CELLS, OPERATIONS
from dist_training.architectures.precision import dtype_policy
from tests.dist_training.architectures.numpy_networks import (
    convolution,
    crop,
    group_normalisation,
    linear_enlargement,
    pad_to_multiple,
    relu,
    weights_by_layer,
)

Maps = np.ndarray


def moved(settings: C2FNASStyleSettings) -> keras.Model:
    with dtype_policy("float64"):  # what is divided by the deviation of a few voxels keeps its digits
        model = build_network(settings, 2, 3)
    rng = np.random.default_rng(1)
    model.set_weights([weight + rng.normal(0, 0.1, weight.shape) for weight in model.get_weights()])
    return model


def test_equals_an_independent_implementation() -> None:
    """Written out from the description, cell by cell, not from the table."""
    model = moved(C2FNASStyleSettings(base_filters=2))
    weights = weights_by_layer(model)

    def normalised(maps: Maps, name: str, stride: int = 1) -> Maps:
        maps = convolution(maps, *weights[name])[:, ::stride, ::stride, ::stride]
        return group_normalisation(maps, *weights[f"{name}_normalisation"], groups=maps.shape[-1])

    def halved(maps: Maps, name: str) -> Maps:
        return normalised(relu(maps), f"{name}_halve", stride=2)

    def enlarged(maps: Maps, name: str) -> Maps:
        return normalised(relu(linear_enlargement(maps)), f"{name}_enlarge")

    def cell(name: str, *inputs: Maps) -> Maps:
        mixed = sum(convolution(maps, *weights[f"{name}_mix{number}"]) for number, maps in enumerate(inputs))
        maps = relu(mixed)
        if f"{name}_operation0" in weights:
            maps = convolution(maps, *weights[f"{name}_operation0"])
        return convolution(normalised(maps, f"{name}_operation"), *weights[f"{name}_end"])

    inputs = np.random.default_rng(0).normal(size=(2, 5, 18, 16, 2)).astype(np.float32)
    start = halved(normalised(pad_to_multiple(inputs.astype(np.float64), 16), "down0_start"), "down1_start")
    one_a = cell("down1_a", start)
    one_b = cell("down1_b", one_a, start)
    two = cell("down2_b", cell("down2_a", halved(one_b, "down2_a_from0")))
    three = cell("down3_a", halved(two, "down3_a_from0"))
    four = cell("bottom_a", halved(three, "bottom_a_from0"))
    up = cell("up3_b", cell("up3_a", three, enlarged(four, "up3_a_from1")))
    up = cell("up2_a", two, enlarged(up, "up2_a_from1"))
    first = cell("up1_a", one_b, enlarged(up, "up1_a_from1"))
    second = cell("up1_b", first)
    third = cell("up1_c", second, first)
    maps = relu(normalised(np.concatenate([second, third], axis=-1), "up1_narrow"))
    maps = relu(normalised(linear_enlargement(maps), "up0_narrow"))
    expected = crop(convolution(maps, *weights["logits"]), (5, 18, 16))
    np.testing.assert_allclose(np.asarray(model(inputs)), expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_kernels_are_those_of_the_operations_and_filters_double_with_every_halving() -> None:
    model = build_network(C2FNASStyleSettings(base_filters=4), 1, 2)
    kernels = {
        cell.name: [
            model.get_layer(name).kernel.shape
            for name in (f"{cell.name}_operation0", f"{cell.name}_operation")
            if any(layer.name == name for layer in model.layers)
        ]
        for cell in CELLS
    }
    for cell in CELLS:
        filters = 4 * 2**cell.level
        assert kernels[cell.name] == [(*kernel, filters, filters) for kernel in OPERATIONS[cell.operation]]
    assert kernels["bottom_a"] == [(1, 3, 3, 64, 64)]
    assert kernels["up2_a"] == [(1, 3, 3, 16, 16), (3, 1, 1, 16, 16)]


def test_number_of_parameters() -> None:
    # In units of f * f for f filters of a level (1 to 4: 4, 8, 16, 32, of 2 at the size of the volume): a cell has 1
    # for each input, 9, 27 or 9 + 3 for its operation, 1 at its end, and 2 f of its normalisation.
    # Level 1, five cells: (1+9+1) + (2+12+1) + (2+27+1) + (1+9+1) + (2+27+1) = 97; level 2: 29 + 29 + 15 = 73;
    # level 3: 29 + 30 + 29 = 88; level 4: 11. Cells: 97*16 + 73*64 + 88*256 + 11*1024 = 40,016, with 2 * (5*4 + 3*8 +
    # 3*16 + 32) = 248.
    # Down: 27 * (2*4 + 4*8 + 8*16 + 16*32) = 18,360, with 2 * (4 + 8 + 16 + 32) = 120. Up: 32*16 + 16*8 + 8*4 = 672,
    # with 2 * (16 + 8 + 4) = 56. Start: 27 * 1*2 + 4 = 58. End: 27 * (8*4 + 4*2) + 2 * (4 + 2) = 1,092; logits 9.
    expected = 40_016 + 248 + 18_360 + 120 + 672 + 56 + 58 + 1_092 + 9
    assert build_network(C2FNASStyleSettings(base_filters=2), 1, 3).count_params() == expected


def test_the_table_names_what_is_made_before_and_steps_by_one_level() -> None:
    levels = {"down1_start": 1}
    for cell in CELLS:
        assert all(abs(levels[name] - cell.level) <= 1 for name in cell.inputs), cell.name
        levels[cell.name] = cell.level
    used = {name for cell in CELLS for name in cell.inputs}
    assert set(levels) - used == {"up1_c"}
    assert len(levels) == len(CELLS) + 1


@pytest.mark.parametrize("fault", [{"dimensions": 2}, {"base_filters": 0}, {"kernels": [[3, 3, 3]]}])
def test_settings_refuse_what_cannot_work(fault: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(fault))):
        C2FNASStyleSettings(**fault)
