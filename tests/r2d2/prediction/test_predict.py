"""Prediction: a real network on real files, against its decision taken by hand."""

import csv
import json
import shutil
import sys
from pathlib import Path

import keras
import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates

from dist_training.architectures import CustomSettings, NetworkSettings, UNetSettings, build_network, read_network
from dist_training.errors import ModelError, WeightsError
from dist_training.inference.model_card import save_model
from dist_training.inference.postprocessing import apply_rules, parse_rule
from dist_training.record.run_folder import RunFolder
from imgmed import (
    PreparationSettings,
    PreparedDataset,
    SliceGrid,
    Volume,
    prepare_dataset,
    read_volume,
    write_volume,
)
from r2d2.errors import PredictionError
from r2d2.prediction.manifest import read_manifest
from r2d2.prediction.member import Member
from r2d2.prediction.predictor import Predictor
from r2d2.prediction.settings import InferenceSettings, PredictionSettings
from r2d2.prediction.windows import Windows
from r2d2.tasks.prediction import predict_dataset, predict_scans
from r2d2_base.errors import CancelledError
from r2d2_base.progress import StopRequest

pytestmark = pytest.mark.tensorflow

UPRIGHT = np.diag([1.0, 1.0, 3.0, 1.0])
CLEAR = 1e-4  # by how much a class must win to be compared: rounding decides below


def save_scan(path: Path, shape: tuple[int, ...], seed: int, affine: np.ndarray = UPRIGHT) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).gamma(2.0, 50.0, shape).astype(np.float32)
    nib.save(nib.Nifti1Image(array, affine), path)
    return array


def write_study(folder: Path, values: tuple[int, ...]) -> Path:
    """Three cases of 14 x 16 pixels in 4 slices 3 mm apart, whose labels take these values."""
    for seed, name in enumerate("abc"):
        image = save_scan(folder / f"images/{name}.nii.gz", (14, 16, 4), seed)
        labels = np.array(values, np.uint16)[np.digitize(image, [90.0, 150.0][: len(values) - 1])]
        (folder / "labels").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(labels, UPRIGHT), folder / f"labels/{name}.nii.gz")
    return folder


UNET = UNetSettings(depth=1, base_filters=4)


def save_network(dataset: PreparedDataset, run: Path, settings: NetworkSettings = UNET, seed: int = 2) -> Path:
    """A network of random weights whose classes all win somewhere."""
    outputs = len(dataset.class_values)
    outputs = 1 if outputs == 2 else outputs
    channels = dataset.scan_preparation.input_channels
    model = build_network(settings, channels, outputs, seed=seed)
    logits = model.predict_on_batch(np.random.default_rng(0).normal(size=(4, 16, 16, channels)).astype(np.float32))
    *others, bias = model.get_weights()
    model.set_weights([*others, bias - logits.mean(axis=(0, 1, 2))])
    RunFolder(run).create()
    save_model(
        model,
        RunFolder(run),
        network=settings,
        dataset=dataset,
        epoch=1,
        validation_dice=None,
        validation_dice_per_label={},
    )
    return run


THREE_CLASSES = (0, 2, 300)
of_two_and_three_classes = pytest.mark.parametrize(
    "dataset", [(0, 4), THREE_CLASSES], ids=["binary", "three-classes"], indirect=True, scope="module"
)


@pytest.fixture(scope="module")
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("predict")
    study = write_study(folder / "study", getattr(request, "param", THREE_CLASSES))
    return prepare_dataset(study, folder / "dataset", PreparationSettings())


@pytest.fixture(scope="module")
def model(dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(dataset, tmp_path_factory.mktemp("run"))


def clipped(slices: np.ndarray, scan: np.ndarray) -> np.ndarray:
    return np.clip(slices.astype(np.float64), *np.percentile(scan, [0.5, 99.5]))


def probabilities_by_hand(model: Path, slices: np.ndarray, neighbours: int = 0) -> np.ndarray:
    """Normalise clipped slices, centre them in 16 x 16 zeros or more, predict, cut out: (classes, s, h, w)."""
    normalised = (slices - slices.mean()) / slices.std()
    missing = [max(0, 16 - size) for size in slices.shape[1:]]
    before = [size // 2 for size in missing]
    padded = np.pad(normalised, [(0, 0), *((b, m - b) for b, m in zip(before, missing, strict=True))])
    around = np.pad(padded, [(neighbours, neighbours), (0, 0), (0, 0)], mode="edge")
    inputs = np.stack([around[n : n + len(padded)] for n in range(2 * neighbours + 1)], axis=-1)
    logits = read_network(model / "model.keras").predict(inputs.astype(np.float32), verbose=0)
    rows, columns = (slice(b, b + size) for b, size in zip(before, slices.shape[1:], strict=True))
    logits = np.moveaxis(logits[:, rows, columns].astype(np.float64), -1, 0)
    if len(logits) == 1:  # a sigmoid is the softmax over the logits 0 and z
        logits = np.concatenate([np.zeros_like(logits), logits])
    return np.exp(logits) / np.exp(logits).sum(axis=0)


def entropy(probabilities: np.ndarray) -> np.ndarray:
    return -(probabilities * np.log(probabilities)).sum(axis=0)


def assert_decided(prediction: np.ndarray, probabilities: np.ndarray, values: tuple[int, ...]) -> None:
    """Compare label values with the likeliest class wherever that is clear, which must be nearly everywhere."""
    ordered = np.sort(probabilities, axis=0)
    clear = ordered[-1] - ordered[-2] > CLEAR
    assert clear.mean() > 0.99
    expected = np.array(values)[probabilities.argmax(axis=0)]
    assert prediction.shape == expected.shape
    np.testing.assert_array_equal(prediction[clear], expected[clear])
    assert set(np.unique(prediction)) == set(values)


def predicted(model: Path, scan: Path, out: Path) -> nib.Nifti1Image:
    predict_scans(model, [scan], out)
    return nib.load(out / scan.name)


@of_two_and_three_classes
@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((13, 15, 5), id="smaller-than-in-training"),
        pytest.param((45, 14, 3), id="larger-along-one-axis"),
        pytest.param((300, 301, 7), id="larger-and-not-all-slices-at-a-time"),
    ],
)
def test_a_label_map_is_what_the_network_says(
    dataset: PreparedDataset, model: Path, tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    array = save_scan(tmp_path / "scan.nii.gz", shape, seed=7)
    result = predicted(model, tmp_path / "scan.nii.gz", tmp_path / "out")
    probabilities = probabilities_by_hand(model, clipped(np.moveaxis(array, 2, 0), array))
    assert_decided(np.moveaxis(np.asarray(result.dataobj), 2, 0), probabilities, dataset.class_values)
    np.testing.assert_array_equal(result.affine, UPRIGHT)


def test_a_scan_in_another_voxel_order_keeps_it(dataset: PreparedDataset, model: Path, tmp_path: Path) -> None:
    """Stored (foot-head, front-back, left-right): the slices are the same, the label map lies as the scan does."""
    affine = np.array([[0, 0, 1.0, 0], [0, -1.0, 0, 9], [3.0, 0, 0, 0], [0, 0, 0, 1]])
    array = save_scan(tmp_path / "scan.nii", (5, 12, 14), seed=8, affine=affine)
    result = predicted(model, tmp_path / "scan.nii", tmp_path / "out")
    slices = np.swapaxes(array[:, ::-1], 1, 2)  # (foot-head, left-right, back-front)
    probabilities = probabilities_by_hand(model, clipped(slices, array))
    prediction = np.swapaxes(np.asarray(result.dataobj), 1, 2)[..., ::-1]
    assert_decided(prediction, probabilities, dataset.class_values)
    np.testing.assert_array_equal(result.affine, affine)


@of_two_and_three_classes
def test_probabilities_are_what_is_interpolated(dataset: PreparedDataset, model: Path, tmp_path: Path) -> None:
    """A scan of twice the resolution: each pixel is the mean of 2 x 2, the answer is interpolated linearly."""
    affine = np.diag([0.5, 0.5, 3.0, 1.0])
    array = save_scan(tmp_path / "scan.nii.gz", (28, 32, 4), seed=10, affine=affine)
    result = predicted(model, tmp_path / "scan.nii.gz", tmp_path / "out")
    means = np.moveaxis(array, 2, 0).reshape(4, 14, 2, 16, 2).mean(axis=(2, 4))
    probabilities = probabilities_by_hand(model, clipped(means, array))
    where = np.meshgrid(np.arange(4), np.arange(28) / 2 - 0.25, np.arange(32) / 2 - 0.25, indexing="ij")
    finer = np.stack([map_coordinates(part, where, order=1, mode="nearest") for part in probabilities])
    assert_decided(np.moveaxis(np.asarray(result.dataobj), 2, 0), finer, dataset.class_values)


def test_a_scan_in_micrometres_is_the_same_scan(model: Path, tmp_path: Path) -> None:
    """The label map's header stays in the scan's unit; the numbers may also be taken for millimetres."""
    array = save_scan(tmp_path / "mm.nii.gz", (13, 15, 5), seed=7)
    small = nib.Nifti1Image(array, np.diag([1000.0, 1000.0, 3000.0, 1.0]))
    small.header.set_xyzt_units("micron")
    nib.save(small, tmp_path / "um.nii.gz")
    predict_scans(model, [tmp_path / "mm.nii.gz", tmp_path / "um.nii.gz"], tmp_path / "out")
    in_mm, in_um = (nib.load(tmp_path / f"out/{name}.nii.gz") for name in ("mm", "um"))
    np.testing.assert_array_equal(np.asarray(in_um.dataobj), np.asarray(in_mm.dataobj))
    assert in_um.header.get_xyzt_units()[0] == "micron" and in_um.header.get_zooms() == (1000, 1000, 3000)
    with pytest.raises(PredictionError, match=r"um\.nii\.gz: 5 x 13 x 15 voxels of 3000 x 1000 x 1000 mm would become"):
        predict_scans(model, [tmp_path / "um.nii.gz"], tmp_path / "mm", PredictionSettings(spatial_units="mm"))


def prepared_with(folder: Path, values: tuple[int, ...], **settings: object) -> tuple[PreparedDataset, Path]:
    """A dataset of a recipe of operations, and a network for it."""
    study = write_study(folder / "study", values)
    dataset = prepare_dataset(study, folder / "dataset", PreparationSettings(slice_axis=2, **settings))
    return dataset, save_network(dataset, folder / "run")


def copied(model: Path, run: Path, **changes: object) -> Path:
    """A model whose card says something else."""
    shutil.copytree(model, run)
    card = json.loads((run / "model.json").read_text())
    (run / "model.json").write_text(json.dumps({**card, **changes}))
    return run


MIRRORED = {"vertical_flip_probability": 0.5, "horizontal_flip_probability": 0.5}


@of_two_and_three_classes
def test_mirrored_slices_are_asked_about_too(dataset: PreparedDataset, model: Path, tmp_path: Path) -> None:
    array = save_scan(tmp_path / "scan.nii.gz", (12, 14, 5), seed=7)
    slices = clipped(np.moveaxis(array, 2, 0), array)
    with pytest.raises(PredictionError, match="was not trained on mirrored slices"):
        Predictor(model, InferenceSettings(flips=True))
    flipping = copied(model, tmp_path / "run", augmentation=MIRRORED)
    predict_scans(flipping, [tmp_path / "scan.nii.gz"], tmp_path / "out", inference=InferenceSettings(flips=True))
    said = [
        np.flip(probabilities_by_hand(model, np.flip(slices, axes)), [axis + 1 for axis in axes])
        for axes in ((), (1,), (2,), (1, 2))
    ]
    result = nib.load(tmp_path / "out/scan.nii.gz")
    assert_decided(np.moveaxis(np.asarray(result.dataobj), 2, 0), np.mean(said, axis=0), dataset.class_values)


@of_two_and_three_classes
def test_networks_are_asked_together(dataset: PreparedDataset, model: Path, tmp_path: Path) -> None:
    """Two networks of a cross-validation: the mean of their probabilities decides, and tells how sure they are."""
    array = save_scan(tmp_path / "scan.nii", (13, 15, 5), seed=7)
    shutil.copytree(model, tmp_path / "cv/fold-0")
    save_network(dataset, tmp_path / "cv/fold-1", seed=5)
    wanted = InferenceSettings(probabilities=True, uncertainty="spread")
    done = predict_scans(tmp_path / "cv", [tmp_path / "scan.nii"], tmp_path / "out", inference=wanted)
    assert [Path(member.model).parent.name for member in done.manifest.ensemble] == ["fold-0", "fold-1"]
    slices = clipped(np.moveaxis(array, 2, 0), array)
    said = np.stack([probabilities_by_hand(tmp_path / f"cv/fold-{fold}", slices) for fold in range(2)])
    mean = said.mean(axis=0)
    label_map = nib.load(tmp_path / "out/scan.nii").get_fdata()
    assert_decided(np.moveaxis(label_map, 2, 0), mean, dataset.class_values)
    names = {value: name for name, value in dataset.labels.items()}
    for number, value in list(enumerate(dataset.class_values))[len(mean) == 2 :]:
        written = nib.load(tmp_path / f"out/probabilities/{names[value]}/scan.nii")
        assert written.get_data_dtype() == np.uint16
        np.testing.assert_allclose(np.moveaxis(written.get_fdata(), 2, 0), mean[number], atol=2e-5)
    spread = (entropy(mean) - entropy(said[0]) / 2 - entropy(said[1]) / 2) / np.log(len(mean))
    uncertainty = nib.load(tmp_path / "out/uncertainty/scan.nii").get_fdata()
    np.testing.assert_allclose(np.moveaxis(uncertainty, 2, 0), spread, atol=5e-5)
    assert done.cases[0].uncertainty == pytest.approx(spread.sum() / np.count_nonzero(label_map), rel=1e-3)
    assert read_manifest(tmp_path / "out") == done.manifest


def test_networks_that_differ_are_not_asked_together(model: Path, tmp_path: Path) -> None:
    other = copied(model, tmp_path / "other", labels={"background": 0, "x": 2, "y": 300})
    with pytest.raises(PredictionError, match=r"must agree on labels .* differ \(labels: .*'x': 2"):
        Predictor([model, other])
    with pytest.raises(ModelError, match="is named twice"):
        Predictor([model, model])
    with pytest.raises(PredictionError, match="has no spread; ask several"):
        Predictor(model, InferenceSettings(uncertainty="spread"))


@of_two_and_three_classes
def test_large_slices_are_seen_by_windows(dataset: PreparedDataset, model: Path, tmp_path: Path) -> None:
    array = save_scan(tmp_path / "scan.nii.gz", (40, 14, 3), seed=7)
    wanted = InferenceSettings(window=(16, 16), overlap=0.25)
    predict_scans(model, [tmp_path / "scan.nii.gz"], tmp_path / "out", inference=wanted)
    slices = clipped(np.moveaxis(array, 2, 0), array)
    inputs = np.pad((slices - slices.mean()) / slices.std(), [(0, 0), (0, 0), (1, 1)])[..., np.newaxis]
    network = read_network(model / "model.keras")

    def classes(batch: np.ndarray) -> np.ndarray:
        logits = network.predict_on_batch(batch).astype(np.float64)
        if logits.shape[-1] == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=-1)
        return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)

    blended = Windows((16, 16), 0.25).blend(inputs.astype(np.float32), classes, len(dataset.class_values), 3)
    probabilities = np.moveaxis(np.stack(list(blended))[:, :, 1:15], -1, 0)
    result = nib.load(tmp_path / "out/scan.nii.gz")
    assert_decided(np.moveaxis(np.asarray(result.dataobj), 2, 0), probabilities, dataset.class_values)


def test_windows_are_taken_where_memory_is_short(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_scan(tmp_path / "scan.nii.gz", (64, 64, 2), seed=7)
    predict_scans(
        model, [tmp_path / "scan.nii.gz"], tmp_path / "by-windows", inference=InferenceSettings(window=(16, 16))
    )
    predict_scans(model, [tmp_path / "scan.nii.gz"], tmp_path / "whole")
    little = 4 * 64 * 32 * 4 * 4  # half of what the network holds of a slice
    monkeypatch.setattr("r2d2.prediction.predictor.usable_memory", lambda: (little, little))
    monkeypatch.setattr("r2d2.prediction.predictor.has_gpu", lambda: False)
    predict_scans(model, [tmp_path / "scan.nii.gz"], tmp_path / "short")
    short, windows, whole = (bytes_of(tmp_path / name)["scan.nii.gz"] for name in ("short", "by-windows", "whole"))
    assert short == windows != whole


def test_label_maps_are_of_the_kind_that_came_in(model: Path, tmp_path: Path) -> None:
    """The same scan as NIfTI, MetaImage and NRRD gives the same label map, in the same place."""
    affine = np.array([[0, 0, 1.0, 0], [0, -1.0, 0, 9], [3.0, 0, 0, 0], [0, 0, 0, 1]])
    array = save_scan(tmp_path / "scans/nifti.nii.gz", (5, 12, 14), seed=8, affine=affine)
    for name in ("meta.mha", "nrrd.nrrd"):
        write_volume(tmp_path / "scans" / name, Volume(array, affine))
    wanted = InferenceSettings(uncertainty="entropy")
    predict_scans(model, [tmp_path / "scans"], tmp_path / "out", inference=wanted)
    expected, sure = (read_volume(tmp_path / "out" / name) for name in ("nifti.nii.gz", "uncertainty/nifti.nii.gz"))
    for name in ("meta.mha", "nrrd.nrrd"):
        label_map = read_volume(tmp_path / "out" / name)
        np.testing.assert_array_equal(label_map.array, expected.array)
        np.testing.assert_allclose(label_map.affine, affine, atol=1e-6)
        other = read_volume(tmp_path / f"out/uncertainty/{name.partition('.')[0]}.nii.gz")
        np.testing.assert_allclose(other.array, sure.array, atol=2e-5)


def test_label_maps_of_pictures_are_pictures(tmp_path: Path) -> None:
    """PNG for PNG and JPEG, with the label values as grey levels; TIFF, which may have several pages, for TIFF."""
    rng = np.random.default_rng(0)
    for name in "abcd":
        picture = rng.integers(0, 255, (16, 20), np.uint8)
        for folder, array in (("images", picture), ("labels", (picture > 100).astype(np.uint8))):
            (tmp_path / "study" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "study" / folder / f"{name}.png")
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "dataset", PreparationSettings())
    model = save_network(dataset, tmp_path / "run")
    source = Image.open(tmp_path / "study/images/a.png")
    source.save(tmp_path / "one.tif")
    Image.fromarray(255 - np.asarray(source)).save(tmp_path / "other.jpg")
    scans = [tmp_path / name for name in ("study/images/a.png", "one.tif", "other.jpg")]
    done = predict_scans(model, scans, tmp_path / "out", inference=InferenceSettings(uncertainty="entropy"))
    assert [case.file for case in done.cases] == ["a.png", "one.tif", "other.png"]
    predict_dataset(model, dataset, ["a"], tmp_path / "by-case")
    pages = [np.asarray(Image.open(tmp_path / name)) for name in ("out/a.png", "out/one.tif", "by-case/a.png")]
    assert all(np.array_equal(page, pages[0]) for page in pages) and set(np.unique(pages[0])) == {0, 1}
    assert np.asarray(Image.open(tmp_path / "out/uncertainty/other.png")).dtype == np.uint16
    assert not done.cases[0].volumes_ml and not (tmp_path / "out/volumes.csv").exists()


def test_rules_of_the_card_or_of_the_call_set_label_maps_right(model: Path, tmp_path: Path) -> None:
    save_scan(tmp_path / "scan.nii", (13, 15, 5), seed=7)
    labels = Predictor(model).card.labels
    name = next(name for name, value in labels.items() if value)
    ruled = copied(model, tmp_path / "ruled", postprocessing=[{"kind": "largest_component", "label": name}])
    rule, found = parse_rule(f"largest_component:{name}"), {}
    for out, network, rules in (
        ("plain", model, None),
        ("card", ruled, None),
        ("call", model, (rule,)),
        ("none", ruled, ()),
    ):
        done = predict_scans(network, [tmp_path / "scan.nii"], tmp_path / out, inference=InferenceSettings(rules=rules))
        found[out] = nib.load(tmp_path / out / "scan.nii").get_fdata()
        voxels = np.count_nonzero(found[out] == labels[name])
        assert done.cases[0].volumes_ml[name] == pytest.approx(0.003 * voxels)
    expected = apply_rules(Volume(found["plain"], UPRIGHT), [rule], labels).array
    np.testing.assert_array_equal(found["card"], expected)
    np.testing.assert_array_equal(found["call"], expected)
    np.testing.assert_array_equal(found["none"], found["plain"])
    assert (found["plain"] != expected).any()


OWN_LAYERS = """
import keras, pathlib
pathlib.Path("imported").touch()

@keras.saving.register_keras_serializable(package="sly")
class Twice(keras.layers.Layer):
    def call(self, maps):
        return 2 * maps

def build(input_channels, num_outputs):
    images = keras.Input((None, None, input_channels))
    return keras.Model(images, Twice()(keras.layers.Conv2D(num_outputs, 1)(images)))
"""


def test_code_that_a_card_names_runs_only_where_that_is_trusted(
    dataset: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sly_network.py").write_text(OWN_LAYERS)
    model = save_network(dataset, tmp_path / "run", CustomSettings(build="sly_network:build"))
    del sys.modules["sly_network"]
    monkeypatch.delitem(keras.saving.get_custom_objects(), "sly>Twice")
    (tmp_path / "imported").unlink()
    with pytest.raises(WeightsError, match=r"its card names sly_network:build: if you trust that, --trust-code"):
        predict_dataset(model, dataset, dataset.splits.test, tmp_path / "out")
    assert not (tmp_path / "imported").exists() and not (tmp_path / "out").exists()
    predict_dataset(model, dataset, dataset.splits.test, tmp_path / "out", trust_code=True)
    assert (tmp_path / "imported").exists()
    del sys.modules["sly_network"]


def test_neighbours_are_seen_and_what_was_cropped_away_is_background(tmp_path: Path) -> None:
    crop = [{"op": "crop", "voxels": [[2, 12], None, [1, 4]]}, {"op": "clip", "of": "source"}]
    dataset, model = prepared_with(tmp_path, (0, 2, 300), operations=crop, neighbours=1)
    assert dataset.image("a").shape == (3, 10, 16, 1)
    array = save_scan(tmp_path / "scan.nii.gz", (14, 16, 4), seed=11)
    label_map = np.moveaxis(np.asarray(predicted(model, tmp_path / "scan.nii.gz", tmp_path / "out").dataobj), 2, 0)
    probabilities = probabilities_by_hand(model, clipped(np.moveaxis(array, 2, 0)[1:, 2:12], array), neighbours=1)
    assert_decided(label_map[1:, 2:12], probabilities, dataset.class_values)
    label_map[1:, 2:12] = 0
    assert not label_map.any()


@pytest.mark.parametrize("values", [(0, 4), (0, 2, 300)])
def test_scores_return_from_a_coarser_and_smaller_volume(tmp_path: Path, values: tuple[int, ...]) -> None:
    """Slices twice as thick, cut on one side: interpolated across the slices, background beyond."""
    recipe = [
        {"op": "resample", "spacing_mm": [None, None, 6]},
        {"op": "crop", "voxels": [None, [4, 16], None]},
        {"op": "clip", "of": "source"},
    ]
    dataset, model = prepared_with(tmp_path, values, operations=recipe)
    array = save_scan(tmp_path / "scan.nii.gz", (14, 16, 8), seed=12)
    label_map = np.moveaxis(np.asarray(predicted(model, tmp_path / "scan.nii.gz", tmp_path / "out").dataobj), 2, 0)
    pairs = np.moveaxis(array, 2, 0).reshape(4, 2, 14, 16).mean(axis=1)[..., 4:]
    probabilities = probabilities_by_hand(model, clipped(pairs, array))
    where = np.meshgrid(np.arange(8) / 2 - 0.25, np.arange(14), np.arange(12), indexing="ij")
    finer = np.stack([map_coordinates(part, where, order=1, mode="nearest") for part in probabilities])
    assert_decided(label_map[..., 4:], finer, dataset.class_values)
    assert not label_map[..., :4].any()


def test_a_case_of_the_dataset_and_its_file_are_predicted_alike(
    dataset: PreparedDataset, model: Path, tmp_path: Path
) -> None:
    case_ids = [*dataset.splits.test, *dataset.splits.train]
    by_case = predict_dataset(model, dataset, case_ids, tmp_path / "by-case")
    files = [dataset.source_root / f"images/{case_id}.nii.gz" for case_id in case_ids]
    by_file = predict_scans(model, files, tmp_path / "by-file")
    assert [case.split for case in by_case.cases] == ["test", "train"]
    assert by_case.cases == by_file.cases
    for name in (f"{case_id}.nii.gz" for case_id in case_ids):
        one, other = (nib.load(tmp_path / out / name) for out in ("by-case", "by-file"))
        np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))
        assert np.unique(np.asarray(one.dataobj)).size > 1
    assert read_manifest(tmp_path / "by-file") == by_file.manifest
    assert by_file.manifest.labels == dataset.labels


def test_what_the_network_that_it_started_from_was_trained_on_is_known_too(
    dataset: PreparedDataset, model: Path, tmp_path: Path
) -> None:
    run, tested = shutil.copytree(model, tmp_path / "run"), dataset.case(dataset.splits.test[0]).image_sha256
    card = json.loads((run / "model.json").read_text())
    seen = [("train", tested), ("validation", ("f" * 64,))]
    card["seen_before"] = [{"case_id": "a", "split": split, "image_sha256": files} for split, files in seen]
    (run / "model.json").write_text(json.dumps(card))
    assert [Predictor(model).card.split_of(files) for _, files in seen] == ["test", None]
    assert [Predictor(run).card.split_of(files) for _, files in seen] == ["train", "validation"]


def test_a_training_scan_is_known_by_its_content(dataset: PreparedDataset, model: Path, tmp_path: Path) -> None:
    trained = dataset.source_root / f"images/{dataset.splits.train[0]}.nii.gz"
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/renamed.nii.gz").write_bytes(trained.read_bytes())
    save_scan(tmp_path / "scans/unseen.nii", (13, 15, 5), seed=7)
    stages: list[tuple[str, int, int]] = []
    done = predict_scans(model, [tmp_path / "scans"], tmp_path / "out", progress=lambda *event: stages.append(event))
    assert [(case.case_id, case.split) for case in done.cases] == [("renamed", "train"), ("unseen", None)]
    assert stages == [(stage, number, 2) for stage in ("checking", "predicting") for number in range(3)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "prediction.json",
        "renamed.nii.gz",
        "unseen.nii",
        "volumes.csv",
    ]
    with (tmp_path / "out/volumes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = {name: value for name, value in dataset.labels.items() if value}
    cases = [(case, name) for case in ("renamed", "unseen") for name in names]
    assert [(row["case_id"], row["label"]) for row in rows] == cases
    label_map = nib.load(tmp_path / "out/unseen.nii").get_fdata()
    for row in rows[-len(names) :]:  # voxels of 3 cubic millimetres
        voxels = np.count_nonzero(label_map == names[row["label"]])
        assert float(row["ml"]) == pytest.approx(0.003 * voxels, rel=1e-5)
    assert done.cases[1].volumes_ml == pytest.approx({row["label"]: float(row["ml"]) for row in rows[-len(names) :]})


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_results_so_far_are_kept_and_a_second_call_goes_on(model: Path, tmp_path: Path) -> None:
    """A NaN shows only when voxels are read; a scan of two channels is refused before anything is predicted."""
    scans = tmp_path / "scans"
    arrays = {name: save_scan(scans / f"{name}.nii.gz", (13, 15, 5), seed) for seed, name in enumerate("abcd")}
    predict_scans(model, [scans], tmp_path / "whole")
    bad = arrays["c"].copy()
    bad[3, 3, 3] = np.nan
    nib.save(nib.Nifti1Image(bad, UPRIGHT), scans / "c.nii.gz")
    with pytest.raises(
        PredictionError, match=r"c\.nii\.gz: 1 NaN .*; 2 label maps are kept, and the same command goes on"
    ):
        predict_scans(model, [scans], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    save_scan(scans / "e.nii.gz", (13, 15, 5, 2), seed=5)
    with pytest.raises(PredictionError, match=r"e\.nii\.gz: 2 channels; needed: 1 \(image\).*--on-error skip leaves"):
        predict_scans(model, [scans], tmp_path / "out")
    told: list[tuple[str, int, int]] = []
    skipping = PredictionSettings(on_error="skip")
    done = predict_scans(model, [scans], tmp_path / "out", skipping, progress=lambda *event: told.append(event))
    assert [case.case_id for case in done.cases] == ["a", "b", "d"] and done.taken_over == 2
    assert "e.nii.gz: 2 channels" in done.left_out[0] and "c.nii.gz: 1 NaN" in done.left_out[1]
    assert told[-1] == ("predicting", 4, 4) and read_manifest(tmp_path / "out") == done.manifest
    whole, out = bytes_of(tmp_path / "whole"), bytes_of(tmp_path / "out")
    assert all(out[f"{name}.nii.gz"] == whole[f"{name}.nii.gz"] for name in "abd")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "scans", "whole"]


def test_a_call_that_is_cancelled_is_gone_on_with(dataset: PreparedDataset, model: Path, tmp_path: Path) -> None:
    stop, case_ids = StopRequest(), sorted(dataset.cases)

    def cancel(stage: str, done: int, total: int) -> None:
        if done == 2:
            stop.make("enough")

    with pytest.raises(CancelledError, match="enough"):
        predict_dataset(model, dataset, case_ids, tmp_path / "out", cancel, stop)
    done = predict_dataset(model, dataset, case_ids, tmp_path / "out")
    assert done.taken_over == 2
    predict_dataset(model, dataset, case_ids, tmp_path / "again")
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "again")


def test_a_scan_that_is_cancelled_ends_between_slices(
    dataset: PreparedDataset, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, batches = StopRequest(), []
    apply = Member.probabilities

    def apply_and_cancel(member: Member, inputs: np.ndarray) -> np.ndarray:
        batches.append(len(inputs))
        stop.make("enough")
        return apply(member, inputs)

    monkeypatch.setattr(Member, "probabilities", apply_and_cancel)
    monkeypatch.setattr("r2d2.prediction.predictor.PIXELS_AT_A_TIME", 1)
    with pytest.raises(CancelledError, match="enough"):
        predict_dataset(model, dataset, sorted(dataset.cases), tmp_path / "out", stop=stop)
    assert batches == [1] and not (tmp_path / "out").exists()


def test_nothing_suits_and_nothing_remains(model: Path, tmp_path: Path) -> None:
    save_scan(tmp_path / "scans/bad.nii.gz", (13, 15, 5, 2), seed=7)
    (tmp_path / "scans/damaged.nii.gz").write_bytes(b"no scan")
    for settings in (None, PredictionSettings(on_error="skip")):
        with pytest.raises(PredictionError, match=r"2 of 2 scans cannot be predicted:\n.*bad\.nii\.gz: 2 channels"):
            predict_scans(model, [tmp_path / "scans"], tmp_path / "new/out", settings)
    assert [path.name for path in tmp_path.iterdir()] == ["scans"]


def test_slices_that_no_memory_holds_are_refused(model: Path, tmp_path: Path) -> None:
    """TensorFlow would end the process: 10 m to the pixel of 1 mm."""
    vast = np.broadcast_to(np.float32(0), (1, 140_000, 160_000, 1))
    with pytest.raises(PredictionError, match=r"slices of 140000 x 160000 pixels.* is the spacing .* right\?"):
        Predictor(model).predict(vast, SliceGrid.of((140_000, 160_000, 1), UPRIGHT, slice_axis=2))


def test_cases_of_a_dataset_with_larger_slices_are_predicted(
    dataset: PreparedDataset, model: Path, tmp_path: Path
) -> None:
    """What slices are padded to is no part of how a scan is prepared."""
    study = write_study(tmp_path / "study", dataset.class_values)
    save_scan(study / "images/d.nii.gz", (40, 16, 4), seed=9)
    nib.save(
        nib.Nifti1Image(np.ones((40, 16, 4), np.uint16) * dataset.class_values[1], UPRIGHT), study / "labels/d.nii.gz"
    )
    larger = prepare_dataset(study, tmp_path / "larger", PreparationSettings(spacing_mm=(1, 1, 3), slice_axis=2))
    assert larger.scan_preparation.slice_size != dataset.scan_preparation.slice_size
    predict_dataset(model, larger, ["a", "d"], tmp_path / "by-case")
    predict_scans(model, [study / "images"], tmp_path / "by-file")
    by_case, by_file = bytes_of(tmp_path / "by-case"), bytes_of(tmp_path / "by-file")
    assert all(by_case[name] == by_file[name] for name in ("a.nii.gz", "d.nii.gz"))


def test_a_dataset_prepared_in_another_way_is_refused(dataset: PreparedDataset, model: Path, tmp_path: Path) -> None:
    settings = PreparationSettings(spacing_mm=(2.0, 2.0, 3.0))
    coarser = prepare_dataset(dataset.source_root, tmp_path / "coarser", settings)
    with pytest.raises(PredictionError) as caught:
        predict_dataset(model, coarser, list(coarser.splits.test), tmp_path / "out")
    message = str(caught.value)
    assert str(tmp_path / "coarser") in message
    assert "operations: model [{'op': 'resample', 'spacing_mm': (1.0, 1.0, None)" in message
    assert "dataset [{'op': 'resample', 'spacing_mm': (2.0, 2.0, None)" in message
    assert f"--input {dataset.source_root}" in message
    assert [path.name for path in tmp_path.iterdir()] == ["coarser"]


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    (tmp_path / "prediction.json").write_text('{"schema_version": 1}')
    with pytest.raises(PredictionError, match=r"prediction\.json is damaged; predict again"):
        read_manifest(tmp_path)
