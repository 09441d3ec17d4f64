"""nnU-Net's label "ignore": its voxels count in no loss, no statistics and no score."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dist_training.inputs.feed import IGNORED, SliceFeed, Step
from imgmed import PreparationSettings, PreparedDataset, inspect_source, prepare_dataset
from imgmed.errors import InvalidCasesError, LabelError

SHAPE = (12, 10, 6)
IGNORE = 3


def case_arrays(number: int) -> tuple[np.ndarray, np.ndarray]:
    """An organ of 100, a vessel of 200, and a block whose intensities would upset every statistic."""
    label = np.zeros(SHAPE, np.uint8)
    label[2:6, 2:6, 1:4], label[7:9, 2:4, 1:4], label[9:12, 6:10, 2:6] = 1, 2, IGNORE
    image = np.random.default_rng(number).normal(0, 1, SHAPE) + np.array([0, 100, 200, 5000])[label]
    return image.astype(np.float32), label


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "Dataset001_Sparse"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for number in range(5):
        image, label = case_arrays(number)
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / "imagesTr" / f"c{number}_0000.nii.gz")
        nib.save(nib.Nifti1Image(label, np.eye(4)), folder / "labelsTr" / f"c{number}.nii.gz")
    index = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "organ": 1, "vessel": 2, "ignore": IGNORE},
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(index))
    return folder


def prepared(study: Path, tmp_path: Path, **settings: object) -> PreparedDataset:
    return prepare_dataset(study, tmp_path / "dataset", PreparationSettings(slice_axis=2, **settings))


def test_what_is_ignored_is_no_label_and_in_no_statistics(study: Path, tmp_path: Path) -> None:
    dataset = prepared(study, tmp_path)
    assert dataset.labels == {"background": 0, "organ": 1, "vessel": 2}
    assert dataset.description.ignore_label == IGNORE
    case = dataset.cases["c0"]
    _, label = case_arrays(0)
    assert case.label_counts == {name: int((label == value).sum()) for name, value in dataset.labels.items()}
    assert case.slice_range == (1, 4)  # slices 4 and 5 hold nothing but what is ignored
    bounds = case.clip_bounds
    assert bounds is not None
    assert bounds[0][1] < 300  # from the labelled voxels of the training cases, not from 5000
    notes = inspect_source(study).notes
    assert [note for note in notes if "'ignore' (3) marks voxels that count nowhere" in note]


def test_the_network_is_shown_it_as_pixels_that_count_nowhere(study: Path, tmp_path: Path) -> None:
    dataset = prepared(study, tmp_path, operations=())
    feed = SliceFeed(dataset, ("c0",), dataset.splits.train)
    batch = feed.batch(Step(np.arange(SHAPE[2]), SHAPE[2]))
    stored = np.asarray(dataset.label_map("c0"))
    assert (stored == IGNORE).any()
    expected = np.where(stored == IGNORE, IGNORED, stored.astype(int))
    height, width = stored.shape[1:]
    top, left = ((whole - part) // 2 for whole, part in zip(feed.slice_size, (height, width), strict=True))
    np.testing.assert_array_equal(batch.classes[:, top : top + height, left : left + width], expected)


@pytest.mark.parametrize(
    ("settings", "labels"),
    [({"remap_labels": "foreground"}, [0, 1]), ({"keep_labels": (1,)}, [0, 1]), ({"remap_labels": {2: 1}}, [0, 1])],
)
def test_labels_that_are_chosen_or_renumbered_leave_it_as_it_is(
    study: Path, tmp_path: Path, settings: dict, labels: list[int]
) -> None:
    dataset = prepared(study, tmp_path, **settings)
    assert sorted(dataset.labels.values()) == labels
    stored = np.asarray(dataset.label_map("c0"))
    assert sorted(np.unique(stored)) == [*labels, IGNORE]


def test_it_is_named_by_a_setting_too(study: Path, tmp_path: Path) -> None:
    index = json.loads((study / "dataset.json").read_text())
    del index["labels"]["ignore"]
    (study / "dataset.json").write_text(json.dumps(index))
    with pytest.raises(InvalidCasesError, match="label values 3 are not declared"):
        prepared(study, tmp_path)
    assert prepared(study, tmp_path, ignore_label=IGNORE).labels == {"background": 0, "organ": 1, "vessel": 2}


def test_it_has_the_highest_number_as_nnunet_asks(study: Path, tmp_path: Path) -> None:
    index = json.loads((study / "dataset.json").read_text())
    index["labels"] = {"background": 0, "organ": 1, "ignore": 2, "vessel": 3}
    (study / "dataset.json").write_text(json.dumps(index))
    with pytest.raises(LabelError, match="'ignore' must have the highest number; received 2"):
        prepared(study, tmp_path)
