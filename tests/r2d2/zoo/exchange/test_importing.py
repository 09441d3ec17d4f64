"""Networks made with Keras alone, imported: they predict what Keras predicts, and training goes on from them."""

import io
import sys
from pathlib import Path

import keras
import nibabel as nib
import numpy as np
import pytest
import yaml
from keras import layers

from dist_training.architectures import ImportedSettings, build_network, read_network, stages
from dist_training.errors import WeightsError
from dist_training.inference.model_card import read_model_card
from imgmed import prepare_dataset, write_phantom_study
from r2d2.cli import zoo_import
from r2d2.config import configure
from r2d2.errors import ZooError
from r2d2.launching.plan import plan_run
from r2d2.prediction.member import Member
from r2d2.tasks.prediction import PredictSettings, predict
from r2d2.tasks.zoo_import import ImportSettings, import_network
from r2d2.zoo.exchange.answers import TEMPLATE, ImportAnswers, checked_answers, read_answers
from r2d2_base.errors import ConfigurationError
from tests.r2d2.zoo.exchange.foreign_networks import plain_unet

pytestmark = pytest.mark.tensorflow

ANSWERS = {
    "channels": ["MRI"],
    "labels": {"anterior": 1, "posterior": 2},
    "activation": "softmax",
    "slice_size": (24, 32),
}


def imported(model: keras.Model, folder: Path, suffix: str = ".keras", **answers) -> Path:
    file = folder / f"theirs{suffix}"
    model.save(file)
    import_network(ImportSettings(file=file, out=folder / "model", answers=ImportAnswers(**{**ANSWERS, **answers})))
    return folder / "model"


def twice_normalised() -> keras.Model:
    """Two classes whose logits are no convolution's, so that their difference is a layer more."""
    image = keras.Input((None, None, 1))
    maps = layers.Conv2D(2, 3, padding="same", name="classes")(image)
    model = keras.Model(image, layers.Softmax()(layers.BatchNormalization(name="last")(maps)))
    rng = np.random.default_rng(4)
    model.set_weights([np.abs(weight + rng.normal(0, 0.3, weight.shape)) for weight in model.get_weights()])
    return model


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def test_a_scan_is_predicted_as_keras_predicts_its_slices(tmp_path):
    """Slices of 30 x 38 pixels are centred in zeros by hand, to the multiples of 4 that the network needs."""
    model = plain_unet()
    folder = imported(model, tmp_path)
    scan = np.random.default_rng(2).gamma(2.0, 50.0, (30, 38, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(scan, np.eye(4)), tmp_path / "scan.nii.gz")
    predict(PredictSettings(model=folder, inputs=(tmp_path / "scan.nii.gz",), out=tmp_path / "out"))
    found = np.asarray(nib.load(tmp_path / "out" / "scan.nii.gz").dataobj)
    slices = ((scan - scan.mean()) / scan.std()).transpose(2, 0, 1)[..., np.newaxis]
    padded = np.pad(slices, ((0, 0), (1, 1), (1, 1), (0, 0)))
    scores = np.asarray(model(padded, training=False))[:, 1:-1, 1:-1].transpose(1, 2, 0, 3)
    assert set(np.unique(found)) == {0, 1, 2}
    best = np.sort(scores, axis=-1)
    is_clear = best[..., -1] - best[..., -2] > 1e-4
    assert is_clear.mean() > 0.99
    np.testing.assert_array_equal(found[is_clear], scores.argmax(axis=-1)[is_clear])


@pytest.mark.parametrize(
    ("model", "suffix", "answers", "read"),
    [
        (plain_unet(size=32), ".h5", {}, lambda scores: scores),
        (plain_unet(2), ".keras", {"labels": {"liver": 1}}, lambda scores: scores[..., 1:]),
        (twice_normalised(), ".keras", {"labels": {"liver": 1}}, lambda scores: scores[..., 1:]),
        (plain_unet(2, "sigmoid"), ".h5", {"activation": "sigmoid"}, lambda scores: scores),
        (plain_unet(3, None), ".keras", {"activation": "logits"}, lambda scores: np.asarray(keras.ops.softmax(scores))),
        (plain_unet(channels=3), ".keras", {"neighbours": 1}, lambda scores: scores),
    ],
    ids=["fixed size, h5", "two classes", "two classes, normalised", "sigmoids", "logits", "neighbours"],
)
def test_probabilities_are_those_of_keras(model, suffix, answers, read, tmp_path):
    member = Member(imported(model, tmp_path, suffix, **answers))
    inputs = images(2, 32, 32, model.input_shape[-1])
    np.testing.assert_allclose(member.probabilities(inputs), read(np.asarray(model(inputs))), atol=1e-5)


def test_a_softmax_that_is_a_layer_goes_too(tmp_path):
    model = keras.Sequential([keras.Input((None, None, 1)), layers.Conv2D(3, 3, padding="same"), layers.Softmax()])
    found = Member(imported(model, tmp_path)).probabilities(images(1, 7, 9, 1))
    np.testing.assert_allclose(found, np.asarray(model(images(1, 7, 9, 1))), atol=1e-5)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """CT with the labels liver and tumour."""
    folder = tmp_path_factory.mktemp("phantom")
    study = write_phantom_study(folder / "study", cases=4, shape=(32, 32, 8))
    return prepare_dataset(study, folder / "dataset").folder


def test_training_starts_from_it_in_mixed_precision_too(dataset, tmp_path):
    """The run's network is that of the folder, told by the start alone; with other labels it gets a last layer anew."""
    model = plain_unet()
    folder = imported(model, tmp_path)
    chosen = configure(
        {"dataset": str(dataset), "run_dir": str(tmp_path / "run"), "transfer": {"start_from": str(folder)}}
    )
    network = plan_run(chosen, world_size=1, is_resumed=False).configuration.network
    assert network == ImportedSettings(file=str(folder / "model.keras"))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        same, other = build_network(network, 1, 3), build_network(network, 1, 5, seed=3)
    finally:
        keras.config.set_dtype_policy(before)
    assert same.output.dtype == "float32" and same.get_layer("encoder_conv0").compute_dtype == "bfloat16"
    assert stages(other)["head"] == ["head_classes"] and other.output_shape[-1] == 5
    for built in (same, other):
        np.testing.assert_array_equal(built.get_layer("encoder_conv1").kernel, model.get_layer("conv1").kernel)
    np.testing.assert_array_equal(same.get_layer("head_classes").kernel, model.get_layer("classes").kernel)
    with pytest.raises(ConfigurationError, match="never from nothing; start from its folder"):
        build_network(ImportedSettings(), 1, 3)
    with pytest.raises(ConfigurationError, match="takes 1 input channels; received a dataset with 2"):
        build_network(network, 2, 3)


@keras.saving.register_keras_serializable(package="theirs")
class Doubled(layers.Layer):
    def call(self, maps):
        return 2 * maps


def ending_with(layer: layers.Layer) -> keras.Model:
    model = plain_unet(3, None)
    return keras.Model(model.input, layer(model.output))


REFUSED = [
    (lambda: ending_with(layers.Lambda(lambda maps: 2 * maps)), ".keras", {}, "Lambda"),
    (lambda: ending_with(layers.Lambda(lambda maps: 2 * maps)), ".h5", {}, "'Lambda', which runs code"),
    (lambda: ending_with(Doubled()), ".h5", {}, "Doubled', which runs code or is not Keras's"),
    (lambda: ending_with(layers.MaxPooling2D(2)), ".keras", {"activation": "logits"}, "maps of its images' size"),
    (lambda: ending_with(layers.Flatten()), ".keras", {}, "one output"),
    (lambda: plain_unet(), ".keras", {"activation": "sigmoid"}, "the network has 3 outputs, .* need 2, one a label"),
    (lambda: plain_unet(), ".keras", {"labels": {"liver": 1}}, "3 outputs, .* need 2, the background first"),
    (lambda: plain_unet(), ".keras", {"activation": "logits"}, "classes, applies softmax, and the answer is .* logits"),
    (lambda: plain_unet(), ".keras", {"channels": ["T1", "T2"]}, "takes 1 channels; .* T1, T2 .* which makes 2"),
]


@pytest.mark.parametrize(("make", "suffix", "answers", "reason"), REFUSED)
def test_what_cannot_be_imported_is_one_line_and_leaves_nothing(make, suffix, answers, reason, tmp_path):
    with pytest.raises((ZooError, WeightsError), match=reason) as caught:
        imported(make(), tmp_path, suffix, **answers)
    assert len(str(caught.value).splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == [f"theirs{suffix}"]


def test_files_that_hold_no_network_are_one_line(tmp_path):
    plain_unet().save_weights(tmp_path / "only.weights.h5")
    (tmp_path / "broken.h5").write_bytes(b"nothing")
    (tmp_path / "network.pb").write_bytes(b"nothing")
    for name, reason in (
        ("only.weights.h5", "has weights and no network"),
        ("broken.h5", "is no Keras network that can be read"),
        ("network.pb", "is no Keras network; give a .keras file"),
    ):
        with pytest.raises(ZooError, match=reason):
            import_network(ImportSettings(file=tmp_path / name, out=tmp_path / "out", answers=ImportAnswers(**ANSWERS)))


def test_answers_come_from_a_template_or_from_a_person(tmp_path, monkeypatch, capsys):
    (tmp_path / "answers.yaml").write_text(TEMPLATE)
    answers = read_answers(tmp_path / "answers.yaml")
    assert set(yaml.safe_load(TEMPLATE)) == set(ImportAnswers.model_fields)
    assert answers.all_labels == {"background": 0, "liver": 1, "tumour": 2}

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    said = [
        "T1, T2",
        "liver",
        "liver: 1, tumour: 3",
        "softmx",
        "",
        "",
        "64, 48",
        "1, 1, null",
        "1",
        "zscore_dataset 3.5 2",
        "a trial",
    ]
    monkeypatch.setattr(sys, "stdin", Terminal("\n".join(said) + "\n"))
    given = zoo_import._asked()
    assert (given.channels, given.labels, given.activation) == (("T1", "T2"), {"liver": 1, "tumour": 3}, "softmax")
    assert (given.slice_axis, given.slice_size, given.neighbours) == (2, (64, 48), 1)
    assert given.spacing_mm == (1.0, 1.0, None) and given.normalisation.std == (2.0,)
    told = capsys.readouterr().err
    assert "not taken: labels.liver: must be a whole number" in told and "not taken: activation: must be" in told
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(ConfigurationError, match="no terminal to ask on: give --answers FILE"):
        zoo_import._asked()
    with pytest.raises(ZooError, match="the answers: activation: must be 'logits', 'softmax' or 'sigmoid'"):
        checked_answers({**ANSWERS, "activation": "relu"})
    with pytest.raises(ZooError, match="labels need values from 1"):
        checked_answers({**ANSWERS, "labels": {"liver": 0}})


def test_the_card_says_what_was_answered(tmp_path):
    folder = imported(
        plain_unet(2, "sigmoid"), tmp_path, activation="sigmoid", labels={"b": 7, "a": 3}, spacing_mm=(1, 1, 3)
    )
    path, card = read_model_card(folder)
    assert card.network == ImportedSettings() and card.cases == () and card.validation_dice is None
    assert card.regions == {"b": (7,), "a": (3,)} and card.class_values == (0, 3, 7)
    assert card.outputs.region_values(card.class_values) == card.regions
    assert card.scan_preparation.operations[0].spacing_mm == (1.0, 1.0, 3.0)
    assert read_network(path).name == "theirs"
