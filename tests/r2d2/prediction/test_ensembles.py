"""Networks that are asked together: what they decide, and how far they agree."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dist_training.errors import ModelError
from imgmed import (
    PreparedDataset,
)
from r2d2.errors import PredictionError
from r2d2.prediction.manifest import read_manifest
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
