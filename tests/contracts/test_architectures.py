"""The contract of every registered architecture: one network passes it, so a new one needs an entry in TINY only."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from pydantic import BaseModel, TypeAdapter, ValidationError

import dist_training
from dist_training.architectures import (
    ARCHITECTURES,
    C2FNASStyleSettings,
    CustomSettings,
    FCNSettings,
    LivermaskUNetSettings,
    NetworkSettings,
    ResidualUNetSettings,
    ResNetUNetSettings,
    UNetSettings,
    build_network,
    check_sizes,
    prediction_network,
    read_network,
    stages,
    with_precision,
)
from dist_training.errors import WeightsError, WeightsNotFoundError
from r2d2_base.errors import ConfigurationError
from tests.keras_backends import environment_of

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class StrangerSettings(BaseModel):
    """Settings that no architecture has registered."""


TINY: dict[str, list[BaseModel]] = {
    "unet": [
        UNetSettings(base_filters=4, depth=2, groups=2),
        UNetSettings(base_filters=4, depth=3, normalisation="instance", dropout=0.3),
        UNetSettings(base_filters=4, depth=1, normalisation="batch"),
        UNetSettings(base_filters=4, depth=2, groups=2, dimensions=3, dropout=0.3),
        UNetSettings(base_filters=4, depth=1, dimensions=3, doubling="late"),
    ],
    "fcn": [FCNSettings(width=0.03), FCNSettings(width=0.03, trunk="vgg16", dropout=0.0, stride=32)],
    "unet_resnet": [ResNetUNetSettings(base_filters=4, groups=2)],  # with ResNet50: test_unet_resnet.py
    "livermask_unet": [
        LivermaskUNetSettings(base_filters=4),
        LivermaskUNetSettings(base_filters=4, normalisation="group", dropout=0.0),
    ],
    "residual_unet": [
        ResidualUNetSettings(base_filters=4, max_filters=8, blocks=(1, 1, 2, 1)),
        ResidualUNetSettings(base_filters=4, blocks=(2, 1), normalisation="group", deep_supervision=False),
        ResidualUNetSettings(
            base_filters=4,
            max_filters=8,
            blocks=(1, 1, 1, 1),
            dimensions=3,
            strides=((1, 2, 2), (2, 2, 2), (2, 2, 2)),
            kernels=((1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
        ),
    ],
    "c2fnas_style": [C2FNASStyleSettings(base_filters=2)],
    "custom": [CustomSettings(build="own_network:build_network", options={"filters": 4})],
}
ALL = [pytest.param(settings, id=f"{name}-{number}") for name in TINY for number, settings in enumerate(TINY[name])]
every_architecture = pytest.mark.parametrize("settings", ALL)


@pytest.fixture(autouse=True, scope="module")
def own_network():
    """The folder of the example is on the Python path, as that of a user's module is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        yield


@cache
def network(settings_json: str, channels: int, outputs: int) -> keras.Model:
    """A network with moved weights that many tests look at and none changes."""
    model = build_network(TypeAdapter(NetworkSettings).validate_json(settings_json), channels, outputs)
    shuffle_weights(model)
    return model


def moved(settings: BaseModel, channels: int, outputs: int) -> keras.Model:
    return network(settings.model_dump_json(), channels, outputs)


def outputs_of(model: keras.Model, inputs: np.ndarray, training: bool = False) -> list:
    """All outputs, the prediction first."""
    found = model(inputs, training=training)
    return list(found) if isinstance(found, list | tuple) else [found]


def predicted(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    return np.asarray(outputs_of(model, inputs)[0])


def images(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def size(settings: BaseModel, *of_slices: int) -> tuple[int, ...]:
    """Of what the network takes: of a volume with a depth before, and smaller."""
    if len(settings.size_multiples) == 2:
        return of_slices
    return (5, *((side + 1) // 2 for side in of_slices))


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
    required = {"build": settings.build} if isinstance(settings, CustomSettings) else {}
    assert adapter.validate_python({"architecture": settings.architecture, **required}) == type(settings)(**required)
    with pytest.raises(ValidationError, match="does not match any of the expected tags"):
        adapter.validate_python({"architecture": "nonsense"})
    with pytest.raises(ValidationError, match="frozen"):
        settings.architecture = "unet"


@every_architecture
@pytest.mark.parametrize(("channels", "outputs"), [(1, 1), (4, 3)])
def test_logits_have_the_size_of_the_image(settings, channels, outputs):
    model = moved(settings, channels, outputs)
    multiples = settings.size_multiples
    strides = getattr(settings, "output_strides", ((1,) * len(multiples),))
    assert model.input_shape == (None, *[None] * len(multiples), channels)
    assert prediction_network(model).output_shape == (None, *[None] * len(multiples), outputs)
    fitting = (*(max(multiple, 4) for multiple in multiples[:-1]), 2 * max(multiples[-1], 4))
    sizes = [fitting, size(settings, 37, 50), (1,) * len(multiples)]
    for given in sizes:
        found = [np.asarray(logits) for logits in outputs_of(model, images(2, *given, channels))]
        # The coarser outputs of deep supervision have the size of the padded image, by their stride.
        padded = [side + -side % multiple for side, multiple in zip(given, multiples, strict=True)]
        coarser = [(2, *(side // by for side, by in zip(padded, stride, strict=True)), outputs) for stride in strides]
        expected = [(2, *given, outputs), *coarser[1:]]
        assert [logits.shape for logits in found] == expected
        assert all(logits.dtype == np.float32 and np.isfinite(logits).all() for logits in found)
    check_sizes(model, sizes)
    with pytest.raises(
        ConfigurationError, match=r"takes (slices|volumes), and these data are (volumes|slices) of 4 x 4"
    ):
        check_sizes(model, [(4,) * (5 - len(multiples))])


@pytest.mark.parametrize("name", ["unet", "custom"])
def test_a_keras_json_with_channels_first_changes_nothing(name, tmp_path):
    settings, inputs = TINY[name][0], images(1, 12, 20, 2)
    expected = predicted(build_network(settings, 2, 3), inputs)
    try:
        keras.config.set_image_data_format("channels_first")  # as Keras does when it reads the file
        model = build_network(settings, 2, 3)
        np.testing.assert_array_equal(predicted(model, inputs), expected)
        model.save(tmp_path / "model.keras")
        keras.config.set_image_data_format("channels_first")
        np.testing.assert_array_equal(predicted(read_network(tmp_path / "model.keras", settings), inputs), expected)
        assert keras.config.image_data_format() == "channels_last"
    finally:
        keras.config.set_image_data_format("channels_last")


@every_architecture
def test_the_network_that_predicts_has_the_first_output_and_the_same_variables(settings):
    model = moved(settings, 1, 3)
    predicting, inputs = prediction_network(model), images(1, *size(settings, 37, 50), 1)
    np.testing.assert_array_equal(np.asarray(predicting(inputs)), predicted(model, inputs))
    assert {id(variable) for variable in predicting.weights} <= {id(variable) for variable in model.weights}


@every_architecture
def test_eager_compiled_and_predicted_logits_agree(settings):
    model = prediction_network(moved(settings, 1, 3))
    inputs = images(1, *size(settings, 37, 50), 1)
    eager = np.asarray(model(inputs))
    signature = [tf.TensorSpec(model.input_shape, tf.float32)]
    compiled = tf.function(lambda batch: model(batch, training=False), input_signature=signature)
    tolerance = 1e-4 * np.abs(eager).max()
    np.testing.assert_allclose(np.asarray(compiled(inputs)), eager, rtol=1e-4, atol=tolerance)
    np.testing.assert_allclose(model.predict_on_batch(inputs), eager, rtol=1e-4, atol=tolerance)


@every_architecture
def test_each_layer_with_weights_is_in_one_stage_and_the_head_is_what_outputs_change(settings):
    model, other = moved(settings, 1, 3), moved(settings, 1, 1)
    shapes = {layer.name: [w.shape for w in layer.weights] for layer in model.layers if layer.weights}
    found = stages(model)
    assert sorted(name for names in found.values() for name in names) == sorted(shapes)
    assert found == stages(other)
    changed = {name for name, shape in shapes.items() if shape != [w.shape for w in other.get_layer(name).weights]}
    assert changed == set(found["head"]) != set()
    assert found["encoder"]


@every_architecture
def test_weights_depend_on_the_seed_alone(settings):
    def weights(seed: int, global_seed: int) -> list[np.ndarray]:
        keras.utils.set_random_seed(global_seed)
        return build_network(settings, 1, 2, seed=seed).get_weights()

    first, again, other = weights(5, 1), weights(5, 2), weights(6, 1)
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    # All kernels are drawn, but those of FCN's heads, which start at zero or as bilinear interpolation.
    drawn = [number for number, weight in enumerate(first) if weight.ndim > 3 and weight.shape[-1] > 2]
    assert drawn and all(not np.array_equal(first[number], other[number]) for number in drawn)


@pytest.mark.parametrize("settings", [case for case in ALL if not case.id.startswith("custom")])
def test_building_leaves_the_global_random_state_alone(settings):
    keras.utils.set_random_seed(3)
    expected = np.random.random(), np.asarray(keras.random.normal((2,))).tolist()
    keras.utils.set_random_seed(3)
    build_network(settings, 1, 2)
    assert (np.random.random(), np.asarray(keras.random.normal((2,))).tolist()) == expected


@every_architecture
def test_no_two_layers_start_from_the_same_draw(settings):
    weights = [w for w in build_network(settings, 1, 2).get_weights() if w.ndim > 3 and w.std() > 0]
    starts = [tuple(np.round(w.ravel()[:3] / w.std(), 4)) for w in weights if w.shape[-3] == 3 and w.size > 9]
    assert len(set(starts)) == len(starts)


@every_architecture
def test_saved_and_read_gives_the_same_logits(settings, tmp_path):
    model, inputs = moved(settings, 1, 3), images(1, *size(settings, 37, 50), 1)
    for saved in {id(m): m for m in (model, prediction_network(model))}.values():
        saved.save(tmp_path / "model.keras")
        read = read_network(tmp_path / "model.keras", settings)
        assert read.name == model.name
        for mine, theirs in zip(outputs_of(saved, inputs), outputs_of(read, inputs), strict=True):
            np.testing.assert_array_equal(np.asarray(theirs), np.asarray(mine))


@every_architecture
def test_configuration_rebuilds_the_network(settings):
    model = moved(settings, 1, 3)
    again = keras.Model.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    assert [w.shape for w in again.get_weights()] == [w.shape for w in model.get_weights()]


@every_architecture
def test_half_precision_rounds_the_weights_and_changes_nothing_else(settings):
    """The same names and outputs, those of deep supervision too, once it computes in single precision again."""
    inputs, model = images(1, *size(settings, 12, 20), 1), moved(settings, 1, 3)
    half = with_precision(model, "float16")
    single = with_precision(half, "float32")
    assert {weight.dtype for weight in half.weights} == {"float16"}
    assert [layer.name for layer in single.layers] == [layer.name for layer in model.layers]
    for mine, theirs in zip(single.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs.astype("float16").astype("float32"))
    for mine, theirs in zip(outputs_of(single, inputs), outputs_of(model, inputs), strict=True):
        assert mine.dtype == "float32"
        np.testing.assert_allclose(np.asarray(mine), np.asarray(theirs), atol=0.02 * np.abs(theirs).max())


def gradients_of(model: keras.Model, inputs: np.ndarray, factor: float) -> list[np.ndarray]:
    """Of the mean cross-entropy of all outputs against drawn classes, times a factor."""
    with tf.GradientTape() as tape:
        total = 0.0
        for logits in outputs_of(model, inputs, training=True):
            classes = np.random.default_rng(2).integers(0, logits.shape[-1], logits.shape[:-1])
            entropies = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
            total += factor * tf.reduce_mean(entropies)
    found = tape.gradient(total, [variable.value for variable in model.trainable_variables])
    assert [v.path for v, g in zip(model.trainable_variables, found, strict=True) if g is None] == []
    return [np.asarray(gradient) for gradient in found]


@every_architecture
def test_every_weight_gets_a_gradient(settings):
    model = build_network(settings, 1, 3)
    shuffle_weights(model)
    found = gradients_of(model, images(2, *size(settings, 64, 64), 1), factor=1.0)
    for variable, gradient in zip(model.trainable_variables, found, strict=True):
        assert np.isfinite(gradient).all(), variable.path
        assert gradient.any(), variable.path


@every_architecture
def test_double_precision_reaches_weights_and_logits(settings, float64):
    model = build_network(settings, 1, 2)
    floating = [v for v in model.variables if "seed_generator" not in v.path]
    assert {keras.backend.standardize_dtype(variable.dtype) for variable in floating} == {"float64"}
    inputs = images(1, *size(settings, 37, 50), 1, dtype="float64")
    shuffle_weights(model)
    logits = predicted(model, inputs)
    assert logits.dtype == np.float64
    change = 1e-9  # below single precision: it would vanish if any layer computed in it
    difference = predicted(model, inputs * (1 + change)) - logits
    assert 0 < np.abs(difference).max() < 1e-4 * np.abs(logits).max()


@every_architecture
def test_half_precision_gives_logits_in_single(settings):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build_network(settings, 1, 2)
    finally:
        keras.config.set_dtype_policy(before)
    logits = predicted(model, images(1, *size(settings, 37, 50), 1))
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()


@every_architecture
def test_a_blank_sample_of_no_weight_has_zero_gradients(settings):
    """What fills the share of a rank that has no sample left: TensorFlow's convolutions refuse an empty batch."""
    model = build_network(settings, 1, 2)
    for gradient in gradients_of(model, np.zeros((1, *size(settings, 32, 64), 1), np.float32), factor=0.0):
        assert not gradient.any()  # NaN counts as any


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_channels": 0}, "input_channels must be at least 1; received 0"),
        ({"num_outputs": 0}, "num_outputs must be at least 1; received 0"),
        ({"seed": -1}, "seed must be at least 0; received -1"),
        ({"settings": StrangerSettings()}, r"registered architecture \(unet, fcn, .*\); received StrangerSettings"),
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
    allowed = {
        "abc",
        "__future__",
        "collections",
        "contextlib",
        "contextvars",
        "dataclasses",
        "dist_training",
        "functools",
        "h5py",
        "hashlib",
        "importlib",
        "keras",
        "r2d2_base",
    }
    allowed |= {"inspect", "io", "json", "logging", "math", "numpy"}
    allowed |= {"os", "pathlib", "platform", "pydantic", "re", "sys", "typing", "zipfile"}
    for path in [*(folder / "architectures").glob("*.py"), *folder.glob("losses*.py"), *folder.glob("losses/*.py")]:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        assert {module.split(".")[0] for module in modules} <= allowed, path.name


ON_ANOTHER_BACKEND = """
import sys
from pathlib import Path
import numpy as np
from keras import ops
from dist_training.architectures import CustomSettings, read_network
folder, own = Path(sys.argv[1]), CustomSettings(build="own_network:build_network")
for path in sorted(folder.glob("*.keras")):
    outputs = read_network(path, own)(np.load(path.with_suffix(".npy")))
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    np.savez(path.with_suffix(".npz"), *[ops.convert_to_numpy(logits) for logits in outputs])
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_keras_backend_computes_the_same(backend, tmp_path):
    environment = environment_of(backend, EXAMPLES)
    first_of_each = {(name, len(one.size_multiples)): one for name, cases in TINY.items() for one in reversed(cases)}
    models = {f"{name}-{axes}": moved(one, 1, 3) for (name, axes), one in first_of_each.items()}
    inputs = {f"{name}-{axes}": images(2, *size(one, 37, 50), 1) for (name, axes), one in first_of_each.items()}
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", inputs[name])
    subprocess.run([sys.executable, "-c", ON_ANOTHER_BACKEND, str(tmp_path)], env=environment, check=True)
    for name, model in models.items():
        with np.load(tmp_path / f"{name}.npz") as result:
            for number, logits in enumerate(map(np.asarray, outputs_of(model, inputs[name]))):
                tolerance = 1e-4 * np.abs(logits).max()
                np.testing.assert_allclose(result[f"arr_{number}"], logits, rtol=1e-3, atol=tolerance, err_msg=name)
