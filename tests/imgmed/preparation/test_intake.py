"""A study taken in: rules of reading, patients by layout or pattern, and when they are hidden."""

import json
import stat
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from imgmed import PreparationSettings
from imgmed.errors import LabelError, PatientKeyError, SourceLayoutError, UnknownChannelError
from imgmed.preparation.intake import take_in
from imgmed.privacy.pseudonyms import Pseudonyms
from tests.dicom_files import write_series
from tests.hospital import AFFINE, PEOPLE, SHAPE, identified, write_seg


def nifti(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4)), path)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A study without patients."""
    nifti(*(tmp_path / "pairs" / kind / f"s{n}_a.nii" for kind in ("images", "labels") for n in range(3)))
    return tmp_path / "pairs"


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A folder for each patient, named images inside."""
    nifti(*(tmp_path / "folders" / p / f"{kind}.nii" for p in ("Ann", "Bob") for kind in ("t1", "t2", "seg")))
    return tmp_path / "folders"


@pytest.fixture
def dicom(tmp_path: Path) -> Path:
    for person in PEOPLE[:2]:
        folder = tmp_path / "dicom" / person.folders[0]
        write_series(folder, np.zeros((4, 3, 3), np.int16), np.eye(4), change=identified(person))
        nifti(folder / "label.nii")
    return tmp_path / "dicom"


def test_a_study_without_patients_needs_no_key(pairs: Path) -> None:
    found = take_in(pairs, PreparationSettings(), None)
    assert (found.patients, found.pseudonyms) == ({}, None)
    assert found.redaction.apply("s1_a of anybody") == "s1_a of anybody"


def test_what_a_pattern_finds_is_no_secret(pairs: Path) -> None:
    found = take_in(pairs, PreparationSettings(patient_pattern="^(s[0-9])"), None)
    assert found.patients == {f"s{n}_a": f"s{n}" for n in range(3)} and found.pseudonyms is None


def test_a_pattern_that_does_not_fit_every_case_is_refused(pairs: Path) -> None:
    with pytest.raises(SourceLayoutError, match="s0_a"):
        take_in(pairs, PreparationSettings(patient_pattern="^(x[0-9])"), None)


def test_folders_of_patients_are_named_and_hidden(folders: Path, tmp_path: Path) -> None:
    found = take_in(folders, PreparationSettings(), tmp_path / "keys" / "key")
    assert found.patients == {"Ann": "Ann", "Bob": "Bob"}
    assert found.pseudonyms == Pseudonyms((tmp_path / "keys" / "key").read_bytes())
    assert stat.S_IMODE((tmp_path / "keys" / "key").stat().st_mode) == 0o600
    assert found.redaction.apply("Ann/t1.nii") == "Ann/t1.nii", "names of files that are no DICOM stay"
    with pytest.raises(PatientKeyError, match=r"name a file for the key .key_file., or keep the names"):
        take_in(folders, PreparationSettings(), None)


def test_plain_names_need_no_key(folders: Path, dicom: Path, tmp_path: Path) -> None:
    for source in (folders, dicom):
        assert take_in(source, PreparationSettings(patient_ids="plain"), tmp_path / "key").pseudonyms is None
    assert not (tmp_path / "key").exists()


def test_dicom_is_hidden_though_a_pattern_names_the_patients(dicom: Path, tmp_path: Path) -> None:
    found = take_in(dicom, PreparationSettings(patient_pattern="^(.)"), tmp_path / "key")
    assert found.patients == {"Doe^Jane": "D", "Mueller_Hans_19700131": "M"}
    name = Pseudonyms((tmp_path / "key").read_bytes()).of("Mueller_Hans_19700131")
    text = f"{dicom}/Mueller_Hans_19700131/IM1: Müller, Hans (PID0815332) born 31.01.1970"
    assert found.redaction.apply(text) == f"{dicom}/{name}/IM1: {name} ({name}) born {name}"


def test_a_dicom_label_alone_names_a_patient(tmp_path: Path) -> None:
    for person in PEOPLE[:2]:
        series = tmp_path / "series" / person.number
        write_series(series, np.zeros(SHAPE, np.int16), AFFINE, change=identified(person))
        (tmp_path / "study" / person.number[-4:]).mkdir(parents=True)
        mask = np.zeros(SHAPE, bool)
        mask[2:5, 2:5, 2] = True
        write_seg(tmp_path / "study" / person.number[-4:] / "seg.dcm", series, {"liver": mask})
        nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.int16), AFFINE), tmp_path / "study" / person.number[-4:] / "ct.nii")
    settings = PreparationSettings(patient_pattern="(.*)")
    assert take_in(tmp_path / "study", settings, tmp_path / "key").pseudonyms is not None


def test_the_key_must_not_lie_with_the_data(dicom: Path, tmp_path: Path) -> None:
    for key in (dicom / "key", tmp_path / "out" / "deeper" / "key"):
        with pytest.raises(PatientKeyError, match="lies inside"):
            take_in(dicom, PreparationSettings(), key, (tmp_path / "out",))
        assert not key.exists()


def test_channels_by_name_or_number(folders: Path) -> None:
    def indices(*channels: str | int) -> tuple[int, ...] | None:
        settings = PreparationSettings(patient_ids="plain", channels=channels)
        return take_in(folders, settings, None).rules.channel_indices

    assert indices("T2", 0) == (1, 0)
    assert take_in(folders, PreparationSettings(patient_ids="plain"), None).rules.channel_indices is None
    with pytest.raises(UnknownChannelError, match=r"no channel 'flair'; the study names t1, t2"):
        indices("flair")


def test_declared_labels_are_left_aside_where_values_are_remapped(study) -> None:
    def labels(**settings: object) -> dict[str, int] | None:
        return take_in(study.folder, PreparationSettings(**settings), None).rules.labels

    assert labels() == {"background": 0, "shell": 1, "core": 2}
    assert labels(labels={"all": 1}) == {"background": 0, "all": 1}
    assert labels(remap_labels={2: 1}) is None
    assert labels(remap_labels={2: 1}, labels={"all": 1}) == {"background": 0, "all": 1}


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """Label maps of three labels, with names and regions, as nnU-Net declares them."""
    for name in ("a", "b", "c"):
        nifti(tmp_path / "nn" / f"imagesTr/{name}_0000.nii", tmp_path / "nn" / f"labelsTr/{name}.nii")
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "rim": 1}
    index = {"channel_names": {"0": "MR"}, "labels": labels, "numTraining": 3, "file_ending": ".nii"}
    (tmp_path / "nn/dataset.json").write_text(json.dumps(index))
    return tmp_path / "nn"


def test_labels_to_keep_are_named_or_numbered_and_regions_that_lose_a_part_go(named: Path) -> None:
    found = take_in(named, PreparationSettings(keep_labels=("label_2", 3)), None)
    assert found.rules.keep_labels == (2, 3)
    assert found.rules.labels == {"background": 0, "label_2": 2, "label_3": 3}
    assert found.regions == {"core": (2, 3)}
    with pytest.raises(LabelError, match="keep_labels: no label rim of it; declared are 1 rim, 2 label_2, 3 label_3"):
        take_in(named, PreparationSettings(keep_labels=("rim of it",)), None)


def test_codes_of_what_is_no_label_are_refused_before_a_scan_is_read(named: Path) -> None:
    codes = {"rim": "SCT:10200004:Liver", "label_2+label_3": "SCT:10200004:Liver"}
    take_in(named, PreparationSettings(label_codes=codes), None)  # masks, yet unread, may make combinations
    for kept, name in (None, "whole"), (None, "background"), (("label_2",), "rim"):
        with pytest.raises(LabelError, match=f"label_codes: no label '{name}'; the labels are "):
            take_in(named, PreparationSettings(keep_labels=kept, label_codes={name: "SCT:10200004:Liver"}), None)


def test_one_named_label_gives_its_name_to_what_lies_above_a_threshold(named: Path) -> None:
    found = take_in(named, PreparationSettings(mask_threshold=0.5), None)
    assert (found.rules.labels, found.regions) == (None, None)
    index = json.loads((named / "dataset.json").read_text()) | {"labels": {"background": 0, "polyp": 255}}
    (named / "dataset.json").write_text(json.dumps(index))
    found = take_in(named, PreparationSettings(mask_threshold=0.5), None)
    assert found.rules.labels == {"background": 0, "polyp": 1}
