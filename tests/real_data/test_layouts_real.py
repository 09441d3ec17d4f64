"""Every folder of the real data is recognised, and its headers say what its README says."""

from pathlib import Path

import pytest

from imgmed.inspection import inspect_source

pytestmark = pytest.mark.real_data

# folder: layout, cases, one case, its shape and channels; from the README of the data and the files' names
# (None: the folder is taken for the patient's name, which inspect does not show)
FOLDERS = [
    ("hippocampus_msd", "msd", 200, "hippocampus_001", (35, 51, 35), 1),
    ("heart_la_msd", "msd", 4, "la_009", None, 1),
    ("brain_brats2013_2ch", "pairs", 2, "brats_2013_pat0004_1", (240, 240, 155), 2),
    ("brain_tcga_lgg_4ch", "pairs", 1, "TCGA-FG-6692_4ch", (240, 240, 155), 4),
    ("ct_spleen_msd_crop", "bids", 1, "sub-spleen2_ct", (164, 166, 26), 1),
    ("ct_abdomen_totalseg", "pairs", 1, "example_ct_sm", (122, 101, 30), 1),
    ("dicom_ct_seg_dcmqi", "patients", 1, None, (512, 512, 3), 1),
    ("mr_nrrd_pyradiomics", "pairs", 2, "brain1", (256, 256, 25), 1),
    ("nuclei_dsb2018", "pairs", 90, "0acd2c223d300ea5", None, 4),
    ("em_isbi2012", "pairs", 24, "07", (512, 512, 1), 1),
    ("pneumoniamnist_v1", "npz", 5030, "validation_000", (28, 28, 1), 1),
]
PROBLEMS = {"nuclei_dsb2018": ["label maps hold 136 values up to 136, others in each case"]}


@pytest.mark.parametrize(("folder", "recipe", "count", "case_id", "shape", "channels"), FOLDERS)
def test_every_folder_is_recognised(real_data: Path, folder, recipe, count, case_id, shape, channels) -> None:
    found = inspect_source(real_data / folder)
    assert (found.recipe, len(found.cases)) == (recipe, count)
    assert [problem.split(":")[0] for problem in found.problems] == PROBLEMS.get(folder, [])
    case = next(case for case in found.cases if case_id in (None, case.case_id))
    assert case.channels == channels and case.shape == (shape or case.shape)


def test_every_folder_is_listed_above(real_data: Path) -> None:
    assert {path.name for path in real_data.iterdir() if path.is_dir()} == {folder for folder, *_ in FOLDERS}


def test_the_splits_of_medmnist_are_kept(real_data: Path) -> None:
    found = inspect_source(real_data / "pneumoniamnist_v1")
    assert found.task == "classification"
    assert found.splits == {"train": 3882, "validation": 524, "test": 624}


def test_the_segmentation_finds_its_series_among_loose_label_maps(real_data: Path) -> None:
    found = inspect_source(real_data / "dicom_ct_seg_dcmqi")
    assert found.cases[0].label == "liver.dcm" and len(found.unused) == 4
    assert found.cases[0].spacing_mm == pytest.approx((0.81, 0.81, 1), abs=0.005)
