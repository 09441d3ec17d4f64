"""Networks of volumes: by one window, by several, mirrored, and together with a network of slices."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dist_training.architectures import UNetSettings
from imgmed import PreparedDataset
from r2d2.errors import PredictionError
from r2d2.prediction.settings import InferenceSettings
from tests.r2d2.prediction.studies import (
    assert_decided,
    clipped,
    of_two_and_three_classes,
    predict_cases,
    predict_scans,
    probabilities_by_hand,
    save_network,
    save_scan,
    windows_by_hand,
)

pytestmark = pytest.mark.tensorflow
VOLUMES = UNetSettings(dimensions=3, depth=1, base_filters=4, strides=((1, 2, 2),))
PATCH = (6, 16, 16)


@pytest.fixture
def volume_model(dataset: PreparedDataset, tmp_path: Path) -> Path:
    return save_network(dataset, tmp_path / "volumes", VOLUMES, patch_size=PATCH)


def decided(path: Path) -> np.ndarray:
    return np.moveaxis(np.asarray(nib.load(path).dataobj), 2, 0)


@of_two_and_three_classes
def test_a_volume_smaller_than_a_window_lies_in_the_middle_of_it(
    dataset: PreparedDataset, volume_model: Path, tmp_path: Path
) -> None:
    array = save_scan(tmp_path / "scan.nii.gz", (14, 16, 4), seed=7)
    predict_scans(volume_model, [tmp_path / "scan.nii.gz"], tmp_path / "out")
    slices = clipped(np.moveaxis(array, 2, 0), array)
    padded = np.pad((slices - slices.mean()) / slices.std(), [(1, 1), (1, 1), (0, 0)])
    expected = windows_by_hand(volume_model, padded, PATCH)[:, 1:5, 1:15]
    assert_decided(decided(tmp_path / "out" / "scan.nii.gz"), expected, dataset.class_values)


@of_two_and_three_classes
def test_a_large_volume_is_seen_by_overlapping_windows(
    dataset: PreparedDataset, volume_model: Path, tmp_path: Path
) -> None:
    array = save_scan(tmp_path / "scan.nii.gz", (24, 34, 9), seed=7)
    predict_scans(volume_model, [tmp_path / "scan.nii.gz"], tmp_path / "out", inference=InferenceSettings(overlap=0.25))
    slices = clipped(np.moveaxis(array, 2, 0), array)
    expected = windows_by_hand(volume_model, (slices - slices.mean()) / slices.std(), PATCH, 0.25)
    assert_decided(decided(tmp_path / "out" / "scan.nii.gz"), expected, dataset.class_values)


def test_networks_of_slices_and_of_volumes_are_asked_together(
    dataset: PreparedDataset, model: Path, volume_model: Path, tmp_path: Path
) -> None:
    array = save_scan(tmp_path / "scan.nii.gz", (20, 18, 7), seed=3)
    predict_scans([model, volume_model], [tmp_path / "scan.nii.gz"], tmp_path / "out")
    slices = clipped(np.moveaxis(array, 2, 0), array)
    of_volumes = windows_by_hand(volume_model, (slices - slices.mean()) / slices.std(), PATCH)
    expected = (probabilities_by_hand(model, slices) + of_volumes) / 2
    assert_decided(decided(tmp_path / "out" / "scan.nii.gz"), expected, dataset.class_values)


def test_windows_of_slices_are_refused(volume_model: Path, tmp_path: Path) -> None:
    save_scan(tmp_path / "scan.nii.gz", (14, 16, 4), seed=7)
    wanted = InferenceSettings(window=(16, 16))
    with pytest.raises(PredictionError, match=r"takes volumes, .*leave out --window"):
        predict_scans(volume_model, [tmp_path / "scan.nii.gz"], tmp_path / "out", inference=wanted)


def test_cases_of_a_dataset_are_answered_as_their_scans_are(
    dataset: PreparedDataset, model: Path, volume_model: Path, tmp_path: Path
) -> None:
    """Slices and volumes take the same arrays of it; both networks are asked."""
    scan = dataset.source_root / dataset.case("a").images[0].path
    predict_scans([model, volume_model], [scan], tmp_path / "scans")
    predict_cases((model, volume_model), dataset, ["a"], tmp_path / "cases")
    predict_cases(model, dataset, ["a"], tmp_path / "slices")
    of_case, alone = (decided(tmp_path / name / "a.nii.gz") for name in ("cases", "slices"))
    np.testing.assert_array_equal(of_case, decided(tmp_path / "scans" / "a.nii.gz"))
    assert (of_case != alone).any()
