"""A Keras .h5 file from anywhere: what asks for other weights than it holds is refused, and costs no memory."""

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from keras.src.backend.common import global_state

from dist_training.architectures.h5_file import check_h5_sizes
from dist_training.errors import WeightsError

MB = 1 << 10  # as the kernel counts memory, in kB
Layers = dict[str, dict[str, Any]]


def check(path: Path) -> None:
    with h5py.File(path) as file:
        config = json.loads(file.attrs["model_config"])
    check_h5_sizes(path, config)


def save(path: Path) -> Path:
    images = keras.Input((None, None, 1))
    maps = layers.SeparableConv2D(4, 3, padding="same", name="down")(images)
    inner = keras.Input((None, None, 4))
    nested = keras.Model(
        inner, layers.Dropout(0.5)(layers.Conv2D(4, 3, padding="same", name="inside")(inner)), name="n"
    )
    maps = layers.GroupNormalization(2)(layers.BatchNormalization()(nested(maps)))
    keras.Model(images, layers.Conv2D(3, 1, name="head")(maps)).save(path)
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("h5") / "network.h5")


def changed(saved: Path, path: Path, change: Callable[[h5py.File, Layers], object]) -> Path:
    """Write the network with another configuration, or other weights."""
    shutil.copy(saved, path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(file, {layer["name"]: layer["config"] for layer in config["config"]["layers"]})
        file.attrs["model_config"] = json.dumps(config)
    return path


def in_place_of_the_kernel(**how: Any) -> Callable[[h5py.File, Layers], object]:
    def change(file: h5py.File, _: Layers) -> None:
        group = file["model_weights/head/head"]
        del group["kernel"]
        group.create_dataset("kernel", shape=(1, 1, 4, 3), dtype="f4", **how)

    return change


def with_a_link(file: h5py.File, _: Layers) -> None:
    group = file["model_weights/head/head"]
    del group["kernel"]
    group["kernel"] = h5py.ExternalLink("other.h5", "kernel")


def without_weights(file: h5py.File, _: Layers) -> None:
    del file["model_weights"]


def test_what_keras_saves_is_let_pass_and_read_as_ever(saved: Path, tmp_path: Path) -> None:
    network = keras.saving.load_model(saved, compile=False)
    check(saved)
    keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.PReLU(), layers.Dense(2)]).save(
        tmp_path / "sequential.h5"
    )
    check(tmp_path / "sequential.h5")
    images = np.ones((1, 5, 7, 1), np.float32)
    np.testing.assert_array_equal(keras.saving.load_model(saved, compile=False)(images), network(images))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda file, found: found["down"].update(filters=60_000), "shape"),
        (lambda file, found: found["head"].update(filters=4), "shape"),
        (lambda file, found: found["head"].update(filters=10**9), "filters=1000000000 of its head is more than"),
        (lambda file, found: found["n"]["layers"][1]["config"].update(filters=60_000), "shape"),
        (in_place_of_the_kernel(chunks=(1, 1, 4, 3)), "'kernel' that are not in it"),
        (in_place_of_the_kernel(data=np.ones((1, 1, 4, 3)), compression="gzip"), "'kernel' that lie elsewhere, or are"),
        (with_a_link, "a link at 'kernel'"),
        (without_weights, "it has no model_weights"),
    ],
)
def test_what_asks_for_other_weights_is_refused_without_their_memory(
    saved: Path, change: Callable[[h5py.File, Layers], object], reason: str, tmp_path: Path
) -> None:
    path = changed(saved, tmp_path / "changed.h5", change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match=reason) as error:
        check(path)
    assert "\n" not in str(error.value)
    assert not global_state.get_global_attribute("uninitialized_variables")  # nothing is made up for later
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * MB  # 60,000 maps of 60,000: 14 GB


def test_two_wide_layers_whose_weights_are_told_for_one_channel_are_refused(tmp_path: Path) -> None:
    """Every kernel is stored, as if for one channel; but the second layer would see 60,000."""
    network = keras.Sequential([keras.Input((None, None, 1)), layers.Conv2D(8, 1, name="a"), layers.Conv2D(1, 1)])
    network.save(tmp_path / "network.h5")
    with h5py.File(tmp_path / "network.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer, group in zip(config["config"]["layers"][1:], file["model_weights"].values(), strict=False):
            layer["config"]["filters"] = 60_000
            stored = next(iter(next(iter(group.values())).values()))
            for name, shape in (("kernel", (1, 1, 1, 60_000)), ("bias", (60_000,))):
                del stored[name]
                stored[name] = np.zeros(shape, np.float32)
        file.attrs["model_config"] = json.dumps(config)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match="60000"):
        check(tmp_path / "network.h5")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * MB
