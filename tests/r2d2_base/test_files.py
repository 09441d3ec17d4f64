import errno
import json
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from imgmed import npy
from r2d2_base import files
from r2d2_base.errors import NoSpaceError, NotWritableError, OutputExistsError, R2D2Error
from r2d2_base.folders import resumable_folder, staged_folder

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
    with staged_folder(out) as staging:
        (staging / "a").write_text("1")
        assert not out.exists() and staging.parent == out.parent
    assert entries(tmp_path) == ["new", "new/deep", "new/deep/out", "new/deep/out/a"]


def test_an_empty_folder_may_be_filled(tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    with staged_folder(out) as staging:
        (staging / "a").write_text("1")
    assert entries(tmp_path) == ["out", "out/a"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_remains_after_an_error_or_interruption(tmp_path: Path, error):
    with pytest.raises(error), staged_folder(tmp_path / "new" / "out") as staging:
        (staging / "a").write_text("1")
        raise error
    assert entries(tmp_path) == []


def test_a_folder_in_use_is_left_alone(tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("1")
    (tmp_path / "file").write_text("1")
    for name in ("out", "file"):
        with pytest.raises(OutputExistsError, match=name), staged_folder(tmp_path / name):
            pytest.fail("must not be entered")
    assert entries(tmp_path) == ["file", "out", "out/mine"]


def test_a_folder_filled_meanwhile_is_left_alone(tmp_path: Path):
    out = tmp_path / "out"
    with pytest.raises(OutputExistsError, match="meanwhile"), staged_folder(out) as staging:
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
        with staged_folder(tmp_path / "out"), FULL.open("wb") as stream:
            npy._write_array(stream, np.zeros((64, 64)))

    with pytest.raises(NoSpaceError, match=r"no room left on the disk while writing .*out") as caught:
        fill_the_disk()
    assert caught.value.errno == errno.ENOSPC
    assert entries(tmp_path) == []


def test_what_a_block_reads_keeps_its_error_and_what_it_cannot_write_is_named(tmp_path: Path):
    with pytest.raises(PermissionError, match=r"^no$"), staged_folder(tmp_path / "out"):
        raise PermissionError("no")
    (tmp_path / "file").write_text("1")
    for path, reason in (("missing/a", "no such file or directory"), ("file/a", r"\S*/file is no folder")):
        with pytest.raises(NotWritableError, match=rf"{path} cannot be written \({reason}\); choose another place"):
            files.write_bytes(tmp_path / path, b"1")
    with pytest.raises(NotWritableError, match=r"file/deep cannot be written \(\S*/file is no folder\)") as caught:
        files.make_folder(tmp_path / "file" / "deep")
    assert caught.value.errno == errno.ENOTDIR


def test_files_take_their_places_together_and_in_order(tmp_path: Path):
    first, second = tmp_path / "model.KERAS", tmp_path / "model.json"
    for text in ("old", "new"):
        with files.written_beside(first, second) as names:
            assert [name.suffix for name in names] == [".keras", ".json"]  # by which writers choose a format
            for name in names:
                name.write_text(text)
    with pytest.raises(ValueError, match="why"), files.written_beside(first, second) as names:
        names[0].write_text("half")
        raise ValueError("why")
    assert [path.read_text() for path in (first, second)] == ["new", "new"]
    assert entries(tmp_path) == ["model.KERAS", "model.json"]


def test_a_file_that_must_not_be_replaced_stays(tmp_path: Path):
    for text in ("first", "second"):
        with (
            suppress(FileExistsError),
            files.written_beside(tmp_path / "key", may_replace=False) as (beside,),
        ):
            beside.write_text(text)
    assert entries(tmp_path) == ["key"]
    assert (tmp_path / "key").read_text() == "first"


LEFT_BY_A_KILLED_PROCESS = (
    "import os, sys; from pathlib import Path; from r2d2_base.files import written_beside\n"
    "with written_beside(Path(sys.argv[1])) as (beside,):\n"
    "    beside.touch()\n"
    "    os._exit(0)\n"
)


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path):
    kept = [".a.partial", ".hidden", "deep", "deep/model.keras", "x.01234567.partial"]
    (tmp_path / "deep").mkdir()
    for name in kept[:2] + kept[3:]:
        (tmp_path / name).touch()
    earlier = (".a.png.01234567.partial", "deep/.89abcdef.partial.mha", "deep/.partial.model.keras")
    for name in earlier:  # as version 0.1.0 called them
        (tmp_path / name).touch()
    for name in ("a.png", "deep/model.keras"):
        subprocess.run([sys.executable, "-c", LEFT_BY_A_KILLED_PROCESS, tmp_path / name], check=True)
    assert len(entries(tmp_path)) == len(kept) + 5
    files.remove_leftovers_of(tmp_path / "deep" / "model.keras")
    assert len(entries(tmp_path)) == len(kept) + 3
    files.remove_leftovers(tmp_path)
    assert entries(tmp_path) == sorted(kept)


def test_whether_a_folder_can_be_written_into_is_tried(tmp_path: Path):
    files.check_writable(tmp_path / "not" / "yet")
    (tmp_path / "file").touch()
    with pytest.raises(NotWritableError, match=r"file cannot be written \(\S*/file is no folder\)"):
        files.check_writable(tmp_path / "file")
    assert entries(tmp_path) == ["file"]


SYSTEM = Path("/sys")


@pytest.mark.skipif(not SYSTEM.is_dir(), reason="the system has no /sys, where not even root can write")
@pytest.mark.parametrize("place", [SYSTEM / "r2d2", SYSTEM / "r2d2" / "deeper", Path("/dev/null/r2d2")])
@pytest.mark.parametrize("folder", [staged_folder, resumable_folder])
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
    name = "ä" * 125 + ".json"
    files.write_bytes(tmp_path / name, b"1")
    with staged_folder(tmp_path / ("b" * 255)):
        pass
    assert entries(tmp_path) == ["b" * 255, name]


def test_an_error_about_another_file_keeps_its_kind(tmp_path: Path):
    unreadable = tmp_path / "source" / "scan.nii"
    with pytest.raises(PermissionError) as caught, staged_folder(tmp_path / "out"):
        raise PermissionError(errno.EACCES, "permission denied", str(unreadable))
    assert not isinstance(caught.value, R2D2Error)
