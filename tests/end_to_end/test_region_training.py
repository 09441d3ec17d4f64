"""Overlapping labels from a prepared dataset through training to composite label maps."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dist_training.architectures import UNetSettings
from dist_training.inference.model_card import read_model_card
from dist_training.inference.outputs import NetworkOutputs
from dist_training.ranks.communicator import SoloCommunicator
from dist_training.record.run_folder import RunFolder
from dist_training.run.train import train
from dist_training.settings import TrainingSettings
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset
from r2d2.tasks.prediction import PredictSettings, predict

pytestmark = pytest.mark.end_to_end

LABELS = {"background": 0, "organ": 1, "lesion": 4}
REGIONS = {"whole": (1, 4), "lesion": (4,)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """Bright boxes in noise, with a brighter box in each: six patients of six slices."""
    folder, generator = tmp_path_factory.mktemp("regions"), np.random.default_rng(0)
    for case in range(6):
        labels = np.zeros((16, 16, 6), np.uint8)
        top, left = generator.integers(1, 6, 2)
        labels[top : top + 9, left : left + 9] = 1
        labels[top + 2 : top + 6, left + 2 : left + 6] = 4
        image = (100.0 * (labels > 0) + 100.0 * (labels == 4) + generator.normal(0, 10, labels.shape)).astype(
            np.float32
        )
        for part, array in (("images", image), ("labels", labels)):
            (folder / "study" / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / "study" / part / f"case{case}.nii.gz")
    settings = PreparationSettings(slice_axis=2, labels=LABELS, regions=REGIONS)
    return prepare_dataset(folder / "study", folder / "dataset", settings)


def test_one_sigmoid_a_region_learns_and_predicts_composite_labels(dataset: PreparedDataset, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.create()
    settings = TrainingSettings(
        epochs=30,
        batch_size_per_worker=4,
        reference_batch_size=4,
        learning_rate=0.02,
        loss="batch_dice_cross_entropy",
        region_outputs=True,
    )
    result = train(dataset, UNetSettings(depth=1, base_filters=8, groups=2), settings, folder, SoloCommunicator())
    assert result.best_dice is not None and result.best_dice > 0.8
    _, card = read_model_card(folder.path)
    assert (card.num_outputs, card.regions) == (2, REGIONS)
    assert card.outputs == NetworkOutputs.of_regions(LABELS, REGIONS)
    assert set(card.validation_dice_per_label) == {"whole", "lesion"}

    case = dataset.splits.validation[0]
    scan = dataset.source_root / "images" / f"{case}.nii.gz"
    predict(PredictSettings(model=folder.path, inputs=[scan], out=tmp_path / "out"))
    predicted = np.asarray(nib.load(tmp_path / "out" / f"{case}.nii.gz").dataobj)
    reference = np.asarray(nib.load(dataset.source_root / "labels" / f"{case}.nii.gz").dataobj)
    assert set(np.unique(predicted)) == set(LABELS.values())
    for values in REGIONS.values():
        mine, theirs = np.isin(predicted, values), np.isin(reference, values)
        assert 2 * (mine & theirs).sum() / (mine.sum() + theirs.sum()) > 0.8
