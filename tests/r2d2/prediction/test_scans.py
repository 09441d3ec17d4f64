"""Finding scans to predict: where they may lie, what they are called, what is passed over."""

import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from imgmed.errors import SourceLayoutError
from r2d2.errors import PredictionError
from r2d2.prediction.scans import FoundScans, found_scans
from tests.dicom_files import write_series


def nifti(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.ones((4, 3, 2), np.uint8), np.eye(4)), path)
    return root


def find(*inputs: Path, series: str | None = None) -> FoundScans:
    with found_scans(inputs, series=series) as found:
        assert all(path.is_file() for scan in found.scans for path in scan.files)
        return found


def names(found: FoundScans) -> list[str]:
    assert not found.problems
    return sorted(scan.case_id for scan in found.scans)


def test_a_folder_of_every_kind_and_what_is_passed_over(tmp_path: Path) -> None:
    """Scans in the folder, in folders below it, as DICOM; each file that is none has its line."""
    root = nifti(tmp_path, "a.nii.gz", "a_seg.nii.gz", "p1/ct.nii", "p2/ct.nii", "p2/mask.nii")
    write_series(root / "p3/series", np.zeros((4, 3, 3), np.int16), np.eye(4))
    (root / "lost.nii").symlink_to("/nowhere/lost.nii")
    (root / "odd.mat").touch()
    (root / "more.zip").touch()
    (root / "notes.txt").touch()
    found = find(root)
    assert names(found) == ["a", "p1", "p2", "p3"]
    lines = "\n".join(found.passed_over)
    for said in ("a_seg.nii.gz: named as a label map", "mask.nii: named as a label map", "odd.mat: no format"):
        assert said in lines
    assert "more.zip: an archive" in lines and "lost.nii" in lines and "notes.txt" not in lines


def test_a_file_with_a_problem_is_named_once(tmp_path: Path) -> None:
    nifti(tmp_path, "a_0000.nii", "a_0001.nii", "b_0001.nii")
    found = find(tmp_path)
    assert len(found.scans) == len(found.problems) == 1 and not found.passed_over


def test_channels_in_files_of_their_own_are_one_scan(tmp_path: Path) -> None:
    nifti(tmp_path, *(f"imagesTs/new_{n}_000{channel}.nii.gz" for n in range(2) for channel in range(2)))
    found = find(tmp_path / "imagesTs")
    assert names(found) == ["new_0", "new_1"]
    assert [[path.name for path in scan.files] for scan in found.scans] == [
        [f"new_{n}_0000.nii.gz", f"new_{n}_0001.nii.gz"] for n in range(2)
    ]
    assert find(*(tmp_path / "imagesTs").iterdir()).scans[0].case_id in ("new_0", "new_1")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ("case_0/imaging.nii case_1/imaging.nii", ["case_0", "case_1"]),
        ("x/a.nii y/a.nii y/b.nii", ["b", "x", "y"]),
        ("x/a.nii y/a.nii z/x.nii", ["x", "x_a", "y_a"]),
        ("1/x/a.nii 2/x/a.nii", ["1_x", "2_x"]),
    ],
)
def test_files_that_are_called_alike_are_named_by_their_folders(
    tmp_path: Path, files: str, expected: list[str]
) -> None:
    nifti(tmp_path, *files.split())
    assert names(find(*(tmp_path / name for name in files.split()))) == expected


def test_two_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    nifti(tmp_path, "x/scan.nii", "x/scan.nii.gz")
    with pytest.raises(PredictionError, match=r"scan\.nii and .*scan\.nii\.gz would both be written as scan"):
        find(tmp_path / "x/scan.nii", tmp_path / "x/scan.nii.gz")


def test_a_scan_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    nifti(tmp_path, "a.nii", "b.nii")
    assert names(find(tmp_path / "a.nii", tmp_path, tmp_path / "a.nii")) == ["a", "b"]


def test_archives_are_named_in_place_of_where_they_are_unpacked(tmp_path: Path) -> None:
    nifti(tmp_path, "scans/a.nii", "scans/a_seg.nii")
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for path in (tmp_path / "scans").iterdir():
            opened.write(path, f"scans/{path.name}")
    found = find(archive)
    assert names(found) == ["a"] and found.scans[0].shown == f"{archive}/scans/a.nii"
    assert found.passed_over == (f"{archive}/scans/a_seg.nii: named as a label map",)
    assert found.told(f"{found.scans[0].files[0]}: damaged") == f"{archive}/scans/a.nii: damaged"
    assert not found.scans[0].files[0].exists()


def test_files_of_an_archives_only_folder_may_be_scans_each(tmp_path: Path) -> None:
    nifti(tmp_path, "scans/a.nii", "scans/b.nii")
    archive, more = tmp_path / "study.zip", tmp_path / "more.zip"
    for path, others in ((archive, ()), (more, ("notes/readme.txt",))):
        with zipfile.ZipFile(path, "w") as opened:
            for name in ("a.nii", "b.nii"):
                opened.write(tmp_path / "scans" / name, f"scans/{name}")
            for name in others:
                opened.writestr(name, "nothing")
    with found_scans([archive]) as found:
        apart = found.apart()
        assert names(found) == ["scans"] and apart is not None and names(apart) == ["a", "b"]
        assert [scan.shown for scan in apart.scans] == [f"{archive}/scans/{name}" for name in ("a.nii", "b.nii")]
    for other in (more, tmp_path / "scans"):
        with found_scans([other]) as found:
            assert found.apart() is None


def test_arrays_without_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "new.npz", images=np.zeros((3, 8, 8), np.uint8))
    found = find(tmp_path / "new.npz")
    assert names(found) == ["new_0", "new_1", "new_2"]
    assert found.scans[1].shown == f"{tmp_path}/new.npz[images/1]"


def test_which_series(tmp_path: Path) -> None:
    for person in ("p1", "p2"):
        for description in ("thorax", "scout"):
            write_series(
                tmp_path / person / description, np.zeros((4, 3, 3), np.int16), np.eye(4), description=description
            )
    assert names(find(tmp_path)) == ["p1_scout", "p1_thorax", "p2_scout", "p2_thorax"]
    found = find(tmp_path, series="THOR")
    assert names(found) == ["p1", "p2"]
    assert len(found.passed_over) == 6 and all("scout" in line and "DICOM" in line for line in found.passed_over)
    with pytest.raises(PredictionError, match=r"none of the scans there \(4\) .* description has 'MR'.*--series"):
        find(tmp_path, series="MR")


def test_nothing_to_predict_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceLayoutError, match=r"no scans in .*empty"):
        find(tmp_path / "empty")
    found = find(tmp_path / "none.nii", nifti(tmp_path, "a.nii") / "a.nii")
    assert found.problems == (f"{tmp_path}/none.nii: no such file or folder",) and len(found.scans) == 1
