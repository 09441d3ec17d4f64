"""Settings proposed for a dataset: by the rule, from sizes alone."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dist_training.architectures import UNetSettings
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset
from r2d2.proposal import propose


def prepared(folder: Path, shape: tuple[int, int, int], *, names: str = "abc", seed: int = 0) -> PreparedDataset:
    """Cases of one shape, sliced along its last axis; the seed draws the intensities and the labels."""
    rng = np.random.default_rng(seed)
    for part in ("images", "labels"):
        (folder / "study" / part).mkdir(parents=True)
    for name in names:
        image = rng.integers(0, 100 + seed, shape).astype(np.uint8)
        labels = (image > 50).astype(np.uint8)
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / f"study/images/{name}.nii")
        nib.save(nib.Nifti1Image(labels, np.eye(4)), folder / f"study/labels/{name}.nii")
    return prepare_dataset(folder / "study", folder / "dataset", PreparationSettings(slice_axis=2))


@pytest.mark.parametrize(
    ("shape", "depth", "batch", "epochs"),
    [
        # lowest level: 16 / 4 = 4 pixels; 32 slices of 256 pixels are few, but the most; 20,000 / 4 slices
        ((16, 16, 4), 2, 32, 20),
        # 32 / 8 = 4 pixels (the shorter side decides); 32 x 32 x 160 = 163,840 pixels are too many, 8 are not
        ((32, 160, 4), 3, 8, 20),
        # 48 / 16 = 3 pixels; 16 slices of 48 x 64 are the allowance itself
        ((48, 64, 4), 4, 16, 20),
        # four poolings at most; not even one such slice is within the allowance, two are the fewest
        ((256, 256, 3), 4, 2, 20),
        # 80 x 96 after padding to multiples of 16: 6 slices, so 4
        ((70, 90, 4), 4, 4, 20),
        # one training case of 2000 slices: 20,000 / 2000
        ((16, 16, 2000), 2, 32, 10),
        # 20,000 / 6000 = 3.3 passes are too few
        ((16, 16, 6000), 2, 32, 4),
    ],
)
def test_the_proposal_follows_its_rule(
    tmp_path: Path, shape: tuple[int, int, int], depth: int, batch: int, epochs: int
) -> None:
    dataset = prepared(tmp_path, shape)
    assert len(dataset.splits.train) == 1
    configuration = propose(dataset)
    assert isinstance(configuration.network, UNetSettings)
    assert configuration.network.depth == depth
    assert configuration.training.batch_size_per_worker == batch
    assert configuration.training.epochs == epochs
    assert configuration.dataset == dataset.folder


def test_one_worker_trains_with_the_plain_learning_rate(tmp_path: Path) -> None:
    """The proposed rate belongs to the proposed batch: only more workers scale it."""
    training = propose(prepared(tmp_path, (48, 64, 4))).training
    assert training.reference_batch_size == training.batch_size_per_worker


def test_sizes_alone_decide(tmp_path: Path) -> None:
    one = prepared(tmp_path / "one", (32, 48, 5))
    other = prepared(tmp_path / "other", (32, 48, 5), names="xyz", seed=9)
    assert one.case_statistics("a") != other.case_statistics("x")
    folder = Path("same")
    assert propose(one).model_copy(update={"dataset": folder}) == propose(other).model_copy(update={"dataset": folder})
