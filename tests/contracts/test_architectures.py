"""The contract of every registered architecture: one network passes it, so a new one needs an entry in TINY only."""

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from pydantic import BaseModel, TypeAdapter, ValidationError

import dist_training
from dist_training.architectures import (
    ARCHITECTURES,
    FCNSettings,
    NetworkSettings,
    UNetSettings,
    build_network,
    read_network,
)
from dist_training.errors import ConfigurationError, WeightsError, WeightsNotFoundError
from dist_training.losses import build_loss


class StrangerSettings(BaseModel):
    """Settings that no architecture has registered."""


TINY: dict[str, list[BaseModel]] = {
    "unet": [
        UNetSettings(base_filters=4, depth=2, groups=2),
        UNetSettings(base_filters=4, depth=3, normalisation="instance", dropout=0.3),
        UNetSettings(base_filters=4, depth=1, normalisation="batch"),
        UNetSettings(base_filters=4, depth=2, normalisation="none"),
    ],
    "fcn": [FCNSettings(width=0.03), FCNSettings(width=0.03, trunk="vgg16", dropout=0.0)],
}
ALL = [pytest.param(settings, id=f"{name}-{number}") for name in TINY for number, settings in enumerate(TINY[name])]
every_architecture = pytest.mark.parametrize("settings", ALL)


def images(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def shuffle_weights(model: keras.Model, seed: int = 1) -> None:
    """Move every weight, so that one which starts at 0 or 1 cannot hide a fault."""
    rng = np.random.default_rng(seed)
    model.set_weights([np.abs(weight + rng.normal(0, 0.05, weight.shape)) for weight in model.get_weights()])


@pytest.fixture
def float64():
    """Keras's global policy in double precision, for one test."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(before)


def test_every_registered_architecture_is_tested_here():
    assert set(TINY) == set(ARCHITECTURES)
    for name, architecture in ARCHITECTURES.items():
        assert architecture.settings.model_fields["architecture"].default == name
        assert all(isinstance(settings, architecture.settings) for settings in TINY[name])


@every_architecture
def test_settings_survive_json_and_are_found_by_name(settings):
    adapter = TypeAdapter(NetworkSettings)
    assert adapter.validate_json(adapter.dump_json(settings)) == settings
    assert adapter.validate_python({"architecture": settings.architecture}) == type(settings)()
    with pytest.raises(ValidationError, match="does not match any of the expected tags"):
        adapter.validate_python({"architecture": "nonsense"})
    with pytest.raises(ValidationError, match="frozen"):
        settings.architecture = "unet"


@every_architecture
@pytest.mark.parametrize(("channels", "outputs"), [(1, 1), (3, 2), (4, 5)])
def test_logits_have_the_size_of_the_image(settings, channels, outputs):
    model = build_network(settings, channels, outputs)
    shuffle_weights(model)
    assert model.input_shape == (None, None, None, channels)
    assert model.output_shape == (None, None, None, outputs)
    for size in ((settings.size_multiple, 2 * settings.size_multiple), (37, 50), (5, 3), (1, 1)):
        logits = np.asarray(model(images(2, *size, channels)))
        assert logits.shape == (2, *size, outputs)
        assert logits.dtype == np.float32
        assert np.isfinite(logits).all()


@every_architecture
def test_eager_compiled_and_predicted_logits_agree(settings):
    model = build_network(settings, 2, 3)
    shuffle_weights(model)
    inputs = images(1, 37, 50, 2)
    eager = np.asarray(model(inputs))
    signature = [tf.TensorSpec((None, None, None, 2), tf.float32)]
    compiled = tf.function(lambda batch: model(batch, training=False), input_signature=signature)
    tolerance = 1e-4 * np.abs(eager).max()
    np.testing.assert_allclose(np.asarray(compiled(inputs)), eager, rtol=1e-4, atol=tolerance)
    np.testing.assert_allclose(model.predict_on_batch(inputs), eager, rtol=1e-4, atol=tolerance)


@every_architecture
def test_weights_depend_on_the_seed_alone(settings):
    def weights(seed: int, global_seed: int) -> list[np.ndarray]:
        keras.utils.set_random_seed(global_seed)
        return build_network(settings, 1, 2, seed=seed).get_weights()

    first, again, other = weights(5, 1), weights(5, 2), weights(6, 1)
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    drawn = [number for number, weight in enumerate(first) if weight.ndim == 4 and weight.std() > 0]
    assert any(not np.array_equal(first[number], other[number]) for number in drawn)


@every_architecture
def test_building_leaves_the_global_random_state_alone(settings):
    keras.utils.set_random_seed(3)
    expected = np.random.random(), np.asarray(keras.random.normal((2,))).tolist()
    keras.utils.set_random_seed(3)
    build_network(settings, 1, 2)
    assert (np.random.random(), np.asarray(keras.random.normal((2,))).tolist()) == expected


@every_architecture
def test_no_two_layers_start_from_the_same_draw(settings):
    weights = [w for w in build_network(settings, 1, 2).get_weights() if w.ndim == 4 and w.std() > 0]
    starts = [tuple(np.round(w.ravel()[:3] / w.std(), 4)) for w in weights if w.shape[0] == 3]
    assert len(set(starts)) == len(starts)


@every_architecture
def test_saved_and_read_gives_the_same_logits(settings, tmp_path):
    model = build_network(settings, 1, 2)
    shuffle_weights(model)
    model.save(tmp_path / "model.keras")
    read = read_network(tmp_path / "model.keras")
    inputs = images(1, 37, 50, 1)
    np.testing.assert_array_equal(np.asarray(read(inputs)), np.asarray(model(inputs)))
    assert read.name == model.name


@every_architecture
def test_configuration_rebuilds_the_network(settings):
    model = build_network(settings, 2, 3)
    again = keras.Model.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    assert [w.shape for w in again.get_weights()] == [w.shape for w in model.get_weights()]


@every_architecture
def test_every_weight_gets_a_gradient(settings):
    model = build_network(settings, 2, 3)
    shuffle_weights(model)
    classes = tf.constant(np.random.default_rng(2).integers(0, 3, (2, 32, 64)).astype(np.int32))
    with tf.GradientTape() as tape:
        logits = model(images(2, 32, 64, 2), training=True)
        total = build_loss("cross_entropy", 3)(logits, classes, np.ones(2), 0.5)
    gradients = tape.gradient(total, [variable.value for variable in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(np.asarray(gradient)).all(), variable.path
        assert np.asarray(gradient).any(), variable.path


@every_architecture
def test_double_precision_reaches_weights_and_logits(settings, float64):
    model = build_network(settings, 1, 2)
    floating = [v for v in model.variables if "seed_generator" not in v.path]
    assert {keras.backend.standardize_dtype(variable.dtype) for variable in floating} == {"float64"}
    inputs = images(1, 37, 50, 1, dtype="float64")
    logits = np.asarray(model(inputs))
    assert logits.dtype == np.float64
    shuffle_weights(model)
    change = 1e-9  # below single precision: it would vanish if any layer computed in it
    difference = np.asarray(model(inputs * (1 + change))) - np.asarray(model(inputs))
    assert 0 < np.abs(difference).max() < 1e-4 * np.abs(np.asarray(model(inputs))).max()


@every_architecture
def test_half_precision_gives_logits_in_single(settings):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build_network(settings, 1, 2)
    finally:
        keras.config.set_dtype_policy(before)
    logits = np.asarray(model(images(1, 37, 50, 1)))
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()


@every_architecture
def test_a_blank_sample_of_ignored_pixels_has_zero_gradients(settings):
    """What fills the share of a rank that has no sample left: TensorFlow's convolutions refuse an empty batch."""
    model = build_network(settings, 1, 2)
    classes = np.full((1, 32, 64), -1, np.int32)
    with tf.GradientTape() as tape:
        logits = model(np.zeros((1, 32, 64, 1), np.float32), training=True)
        total = build_loss("dice_cross_entropy", 2)(logits, classes, np.ones(1), 1.0)
    for gradient in tape.gradient(total, [variable.value for variable in model.trainable_variables]):
        assert not np.asarray(gradient).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_channels": 0}, "input_channels must be at least 1; received 0"),
        ({"num_outputs": 0}, "num_outputs must be at least 1; received 0"),
        ({"seed": -1}, "seed must be at least 0; received -1"),
        ({"settings": StrangerSettings()}, r"registered architecture \(unet, fcn\); received StrangerSettings"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        build_network(**{"settings": UNetSettings(), "input_channels": 1, "num_outputs": 1, **arguments})


def test_reading_names_the_file_that_is_missing_or_damaged(tmp_path):
    path = tmp_path / "model.keras"
    with pytest.raises(WeightsNotFoundError, match=r"model\.keras: no such file"):
        read_network(path)
    path.write_bytes(b"no zip archive")
    with pytest.raises(WeightsError, match=r"model\.keras: not a readable Keras model"):
        read_network(path)


def test_networks_and_losses_know_no_backend():
    folder = Path(dist_training.__file__).parent
    allowed = {"__future__", "collections", "dataclasses", "dist_training", "h5py", "hashlib", "importlib", "keras"}
    allowed |= {"logging", "math", "numpy", "pathlib", "pydantic", "typing"}
    for path in [*(folder / "architectures").glob("*.py"), *(folder / "losses").glob("*.py")]:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        assert {module.split(".")[0] for module in modules} <= allowed, path.name


ON_ANOTHER_BACKEND = """
import sys
import numpy as np
from keras import ops
from dist_training.architectures import read_network
from dist_training.losses import build_loss
folder = sys.argv[1]
logits = read_network(f"{folder}/model.keras")(np.load(f"{folder}/images.npy"))
loss = build_loss("dice_cross_entropy", 3)(logits, np.load(f"{folder}/classes.npy"), np.ones(2), 0.5)
np.savez(f"{folder}/result.npz", logits=ops.convert_to_numpy(logits), loss=ops.convert_to_numpy(loss))
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("name", list(TINY))
def test_another_keras_backend_computes_the_same(name, backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed; pip install {backend} runs this test")
    model = build_network(TINY[name][0], 2, 3)
    shuffle_weights(model)
    model.save(tmp_path / "model.keras")
    inputs = images(2, 37, 50, 2)
    classes = np.random.default_rng(2).integers(-1, 3, (2, 37, 50)).astype(np.int32)
    np.save(tmp_path / "images.npy", inputs)
    np.save(tmp_path / "classes.npy", classes)
    environment = {**os.environ, "KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", ON_ANOTHER_BACKEND, str(tmp_path)], env=environment, check=True)
    with np.load(tmp_path / "result.npz") as result:
        logits = np.asarray(model(inputs))
        np.testing.assert_allclose(result["logits"], logits, rtol=1e-3, atol=1e-4 * np.abs(logits).max())
        expected = np.asarray(build_loss("dice_cross_entropy", 3)(logits, classes, np.ones(2), 0.5))
        np.testing.assert_allclose(result["loss"], expected, rtol=1e-3)
