"""Networks that are asked together: what they decide, and how far they agree."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dist_training.errors import ModelError
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset
from r2d2.errors import PredictionError
from r2d2.prediction.manifest import read_manifest
from r2d2.prediction.predictor import Predictor
from r2d2.prediction.settings import InferenceSettings
from r2d2.tasks.prediction import PredictSettings, predict
from tests.r2d2.prediction.studies import (
    THREE_CLASSES,
    assert_decided,
    clipped,
    copied,
    entropy,
    of_two_and_three_classes,
    predict_scans,
    probabilities_by_hand,
    save_network,
    save_scan,
    write_study,
)

pytestmark = pytest.mark.tensorflow


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
    with pytest.raises(PredictionError, match=r"must agree on labels and channels; .* differ \(labels: .*'x': 2"):
        Predictor([model, other])
    with pytest.raises(ModelError, match="is named twice"):
        Predictor([model, model])
    with pytest.raises(PredictionError, match="has no spread; ask several"):
        Predictor(model, InferenceSettings(uncertainty="spread"))


def across(model: Path, folder: Path, axis: int) -> Path:
    """The same network, with a card that gives it slices across another axis of the scan."""
    card = json.loads((model / "model.json").read_text())
    return copied(model, folder, scan_preparation={**card["scan_preparation"], "slice_axis": axis})


@of_two_and_three_classes
def test_networks_for_slices_across_different_axes_meet_in_the_voxels(
    dataset: PreparedDataset, model: Path, tmp_path: Path
) -> None:
    """Two networks for foot-head slices, one for left-right ones, each of its own weight; a scan stored mirrored."""
    affine = np.diag([-1.0, 1.0, 3.0, 1.0])
    array = save_scan(tmp_path / "scan.nii", (13, 15, 5), seed=7, affine=affine)
    flat = [model, save_network(dataset, tmp_path / "second", seed=5)]
    upright = across(model, tmp_path / "upright", axis=0)
    wanted = InferenceSettings(probabilities=True, uncertainty="spread")
    networks = [flat[0], upright, flat[1]]
    done = predict_scans(networks, [tmp_path / "scan.nii"], tmp_path / "out", inference=wanted)
    assert len(done.manifest.ensemble) == 3
    inward = array[::-1]  # left to right
    said = [np.moveaxis(probabilities_by_hand(one, clipped(np.moveaxis(inward, 2, 0), array)), 1, 3) for one in flat]
    said.append(probabilities_by_hand(upright, clipped(inward, array)))
    mean = np.mean(said, axis=0)[:, ::-1]
    label_map = nib.load(tmp_path / "out/scan.nii").get_fdata()
    assert_decided(label_map, mean, dataset.class_values)
    name = {value: name for name, value in dataset.labels.items()}[dataset.class_values[-1]]
    written = nib.load(tmp_path / f"out/probabilities/{name}/scan.nii").get_fdata()
    np.testing.assert_allclose(written, mean[-1], atol=2e-5)
    spread = (entropy(mean) - np.mean([entropy(one) for one in said], axis=0)[::-1]) / np.log(len(mean))
    np.testing.assert_allclose(nib.load(tmp_path / "out/uncertainty/scan.nii").get_fdata(), spread, atol=5e-5)
    for order in ([flat[0], upright], [upright, flat[0]]):
        predict_scans(order, [tmp_path / "scan.nii"], tmp_path / order[0].name / "of-two")
    first, second = (nib.load(one / "of-two/scan.nii").get_fdata() for one in (tmp_path / "upright", tmp_path / "run"))
    np.testing.assert_array_equal(first, second)


def test_a_case_of_a_dataset_is_read_again_for_a_network_of_other_slices(
    dataset: PreparedDataset, model: Path, tmp_path: Path
) -> None:
    networks = (model, across(model, tmp_path / "upright", axis=0))
    of_cases = predict(PredictSettings(model=networks, dataset=dataset.folder, case_ids=("a",), out=tmp_path / "cases"))
    of_scans = predict_scans(networks, [dataset.source_root / "images"], tmp_path / "scans")
    assert of_cases.cases[0].source_sha256 == next(c for c in of_scans.cases if c.case_id == "a").source_sha256
    np.testing.assert_array_equal(
        nib.load(tmp_path / "cases/a.nii.gz").get_fdata(), nib.load(tmp_path / "scans/a.nii.gz").get_fdata()
    )
    with pytest.raises(PredictionError, match=r"prepared in another way .*slice_axis: model 0, dataset 2.* --input"):
        predict(PredictSettings(model=networks[1:], dataset=dataset.folder, case_ids=("a",), out=tmp_path / "none"))


def test_a_source_that_is_gone_or_changed_is_named(model: Path, tmp_path: Path) -> None:
    prepared = prepare_dataset(write_study(tmp_path / "study", THREE_CLASSES), tmp_path / "set", PreparationSettings())
    networks = (model, across(model, tmp_path / "upright", axis=0))
    settings = PredictSettings(model=networks, dataset=prepared.folder, case_ids=("a",), out=tmp_path / "out")
    save_scan(tmp_path / "study/images/a.nii.gz", (14, 16, 4), seed=77)
    with pytest.raises(PredictionError, match=r"a\.nii\.gz was changed since .* prepare it again"):
        predict(settings)
    (tmp_path / "study/images/a.nii.gz").unlink()
    with pytest.raises(PredictionError, match=r"a: its scan is needed, .*a\.nii\.gz is not there"):
        predict(settings)
    assert not (tmp_path / "out").exists()


def test_a_scan_is_unlike_where_any_network_says_so(model: Path, tmp_path: Path) -> None:
    save_scan(tmp_path / "scan.nii", (13, 15, 5), seed=7)
    few = {"patients": 9, "expected_rate": 0.05, "held_out": 0, "alarms": 0}
    told = [model]
    for name, high in (("wide", 9.0), ("narrow", 2.5), ("narrower", 2.0)):
        familiar = {"name": "spacing foot-head", "unit": "mm", "low": 0.5, "high": high}
        told.append(copied(model, tmp_path / name, familiarity={**few, "ranges": [familiar]}))
    (case,) = predict_scans(told, [tmp_path / "scan.nii"], tmp_path / "out").cases
    assert case.unlike == ("spacing foot-head: 3 mm, training 0.5 to 2.5",)
