"""Networks of volumes in several views and together: mirrored windows, turned slices, folds, how far they agree."""

from itertools import chain, combinations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dist_training.architectures import UNetSettings
from imgmed import PreparedDataset
from r2d2.errors import PredictionError
from r2d2.prediction.predictor import Predictor
from r2d2.prediction.settings import InferenceSettings
from tests.r2d2.prediction.studies import (
    assert_decided,
    clipped,
    copied,
    entropy,
    of_two_and_three_classes,
    predict_scans,
    save_network,
    save_scan,
    windows_by_hand,
)

pytestmark = pytest.mark.tensorflow
VOLUMES = UNetSettings(dimensions=3, depth=1, base_filters=4, strides=((1, 2, 2),))
PATCH = (6, 16, 16)
MIRRORED = {f"{axis}_flip_probability": 0.5 for axis in ("slice", "vertical", "horizontal")}


@pytest.fixture
def volume_model(dataset: PreparedDataset, tmp_path: Path) -> Path:
    return save_network(dataset, tmp_path / "volumes", VOLUMES, patch_size=PATCH)


def decided(path: Path) -> np.ndarray:
    return np.moveaxis(np.asarray(nib.load(path).dataobj), 2, 0)


def normalised(array: np.ndarray) -> np.ndarray:
    """Slices of a scan stored upright, clipped, with mean 0 and standard deviation 1."""
    slices = clipped(np.moveaxis(array, 2, 0), array)
    return (slices - slices.mean()) / slices.std()


@of_two_and_three_classes
def test_windows_are_mirrored_along_three_axes(dataset: PreparedDataset, volume_model: Path, tmp_path: Path) -> None:
    array = save_scan(tmp_path / "scan.nii.gz", (20, 18, 7), seed=7)
    with pytest.raises(PredictionError, match="was not trained on mirrored slices"):
        Predictor(volume_model, InferenceSettings(flips=True))
    flipping = copied(volume_model, tmp_path / "flipping", augmentation=MIRRORED)
    wanted = InferenceSettings(flips=True, probabilities=True)
    predict_scans(flipping, [tmp_path / "scan.nii.gz"], tmp_path / "out", inference=wanted)
    every = chain.from_iterable(combinations(range(3), count) for count in range(4))
    expected = np.mean([windows_by_hand(volume_model, normalised(array), PATCH, axes=axes) for axes in every], axis=0)
    assert_decided(decided(tmp_path / "out/scan.nii.gz"), expected, dataset.class_values)
    name = {value: name for name, value in dataset.labels.items()}[dataset.class_values[-1]]
    written = nib.load(tmp_path / f"out/probabilities/{name}/scan.nii.gz").get_fdata()
    np.testing.assert_allclose(np.moveaxis(written, 2, 0), expected[-1], atol=2e-5)


def test_networks_mirror_along_the_axes_that_all_of_them_learned(
    dataset: PreparedDataset, volume_model: Path, tmp_path: Path
) -> None:
    across = copied(volume_model, tmp_path / "across", augmentation=MIRRORED | {"vertical_flip_probability": 0})
    other = save_network(dataset, tmp_path / "other", VOLUMES, seed=5, patch_size=PATCH)
    every = copied(other, tmp_path / "every", augmentation=MIRRORED)
    array = save_scan(tmp_path / "scan.nii.gz", (20, 18, 7), seed=3)
    wanted = InferenceSettings(flips=True)
    predict_scans([across, every], [tmp_path / "scan.nii.gz"], tmp_path / "out", inference=wanted)
    said = [
        windows_by_hand(model, normalised(array), PATCH, axes=axes)
        for model in (volume_model, every)
        for axes in ((), (0,), (2,), (0, 2))
    ]
    assert_decided(decided(tmp_path / "out/scan.nii.gz"), np.mean(said, axis=0), dataset.class_values)


def test_slices_of_volumes_are_turned_about_their_centre(
    dataset: PreparedDataset, volume_model: Path, tmp_path: Path
) -> None:
    """Wider than a window and as high as one; a right angle: what scipy turns, turned back, is the same."""
    array = save_scan(tmp_path / "scan.nii.gz", (19, 19, 7), seed=3)
    wanted = InferenceSettings(rotations_degrees=(90,))
    predict_scans(volume_model, [tmp_path / "scan.nii.gz"], tmp_path / "out", inference=wanted)
    slices = normalised(array)
    turned = np.rot90(slices, axes=(1, 2))  # as seen: from columns to rows, counter-clockwise
    said = [
        windows_by_hand(volume_model, slices, PATCH),
        np.rot90(windows_by_hand(volume_model, turned, PATCH), -1, axes=(2, 3)),
    ]
    assert_decided(decided(tmp_path / "out/scan.nii.gz"), np.mean(said, axis=0), dataset.class_values)


@of_two_and_three_classes
def test_networks_of_windows_of_several_sizes_tell_how_far_they_agree(
    dataset: PreparedDataset, volume_model: Path, tmp_path: Path
) -> None:
    """Folds as an ensemble: two of one size, one of another; the mean decides, and the spread is theirs."""
    small = (4, 8, 10)
    folds = [
        copied(volume_model, tmp_path / "cv/fold-0"),
        save_network(dataset, tmp_path / "cv/fold-1", VOLUMES, seed=5, patch_size=PATCH),
        save_network(dataset, tmp_path / "cv/fold-2", VOLUMES, seed=6, patch_size=small),
    ]
    array = save_scan(tmp_path / "scan.nii.gz", (24, 17, 9), seed=7)
    said = [
        windows_by_hand(model, normalised(array), patch=size)
        for model, size in zip(folds, (PATCH, PATCH, small), strict=True)
    ]
    mean = np.mean(said, axis=0)
    for uncertainty, expected in (
        ("entropy", entropy(mean)),
        ("spread", entropy(mean) - np.mean([entropy(one) for one in said], axis=0)),
    ):
        out = tmp_path / uncertainty
        predict_scans(
            tmp_path / "cv", [tmp_path / "scan.nii.gz"], out, inference=InferenceSettings(uncertainty=uncertainty)
        )
        assert_decided(decided(out / "scan.nii.gz"), mean, dataset.class_values)
        written = np.moveaxis(nib.load(out / "uncertainty/scan.nii.gz").get_fdata(), 2, 0)
        np.testing.assert_allclose(written, expected / np.log(len(mean)), atol=5e-5)


def test_the_memory_that_a_band_takes_is_told(
    volume_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_scan(tmp_path / "scan.nii.gz", (240, 160, 4), seed=7)
    monkeypatch.setattr("r2d2.prediction.volume_ensemble.usable_memory", lambda: (2**20, 2**20))
    with pytest.raises(PredictionError, match=r"windows of 6 x 16 x 16 voxels in a scan of 4 x 240 x 160 slices"):
        predict_scans(volume_model, [tmp_path / "scan.nii.gz"], tmp_path / "out")
