"""Networks of the user's own: found, checked, built alike from one seed, saved and read where their module is."""

import importlib
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from dist_training.architectures import (
    CustomSettings,
    ResidualUNetSettings,
    build_network,
    check_sizes,
    prediction_network,
    read_network,
    stages,
)
from dist_training.ranks.synchronised import synchronised
from r2d2_base.errors import ConfigurationError

REPOSITORY = Path(__file__).resolve().parents[3]

MODULE = """
import keras
from keras import layers

no_function = 3

def plain(input_channels, num_outputs, filters=4):
    images = keras.Input((None, None, input_channels))
    maps = layers.Conv2D(filters, 3, padding="same")(images)
    return keras.Model(images, layers.Conv2D(num_outputs, 1)(maps))

def sequential(input_channels, num_outputs):
    return keras.Sequential([layers.Conv2D(4, 3, padding="same"), layers.Dropout(0.5), layers.Conv2D(num_outputs, 1)])

class WithoutConfig(keras.Model):
    def __init__(self, num_outputs):
        super().__init__()
        self.num_outputs = num_outputs
        self.convolution = layers.Conv2D(num_outputs, 3, padding="same")

    def call(self, images):
        return self.convolution(images)

@keras.saving.register_keras_serializable(package="my_networks")
class Subclass(WithoutConfig):
    def get_config(self):
        return {"num_outputs": self.num_outputs}

def subclass(input_channels, num_outputs):
    return Subclass(num_outputs)

def without_config(input_channels, num_outputs):
    return WithoutConfig(num_outputs)

def with_lambda(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels))
    return keras.Model(images, layers.Conv2D(num_outputs, 1)(layers.Lambda(lambda maps: 2 * maps)(images)))

def two_logits(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels))
    coarse = layers.Conv2D(num_outputs, 1)(layers.AveragePooling2D(2)(images))
    return keras.Model(images, [layers.Conv2D(num_outputs, 1)(images), coarse])

@keras.saving.register_keras_serializable(package="my_networks")
class Normalised(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.normalisation = layers.BatchNormalization()

    def build(self, shape):
        self.normalisation.build(shape)

    def call(self, maps, training=False):
        return self.normalisation(maps, training=training)

def hidden_normalisation(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels))
    return keras.Model(images, layers.Conv2D(num_outputs, 1)(Normalised(name="inner")(images)))

def no_model(input_channels, num_outputs):
    return "a model"

def one_more_channel(input_channels, num_outputs):
    return plain(input_channels + 1, num_outputs)

def one_more_output(input_channels, num_outputs):
    return plain(input_channels, num_outputs + 1)

def classifier(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels))
    return keras.Model(images, layers.Dense(num_outputs)(layers.GlobalAveragePooling2D()(images)))

def softmax(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels))
    return keras.Sequential([images, layers.Conv2D(num_outputs, 1), layers.Softmax()])

def sigmoid(input_channels, num_outputs):
    return keras.Sequential([layers.Conv2D(num_outputs, 1, activation="sigmoid", name="last")])

def coarse_softmax(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels))
    head = layers.Conv2D(num_outputs, 1)
    coarse = layers.Activation("softmax", name="second")(head(layers.AveragePooling2D(2)(images)))
    return keras.Model(images, [head(images), coarse])

def cropped_sigmoid(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels))
    maps = layers.Conv2D(num_outputs, 3, padding="same", activation="sigmoid")(layers.ZeroPadding2D(1)(images))
    return keras.Model(images, layers.Cropping2D(1)(maps))

def nested_softmax(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels))
    inner = keras.Sequential([layers.Conv2D(num_outputs, 1), layers.Softmax()])
    return keras.Model(images, inner(images))

def softmax_as_a_layer(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels))
    return keras.Model(images, layers.Conv2D(num_outputs, 1, activation=layers.Softmax())(images))

def softmax_as_an_operation(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels))
    return keras.Model(images, keras.ops.softmax(layers.Conv2D(num_outputs, 1)(images)))

@keras.saving.register_keras_serializable(package="my_networks")
class Probabilities(Subclass):
    def call(self, images):
        return keras.ops.sigmoid(super().call(images))

def subclass_with_a_sigmoid(input_channels, num_outputs):
    return Probabilities(num_outputs)

def constant_at_first(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels))
    start = {"kernel_initializer": "zeros", "bias_initializer": keras.initializers.Constant(0.5)}
    return keras.Model(images, layers.Conv2D(num_outputs, 1, **start)(images))

def hardly_tells_pixels_apart(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels))
    everywhere = layers.GlobalAveragePooling2D(keepdims=True)(layers.Conv2D(8, 3, activation="relu")(images))
    return keras.Model(images, layers.Conv2D(num_outputs, 1)(everywhere + 0.01 * layers.Conv2D(8, 1)(images)))

def valid_padding(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels))
    return keras.Model(images, layers.Conv2D(num_outputs, 3)(images))

def even_sizes_only(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels))
    maps = layers.Conv2D(4, 2, 2)(images)
    maps = layers.UpSampling2D(2)(maps)
    return keras.Model(images, layers.Conv2D(num_outputs, 1)(layers.Concatenate()([images, maps])))

def strided(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels))
    return keras.Model(images, layers.Conv2DTranspose(num_outputs, 2, 2)(layers.Conv2D(4, 1, 2, name="thin")(images)))

def fails(input_channels, num_outputs):
    return 1 / 0

def of_volumes(input_channels, num_outputs):
    volumes = keras.Input((None, None, None, input_channels))
    return keras.Model(volumes, layers.Conv3D(num_outputs, 3, padding="same")(volumes))

def sequential_of_volumes(input_channels, num_outputs):
    return keras.Sequential([layers.Conv3D(4, 3, padding="same"), layers.Conv3D(num_outputs, 1)])
"""


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    """A working folder with a module, which the Python path does not name."""
    (tmp_path / "my_networks.py").write_text(MODULE)
    (tmp_path / "broken_module.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("my_networks", "broken_module"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def own(name: str, **options) -> CustomSettings:
    return CustomSettings(build=f"my_networks:{name}", options=options)


def test_the_function_gets_channels_outputs_and_options():
    model = build_network(own("plain", filters=5), 2, 3)
    assert (model.input_shape, model.output_shape) == ((None, None, None, 2), (None, None, None, 3))
    assert model.layers[1].filters == 5


@pytest.mark.parametrize("name", ["plain", "sequential", "subclass"])
def test_weights_depend_on_the_seed_alone(name):
    def weights(seed: int) -> list[np.ndarray]:
        return build_network(own(name), 1, 2, seed=seed).get_weights()

    first, again, other = weights(5), weights(5), weights(6)
    assert first and all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("name", ["sequential", "subclass"])
def test_a_model_without_an_input_of_its_own_gets_one(name):
    model = build_network(own(name), 2, 3)
    assert model.output_shape == (None, None, None, 3)
    assert np.asarray(model(np.ones((1, 5, 7, 2), np.float32))).shape == (1, 5, 7, 3)
    assert model.trainable_variables


@pytest.mark.parametrize(("policy", "precision"), [("float64", "float64"), ("mixed_float16", "float32")])
def test_logits_have_the_precision_of_the_weights(policy, precision):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        for name in ("plain", "subclass"):
            logits = build_network(own(name), 1, 2)(np.ones((1, 5, 6, 1), precision))
            assert keras.backend.standardize_dtype(logits.dtype) == precision
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("name", ["of_volumes", "sequential_of_volumes"])
def test_a_network_of_volumes_is_said_to_be_one(name):
    settings = own(name).model_copy(update={"dimensions": 3})
    model = build_network(settings, 2, 3)
    assert np.asarray(model(np.ones((1, 4, 5, 7, 2), np.float32))).shape == (1, 4, 5, 7, 3)
    assert len(settings.size_multiples) == 3
    check_sizes(model, [(4, 5, 7)])


def test_slices_instead_of_volumes_and_the_reverse_are_refused():
    of_slices = (
        r"one input \(N, H, W, 2\), .* received \(None, None, None, None, 2\); for that, use network.dimensions=3"
    )
    with pytest.raises(ConfigurationError, match=of_slices):
        build_network(own("of_volumes"), 2, 3)
    of_volumes = r"one input \(N, D, H, W, 2\), .* received \(None, None, None, 2\); for that, use network.dimensions=2"
    with pytest.raises(ConfigurationError, match=of_volumes):
        build_network(own("plain").model_copy(update={"dimensions": 3}), 2, 3)


def test_several_outputs_are_those_of_deep_supervision():
    model = build_network(own("two_logits"), 1, 2)
    assert len(model.outputs) == 2
    assert prediction_network(model).output_shape == (None, None, None, 2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        ("nowhere:plain", r"in the module nowhere, which is neither in the working folder \(.*\) nor on the Python"),
        ("my_networks.inner:plain", "in the module my_networks.inner, which is neither"),
        ("my_networks:missing", r"my_networks\.py has no function missing; its functions: plain, sequential, subclass"),
        ("my_networks:no_function", "has no function no_function"),
        ("my_networks:no_model", "my_networks:no_model must give a keras.Model; received str"),
        ("my_networks:one_more_channel", r"one input \(N, H, W, 2\), channels last; received \(None, None, None, 3\)"),
        (
            "my_networks:one_more_output",
            r"logits \(N, H, W, 3\), one for each output; received \(None, None, None, 4\)",
        ),
        ("my_networks:softmax", r"must give logits, not probabilities; its last layer softmax.* applies a softmax"),
        ("my_networks:sigmoid", r"last layer last applies a sigmoid: leave that to R2D2 \(activation=None\)"),
        ("my_networks:coarse_softmax", "last layer second applies a softmax"),
        (
            "my_networks:strided",
            r"the layer thin is a convolution of 1 x 1 pixels with strides \(2, 2\) and fewer than 16",
        ),
        ("my_networks:classifier", r"must give logits \(N, H, W, 3\), one for each output; received \(None, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(build, message):
    with pytest.raises(ConfigurationError, match=message):
        build_network(CustomSettings(build=build), 2, 3)


@pytest.mark.parametrize(
    ("name", "message"), [("without_config", "get_config"), ("with_lambda", "Lambda layer should be one")]
)
def test_what_could_not_be_read_again_is_refused_before_it_is_trained(name, message):
    with pytest.raises(ConfigurationError, match=f"could not be read again once it is saved .*{message}"):
        build_network(own(name), 1, 2)


def test_options_that_the_function_does_not_take_are_refused():
    with pytest.raises(
        ConfigurationError, match=r"with the options {'depth': 3}, which it does not take: got an unexp"
    ):
        build_network(own("plain", depth=3), 1, 1)
    with pytest.raises(ConfigurationError, match="which it does not take: multiple values for argument 'num_outputs'"):
        build_network(own("plain", num_outputs=3), 1, 1)


def test_faults_of_the_users_code_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        build_network(own("fails"), 1, 1)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        build_network(CustomSettings(build="broken_module:plain"), 1, 1)


@pytest.mark.parametrize("build", ["my_networks", "my_networks:", ":plain", "my networks:plain", "folder/x.py:plain"])
def test_settings_name_a_module_and_a_function(build):
    with pytest.raises(ValidationError, match="build must be module:function, like my_module:build_network"):
        CustomSettings(build=build)


def test_sizes_that_a_network_cannot_take_are_named():
    check_sizes(build_network(own("plain"), 1, 2), [(37, 50), (1, 1)])
    check_sizes(build_network(ResidualUNetSettings(base_filters=2), 1, 2), [(37, 50)])
    with pytest.raises(ConfigurationError, match=r"must give logits \(8, 9, 2\) for .*received \(6, 7, 2\)"):
        check_sizes(build_network(own("valid_padding"), 1, 2), [(8, 9)])
    model = build_network(own("even_sizes_only"), 1, 2)
    check_sizes(model, [(8, 10)])
    with pytest.raises(ConfigurationError, match="cannot take images of 7 x 10 pixels"):
        check_sizes(model, [(8, 10), (7, 10)])


@pytest.mark.parametrize(
    ("name", "num_outputs"),
    [
        ("cropped_sigmoid", 1),
        ("cropped_sigmoid", 3),
        ("nested_softmax", 3),
        ("softmax_as_a_layer", 3),
        ("softmax_as_an_operation", 3),
        ("subclass_with_a_sigmoid", 1),
    ],
)
def test_probabilities_are_refused_whatever_makes_them(name, num_outputs):
    with pytest.raises(ConfigurationError, match="must give logits, not probabilities; of noise, faint or strong"):
        check_sizes(build_network(own(name), 1, num_outputs), [(8, 9)])


@pytest.mark.parametrize("name", ["plain", "constant_at_first", "hardly_tells_pixels_apart"])
@pytest.mark.parametrize("num_outputs", [1, 3])
def test_logits_are_not_taken_for_probabilities(name, num_outputs):
    for seed in range(20):
        check_sizes(build_network(own(name), 1, num_outputs, seed=seed), [(8, 9), (3, 4)])


def test_a_batch_normalisation_that_cannot_be_synchronised_is_refused():
    assert synchronised(build_network(own("plain"), 1, 2)).output_shape == (None, None, None, 2)
    with pytest.raises(ConfigurationError, match="the layer inner makes a BatchNormalization of its own"):
        synchronised(build_network(own("hidden_normalisation"), 1, 2))


def test_stages_go_by_names():
    with pytest.raises(ConfigurationError, match="names begin with encoder, decoder or head; received conv2d"):
        stages(build_network(own("plain"), 1, 1))


READ = """
import sys
from pathlib import Path
import numpy as np
from dist_training.architectures import CustomSettings, read_network
model = read_network("model.keras", CustomSettings(build=sys.argv[1]))
np.save("logits.npy", model(np.ones((1, 9, 10, 1), "float32")))
"""


def test_a_saved_model_is_read_where_its_module_is_and_says_so_elsewhere(working_folder, monkeypatch):
    """In other processes: here the layer is known since it was built."""
    example = REPOSITORY / "examples" / "own_network.py"
    monkeypatch.syspath_prepend(str(example.parent))
    settings = CustomSettings(build="own_network:build_network", options={"filters": 4})
    model = build_network(settings, 1, 2)
    model.save("model.keras")

    def read() -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", textwrap.dedent(READ), settings.build]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    elsewhere = read()
    assert elsewhere.returncode != 0
    assert (
        "WeightsError: model.keras: the network own_network:build_network is in the module own_network, which is"
        in (elsewhere.stderr)
    )
    (working_folder / "own_network.py").write_text(example.read_text())
    assert read().returncode == 0
    expected = np.asarray(model(np.ones((1, 9, 10, 1), np.float32)))
    np.testing.assert_allclose(np.load("logits.npy"), expected, rtol=1e-5, atol=1e-6)


def test_a_model_of_plain_layers_is_read_without_its_module(tmp_path):
    model = build_network(own("plain"), 1, 2)
    model.save(tmp_path / "model.keras")
    elsewhere = CustomSettings(build="nowhere:plain")
    read = read_network(tmp_path / "model.keras", elsewhere)
    np.testing.assert_array_equal(read.get_weights()[0], model.get_weights()[0])
