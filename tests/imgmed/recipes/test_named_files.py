"""Scans among files that are named one by one."""

from pathlib import Path

import nibabel as nib
import numpy as np

from imgmed.recipes.named_files import scans_among
from tests.dicom_files import write_series


def nifti(*paths: Path) -> list[Path]:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.ones((4, 3, 2), np.uint8), np.eye(4)), path)
    return list(paths)


def found(files: list[Path], root: Path) -> list[tuple[str, list[str]]]:
    cases = scans_among(files)
    assert not cases.problems and all(case.label is None for case in cases.sources)
    return [(case.case_id, [path.relative_to(root).as_posix() for path in case.files]) for case in cases.sources]


def test_each_file_is_a_scan_in_the_order_of_naming(tmp_path: Path) -> None:
    files = nifti(tmp_path / "z.nii", tmp_path / "deeper/a.nii.gz", tmp_path / "b.NII")
    assert [name for name, _ in found([*files, files[0]], tmp_path)] == ["z", "a", "b"]


def test_numbered_channels_are_one_and_label_maps_beside_their_scans_are_none(tmp_path: Path) -> None:
    names = ("p_0000", "p_0001", "q_0000", "q_0001", "q_seg", "alone_mask")
    files = nifti(*(tmp_path / f"{name}.nii" for name in names))
    assert found([*files[:4], files[5]], tmp_path) == [
        ("p", ["p_0000.nii", "p_0001.nii"]),
        ("q", ["q_0000.nii", "q_0001.nii"]),
        ("alone_mask", ["alone_mask.nii"]),  # nothing else is meant by it
    ]
    pair = nifti(tmp_path / "two/x.nii", tmp_path / "two/x_seg.nii")
    assert found(pair, tmp_path) == [("x", ["two/x.nii"])]


def test_slices_of_one_series_are_one_scan(tmp_path: Path) -> None:
    """In the order of their positions, which the names do not follow; reports and other series apart."""
    shape = (4, 3, 3)
    first = write_series(tmp_path / "a", np.zeros(shape, np.int16), np.eye(4), names=lambda k: f"{9 - k}.dcm")
    second = write_series(tmp_path / "b/ct", np.zeros(shape, np.int16), np.eye(4))
    third = write_series(tmp_path / "b/ct", np.zeros(shape, np.int16), np.eye(4), names="X{}.dcm".format)
    every = [*first, *second, *third]
    assert [(name, len(files)) for name, files in found(every, tmp_path)] == [("a", 3), ("ct_1", 3), ("ct_2", 3)]
    assert found(first, tmp_path)[0][1] == [path.relative_to(tmp_path).as_posix() for path in first]
    assert found([first[1]], tmp_path) == [("8", ["a/8.dcm"])]


def test_what_is_no_scan_is_named(tmp_path: Path) -> None:
    (tmp_path / "link.nii").symlink_to("/nowhere/x.nii")
    (tmp_path / "a.doc").touch()
    files = [*nifti(tmp_path / "good.nii"), *(tmp_path / name for name in ("link.nii", "none.nii", "a.doc"))]
    cases = scans_among(files)
    assert [case.case_id for case in cases.sources] == ["good"]
    assert [problem.removeprefix(f"{tmp_path}/").partition(";")[0] for problem in cases.problems] == [
        "link.nii: a link to nothing",
        "none.nii: no such file or folder",
        "a.doc: no scan that can be read",
    ]
