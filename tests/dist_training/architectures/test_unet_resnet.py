"""U-Net with ResNet encoder: published counts, NumPy's own arithmetic, and Keras's ResNet50 as its encoder."""

from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from pydantic import ValidationError

from dist_training.architectures import ResNetUNetSettings, build_network
from dist_training.architectures.weight_files import read_layer_arrays
from dist_training.errors import WeightsError, WeightsNotFoundError
from tests.dist_training.architectures.numpy_networks import convolution, pad_to_multiple, relu, weights_by_layer


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def trainable_count(layers: list) -> int:
    return sum(int(np.prod(weight.shape)) for layer in layers for weight in layer.trainable_weights)


@pytest.mark.parametrize(
    ("encoder", "trunk", "whole"),
    [
        # Published counts of the classifiers (torchvision) less their last layer: 21,797,672 - (512 + 1) * 1000,
        # 25,557,032 - (2048 + 1) * 1000; segmentation_models_pytorch's Unet with its defaults and one class.
        ("resnet34", 21_284_672, 24_436_369),
        ("resnet50", 23_508_032, 32_521_105),
    ],
)
def test_published_number_of_parameters(encoder, trunk, whole):
    model = build_network(ResNetUNetSettings(encoder=encoder, normalisation="batch"), 3, 1)
    assert trainable_count([layer for layer in model.layers if layer.name.startswith("encoder_")]) == trunk
    assert trainable_count(model.layers) == whole


def test_equals_an_independent_implementation():
    model = build_network(ResNetUNetSettings(base_filters=4, normalisation="none"), 2, 3)
    rng = np.random.default_rng(1)
    model.set_weights([weight + rng.normal(0, 0.02, weight.shape) for weight in model.get_weights()])
    weights = weights_by_layer(model)

    def convolve(maps: np.ndarray, name: str, stride: int = 1) -> np.ndarray:
        return convolution(maps, *weights[name])[:, ::stride, ::stride]

    def enlarge(maps: np.ndarray) -> np.ndarray:
        return maps.repeat(2, axis=1).repeat(2, axis=2)

    inputs = images(2, 33, 64, 2)
    maps = relu(convolve(pad_to_multiple(inputs.astype(np.float64), 32), "encoder_conv1", 2))
    skips = [maps]
    rows, columns = maps.shape[1:3]
    framed = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))  # largest of 3 x 3, every second pixel
    windows = [framed[:, i : i + rows : 2, j : j + columns : 2] for i in range(3) for j in range(3)]
    maps = np.max(windows, axis=0)
    for stage, count in enumerate((3, 4, 6, 3), start=2):
        for number in range(1, count + 1):
            name, stride = f"encoder_conv{stage}_block{number}", 2 if stage > 2 and number == 1 else 1
            skip = convolve(maps, f"{name}_0", stride) if f"{name}_0" in weights else maps
            maps = relu(skip + convolve(relu(convolve(maps, f"{name}_1", stride)), f"{name}_2"))
        skips.append(maps)
    for level in (4, 3, 2, 1, 0):
        maps = enlarge(maps)
        if level > 0:
            maps = np.concatenate([skips[level - 1], maps], axis=-1)
        maps = relu(convolve(relu(convolve(maps, f"up{level}a")), f"up{level}b"))
    expected = convolve(maps, "logits")[:, 15 : 15 + 33]  # 31 rows are missing: 15 above, 16 below

    scale = np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(model(inputs)), expected, rtol=1e-3, atol=1e-4 * scale)


@pytest.fixture(scope="module")
def keras_resnet50() -> keras.Model:
    """Keras's ResNet50 with weights as training leaves them: no bias is zero, no moving mean, no variance one."""
    network = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(None, None, 3))
    rng = np.random.default_rng(2)

    def moved(variable: keras.Variable) -> np.ndarray:
        values = np.asarray(variable)
        if values.ndim == 4:
            return values
        change = (
            rng.uniform(0.8, 1.2, values.shape) if "variance" in variable.path else rng.normal(0, 0.1, values.shape)
        )
        return change if "variance" in variable.path else values + change

    network.set_weights([moved(variable) for variable in network.weights])
    return network


def write_weights_h5(network: keras.Model, folder: Path) -> Path:
    network.save_weights(path := folder / "resnet50.weights.h5")
    return path


def write_keras(network: keras.Model, folder: Path) -> Path:
    network.save(path := folder / "resnet50.keras")
    return path


def write_old_h5(network: keras.Model, folder: Path) -> Path:
    """In the layout of the files that Keras publishes: a group for each layer, which lists its weights."""
    path = folder / "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        for layer in network.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{number}:0" for number in range(len(layer.weights))]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.get_weights(), strict=True):
                group[name] = weight
    return path


@pytest.mark.parametrize("write", [write_weights_h5, write_keras, write_old_h5])
def test_weights_are_read_from_files_of_each_kind(write, keras_resnet50, tmp_path):
    found = read_layer_arrays(write(keras_resnet50, tmp_path))
    with_weights = [layer for layer in keras_resnet50.layers if layer.weights]
    assert len(with_weights) == 106
    for layer in with_weights:
        for array, expected in zip(found[layer.name], layer.get_weights(), strict=True):
            np.testing.assert_array_equal(array, expected)


def test_encoder_gives_the_features_of_the_keras_file_it_starts_from(keras_resnet50, tmp_path):
    source = write_old_h5(keras_resnet50, tmp_path)
    model = build_network(ResNetUNetSettings(encoder="resnet50", encoder_weights=str(source)), 3, 2)
    # Three channels are red, green and blue; a standardised picture is one of ImageNet's less its mean, over its std.
    standardised = images(1, 64, 96, 3)
    rgb = standardised * np.array([0.229, 0.224, 0.225]) * 255 + np.array([123.68, 116.779, 103.939])
    bgr = keras.applications.resnet50.preprocess_input(rgb.astype(np.float32))
    for theirs, ours in (("conv1_relu", "encoder_conv1_relu"), ("conv5_block3_out", "encoder_conv5_block3_relu")):
        expected = np.asarray(keras.Model(keras_resnet50.input, keras_resnet50.get_layer(theirs).output)(bgr))
        found = np.asarray(keras.Model(model.input, model.get_layer(ours).output)(standardised))
        np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())


def test_resnet34_starts_from_a_file_whose_layers_have_the_documented_names(tmp_path):
    settings = ResNetUNetSettings(normalisation="batch")
    donor = build_network(settings, 3, 1, seed=5)
    rng = np.random.default_rng(3)
    arrays = {
        layer.name.removeprefix("encoder_"): [rng.normal(size=weight.shape) for weight in layer.weights]
        for layer in donor.layers
        if layer.name.startswith("encoder_") and layer.weights
    }
    path = tmp_path / "resnet34.h5"
    with h5py.File(path, "w") as file:
        names = {name: name.replace("_normalisation", "_bn") for name in arrays}
        names = {name: new if new != name else f"{name}_conv" for name, new in names.items()}
        file.attrs["layer_names"] = [*names.values(), "classifier"]
        file.create_group("classifier").attrs["weight_names"] = []
        for name, new in names.items():
            group = file.create_group(new)
            group.attrs["weight_names"] = [str(number) for number in range(len(arrays[name]))]
            for number, array in enumerate(arrays[name]):
                group[str(number)] = array
    model = build_network(ResNetUNetSettings(encoder_weights=str(path)), 3, 1)
    for name, expected in arrays.items():
        for weight, array in zip(model.get_layer(f"encoder_{name}").get_weights(), expected, strict=True):
            np.testing.assert_allclose(weight, array, rtol=1e-6)
    # Four channels have no colours: each gets the sum of the kernel's three, divided by their number.
    four = build_network(ResNetUNetSettings(encoder_weights=str(path)), 4, 1).get_layer("encoder_conv1").get_weights()
    np.testing.assert_allclose(four[0][:, :, 1], arrays["conv1"][0].sum(axis=2) / 4, rtol=1e-5, atol=1e-6)


def test_weights_of_another_network_name_the_layer_that_differs(keras_resnet50, tmp_path):
    source = write_weights_h5(keras_resnet50, tmp_path)
    message = r"resnet50\.weights\.h5: not the weights of resnet34 \(conv2_block1_1_conv or conv2_block1_1_bn"
    with pytest.raises(WeightsError, match=message):
        build_network(ResNetUNetSettings(encoder_weights=str(source)), 1, 1)


def test_a_missing_or_damaged_file_of_weights_is_named(tmp_path):
    with pytest.raises(WeightsNotFoundError, match=r"nowhere/resnet34\.h5: no such file"):
        build_network(ResNetUNetSettings(encoder_weights="nowhere/resnet34.h5"), 1, 1)
    path = tmp_path / "resnet34.h5"
    path.write_bytes(b"not HDF5")
    with pytest.raises(WeightsError, match=r"resnet34\.h5: not a readable Keras file of weights"):
        build_network(ResNetUNetSettings(encoder_weights=str(path)), 1, 1)
    with h5py.File(path, "w") as file:
        file.create_group("layers/conv2d/vars")
    with pytest.raises(WeightsError, match=r"resnet34\.h5 names no layers"):
        read_layer_arrays(path)


def test_encoder_weights_bring_batch_normalisation_and_refuse_what_they_do_not_fit():
    assert ResNetUNetSettings().normalisation == "group"
    pretrained = ResNetUNetSettings(encoder="resnet50", encoder_weights="imagenet")
    assert pretrained.normalisation == "batch"
    assert ResNetUNetSettings.model_validate(pretrained.model_dump()) == pretrained
    for choices, message in (
        ({"normalisation": "group"}, "encoder_weights go with normalisation=batch only; received normalisation=group"),
        ({"base_filters": 32}, "encoder_weights go with base_filters=64 only; received base_filters=32"),
        ({"encoder": "resnet34"}, "Keras publishes no ImageNet weights of resnet34; use encoder=resnet50"),
    ):
        with pytest.raises(ValidationError, match=message):
            ResNetUNetSettings(**{"encoder": "resnet50", "encoder_weights": "imagenet", **choices})
