"""What inspect finds in headers, and that nothing of it names a DICOM patient."""

import json
import math
import struct
from dataclasses import fields
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset

from imgmed import prepare_dataset, read_volume
from imgmed.errors import InvalidCasesError
from imgmed.inspection import Inspection, inspect_source
from imgmed.privacy import Redaction
from tests.dicom_files import write_series


def nifti(path: Path, shape: tuple[int, ...] = (4, 3, 2), affine: np.ndarray | None = None, dtype=np.int16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.ones(shape, dtype), np.eye(4) if affine is None else affine, dtype=dtype), path)


def pair(root: Path, name: str, **image: object) -> None:
    nifti(root / "images" / f"{name}.nii.gz", **image)  # type: ignore[arg-type]
    nifti(root / "labels" / f"{name}.nii.gz", affine=image.get("affine"))  # type: ignore[arg-type]


def test_headers_are_told(tmp_path: Path) -> None:
    affine = np.array([[0, -0.5, 0, 1], [-2.0, 0, 0, 2], [0, 0, 3.0, 3], [0, 0, 0, 1]])
    pair(tmp_path, "a", affine=affine, shape=(4, 3, 2, 2), dtype=np.float32)
    seen: list[tuple[str, int, int]] = []
    found = inspect_source(tmp_path, progress=lambda *report: seen.append(report))
    (case,) = found.cases
    assert (case.shape, case.spacing_mm, case.orientation) == ((4, 3, 2), (2.0, 0.5, 3.0), "PLS")
    assert (case.channels, case.dtype) == (2, "float32")
    assert (case.images, case.label) == (("images/a.nii.gz",), "labels/a.nii.gz")
    assert (found.recipe, found.patients, found.problems, found.unused) == ("pairs", 1, (), ())
    assert seen == [("inspecting", 0, 1), ("inspecting", 1, 1)]


def test_nothing_is_written_and_no_voxels_are_needed(tmp_path: Path) -> None:
    """The voxels of both files are cut away."""
    pair(tmp_path, "a")
    for path in (tmp_path / "images/a.nii", tmp_path / "labels/a.nii"):
        nifti(path, shape=(40, 30, 20))
        path.write_bytes(path.read_bytes()[:400])
        path.with_suffix(".nii.gz").unlink()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    found = inspect_source(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert found.cases[0].shape in ((40, 30, 20), None)


def test_faults_of_headers_are_problems(tmp_path: Path) -> None:
    """Each is what `prepare` refuses, and what it takes is no problem."""
    root = tmp_path / "study"
    pair(root, "good")
    pair(root, "turned", shape=(2, 4, 3))
    nifti(
        root / "images/turned.nii.gz",
        (2, 4, 3),
        np.eye(4)[[1, 2, 0, 3]],
    )
    pair(root, "other", shape=(4, 3, 5))
    pair(root, "broken")
    (root / "images/broken.nii.gz").write_bytes(b"no scan")
    pair(root, "shifted")
    nifti(root / "labels/shifted.nii.gz", affine=np.eye(4) + 0.3 * np.eye(4, k=3))
    pair(root, "four axes")
    nifti(root / "labels/four axes.nii.gz", (4, 3, 2, 2))
    pair(root, "colour")
    colours = np.zeros((4, 3, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colours, np.eye(4)), root / "images/colour.nii.gz")
    pair(root, "two channels", shape=(4, 3, 2, 2))
    found = inspect_source(root)
    problems = dict(sorted(problem.removeprefix(f"{root}/").split(": ", 1) for problem in found.problems))
    assert list(problems) == [
        "images/broken.nii.gz",
        "images/colour.nii.gz",
        "images/two channels.nii.gz",
        "labels/four axes.nii.gz",
        "labels/other.nii.gz",
        "labels/shifted.nii.gz",
    ]
    assert "received colours" in problems["images/colour.nii.gz"]
    assert problems["images/two channels.nii.gz"] == (
        "2 channels, but 6 other cases have 1; all cases need the same channels"
    )
    assert problems["labels/four axes.nii.gz"] == "a label map has 3 axes; its header has a fourth of 2"
    assert "they cover other voxels: 4 x 3 x 2 beginning" in problems["labels/other.nii.gz"]
    assert "centres shifted by (0.3, 0, 0) voxels" in problems["labels/shifted.nii.gz"]
    assert {case.case_id: case.shape for case in found.cases}["broken"] is None
    with pytest.raises(InvalidCasesError) as refused:
        prepare_dataset(root, tmp_path / "out")
    assert {problem.split(": ")[0] for problem in refused.value.problems} >= {
        f"{root}/images/{name}.nii.gz" for name in ("broken", "colour", "two channels", "other", "shifted")
    }


@pytest.mark.parametrize("number", [0.0, math.nan, math.inf])
def test_a_header_that_places_nothing_is_a_problem_of_its_own(tmp_path: Path, number: float) -> None:
    """The first row of the sform of one image, patched where the standard says that it lies (byte 280)."""
    for name in ("a", "b"):
        nifti(tmp_path / f"images/{name}.nii")
        nifti(tmp_path / f"labels/{name}.nii")
    path = tmp_path / "images/b.nii"
    stored = bytearray(path.read_bytes())
    stored[254:256], stored[280:296] = struct.pack("<h", 1), struct.pack("<4f", *[number] * 4)
    path.write_bytes(stored)
    found = inspect_source(tmp_path)
    assert [case.case_id for case in found.cases] == ["a", "b"] and found.cases[0].shape == (4, 3, 2)
    (problem,) = found.problems
    assert problem.startswith(f"{path}: ") and "affine" in problem


def test_channels_are_counted_and_compared(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for channel in ("t1", "t2"):
            nifti(tmp_path / name / f"{channel}.nii")
        nifti(tmp_path / name / "seg.nii")
    nifti(tmp_path / "b" / "t2.nii", shape=(4, 3, 7))
    found = inspect_source(tmp_path)
    assert found.channels == ("t1", "t2") and found.cases[0].channels == 2
    assert "b/t2.nii: a channel must lie on the voxels of the first one" in found.problems[0]
    nifti(tmp_path / "b" / "t2.nii", shape=(4, 3, 2, 2))
    assert "3 channels, but the study has 2 (t1, t2)" in inspect_source(tmp_path).problems[0]


def test_masks_of_structures_may_cover_a_part(tmp_path: Path) -> None:
    place = np.array([[1.0, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]])
    for patient in ("p1", "p2"):
        nifti(tmp_path / patient / "ct.nii")
        nifti(tmp_path / patient / "masks" / "liver.nii")
        nifti(tmp_path / patient / "masks" / "spleen.nii", (2, 2, 1), place)
    assert not inspect_source(tmp_path).problems
    nifti(tmp_path / "p2" / "masks" / "spleen.nii", (2, 2, 1), place * 1.5)
    assert (
        "p2/masks/spleen.nii: a label map must lie on the voxels of its image" in inspect_source(tmp_path).problems[0]
    )


def test_pictures_have_no_place(tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        Image.fromarray(np.zeros((5, 4), np.uint8)).save(tmp_path / kind / "1.png")
    (case,) = inspect_source(tmp_path).cases
    assert (case.shape, case.spacing_mm, case.orientation) == ((5, 4, 1), None, None)


def test_json_has_every_field_and_only_plain_values(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train_images=np.zeros((3, 4, 4)), train_labels=np.arange(3))
    content = inspect_source(tmp_path).as_json()
    assert list(content) == ["schema_version", *(field.name for field in fields(Inspection))]
    assert content["schema_version"] == 1 and content["categories"] == {"0": 1, "1": 1, "2": 1}
    assert json.loads(json.dumps(content))["cases"][2]["images"] == ["a.npz[train_images/2]"]


SECRETS = ("doe", "jane", "4711", "19700101")


def test_two_folders_of_one_patient_are_counted_as_one(tmp_path: Path) -> None:
    for number, (folder, patient) in enumerate([("2019", "4711"), ("2021", "4711"), ("other", "0815")]):
        array = np.random.default_rng(number).integers(0, 99, (4, 3, 3)).astype(np.int16)

        def call(index: int, dataset: Dataset, patient: str = patient) -> None:
            dataset.PatientID = patient

        write_series(tmp_path / "study" / folder / "ct", array, np.eye(4), change=call)
        label = nib.Nifti1Image(np.ones((4, 3, 3), np.uint8), read_volume(tmp_path / "study" / folder / "ct").affine)
        nib.save(label, tmp_path / "study" / folder / "label.nii.gz")
    found = inspect_source(tmp_path / "study")
    assert (len(found.cases), found.patients) == (3, 2)
    assert any("count as one patient" in note for note in found.notes)


@pytest.mark.parametrize("folder", ["Doe_Jane", "4711", "doe jane 19700101", "JANEDOE-4711", "doejane"])
def test_dicom_patients_are_never_shown(tmp_path: Path, folder: str) -> None:
    """The name, number and birth date stand in headers and in the names of folders and files."""
    root = tmp_path / "study"
    place = root / folder
    write_series(place / "ct", np.zeros((4, 3, 3), np.int16), np.eye(4), names=lambda k: f"4711_{k}.dcm")
    nifti(place / "Doe_seg.nii", shape=(4, 3, 3))
    write_series(root / "other 4711" / "a", np.zeros((4, 3, 2), np.int16), np.eye(4), names=lambda k: f"a{k}.dcm")
    write_series(root / "other 4711" / "b", np.zeros((4, 3, 2), np.int16), np.eye(4), names=lambda k: f"b{k}.dcm")
    nifti(root / "other 4711" / "label.nii")
    found = inspect_source(root)
    assert len(found.cases) == 1 and found.cases[0].shape == (4, 3, 3)
    assert any("2 image series" in problem for problem in found.problems)
    text = json.dumps(found.as_json()).replace(str(tmp_path), "").lower()
    assert "[patient 1]" in text
    assert not [secret for secret in SECRETS if secret in text]


@given(
    st.lists(st.tuples(st.text(min_size=4, max_size=9), st.text(max_size=3)), max_size=3),
    st.text(max_size=5),
    st.text(max_size=5),
)
@pytest.mark.slow
def test_no_long_value_survives(identities: list[tuple[str, str]], before: str, after: str) -> None:
    redaction = Redaction(identities)
    for name, _ in identities:
        shown = redaction.apply(f"{before}{name}{after}")
        assert name not in shown or name in "[patient 123]"  # a patient may be called so


def test_short_values_are_no_names() -> None:
    assert Redaction([("1", "A B")]).apply("1 file, A B") == "1 file, [patient 1]"
    assert Redaction([("Lee", "")]).apply("lee/sleeper Lee_2") == "[patient 1]/sleeper [patient 1]_2"
    assert Redaction([]).apply("anything") == "anything"


def test_labels_that_nobody_declares_are_looked_at(tmp_path: Path) -> None:
    """Pillow smooths the edges of a mask; inspect says what prepare would refuse, and which setting helps."""
    rows, columns = np.indices((128, 128))
    for part in ("images", "masks"):
        (tmp_path / "photos" / part).mkdir(parents=True)
    for number in range(4):
        disc = Image.fromarray(((rows - 60) ** 2 + (columns - 50 - 5 * number) ** 2 < 900).astype(np.uint8) * 255)
        disc.resize((50, 50), Image.Resampling.BICUBIC).save(tmp_path / f"photos/masks/p{number}.png")
        Image.fromarray(np.zeros((50, 50), np.uint8)).save(tmp_path / f"photos/images/p{number}.png")
    found = inspect_source(tmp_path / "photos")
    assert "in the 4 label maps looked at: " in found.notes[-1]
    assert "set preparation.mask_threshold=128" in found.problems[-1]
    for name in "ab":
        pair(tmp_path / "plain", name)
    assert inspect_source(tmp_path / "plain").notes == ("no labels are declared; in the 2 label maps looked at: 1",)
    assert inspect_source(tmp_path / "plain").problems == ()


@pytest.mark.parametrize(
    ("suffix", "mode", "fault"), [(".jpg", "L", "JPEG changes pixel values"), (".png", "RGB", "colours")]
)
def test_pictures_that_cannot_be_label_maps_are_problems(tmp_path: Path, suffix: str, mode: str, fault: str) -> None:
    """As `prepare` would say."""
    colours = np.zeros((8, 8, 3), np.uint8)
    colours[2:5, 2:5, 0] = colours[5:, 5:, 1] = 255
    for name in ("a", "b", "c"):
        for folder, picture in (
            ("images", Image.fromarray(colours).convert("L")),
            ("masks", Image.fromarray(colours).convert(mode)),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            picture.save(tmp_path / folder / f"{name}{suffix if folder == 'masks' else '.png'}")
    found = inspect_source(tmp_path)
    assert len(found.problems) == 3 and all(fault in problem for problem in found.problems)
    with pytest.raises(InvalidCasesError) as refused:
        prepare_dataset(tmp_path, tmp_path.with_name("out"))
    assert len(refused.value.problems) == 3


def test_a_spacing_a_thousand_times_the_usual_is_a_problem(tmp_path: Path) -> None:
    for name, spacing in (("a", 1.0), ("b", 1.2), ("c", 1000.0), ("d", 5.0)):
        for part in ("images", "labels"):
            nifti(tmp_path / part / f"{name}.nii.gz", affine=np.diag([spacing, spacing, 2 * spacing, 1]))
    (problem,) = inspect_source(tmp_path).problems
    assert "c.nii.gz: voxels of 1000 x 1000 x 2000 mm, 323 times the usual size" in problem
