import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from imgmed import npy
from r2d2_base import files
from r2d2_base.errors import NoSpaceError, NotWritableError, OutputExistsError, R2D2Error

FULL = Path("/dev/full")


def entries(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_arrays_are_plain_numpy_files(tmp_path: Path):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)
    npy.write_npy(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), array)
    npy.write_npy(tmp_path / "empty.npy", np.zeros((0, 2)))
    assert np.load(tmp_path / "empty.npy").shape == (0, 2)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_json_is_read_as_windows_writes_it(tmp_path: Path, encoding: str):
    (tmp_path / "a.json").write_text('{"name": "Müller"}', encoding=encoding)
    assert files.read_json(tmp_path / "a.json") == {"name": "Müller"}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(path, {"new": float("nan")})
    with pytest.raises(TypeError):
        files.write_bytes(path, "not bytes")
    assert json.loads(path.read_text()) == {"old": 1}
    assert entries(tmp_path) == ["a.json"]


def test_a_folder_appears_whole(tmp_path: Path):
    out = tmp_path / "new" / "deep" / "out"
    with files.staged_folder(out) as staging:
        (staging / "a").write_text("1")
        assert not out.exists() and staging.parent == out.parent
    assert entries(tmp_path) == ["new", "new/deep", "new/deep/out", "new/deep/out/a"]


def test_an_empty_folder_may_be_filled(tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    with files.staged_folder(out) as staging:
        (staging / "a").write_text("1")
    assert entries(tmp_path) == ["out", "out/a"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_remains_after_an_error_or_interruption(tmp_path: Path, error):
    with pytest.raises(error), files.staged_folder(tmp_path / "new" / "out") as staging:
        (staging / "a").write_text("1")
        raise error
    assert entries(tmp_path) == []


def test_a_folder_in_use_is_left_alone(tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("1")
    (tmp_path / "file").write_text("1")
    for name in ("out", "file"):
        with pytest.raises(OutputExistsError, match=name), files.staged_folder(tmp_path / name):
            pytest.fail("must not be entered")
    assert entries(tmp_path) == ["file", "out", "out/mine"]


def test_a_folder_filled_meanwhile_is_left_alone(tmp_path: Path):
    out = tmp_path / "out"
    with pytest.raises(OutputExistsError, match="meanwhile"), files.staged_folder(out) as staging:
        (staging / "a").write_text("1")
        out.mkdir()
        (out / "theirs").write_text("2")
    assert entries(tmp_path) == ["out", "out/theirs"]


def test_more_than_is_free_is_refused_with_both_numbers(tmp_path: Path):
    free = shutil.disk_usage(tmp_path).free
    files.check_free_space(tmp_path / "not" / "yet", free // 2)
    with pytest.raises(NoSpaceError, match=r"out needs \S+ TB, \S+ [kMGT]?B free in .*; make room") as caught:
        files.check_free_space(tmp_path / "out", 10**16)
    assert isinstance(caught.value, OSError) and isinstance(caught.value, R2D2Error)
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")
def test_a_disk_that_fills_up_while_writing_becomes_one_clear_error(tmp_path: Path):
    """The kernel itself answers ENOSPC; the folder under construction disappears."""

    def fill_the_disk() -> None:
        with files.staged_folder(tmp_path / "out"), FULL.open("wb") as stream:
            npy._write_array(stream, np.zeros((64, 64)))

    with pytest.raises(NoSpaceError, match=r"no room left on the disk while writing .*out") as caught:
        fill_the_disk()
    assert caught.value.errno == errno.ENOSPC
    assert entries(tmp_path) == []


def test_other_system_errors_keep_their_kind(tmp_path: Path):
    with pytest.raises(PermissionError), files.staged_folder(tmp_path / "out"):
        raise PermissionError("no")
    with pytest.raises(FileNotFoundError):
        files.write_bytes(tmp_path / "missing" / "a", b"1")


SYSTEM = Path("/sys")


@pytest.mark.skipif(not SYSTEM.is_dir(), reason="the system has no /sys, where not even root can write")
@pytest.mark.parametrize("place", [SYSTEM / "r2d2", SYSTEM / "r2d2" / "deeper", Path("/dev/null/r2d2")])
@pytest.mark.parametrize("folder", [files.staged_folder, files.resumable_folder])
def test_a_place_that_cannot_be_written_is_named_in_one_line(folder, place):
    said = rf"{place} cannot be written \(.+\); choose another place"
    with pytest.raises(NotWritableError, match=said) as caught, folder(place):
        pass
    assert isinstance(caught.value, OSError) and "\n" not in str(caught.value)


@pytest.mark.skipif(not SYSTEM.is_dir(), reason="the system has no /sys, where not even root can write")
def test_files_that_cannot_be_written_are_named_and_longest_names_can(tmp_path: Path):
    for path in (SYSTEM / "r2d2", tmp_path / ("n" * 256)):
        with pytest.raises(NotWritableError, match=f"{path} cannot be written"):
            files.write_bytes(path, b"1")
    files.write_bytes(tmp_path / ("n" * 255), b"1")
    assert entries(tmp_path) == ["n" * 255]


def test_an_error_about_another_file_keeps_its_kind(tmp_path: Path):
    unreadable = tmp_path / "source" / "scan.nii"
    with pytest.raises(PermissionError) as caught, files.staged_folder(tmp_path / "out"):
        raise PermissionError(errno.EACCES, "permission denied", str(unreadable))
    assert not isinstance(caught.value, R2D2Error)
