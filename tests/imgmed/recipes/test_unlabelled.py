"""Studies without labels: the same cases, under the same names, as with labels."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from imgmed.errors import SourceLayoutError
from imgmed.recipes import read_study
from imgmed.study import Study
from tests.dicom_files import write_series

NNUNET = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "a": 1}, "file_ending": ".nii.gz"}
LAYOUTS = {
    "kits": "case_00000/imaging.nii.gz case_00001/imaging.nii.gz | {}/segmentation.nii.gz",
    "lits": "volume-0.nii volume-1.nii | segmentation-{}.nii",
    "brats": "b1/b1_t1.nii b1/b1_t2.nii b2/b2_t1.nii b2/b2_t2.nii | {0}/{0}_seg.nii",
    "folders": "images/x.nii images/y.nii | labels/{}.nii",
    "words": "images/x_image.nii images/y_image.nii | labels/{}_label.nii",
    "folders of patients": "images/p1/x.nii images/p1/y.nii images/p2/x.nii | labels/{}.nii",
    "channels": "images/x_0000.nii images/x_0001.nii images/y_0000.nii images/y_0001.nii | labels/{}.nii",
    "names": "x_image.nii y_image.nii | {}_seg.nii",
    "splits": "train/x.nii test/y.nii | train/x_seg.nii test/y_seg.nii",
    "patients": "p1/ct.nii.gz p2/ct.nii.gz | {}/seg.nii.gz",
    "contrasts": "p1/p1_dwi.nii p1/p1_adc.nii p2/p2_dwi.nii p2/p2_adc.nii | {}/label.nii",
    "scans of a patient": "p1/day1.nii p1/day2.nii p2/p2_day1.nii | p1/day1_seg.nii p1/day2_seg.nii p2/p2_day1_seg.nii",
    "visits": "p1/a/mr.nii p1/b/mr.nii p2/a/mr.nii p2/b/mr.nii | p1/a/seg.nii p1/b/seg.nii p2/a/seg.nii p2/b/seg.nii",
}


def nifti(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ones((4, 3, 2), np.uint8), np.eye(4)), path)


def cases(study: Study) -> list[tuple[object, ...]]:
    root = study.root
    return [
        (case.case_id, case.patient, case.split, [image.path.relative_to(root).as_posix() for image in case.images])
        for case in study.sources
    ]


@pytest.mark.parametrize("name", LAYOUTS)
def test_cases_are_the_same_with_and_without_labels(tmp_path: Path, name: str) -> None:
    images, labels = LAYOUTS[name].split(" | ")
    for image in images.split():
        nifti(tmp_path / image)
    bare = read_study(tmp_path, labels="none")
    stems = [case.case_id for case in bare.sources]
    if name in ("words", "names"):
        stems = ["x", "y"]
    if name == "folders of patients":
        stems = ["p1/x", "p1/y", "p2/x"]
    for stem in stems if "{" in labels else [""]:
        for label in labels.format(stem.removeprefix("volume-")).split():
            nifti(tmp_path / label)
    labelled = read_study(tmp_path)
    assert cases(bare) == cases(labelled) and not labelled.problems and not bare.problems
    assert (bare.recipe, bare.channels) == (labelled.recipe, labelled.channels)
    assert all(case.label is None for case in bare.sources) and all(case.label for case in labelled.sources)
    beside = read_study(tmp_path, labels="none")
    assert cases(beside) == cases(bare)  # label maps are not taken for scans
    assert set(beside.unused) == {case.label.path for case in labelled.sources if case.label}


def test_an_index_names_its_scans(tmp_path: Path) -> None:
    for name in ("imagesTr/a_0000", "imagesTr/a_0001", "labelsTr/a", "imagesTs/b_0000", "imagesTs/b_0001"):
        nifti(tmp_path / f"{name}.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps(NNUNET))
    study = read_study(tmp_path, labels="none")
    assert [case[0] for case in cases(study)] == ["a", "b"] and study.channels == ("T1", "T2")
    assert [case[0] for case in cases(read_study(tmp_path / "imagesTs", labels="none"))] == ["b"]
    index = {"labels": {"1": "a"}, "training": [], "test": ["./imagesTs/b_0000.nii.gz"]}
    (tmp_path / "dataset.json").write_text(json.dumps(index))
    assert cases(read_study(tmp_path, labels="none")) == [("b_0000", None, None, ["imagesTs/b_0000.nii.gz"])]


def test_series_in_folders_of_patients_beside_volumes(tmp_path: Path) -> None:
    for folder, description in (("p1/ct", "thorax"), ("p2/thin", "thorax 1 mm"), ("p2/thick", "thorax 5 mm")):
        write_series(tmp_path / folder, np.zeros((4, 3, 3), np.int16), np.eye(4), description=description)
    nifti(tmp_path / "alone.nii")
    assert [case[:2] for case in cases(read_study(tmp_path, labels="none"))] == [
        ("alone", None),
        ("p1", "p1"),
        ("p2_thick", "p2"),
        ("p2_thin", "p2"),
    ]
    chosen = read_study(tmp_path, labels="none", series="^thorax$|1 mm")
    assert [case[0] for case in cases(chosen)] == ["alone", "p1", "p2"]
    shutil.rmtree(tmp_path / "p2")
    (tmp_path / "alone.nii").unlink()
    assert [case[0] for case in cases(read_study(tmp_path / "p1" / "ct", labels="none"))] == ["ct"]


def test_images_that_patients_do_not_share_are_cases(tmp_path: Path) -> None:
    for name in ("p1/a", "p1/b", "p2/c"):
        nifti(tmp_path / f"{name}.nii")
    study = read_study(tmp_path, labels="none")
    assert [case[0] for case in cases(study)] == ["p1_a", "p1_b", "p2"] and study.channels is None


@pytest.mark.parametrize(("there", "lacking"), [(("b_0000", "b_0002"), "b_0001"), (("b_0001",), "b_0000")])
def test_a_missing_channel_is_named(tmp_path: Path, there: tuple[str, ...], lacking: str) -> None:
    for name in ("a_0000", "a_0001", *there):
        nifti(tmp_path / f"{name}.nii.gz")
    study = read_study(tmp_path, labels="none")
    assert [case[0] for case in cases(study)] == ["a"]
    assert f"{there[-1]}.nii.gz: channels are numbered from 0 on, and there is no {lacking}" in study.problems[0]


@pytest.mark.parametrize("folder", ["", "images/"])
def test_missing_channels_are_named_where_no_case_is_whole(tmp_path: Path, folder: str) -> None:
    for name in ("a_0000", "a_0002", "b_0000", "b_0002"):
        nifti(tmp_path / f"{folder}{name}.nii.gz")
    study = read_study(tmp_path, labels="none")
    assert not study.sources and [problem.rpartition(" ")[2] for problem in study.problems] == ["a_0001", "b_0001"]


def test_numbers_of_cases_are_no_channels(tmp_path: Path) -> None:
    for name in ("a_0001", "a_0002", "b_0001", "b_0003", "c_0000"):
        nifti(tmp_path / f"{name}.nii.gz")
    study = read_study(tmp_path, labels="none")
    assert len(cases(study)) == 5 and not study.problems


def test_no_scans_is_said(tmp_path: Path) -> None:
    nifti(tmp_path / "x_seg.nii")
    with pytest.raises(SourceLayoutError, match="no scans in"):
        read_study(tmp_path, labels="none")
