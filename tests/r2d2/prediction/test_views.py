"""Views of slices: what they show, and that what is said of them comes back to its place."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import rotate

from imgmed import (
    PreparedDataset,
)
from r2d2.errors import PredictionError
from r2d2.prediction.predictor import Predictor
from r2d2.prediction.settings import InferenceSettings
from r2d2.prediction.views import View, views_of
from tests.r2d2.prediction.studies import (
    assert_decided,
    clipped,
    copied,
    of_two_and_three_classes,
    predict_scans,
    probabilities_by_hand,
    save_scan,
)


@pytest.mark.parametrize("view", views_of((True, True), (90.0,)))
def test_what_is_said_comes_back_to_its_place(view: View) -> None:
    """Turned by a right angle, square pictures lose nothing."""
    stack = np.random.default_rng(0).normal(size=(2, 9, 9, 3)).astype(np.float32)
    np.testing.assert_allclose(view.back(view.of(stack)), stack, atol=1e-4)


def test_slices_turn_as_scipy_turns_them() -> None:
    stack = np.random.default_rng(1).normal(size=(1, 21, 34, 2)).astype(np.float32)
    expected = rotate(stack, 17, axes=(2, 1), reshape=False, order=1, mode="nearest")  # from columns to rows
    inside = (slice(None), slice(3, -3), slice(8, -8))
    np.testing.assert_allclose(View(degrees=17).of(stack)[inside], expected[inside], atol=1e-3)


def test_content_turns_counter_clockwise_as_seen() -> None:
    picture = np.zeros((1, 5, 5, 1), np.float32)
    picture[0, 2, 4] = 1  # right of the centre
    assert View(degrees=90).of(picture)[0, 0, 2, 0] == pytest.approx(1, abs=1e-5)  # above it


def test_views_are_named_once_and_the_slices_themselves_first() -> None:
    views = views_of((False, True), (5.0, 0.0, 5.0))
    assert views[0] == View() and len(set(views)) == len(views) == 4


MIRRORED = {"vertical_flip_probability": 0.5, "horizontal_flip_probability": 0.5}


@pytest.mark.tensorflow
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
