"""Overlapping windows: where they lie, what they weigh, and that what they say is blended as told."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dist_training.architectures import read_network
from dist_training.inference.windows import Windows
from imgmed import (
    PreparedDataset,
    SliceGrid,
)
from r2d2.errors import PredictionError
from r2d2.prediction.predictor import Predictor
from r2d2.prediction.settings import InferenceSettings
from tests.r2d2.prediction.studies import (
    UPRIGHT,
    assert_decided,
    bytes_of,
    clipped,
    of_two_and_three_classes,
    predict_scans,
    save_scan,
)


@pytest.mark.parametrize(("length", "window", "overlap"), [(7, 4, 0.5), (64, 16, 0.25), (65, 16, 0.9), (5, 5, 0.5)])
def test_windows_reach_from_end_to_end_and_overlap_enough(length: int, window: int, overlap: float) -> None:
    starts = [row for row, _ in Windows((window, 3), overlap).corners((length, 3))]
    assert starts[0] == 0 and starts[-1] == length - window
    assert max(np.diff(starts), default=0) <= max(1, np.ceil(window * (1 - overlap)))


def test_weights_are_the_gaussian_of_nnunet() -> None:
    """Isensee et al. 2021 filter a single 1 in the middle, with an eighth of the window as standard deviation."""
    middle = np.zeros((17, 33))
    middle[8, 16] = 1
    expected = gaussian_filter(middle, [17 / 8, 33 / 8], mode="constant", cval=0, truncate=20)
    np.testing.assert_allclose(Windows((17, 33)).weights, np.maximum(expected / expected.max(), 1e-4), atol=2e-4)


def test_windows_of_volumes_are_those_of_slices_along_each_axis() -> None:
    windows, rng = Windows((2, 4, 6), overlap=0.5), np.random.default_rng(0)
    inputs = rng.normal(size=(2, 3, 9, 11, 2)).astype(np.float32)
    weights = windows.weights
    np.testing.assert_allclose(weights[0] / weights[0].max(), Windows((4, 6)).weights, rtol=1e-6)
    total, expected = np.zeros((3, 9, 11, 1)), np.zeros(inputs.shape)
    place = np.arange(48, dtype=np.float32).reshape(2, 4, 6, 1)
    assert len(windows.corners((3, 9, 11))) == 2 * len(Windows((4, 6)).corners((9, 11)))
    for at in windows.corners((3, 9, 11)):
        part = tuple(slice(first, first + size) for first, size in zip(at, windows.size, strict=True))
        total[part] += weights[..., None]
        expected[:, *part] += weights[..., None] * (inputs[:, *part] + place)
    found = np.stack(list(windows.blend(inputs, lambda batch: batch + place, outputs=2, at_a_time=3)))
    np.testing.assert_allclose(found, expected / total, rtol=1e-5)


def test_what_windows_say_is_weighted_by_hand() -> None:
    """A network that says where in its window a pixel lies."""
    windows, rng = Windows((4, 6), overlap=0.5), np.random.default_rng(0)
    inputs = rng.normal(size=(3, 9, 11, 2)).astype(np.float32)
    place = np.arange(24, dtype=np.float32).reshape(4, 6, 1)
    calls: list[int] = []

    def network(batch: np.ndarray) -> np.ndarray:
        calls.append(len(batch))
        return batch.sum(axis=-1, keepdims=True) * [1.0, -2.0] + place

    blended = np.stack(list(windows.blend(inputs, network, outputs=2, at_a_time=5)))
    total, weights = np.zeros((3, 9, 11, 2)), np.zeros((9, 11, 1))
    for row, column in windows.corners((9, 11)):
        part = (slice(row, row + 4), slice(column, column + 6))
        said = inputs[:, *part].sum(axis=-1, keepdims=True) * [1.0, -2.0] + place
        total[:, *part] += said * windows.weights[..., np.newaxis]
        weights[part] += windows.weights[..., np.newaxis]
    np.testing.assert_allclose(blended, total / weights, rtol=1e-5, atol=1e-5)
    assert max(calls) == 5 and blended.dtype == np.float32


@pytest.mark.tensorflow
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


@pytest.mark.tensorflow
def test_windows_are_taken_where_memory_is_short(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_scan(tmp_path / "scan.nii.gz", (64, 64, 2), seed=7)
    predict_scans(
        model, [tmp_path / "scan.nii.gz"], tmp_path / "by-windows", inference=InferenceSettings(window=(16, 16))
    )
    predict_scans(model, [tmp_path / "scan.nii.gz"], tmp_path / "whole")
    little = 4 * 64 * 32 * 4 * 4  # half of what the network holds of a slice
    monkeypatch.setattr("r2d2.prediction.slice_ensemble.usable_memory", lambda: (little, little))
    monkeypatch.setattr("r2d2.prediction.slice_ensemble.has_gpu", lambda: False)
    predict_scans(model, [tmp_path / "scan.nii.gz"], tmp_path / "short")
    short, windows, whole = (bytes_of(tmp_path / name)["scan.nii.gz"] for name in ("short", "by-windows", "whole"))
    assert short == windows != whole


@pytest.mark.tensorflow
def test_slices_that_no_memory_holds_are_refused(model: Path, tmp_path: Path) -> None:
    """TensorFlow would end the process: 10 m to the pixel of 1 mm."""
    vast = np.broadcast_to(np.float32(0), (1, 140_000, 160_000, 1))
    with pytest.raises(PredictionError, match=r"slices of 140000 x 160000 pixels.* is the spacing .* right\?"):
        Predictor(model).predict([(vast, SliceGrid.of((140_000, 160_000, 1), UPRIGHT, slice_axis=2))])
