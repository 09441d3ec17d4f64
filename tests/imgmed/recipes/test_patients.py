"""One folder per patient, of any format; DICOM written with pydicom."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from imgmed.errors import SourceLayoutError
from imgmed.recipes import read_study
from imgmed.study import Study
from tests.dicom_files import save, write_series

SEG, RTSTRUCT = ("1.2.840.10008.5.1.4.1.1.66.4", "SEG"), ("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT")


def nifti(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4)), path)


def series(folder: Path, description: str = "abdomen", slices: int = 3, name: str = "ct") -> str:
    uid = generate_uid()
    array = np.zeros((4, 3, slices), np.int16)
    write_series(folder, array, np.eye(4), series_uid=uid, description=description, names=f"{name}{{}}.dcm".format)
    return uid


def label(path: Path, kind: tuple[str, str], referenced: str | None = None) -> None:
    """A SEG or RTSTRUCT as far as its header tells what it belongs to."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.Modality = kind
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "4711"
    if referenced is not None:
        one = Dataset()
        one.SeriesInstanceUID = referenced
        if kind == SEG:
            dataset.ReferencedSeriesSequence = [one]
        else:
            frame, study = Dataset(), Dataset()
            study.RTReferencedSeriesSequence = [one]
            frame.RTReferencedStudySequence = [study]
            dataset.ReferencedFrameOfReferenceSequence = [frame]
    path.parent.mkdir(parents=True, exist_ok=True)
    save(dataset, path)


def shown(study: Study) -> dict[str, tuple[list[str], int, str]]:
    """{case: (images by their folder or file, files of the first, label)}."""
    return {
        case.case_id: (
            [image.path.name if len(image.files) == 1 else image.path.parent.name for image in case.images],
            len(case.images[0].files),
            case.label.path.name,
        )
        for case in study.sources
    }


def test_volumes(tmp_path: Path) -> None:
    for patient in ("p2", "p10"):
        nifti(tmp_path / patient / "ct.nii.gz", tmp_path / patient / "seg.nii.gz")
    study = read_study(tmp_path)
    assert study.recipe == "patients" and study.channels is None and study.reason == "a folder for each of 2 patients"
    assert shown(study) == {name: (["ct.nii.gz"], 1, "seg.nii.gz") for name in ("p2", "p10")}
    assert [case.patient for case in study.sources] == ["p2", "p10"]


def test_several_images_are_channels_named_alike(tmp_path: Path) -> None:
    for patient in "abc":
        nifti(*(tmp_path / patient / f"{patient}_{kind}.nii.gz" for kind in ("dwi", "adc", "mask")))
    study = read_study(tmp_path)
    assert study.channels == ("adc", "dwi") and shown(study)["b"][0] == ["b_adc.nii.gz", "b_dwi.nii.gz"]
    (tmp_path / "c" / "c_adc.nii.gz").unlink()
    study = read_study(tmp_path)
    assert len(study.sources) == 2
    assert "c: images dwi, but other cases have adc, dwi; all cases need the same images" in study.problems[0]


def test_visits_are_cases_of_one_patient(tmp_path: Path) -> None:
    for visit in ("2019", "2020"):
        nifti(tmp_path / "p1" / visit / "mr.nii", tmp_path / "p1" / visit / "label.nii")
    nifti(tmp_path / "p2" / "mr.nii", tmp_path / "p2" / "label.nii")
    study = read_study(tmp_path)
    assert [(case.case_id, case.patient) for case in study.sources] == [
        ("p1_2019", "p1"),
        ("p1_2020", "p1"),
        ("p2", "p2"),
    ]


def test_folders_that_are_named_after_a_patient_and_a_visit(tmp_path: Path) -> None:
    for folder in ("p1_visit1", "p1_visit2", "p2_visit1", "p3_2020-01-31", "p3_2021-01-31", "p4"):
        nifti(tmp_path / folder / "mr.nii", tmp_path / folder / "label.nii")
    study = read_study(tmp_path)
    assert {case.case_id: case.patient for case in study.sources} == {
        "p1_visit1": "p1",
        "p1_visit2": "p1",
        "p2_visit1": "p2_visit1",
        "p3_2020-01-31": "p3",
        "p3_2021-01-31": "p3",
        "p4": "p4",
    }
    assert "4 folders count as 2 patients by their names, such as p1_visit1 as p1" in study.notes[0]


def test_scans_of_one_patient_that_are_named_in_pairs(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        nifti(*(tmp_path / patient / f"{name}.nii" for name in ("day1", "day1_seg", "day2", "day2_seg")))
    study = read_study(tmp_path)
    assert [(case.case_id, case.patient) for case in study.sources] == [
        (f"{patient}_{day}", patient) for patient in ("p1", "p2") for day in ("day1", "day2")
    ]
    assert study.sources[3].label.path == tmp_path / "p2" / "day2_seg.nii" and not study.problems
    for patient in ("p1", "p2"):  # as ACDC has the whole series beside two of its frames
        nifti(tmp_path / patient / "4d.nii")
    again = read_study(tmp_path)
    assert again.sources == study.sources and [path.name for path in again.unused] == ["4d.nii"] * 2


def test_splits_and_folders_for_labels(tmp_path: Path) -> None:
    nifti(tmp_path / "train" / "p1" / "scan" / "a.nii", tmp_path / "train" / "p1" / "segmentation" / "a.nii")
    nifti(tmp_path / "test" / "p2" / "scan" / "a.nii", tmp_path / "test" / "p2" / "segmentation" / "a.nii")
    study = read_study(tmp_path)
    assert {case.case_id: (case.patient, case.split) for case in study.sources} == {
        "p1": ("p1", "train"),
        "p2": ("p2", "test"),
    }
    assert all(case.label.path.parent.name == "segmentation" for case in study.sources)


def test_what_is_missing_or_double_is_said(tmp_path: Path) -> None:
    nifti(tmp_path / "a" / "ct.nii", tmp_path / "a" / "seg.nii", tmp_path / "b" / "ct.nii", tmp_path / "c" / "seg.nii")
    nifti(*(tmp_path / "d" / f"{name}.nii" for name in ("ct", "seg_1", "seg_2")))
    nifti(*(tmp_path / "e" / f"{name}.nii" for name in ("ct", "ct_seg", "ct_seg_old")))
    study = read_study(tmp_path)
    assert list(shown(study)) == ["a", "e"] and shown(study)["e"][2] == "ct_seg.nii"
    problems = "\n".join(study.problems)
    assert "b: image without a label; found ct.nii" in problems
    assert "c: label without an image; found seg.nii" in problems
    assert "d: 2 label maps: seg_1.nii, seg_2.nii; keep one" in problems


def test_stacks_of_pictures(tmp_path: Path) -> None:
    for patient in "ab":
        for kind in ("scan", "Mask"):
            (tmp_path / patient / kind).mkdir(parents=True)
            for number in (1, 2, 10):
                Image.fromarray(np.zeros((4, 3), np.uint8)).save(tmp_path / patient / kind / f"{number}.png")
    study = read_study(tmp_path, "patients")
    case = study.sources[0]
    assert [path.name for path in case.images[0].files] == ["1.png", "2.png", "10.png"]
    assert case.label.path.parent.name == "Mask" and len(case.label.files) == 3


@pytest.mark.parametrize("kind", [SEG, RTSTRUCT])
def test_a_series_with_its_dicom_label(tmp_path: Path, kind) -> None:
    for patient in ("p1", "p2"):
        uid = series(tmp_path / patient / "ct")
        label(tmp_path / patient / "label" / "1.dcm", kind, uid)
    study = read_study(tmp_path)
    assert shown(study) == {name: (["ct"], 3, "1.dcm") for name in ("p1", "p2")} and not study.unused


def test_a_series_with_a_label_map_of_another_format(tmp_path: Path) -> None:
    series(tmp_path / "p1" / "dicom")
    nifti(tmp_path / "p1" / "liver_label.nii.gz")
    assert shown(read_study(tmp_path)) == {"p1": (["dicom"], 3, "liver_label.nii.gz")}


def test_one_patient_as_the_source(tmp_path: Path) -> None:
    uid = series(tmp_path / "One")
    label(tmp_path / "One" / "seg", SEG, uid)
    study = read_study(tmp_path / "One")
    assert shown(study) == {"One": (["One"], 3, "seg")} and study.sources[0].patient is None
    assert study.reason == "the folder of one patient"
    assert list(shown(read_study(tmp_path))) == ["One"]


def test_labels_find_the_series_they_refer_to(tmp_path: Path) -> None:
    """Two series in one folder, two labels: the one of the other series is left over."""
    folder = tmp_path / "p1"
    series(folder, "scout", 2, "a")
    thick = series(folder, "thick", 4, "b")
    label(folder / "seg.dcm", SEG, thick)
    study = read_study(tmp_path)
    assert not study.problems and study.sources[0].images[0].path.name.startswith("b")
    assert [path.name for path in study.unused] == ["a0.dcm", "a1.dcm"]
    thin = series(folder, "thin", 5, "c")
    label(folder / "seg2.dcm", RTSTRUCT, thin)
    problem = read_study(tmp_path).problems[0]
    assert "2 image series: CT 'thick' (4 files), CT 'thin' (5 files); choose one" in problem
    chosen = read_study(tmp_path, series="^THIN$").sources[0]
    assert len(chosen.images[0].files) == 5 and chosen.label.path.name == "seg2.dcm"


def test_several_series_are_refused_with_a_list_and_can_be_chosen(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        series(tmp_path / patient, "thorax 5 mm", 2, "a")
        series(tmp_path / patient, "thorax 1 mm", 4, "b")
        nifti(tmp_path / patient / "seg.nii")
    study = read_study(tmp_path)
    assert not study.sources and len(study.problems) == 2
    assert "p1: 2 image series: CT 'thorax 5 mm' (2 files), CT 'thorax 1 mm' (4 files)" in study.problems[0]
    assert "--series" in study.problems[0]
    study = read_study(tmp_path, series="1 mm")
    assert {name: found[1] for name, found in shown(study).items()} == {"p1": 4, "p2": 4} and not study.problems
    study = read_study(tmp_path, series="abdomen")
    assert "p1: label without an image whose description matches 'abdomen'; found seg.nii, CT" in study.problems[0]


def test_a_broken_dicom_file_is_a_problem_of_its_patient(tmp_path: Path) -> None:
    for patient in ("p1", "p2"):
        series(tmp_path / patient)
        nifti(tmp_path / patient / "seg.nii")
    path = tmp_path / "p2" / "ct1.dcm"
    path.write_bytes(path.read_bytes()[:300])
    study = read_study(tmp_path)
    assert list(shown(study)) == ["p1"]
    assert any("ct1.dcm: truncated or damaged" in problem for problem in study.problems)


def test_dicom_without_labels_is_no_study(tmp_path: Path) -> None:
    series(tmp_path / "p1")
    with pytest.raises(SourceLayoutError, match="no image/label pairs"):
        read_study(tmp_path)


def test_folders_within_a_patient_are_no_pairs_of_folders(tmp_path: Path) -> None:
    """ct/ and seg/, image/ and label/ are also names of pairs of folders."""
    for patient in ("p1", "p2"):
        uid = series(tmp_path / "a" / patient / "ct", name="")
        label(tmp_path / "a" / patient / "seg" / "s.dcm", SEG, uid)
        nifti(tmp_path / "b" / patient / "image" / "mr.nii", tmp_path / "b" / patient / "label" / "truth.nii")
    assert shown(read_study(tmp_path / "a")) == {name: (["ct"], 3, "s.dcm") for name in ("p1", "p2")}
    assert shown(read_study(tmp_path / "b")) == {name: (["mr.nii"], 1, "truth.nii") for name in ("p1", "p2")}
    assert shown(read_study(tmp_path / "a" / "p1")) == {"p1": (["ct"], 3, "s.dcm")}


def test_pairs_of_folders_with_series(tmp_path: Path) -> None:
    for case in ("c1", "c2", "c3"):
        series(tmp_path / "images" / case)
    nifti(tmp_path / "labels" / "c1.nii.gz")
    label(tmp_path / "labels" / "c2.dcm", SEG)
    series(tmp_path / "images" / "c3", "another", name="x")
    study = read_study(tmp_path)
    assert study.recipe == "pairs"
    assert shown(study) == {"c1": (["c1"], 3, "c1.nii.gz"), "c2": (["c2"], 3, "c2.dcm")}
    assert "images/c3: 2 DICOM series: CT 'abdomen' (3 files), CT 'another' (3 files)" in study.problems[0]
