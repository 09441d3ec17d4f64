"""Folders that appear whole, and go on where an interrupted run left them."""

import errno
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from threading import Timer

import pytest

from r2d2_base.errors import BusyFolderError, CancelledError, ProcessLostError
from r2d2_base.files import write_bytes
from r2d2_base.folders import locked_folder, remove_unfinished, resumable_folder


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_appears_when_it_is_complete(tmp_path) -> None:
    out = tmp_path / "a" / "out"
    with resumable_folder(out) as folder:
        write_bytes(folder / "file", b"1")
        assert not out.exists()
    assert names(tmp_path) == ["a", "a/out", "a/out/file"]


def test_an_error_leaves_nothing(tmp_path) -> None:
    with pytest.raises(ValueError), resumable_folder(tmp_path / "a" / "out") as folder:
        write_bytes(folder / "file", b"1")
        raise ValueError
    assert names(tmp_path) == []


def test_an_error_keeps_the_older_folder(tmp_path) -> None:
    (tmp_path / "out").mkdir()
    write_bytes(tmp_path / "out" / "old", b"0")
    with pytest.raises(ValueError), resumable_folder(tmp_path / "out"):
        raise ValueError
    assert names(tmp_path) == ["out", "out/old"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, CancelledError, ProcessLostError])
def test_an_interruption_keeps_what_was_finished(tmp_path, interruption) -> None:
    with pytest.raises(interruption), resumable_folder(tmp_path / "out") as folder:
        write_bytes(folder / "done", b"1")
        (folder / ".0a1b2c3d-01234567.partial.npy").write_bytes(b"x")
        (folder / ".half.npy.01234567.partial").write_bytes(b"x")  # as version 0.1.0 left it
        (folder / ".source.01234567.partial" / "deep").mkdir(parents=True)
        (folder / ".source.01234567.partial" / "deep" / ".a.89abcdef.partial").touch()
        raise interruption
    assert not (tmp_path / "out").exists()
    with resumable_folder(tmp_path / "out") as folder:
        assert names(folder) == ["done"]
    assert names(tmp_path) == ["out", "out/done"]


def test_takes_the_place_of_an_older_folder(tmp_path) -> None:
    out = tmp_path / "out"
    for content in (b"0", b"1"):
        with resumable_folder(out) as folder:
            write_bytes(folder / "file", content)
    assert names(tmp_path) == ["out", "out/file"]
    assert (out / "file").read_bytes() == b"1"


def test_takes_the_place_without_the_exchange_of_the_system(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("r2d2_base.folders._exchanged", lambda first, second: False)
    test_takes_the_place_of_an_older_folder(tmp_path)


HOLD = """
import sys
from r2d2_base.folders import resumable_folder
with resumable_folder(sys.argv[1]) as folder:
    (folder / "held").touch()
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(BusyFolderError, match="is being written by another process"),
            resumable_folder(tmp_path / "out"),
        ):
            pass
        remove_unfinished(tmp_path / "out")
        assert names(tmp_path) == [".out.unfinished", ".out.unfinished/held"]
        process.kill()
    remove_unfinished(tmp_path / "out")
    assert names(tmp_path) == []


def test_a_lock_is_waited_for_as_long_as_asked(tmp_path) -> None:
    with ExitStack() as held:
        held.enter_context(locked_folder(tmp_path, tmp_path))
        with pytest.raises(BusyFolderError), locked_folder(tmp_path, tmp_path, patience_s=0.1):
            pass
        Timer(0.2, held.pop_all().close).start()
        with locked_folder(tmp_path, tmp_path, patience_s=20):
            pass


def test_without_locks_in_the_file_system_work_goes_on(tmp_path, monkeypatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("r2d2_base.folders.fcntl.flock", refuse)
    with resumable_folder(tmp_path / "out") as folder:
        write_bytes(folder / "file", b"1")
    assert names(tmp_path) == ["out", "out/file"]
