"""Hospitals' DICOM prepared: who belongs together, what is hidden, and labels that overlap."""

import hashlib
import json
import re
import shutil
import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK

from imgmed import PreparationSettings, PreparedDataset, prepare_dataset
from imgmed.errors import InvalidCasesError, LabelError, PatientKeyError
from imgmed.fingerprint import read_fingerprint
from imgmed.inspection import inspect_source
from r2d2.tasks.preparation import prepare_with_report
from r2d2_base.errors import OutputExistsError
from tests.dicom_files import write_series
from tests.hospital import (
    AFFINE,
    PEOPLE,
    SHAPE,
    WITHOUT_TUMOUR,
    Person,
    Scan,
    identified,
    masks_of,
    named_below,
    named_in,
    scan_of,
    write_scan,
    write_seg,
    write_study,
)

pytestmark = pytest.mark.slow

KINDS = ("seg", "rtstruct", "nifti")
KEY = bytes(range(32))


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "patient_key"
    path.touch(0o600)
    path.write_bytes(KEY)
    return path


class Prepared:
    """A study of a kind in a folder that is called after a patient, and its dataset with report and settings."""

    def __init__(self, folder: Path, kind: str, key: Path) -> None:
        self.source = folder / "Doe, Jane" / f"incoming_{kind}"
        self.scans = write_study(self.source, kind)
        self.out = folder / kind
        self.dataset = prepare_with_report(
            self.source, self.out, PreparationSettings(series="THORAX"), key_file=key
        ).dataset

    def case_of(self, scan: Scan) -> str:
        """The case that was made from a scan, known by its bytes."""
        (label,) = [path for path in scan.folder.iterdir() if path.is_file()]
        digest = sha256(label)
        return next(name for name, case in self.dataset.cases.items() if digest in case.sha256.values())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory, key: Path) -> Callable[[str], Prepared]:
    """Each kind prepared once, when it is asked for."""
    folder = tmp_path_factory.mktemp("hospital")
    return cache(lambda kind: Prepared(folder, kind, key))


@pytest.fixture(params=KINDS)
def prepared(request: pytest.FixtureRequest, studies: Callable[[str], Prepared]) -> Prepared:
    return studies(request.param)


@pytest.fixture
def segmented(studies: Callable[[str], Prepared]) -> Prepared:
    return studies("seg")


# ---- what is hidden ------------------------------------------------------------------------------------


def test_no_file_of_the_dataset_names_a_patient(prepared: Prepared) -> None:
    assert named_below(prepared.out) == {}
    assert re.search(r"/p[0-9a-f]{16}/incoming", prepared.dataset.description.source_root)
    assert {path.name for path in prepared.out.iterdir()} >= {"dataset.html", "r2d2.yaml", "survey", "fingerprint.json"}
    assert {case.modality for case in read_fingerprint(prepared.out).cases.values()} == {"CT"}


def test_inspect_names_nobody(prepared: Prepared) -> None:
    found = inspect_source(prepared.source, series="thorax")
    assert len(found.cases) == len(prepared.scans) and not found.problems
    assert named_in(json.dumps(found.as_json(), ensure_ascii=False)) == set()


def test_the_key_is_not_in_the_dataset(prepared: Prepared) -> None:
    files = [path.read_bytes() for path in prepared.out.rglob("*") if path.is_file()]
    assert not any(KEY in content or KEY.hex().encode() in content for content in files)


def small_study(root: Path, **folders: str) -> Path:
    """{folder: PatientID}, each with a series, its SEG, and another person's name and birth date."""
    for number, (folder, patient_id) in enumerate(folders.items()):
        person = Person(f"Nachname{number}^Vorname", patient_id, f"19{50 + number}0101", (folder,))
        write_scan(Scan(root / folder, person, scan_of(number, masks_of(number)), masks_of(number)), "seg")
    return root


def patients_of(dataset: PreparedDataset) -> dict[str, str]:
    return {case.case_id: case.patient_id for case in dataset.cases.values()}


PLAIN = PreparationSettings(patient_ids="plain")


def test_names_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    write_study(tmp_path / "Doe Jane", "seg", PEOPLE[:4])
    dataset = prepare_dataset(tmp_path / "Doe Jane", tmp_path / "out", PLAIN)
    assert {"Doe^Jane", "Mueller_Hans_19700131"} <= set(patients_of(dataset).values())
    assert dataset.source_root == tmp_path / "Doe Jane" and "hans" in named_in(" ".join(dataset.cases))


def test_the_same_key_gives_the_same_pseudonyms(tmp_path: Path) -> None:
    source = small_study(tmp_path / "study", a="X1", b="X2", c="X3")
    first, again, other = (
        prepare_dataset(source, tmp_path / name, PreparationSettings(), key_file=tmp_path / "keys" / file)
        for name, file in (("first", "one"), ("again", "one"), ("other", "two"))
    )
    assert patients_of(first) == patients_of(again)
    assert not set(patients_of(first).values()) & set(patients_of(other).values())
    assert stat.S_IMODE((tmp_path / "keys" / "one").stat().st_mode) == 0o600


def test_a_key_is_needed_and_must_lie_elsewhere(tmp_path: Path) -> None:
    source = small_study(tmp_path / "study", a="X1", b="X2", c="X3")
    with pytest.raises(PatientKeyError, match="name a file for the key"):
        prepare_dataset(source, tmp_path / "out", PreparationSettings())
    for place in (source, tmp_path / "out"):
        with pytest.raises(PatientKeyError, match="whoever gets the data must not get it"):
            prepare_dataset(source, tmp_path / "out", PreparationSettings(), key_file=place / "key")
    assert not (tmp_path / "out").exists() and not (source / "key").exists()


@pytest.mark.parametrize(
    "faults",
    [{1: "truncated slice", 3: "broken seg"}, {1: "no label", 3: "missing slice", 2: "two series"}],
    ids=lambda faults: ", ".join(faults.values()),
)
def test_reasons_for_what_is_left_out_name_nobody(tmp_path: Path, key: Path, faults: dict[int, str]) -> None:
    """Of a patient who has good cases besides (3), and of patients without any."""
    source = tmp_path / "scans of Kovacs"
    scans = write_study(source, "seg")
    for number, fault in faults.items():
        scan = scans[number]
        slices, label = sorted(scan.series.iterdir()), scan.folder / "seg.dcm"
        if fault == "truncated slice":
            slices[0].write_bytes(slices[0].read_bytes()[:500])
        elif fault == "broken seg":
            label.write_bytes(label.read_bytes()[:-400])
        elif fault == "no label":
            label.unlink()
        elif fault == "missing slice":
            slices[1].unlink()
        else:
            label.unlink()
            shutil.copy(prepare_label(tmp_path), scan.folder / f"{scan.person.name}_label.nii.gz")
    with pytest.raises(InvalidCasesError, match="Mueller_Hans_19700131"):  # the user's own terminal
        prepare_dataset(source, tmp_path / "out", PreparationSettings(), key_file=key)
    assert sorted(path.name for path in tmp_path.iterdir() if "out" in path.name) == []
    dataset = prepare_dataset(source, tmp_path / "out", PreparationSettings(on_error="skip"), key_file=key)
    assert len(dataset.description.skipped) == len(faults) == len(scans) - len(dataset.cases)
    assert all(re.search(r"/p[0-9a-f]{16}", reason) for reason in dataset.description.skipped)
    assert named_below(tmp_path / "out") == {}
    assert named_in(json.dumps(inspect_source(source).as_json(), ensure_ascii=False)) == set()


def prepare_label(folder: Path) -> Path:
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE), folder / "label.nii.gz")
    return folder / "label.nii.gz"


def test_copies_are_named_by_pseudonyms(tmp_path: Path, key: Path) -> None:
    scans = write_study(tmp_path / "study", "seg", PEOPLE[:4])
    copy = Scan(scans[0].folder, scans[0].person, scans[1].array, scans[1].masks)
    shutil.rmtree(copy.folder)
    write_scan(copy, "seg")
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "out", PreparationSettings(), key_file=key)
    assert any("hold the same image content" in warning for warning in dataset.description.warnings)
    assert named_below(tmp_path / "out") == {}


def test_folders_are_hidden_where_headers_are_empty_or_unreadable(tmp_path: Path, key: Path) -> None:
    nobody = Person("", "", "", ())
    for number, folder in enumerate(person.folders[0] for person in PEOPLE[:4]):
        scan = Scan(tmp_path / "study" / folder, nobody, scan_of(number, masks_of(number)), masks_of(number))
        write_scan(scan, "seg")
    for path in scan.series.iterdir():
        path.write_bytes(path.read_bytes()[:300])
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "out", PreparationSettings(on_error="skip"), key_file=key)
    assert len(dataset.cases) == 3 and dataset.description.skipped
    assert named_below(tmp_path / "out") == {}


def test_the_header_of_the_label_counts_too(tmp_path: Path, key: Path) -> None:
    """Images were made anonymous, the segmentations were forgotten."""
    scans = write_study(tmp_path / "study", "seg", PEOPLE[:4])
    nobody = identified(Person("ANON", "", "", ()))
    for number, scan in enumerate(scans):
        for path in scan.series.iterdir():
            dataset = pydicom.dcmread(path)
            nobody(0, dataset)
            dataset.save_as(path)
        (scan.folder / "seg.dcm").rename(scan.folder / f"Seg {scan.person.name.replace('^', ' ')}.dcm")
        scan.folder.rename(tmp_path / "study" / f"folder{number}")
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "out", PreparationSettings(), key_file=key)
    assert len(dataset.cases) == len(scans) and named_below(tmp_path / "out") == {}


def test_what_an_interruption_leaves_names_nobody(tmp_path: Path, key: Path) -> None:
    write_study(tmp_path / "Doe Jane", "seg", PEOPLE[:4])

    def interrupt(stage: str, done: int, _: int) -> None:
        if stage == "preparing" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_dataset(
            tmp_path / "Doe Jane", tmp_path / "out", PreparationSettings(), key_file=key, progress=interrupt
        )
    (unfinished,) = tmp_path.glob(".out.unfinished*")
    assert any(unfinished.rglob("*.npy")) and named_below(unfinished) == {}


def test_it_is_known_again_though_its_source_is_hidden(tmp_path: Path, key: Path) -> None:
    source = tmp_path / "Doe Jane"
    write_study(source, "seg", PEOPLE[:4])
    prepare_dataset(source, tmp_path / "out", PreparationSettings(), key_file=key)
    prepare_dataset(source, tmp_path / "out", key_file=key, finish=lambda _: pytest.fail("something was done"))
    content = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert content["source_digest"] not in {sha256_text(str(source)), sha256_text(str(source) + "\n")}
    source.rename(tmp_path / "Doe John")
    with pytest.raises(OutputExistsError, match=r"prepared otherwise .the source was .*/p[0-9a-f]{16},"):
        prepare_dataset(tmp_path / "Doe John", tmp_path / "out", PreparationSettings(), key_file=key)


def sha256_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# ---- who belongs together ------------------------------------------------------------------------------


def test_folders_of_one_patient_id_are_one_patient_in_every_split(tmp_path: Path, key: Path) -> None:
    folders = {f"case {letter}": f"N{number}" for letter, number in zip("abcdefgh", "12341256", strict=True)}
    source = small_study(tmp_path / "study", **folders)
    for seed in range(2):
        settings = PreparationSettings(seed=seed, folds=3, validation_fraction=0.3, test_fraction=0.3)
        dataset = prepare_dataset(source, tmp_path / f"out{seed}", settings, key_file=key)
        by_patient: dict[str, set[tuple[object, ...]]] = {}
        for case in dataset.cases.values():
            place = dataset.splits.part_of[case.case_id], dataset.splits.fold_of.get(case.case_id)
            by_patient.setdefault(case.patient_id, set()).add(place)
        assert len(by_patient) == 6 and all(len(places) == 1 for places in by_patient.values())
    assert sum("have the same PatientID" in warning for warning in dataset.description.warnings) == 2


def test_a_patient_id_that_all_share_is_not_used(tmp_path: Path, key: Path) -> None:
    source = small_study(tmp_path / "study", **dict.fromkeys(("first", "second", "third", "fourth"), "ANON"))
    dataset = prepare_dataset(source, tmp_path / "out", PreparationSettings(), key_file=key)
    assert len(set(patients_of(dataset).values())) == 4
    warning, overlap = dataset.description.warnings
    assert overlap.startswith("masks overlap: liver and tumour share")
    assert warning.startswith("all 4 cases of 4 patients have the same PatientID in their DICOM headers")
    assert "ANON" not in warning


def test_empty_patient_ids_join_nobody(tmp_path: Path) -> None:
    source = small_study(tmp_path / "study", one="", two="", three="3", four="4")
    dataset = prepare_dataset(source, tmp_path / "out", PLAIN)
    assert set(patients_of(dataset).values()) == {"one", "two", "three", "four"}
    assert not any("patient" in warning for warning in dataset.description.warnings)


def test_a_pattern_decides_alone(tmp_path: Path) -> None:
    source = small_study(tmp_path / "study", p1_a="X", p1_b="Y", p2_a="X", p3_a="Z")
    settings = PreparationSettings(patient_ids="plain", patient_pattern="^(p[0-9])")
    dataset = prepare_dataset(source, tmp_path / "out", settings)
    assert patients_of(dataset) == {"p1_a": "p1", "p1_b": "p1", "p2_a": "p2", "p3_a": "p3"}


# ---- labels that overlap -------------------------------------------------------------------------------


def composite(masks: dict[str, np.ndarray]) -> np.ndarray:
    """1 liver alone, 2 tumour alone, 3 both."""
    tumour = masks.get("tumour", np.zeros(SHAPE, bool))
    return (masks["liver"] + 2 * tumour).astype(np.uint8)


def test_overlapping_labels_are_the_same_integers_in_all_cases(prepared: Prepared) -> None:
    dataset = prepared.dataset
    if prepared.out.name == "nifti":
        assert dataset.labels == {"background": 0, "label_1": 1, "label_2": 2}
    else:
        assert dataset.labels == {"background": 0, "liver": 1, "tumour": 2, "liver+tumour": 3}
        content = json.loads((prepared.out / "dataset.json").read_text())
        assert content["regions"] == {"liver": [1, 3], "tumour": [2, 3]}
    for scan in prepared.scans:
        expected = composite(scan.masks)
        if prepared.out.name == "nifti":
            expected = np.minimum(expected, 2)
        case = dataset.case(prepared.case_of(scan))
        reference = nib.load(dataset.reference(case.case_id))
        np.testing.assert_array_equal(np.asarray(reference.dataobj), expected)
        np.testing.assert_allclose(reference.affine, AFFINE, atol=1e-6)
        counts = np.bincount(expected.ravel(), minlength=len(dataset.labels)).tolist()
        assert list(case.label_counts.values()) == counts


def test_voxels_lie_where_simpleitk_sees_them(segmented: Prepared) -> None:
    scan = segmented.scans[1]
    case_id = segmented.case_of(scan)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(scan.series)))
    theirs = reader.Execute()
    reference = nib.load(segmented.dataset.reference(case_id))
    ours = segmented.dataset.restored_image(case_id)
    inside = np.argwhere(np.asarray(reference.dataobj) == 3)
    assert len(inside) > 10
    for voxel in inside[::7]:
        lps = nib.affines.apply_affine(reference.affine, voxel) * [-1, -1, 1]
        index = theirs.TransformPhysicalPointToIndex(lps)
        assert scan.masks["liver"][index] and scan.masks["tumour"][index]
        assert theirs[index] == scan.array[index]
    assert segmented.dataset.case(case_id).spacing_mm == pytest.approx(theirs.GetSpacing())
    assert ours.array.shape[:3] == theirs.GetSize()


def test_a_case_without_a_segment_has_none_of_its_voxels(segmented: Prepared) -> None:
    scan = next(scan for scan in segmented.scans if scan.person.number == WITHOUT_TUMOUR)
    counts = segmented.dataset.case(segmented.case_of(scan)).label_counts
    assert counts["liver"] == scan.masks["liver"].sum() and counts["tumour"] == counts["liver+tumour"] == 0


def test_the_labels_setting_gives_the_order(tmp_path: Path) -> None:
    scans = write_study(tmp_path / "study", "seg", PEOPLE[:4])
    settings = PreparationSettings(patient_ids="plain", labels={"tumour": 1, "liver": 2})
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "out", settings)
    assert dataset.labels == {"background": 0, "tumour": 1, "liver": 2, "tumour+liver": 3}
    assert dataset.description.regions == {"tumour": (1, 3), "liver": (2, 3)}
    masks = scans[0].masks
    reference = np.asarray(nib.load(dataset.reference("Doe^Jane")).dataobj)
    np.testing.assert_array_equal(reference, masks["tumour"] + 2 * masks["liver"])


def test_segments_without_a_voxel_are_no_labels(tmp_path: Path) -> None:
    scans = write_study(tmp_path / "study", "seg", PEOPLE[:4])
    masks = {"liver": scans[0].masks["liver"], "spleen": np.zeros(SHAPE, bool)}
    write_seg(scans[0].folder / "seg.dcm", scans[0].series, masks, keep_empty=True)
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "out", PLAIN)
    assert "spleen" not in dataset.labels
    assert dataset.case("Doe^Jane").label_counts["liver"] == masks["liver"].sum()


def test_masks_and_integers_in_one_study_are_one_clear_error(tmp_path: Path) -> None:
    scans = write_study(tmp_path / "study", "seg", PEOPLE[:4])
    (scans[2].folder / "seg.dcm").unlink()
    shutil.copy(prepare_label(tmp_path), scans[2].folder / "label.nii.gz")
    settings = PreparationSettings(patient_ids="plain", series="thorax")
    with pytest.raises(LabelError, match=r"names its labels .DICOM SEG or RTSTRUCT., Oeztuerk, Ayse numbers them"):
        prepare_dataset(tmp_path / "study", tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


# ---- several series ------------------------------------------------------------------------------------


def test_of_several_series_one_must_be_named(tmp_path: Path) -> None:
    write_study(tmp_path / "study", "nifti", PEOPLE[:4])
    with pytest.raises(InvalidCasesError) as caught:
        prepare_dataset(tmp_path / "study", tmp_path / "out", PLAIN)
    assert str(caught.value).count("2 image series: CT 'thorax 1 mm' (6 files), CT 'localiser' (2 files)") == 5
    assert "preparation.series" in str(caught.value)


def test_series_of_one_folder_are_told_apart(tmp_path: Path) -> None:
    """As on a CD: all files of a patient in one folder, numbered through."""
    for number, person in enumerate(PEOPLE[:3]):
        folder = tmp_path / "study" / person.folders[0]
        for start, description in ((0, "thorax"), (6, "abdomen")):
            array = scan_of(number, masks_of(number)) + start
            write_series(
                folder, array, AFFINE, change=identified(person), description=description,
                names=lambda k, start=start: f"{start + (5 * k) % 6:08d}",
            )  # fmt: skip
        shutil.copy(prepare_label(tmp_path), folder / "label.nii.gz")
    settings = PreparationSettings(patient_ids="plain", series="abdomen")
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "out", settings)
    image = dataset.restored_image("Doe^Jane").array[..., 0]
    low, high = dataset.case("Doe^Jane").clip_bounds[0] if dataset.case("Doe^Jane").clip_bounds else (-1e9, 1e9)
    expected = np.clip(scan_of(0, masks_of(0)) + 6, low, high)
    np.testing.assert_allclose(image, expected, atol=1e-3)
