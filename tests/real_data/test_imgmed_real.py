from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from imgmed import ScanPreparation, Volume, prepare_case, prepare_dataset, read_volume
from imgmed.operations import Clip, Resample

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def hippocampus(real_data: Path, tmp_path_factory):
    return prepare_dataset(real_data / "hippocampus_msd", tmp_path_factory.mktemp("hippocampus") / "out")


def test_hippocampus_is_prepared_from_its_index(hippocampus):
    assert len(hippocampus.cases) == 200
    assert hippocampus.labels == {"background": 0, "Anterior": 1, "Posterior": 2}
    assert hippocampus.channels == ("MRI",) and hippocampus.description.normalisation == "zscore_case"
    splits = hippocampus.splits
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (140, 20, 40)
    assert len(splits.folds) == 5


def test_hippocampus_labels_restore_to_their_files(hippocampus):
    """1 mm throughout, so nothing is resampled and every voxel must return, also the two float32 files'."""
    for name, case in hippocampus.cases.items():
        reference = nib.load(hippocampus.source_root / case.label.path)
        restored = hippocampus.grid(name).restore(hippocampus.label_map(name), order=0)
        np.testing.assert_array_equal(restored, np.asarray(reference.dataobj))
        np.testing.assert_array_equal(case.affine, reference.affine)


def test_hippocampus_intensities_become_comparable(hippocampus):
    """Case maxima range from hundreds to over a million; the z-scores do not."""
    rule = hippocampus.normalisation(hippocampus.splits.train)
    maxima, scores = [], []
    for name in list(hippocampus.cases)[::10]:
        image = hippocampus.image(name)
        maxima.append(image.max())
        scores.append(rule.apply(image, *rule.statistics_of_case(hippocampus.case_statistics(name))).max())
    assert max(maxima) > 10 * min(maxima)
    assert min(scores) > 1 and max(scores) < 10


def test_four_large_cases_are_split_sensibly(real_data: Path, tmp_path: Path):
    dataset = prepare_dataset(real_data / "heart_la_msd", tmp_path / "out")
    splits = dataset.splits
    assert (len(splits.train), len(splits.validation), len(splits.test), len(splits.folds)) == (2, 1, 1, 3)
    assert dataset.scan_preparation.slice_axis == 2 and dataset.scan_preparation.slice_size == (256, 256)


def test_two_patients_are_both_trained_on_with_a_warning(real_data: Path, tmp_path: Path):
    dataset = prepare_dataset(real_data / "mr_nrrd_pyradiomics", tmp_path / "out")
    assert dataset.splits.train == ("brain1", "breast1")
    assert (dataset.splits.validation, dataset.splits.test) == ((), ())
    kept = [warning.partition(" (")[0] for warning in dataset.description.warnings]
    assert kept == ["no case is kept for validation", "no case is kept for the test"]


def test_a_ct_with_thick_slices_comes_back_from_a_finer_plane(real_data: Path):
    """The label of a 0.8 mm CT resampled to 0.6 mm in the plane restores to nearly itself."""
    folder = real_data / "ct_spleen_msd_crop"
    label = read_volume(folder / "sub-spleen2_ct_seg-manual.nii.gz")
    image = read_volume(folder / "sub-spleen2_ct.nii.gz")
    settings = {"channels": ("CT",), "slice_axis": 2, "slice_size": (224, 224)}
    settings["operations"] = (Resample(spacing_mm=(0.6, 0.6, None)), Clip())
    scan = prepare_case(image, Volume(label.array.astype(np.uint8), label.affine), ScanPreparation(**settings))
    restored = scan.grid.restore(scan.label, order=0)
    reference = label.array > 0
    dice = 2 * (reference & (restored > 0)).sum() / (reference.sum() + (restored > 0).sum())
    assert restored.shape == label.shape and dice > 0.99
