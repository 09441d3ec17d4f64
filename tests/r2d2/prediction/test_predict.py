"""Prediction: a real network on real files, against its decision taken by hand."""

import shutil
import sys
from pathlib import Path

import keras
import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates

from dist_training.architectures import CustomSettings
from dist_training.errors import WeightsError
from dist_training.inference.postprocessing import apply_rules, parse_rule
from imgmed import (
    PreparationSettings,
    PreparedDataset,
    Volume,
    prepare_dataset,
    read_volume,
    write_volume,
)
from r2d2.errors import PredictionError
from r2d2.prediction.manifest import read_manifest
from r2d2.prediction.predictor import Predictor
from r2d2.prediction.settings import InferenceSettings, PredictionSettings
from tests.r2d2.prediction.studies import (
    UPRIGHT,
    assert_decided,
    bytes_of,
    clipped,
    copied,
    of_two_and_three_classes,
    predict_cases,
    predict_scans,
    predicted,
    prepared_with,
    probabilities_by_hand,
    save_network,
    save_scan,
    write_study,
)

pytestmark = pytest.mark.tensorflow


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
    predict_cases(model, dataset, ["a"], tmp_path / "by-case")
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
        predict_cases(model, dataset, dataset.splits.test, tmp_path / "out")
    assert not (tmp_path / "imported").exists() and not (tmp_path / "out").exists()
    predict_cases(model, dataset, dataset.splits.test, tmp_path / "out", trust_code=True)
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
    by_case = predict_cases(model, dataset, case_ids, tmp_path / "by-case")
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
    predict_cases(model, larger, ["a", "d"], tmp_path / "by-case")
    predict_scans(model, [study / "images"], tmp_path / "by-file")
    by_case, by_file = bytes_of(tmp_path / "by-case"), bytes_of(tmp_path / "by-file")
    assert all(by_case[name] == by_file[name] for name in ("a.nii.gz", "d.nii.gz"))


def test_a_dataset_prepared_in_another_way_is_refused(dataset: PreparedDataset, model: Path, tmp_path: Path) -> None:
    settings = PreparationSettings(spacing_mm=(2.0, 2.0, 3.0))
    coarser = prepare_dataset(dataset.source_root, tmp_path / "coarser", settings)
    with pytest.raises(PredictionError) as caught:
        predict_cases(model, coarser, list(coarser.splits.test), tmp_path / "out")
    message = str(caught.value)
    assert str(tmp_path / "coarser") in message
    assert "operations: model resample (spacing_mm=[1.0, 1.0, None])" in message
    assert "dataset resample (spacing_mm=[2.0, 2.0, None])" in message
    assert f"--input {dataset.source_root}" in message
    assert [path.name for path in tmp_path.iterdir()] == ["coarser"]


def test_an_archive_of_a_folder_of_scans_is_read_as_that_folder_is(model: Path, tmp_path: Path) -> None:
    for seed, name in enumerate(("a.nii.gz", "b.nii.gz")):
        (tmp_path / "scans").mkdir(exist_ok=True)
        save_scan(tmp_path / "scans" / name, (13, 15, 5), seed=seed)
    shutil.make_archive(str(tmp_path / "all"), "gztar", tmp_path, "scans")
    predict_scans(model, [tmp_path / "scans"], tmp_path / "of-folder")
    predict_scans(model, [tmp_path / "all.tar.gz"], tmp_path / "of-archive")
    for name in ("a.nii.gz", "b.nii.gz"):
        assert (tmp_path / "of-archive" / name).read_bytes() == (tmp_path / "of-folder" / name).read_bytes()
