"""Networks of volumes: by one window, by several, mirrored, and together with a network of slices."""

from itertools import chain, combinations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dist_training.architectures import UNetSettings, read_network
from dist_training.inference.windows import Windows
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
    probabilities_by_hand,
    save_network,
    save_scan,
)

pytestmark = pytest.mark.tensorflow
VOLUMES = UNetSettings(dimensions=3, depth=1, base_filters=4, strides=((1, 2, 2),))
PATCH = (6, 16, 16)
Size = tuple[int, int, int]
MIRRORED = {f"{axis}_flip_probability": 0.5 for axis in ("slice", "vertical", "horizontal")}


@pytest.fixture
def volume_model(dataset: PreparedDataset, tmp_path: Path) -> Path:
    return save_network(dataset, tmp_path / "volumes", VOLUMES, patch_size=PATCH)


def decided(path: Path) -> np.ndarray:
    return np.moveaxis(np.asarray(nib.load(path).dataobj), 2, 0)


def softmax(logits: np.ndarray) -> np.ndarray:
    """(classes, ...) of (..., outputs)."""
    logits = np.moveaxis(logits.astype(np.float64), -1, 0)
    if len(logits) == 1:
        logits = np.concatenate([np.zeros_like(logits), logits])
    return np.exp(logits) / np.exp(logits).sum(axis=0)


def windows_by_hand(
    model: Path, normalised: np.ndarray, overlap: float = 0.5, axes: tuple[int, ...] = (), patch: Size = PATCH
) -> np.ndarray:
    """What the network says of each window of a volume nowhere smaller than one, weighted: (classes, s, h, w).

    Windows are mirrored along the axes before, and what is said of them back.
    """
    windows = Windows(patch, overlap)
    parts = [
        tuple(slice(at, at + size) for at, size in zip(corner, patch, strict=True))
        for corner in windows.corners(normalised.shape)
    ]
    seen = np.stack([np.flip(normalised[part], axes) for part in parts])[..., None].astype(np.float32)
    logits = read_network(model / "model.keras").predict_on_batch(seen)
    total, weights = 0.0, 0.0
    for part, said in zip(parts, map(softmax, logits), strict=True):
        added, weight = np.zeros((len(said), *normalised.shape)), np.zeros(normalised.shape)
        added[:, *part] = np.flip(said, [axis + 1 for axis in axes]) * windows.weights
        weight[part] = windows.weights
        total, weights = total + added, weights + weight
    return total / weights


def normalised(array: np.ndarray) -> np.ndarray:
    """Slices of a scan stored upright, clipped, with mean 0 and standard deviation 1."""
    slices = clipped(np.moveaxis(array, 2, 0), array)
    return (slices - slices.mean()) / slices.std()


@of_two_and_three_classes
def test_a_volume_smaller_than_a_window_lies_in_the_middle_of_it(
    dataset: PreparedDataset, volume_model: Path, tmp_path: Path
) -> None:
    array = save_scan(tmp_path / "scan.nii.gz", (14, 16, 4), seed=7)
    predict_scans(volume_model, [tmp_path / "scan.nii.gz"], tmp_path / "out")
    slices = clipped(np.moveaxis(array, 2, 0), array)
    padded = np.pad((slices - slices.mean()) / slices.std(), [(1, 1), (1, 1), (0, 0)])
    expected = windows_by_hand(volume_model, padded, 0.5)[:, 1:5, 1:15]
    assert_decided(decided(tmp_path / "out" / "scan.nii.gz"), expected, dataset.class_values)


@of_two_and_three_classes
def test_a_large_volume_is_seen_by_overlapping_windows(
    dataset: PreparedDataset, volume_model: Path, tmp_path: Path
) -> None:
    array = save_scan(tmp_path / "scan.nii.gz", (24, 34, 9), seed=7)
    predict_scans(volume_model, [tmp_path / "scan.nii.gz"], tmp_path / "out", inference=InferenceSettings(overlap=0.25))
    slices = clipped(np.moveaxis(array, 2, 0), array)
    expected = windows_by_hand(volume_model, (slices - slices.mean()) / slices.std(), 0.25)
    assert_decided(decided(tmp_path / "out" / "scan.nii.gz"), expected, dataset.class_values)


def test_networks_of_slices_and_of_volumes_are_asked_together(
    dataset: PreparedDataset, model: Path, volume_model: Path, tmp_path: Path
) -> None:
    array = save_scan(tmp_path / "scan.nii.gz", (20, 18, 7), seed=3)
    predict_scans([model, volume_model], [tmp_path / "scan.nii.gz"], tmp_path / "out")
    slices = clipped(np.moveaxis(array, 2, 0), array)
    of_volumes = windows_by_hand(volume_model, (slices - slices.mean()) / slices.std(), 0.5)
    expected = (probabilities_by_hand(model, slices) + of_volumes) / 2
    assert_decided(decided(tmp_path / "out" / "scan.nii.gz"), expected, dataset.class_values)


def test_windows_of_slices_are_refused(volume_model: Path, tmp_path: Path) -> None:
    save_scan(tmp_path / "scan.nii.gz", (14, 16, 4), seed=7)
    wanted = InferenceSettings(window=(16, 16))
    with pytest.raises(PredictionError, match=r"takes volumes, .*leave out --window"):
        predict_scans(volume_model, [tmp_path / "scan.nii.gz"], tmp_path / "out", inference=wanted)


@of_two_and_three_classes
def test_windows_are_mirrored_along_three_axes(dataset: PreparedDataset, volume_model: Path, tmp_path: Path) -> None:
    array = save_scan(tmp_path / "scan.nii.gz", (20, 18, 7), seed=7)
    with pytest.raises(PredictionError, match="was not trained on mirrored slices"):
        Predictor(volume_model, InferenceSettings(flips=True))
    flipping = copied(volume_model, tmp_path / "flipping", augmentation=MIRRORED)
    wanted = InferenceSettings(flips=True, probabilities=True)
    predict_scans(flipping, [tmp_path / "scan.nii.gz"], tmp_path / "out", inference=wanted)
    every = chain.from_iterable(combinations(range(3), count) for count in range(4))
    expected = np.mean([windows_by_hand(volume_model, normalised(array), axes=axes) for axes in every], axis=0)
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
        windows_by_hand(model, normalised(array), axes=axes)
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
    said = [windows_by_hand(volume_model, slices), np.rot90(windows_by_hand(volume_model, turned), -1, axes=(2, 3))]
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
