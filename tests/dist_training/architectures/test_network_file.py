"""A .keras file from anywhere: what is no plain network with all its weights is refused before it is built."""

import copy
import importlib
import inspect
import io
import json
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from dist_training.architectures import ARCHITECTURES, UNetSettings, build_network, read_network
from dist_training.architectures.network_config import COUNTS, NOT_MEASURED, OUR_CLASSES, RUN_OR_READ, WIDTHS
from dist_training.architectures.network_file import check_network_file, network_file_fault, read_members
from dist_training.errors import WeightsError

Members = dict[str, bytes]
CONFIG, WEIGHTS = "config.json", "model.weights.h5"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network-file") / "model.keras"
    build_network(UNetSettings(depth=1, base_filters=2), 1, 3).save(path)
    return path


def write(path: Path, members: Members, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def with_config(saved: Path, path: Path, change: Callable[[dict[str, Any], dict[str, dict[str, Any]]], object]) -> Path:
    """Write the network with another configuration; `change` gets all of it, and its layers by their names."""
    members = read_members(saved)
    config = json.loads(members[CONFIG])
    change(config, {layer["name"]: layer for layer in config["config"]["layers"]})
    return write(path, {**members, CONFIG: json.dumps(config).encode()})


def with_weights(saved: Path, path: Path, change: Callable[[h5py.File], object]) -> Path:
    members = read_members(saved)
    stream = io.BytesIO(members[WEIGHTS])
    with h5py.File(stream, "r+") as file:
        change(file)
    return write(path, {**members, WEIGHTS: stream.getvalue()})


def refusal(path: Path) -> str:
    """The one line with which the file is refused, by the look at it and by whoever would build it."""
    with pytest.raises(WeightsError) as caught:
        check_network_file(path, ())
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    with pytest.raises(WeightsError) as again:
        read_network(path)
    assert str(again.value) == message
    return message


FOREIGN: dict[str, tuple[dict[str, Any], str]] = {
    "a module of Python": ({"module": "os", "class_name": "system", "registered_name": None}, "os.system"),
    "another library": ({"module": "keras_hub.layers", "class_name": "X"}, "keras_hub.layers.X"),
    "a class unknown here": ({"module": "sly", "class_name": "Twice", "registered_name": "sly>Twice"}, "sly>Twice"),
    "ours, of another module": ({"module": "dist_training.own_code", "class_name": "find_function"}, "find_function"),
    "a lambda": ({"module": "keras.layers", "class_name": "Lambda"}, "runs code"),
    "a lambda by a longer way": ({"module": "keras", "class_name": "layers.Lambda"}, "names no class"),
    "a SavedModel elsewhere": ({"module": "keras.layers", "class_name": "TFSMLayer"}, "reads files"),
    "no module, as of old": ({"module": None, "class_name": "Conv2D"}, "names no class"),
    "what cannot be measured": ({"module": "keras.layers", "class_name": "EinsumDense"}, "cannot be checked"),
}


@pytest.mark.parametrize("change, reason", FOREIGN.values(), ids=list(FOREIGN))
def test_classes_other_than_those_of_keras_and_ours(
    saved: Path, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    path = with_config(saved, tmp_path / "model.keras", lambda config, named: named["logits"].update(change))
    assert reason in refusal(path)


HIDDEN: dict[str, tuple[Any, str]] = {
    "a function by reference": ({"module": "os", "class_name": "function", "config": "system"}, "runs code"),
    "code itself": ({"module": "builtins", "class_name": "__lambda__", "config": {"value": "4wA="}}, "runs code"),
    "in a list": ([{"module": "subprocess", "class_name": "Popen", "config": {}}], "subprocess.Popen"),
    "an array of giant texts": (
        {"class_name": "__numpy__", "config": {"value": ["a"], "dtype": "S1000000000000"}},
        "values of the type",
    ),
}


@pytest.mark.parametrize("activation, reason", HIDDEN.values(), ids=list(HIDDEN))
def test_what_hides_in_the_settings_of_a_layer(saved: Path, tmp_path: Path, activation: Any, reason: str) -> None:
    def change(config: dict[str, Any], named: dict[str, dict[str, Any]]) -> None:
        named["logits"]["config"]["activation"] = activation

    assert reason in refusal(with_config(saved, tmp_path / "model.keras", change))


def set_in(layer: str, **settings: Any) -> Callable[[dict[str, Any], dict[str, dict[str, Any]]], object]:
    return lambda config, named: named[layer]["config"].update(settings)


def many_layers(config: dict[str, Any], named: dict[str, dict[str, Any]]) -> None:
    """Each no larger than one that is there."""
    config["config"]["layers"] += [copy.deepcopy(named["bottomb"]) | {"name": f"more{n}"} for n in range(60)]


def as_another(config: dict[str, Any], named: dict[str, dict[str, Any]]) -> None:
    """A layer without weights by its class, and one with any number by what Keras goes by."""
    named["crop"].update(
        registered_name="dist_training>GroupNormalisation", build_config={"input_shape": [None, 10**6]}
    )


SIZES: dict[str, tuple[Callable[..., object], str]] = {
    "filters": (set_in("logits", filters=10**9), "filters=1000000000 of its logits is more than its file"),
    "filters, as a float": (set_in("logits", filters=1e9), "filters=1000000000.0 of its logits"),
    "filters, in words": (set_in("logits", filters="1000000000"), "settings that make no Conv2D"),
    "no filters": (lambda config, named: named["logits"]["config"].pop("filters"), "settings that make no Conv2D"),
    "one filter too many": (set_in("logits", filters=4), "its layers ask for"),
    "window": (set_in("logits", kernel_size=[60000, 60000]), "its layers ask for"),
    "a negative one": (set_in("logits", filters=-5000), "its layers ask for"),
    "input": (
        lambda config, named: named["logits"].update(build_config={"input_shape": [None] * 3 + [10**9]}),
        "ask for",
    ),
    "no shape": (lambda config, named: named["logits"].pop("build_config"), "for what shape it was built"),
    "many layers": (many_layers, "its layers ask for"),
    "a class under another's name": (as_another, "its layers ask for"),
    "padding": (set_in("pad", multiple=10**9), "multiple=1000000000 of its pad"),
}


@pytest.mark.parametrize("change, reason", SIZES.values(), ids=list(SIZES))
def test_more_memory_than_the_weights_hold(
    saved: Path, tmp_path: Path, change: Callable[..., object], reason: str
) -> None:
    path = with_config(saved, tmp_path / "model.keras", change)
    tracemalloc.start()
    begun = time.process_time()
    fault = network_file_fault(path, OUR_CLASSES)
    seconds, (_, peak) = time.process_time() - begun, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 2 and peak < 20e6
    assert fault is not None and reason in fault
    assert fault in refusal(path)


def test_every_weight_of_a_network_is_counted(saved: Path, tmp_path: Path) -> None:
    """Exactly: with a single number less in its file the network is refused."""
    check_network_file(saved, ())

    def shorten(file: h5py.File) -> None:
        values = file["layers/conv2d/vars/0"][()]
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars/0"] = values.ravel()[1:]

    assert "its layers ask for" in refusal(with_weights(saved, tmp_path / "model.keras", shorten))


def damaged(saved: Path, path: Path) -> Path:
    path.write_bytes(saved.read_bytes()[:-200])
    return path


def twice(saved: Path, path: Path) -> Path:
    members = read_members(saved)
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for name, content in (*members.items(), (CONFIG, b"{}")):
            archive.writestr(name, content)
    return path


ZIPS: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "cut short": (damaged, "no whole zip file"),
    "a member too many": (lambda s, p: write(p, {**read_members(s), "evil.py": b""}), "'evil.py'"),
    "one that leads elsewhere": (lambda s, p: write(p, {**read_members(s), "../../x": b""}), "'../../x'"),
    "an absolute one": (lambda s, p: write(p, {**read_members(s), "/etc/passwd": b""}), "'/etc/passwd'"),
    "one twice": (twice, "each once"),
    "no weights": (lambda s, p: write(p, {CONFIG: read_members(s)[CONFIG]}), "each once"),
    "a bomb of text": (
        lambda s, p: write(p, {**read_members(s), CONFIG: b" " * ((1 << 24) + 1)}, zipfile.ZIP_DEFLATED),
        "would unpack to 16777217 bytes",
    ),
    "a bomb of weights": (
        lambda s, p: write(p, {**read_members(s), WEIGHTS: bytes((1 << 24) + 1)}, zipfile.ZIP_DEFLATED),
        "would unpack to 16777217 bytes",
    ),
    "nested without end": (
        lambda s, p: write(p, {**read_members(s), CONFIG: b"[" * 100_000 + b"]" * 100_000}),
        "is no JSON (RecursionError)",
    ),
    "no network": (lambda s, p: write(p, {**read_members(s), CONFIG: b"[1]"}), "describes no network"),
    "weights of another kind": (lambda s, p: write(p, {**read_members(s), WEIGHTS: b"PK"}), "is damaged"),
}


@pytest.mark.parametrize("make, reason", ZIPS.values(), ids=list(ZIPS))
def test_archives_that_are_none_of_ours(
    saved: Path, tmp_path: Path, make: Callable[[Path, Path], Path], reason: str
) -> None:
    assert reason in refusal(make(saved, tmp_path / "model.keras"))


def declared(file: h5py.File) -> None:
    """Numbers without end that nobody wrote."""
    file.create_dataset("layers/more", (10**6, 10**6), "f4", chunks=(1000, 1000))


def elsewhere(file: h5py.File) -> None:
    file.create_dataset("layers/more", (4,), "f4", external=[("/etc/hostname", 0, 16)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (4,))
    file.create_virtual_dataset("layers/more", layout)


HDF5: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "an external link": (lambda file: file.__setitem__("layers/more", h5py.ExternalLink("/a.h5", "/b")), "a link"),
    "a soft link": (lambda file: file.__setitem__("layers/more", h5py.SoftLink("/layers")), "a link"),
    "numbers in another file": (elsewhere, "lie elsewhere"),
    "numbers of several files": (virtual, "lie elsewhere"),
    "numbers that nobody wrote": (declared, "not in it"),
    "a ring": (lambda file: file.__setitem__("layers/ring", file["layers"]), "in two places"),
    "packed": (lambda file: file.create_dataset("layers/more", data=np.zeros(10**6), compression="gzip"), "packed"),
    "texts": (lambda file: file.create_dataset("layers/more", data=["a", "b"]), "other than numbers"),
}


@pytest.mark.parametrize("change, reason", HDF5.values(), ids=list(HDF5))
def test_weights_that_are_not_in_their_file(
    saved: Path, tmp_path: Path, change: Callable[[h5py.File], object], reason: str
) -> None:
    assert reason in refusal(with_weights(saved, tmp_path / "model.keras", change))


def test_networks_of_other_layers_of_keras_are_read(tmp_path: Path) -> None:
    """With mixed precision, a compiled optimizer, nested models, wrappers, attention, operations on maps."""
    images = keras.Input((4, 4, 2), name="images")
    maps = layers.SeparableConv2D(6, 3, padding="same", depth_multiplier=2)(images)
    maps = layers.PReLU(shared_axes=(1, 2))(layers.BatchNormalization()(maps))
    maps = layers.DepthwiseConv2D(3, padding="same")(layers.GroupNormalization(2)(maps))
    maps = keras.Sequential([keras.Input((4, 4, 6)), layers.Dense(8, "gelu"), layers.LayerNormalization()])(maps)
    rows = layers.TimeDistributed(layers.Dense(8))(layers.Reshape((16, 8))(maps))
    rows = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(layers.MultiHeadAttention(2, 4)(rows, rows))
    maps = layers.Conv2DTranspose(4, 3, padding="same")(layers.Reshape((4, 4, 8))(rows))[..., :3] * 2
    network = keras.Model(images, layers.Conv2D(2, 1, dtype="mixed_bfloat16", name="logits")(maps))
    network.compile("adam", "mse")
    network.save(tmp_path / "model.keras")
    inputs = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype(np.float32)
    read = read_network(tmp_path / "model.keras")
    np.testing.assert_array_equal(np.asarray(read(inputs)), np.asarray(network(inputs)))


def test_our_classes_are_those_that_keras_knows() -> None:
    for architecture in ARCHITECTURES.values():
        importlib.import_module(architecture.module)
    known = {
        name
        for name, found in keras.saving.get_custom_objects().items()
        if found.__module__.startswith("dist_training.architectures")
    }
    assert known == OUR_CLASSES


def test_every_layer_of_keras_with_weights_is_measured() -> None:
    """Keras may add one: whoever updates it is told here."""

    @cache
    def has_weights(file: str) -> bool:
        return "add_weight" in Path(file).read_text()

    for name in dir(layers):
        found = getattr(layers, name)
        if not inspect.isclass(found) or name in RUN_OR_READ | NOT_MEASURED:
            continue
        bases = [base for base in found.__mro__ if base.__module__.startswith("keras.src.layers")]
        if any(has_weights(inspect.getfile(base)) for base in bases if base is not layers.Layer):
            is_wide = set(inspect.signature(found).parameters) & set(WIDTHS)
            is_holder = name in ("RNN", "SpectralNormalization")
            assert is_wide or is_holder or name.replace("Convolution", "Conv") in COUNTS, name
