"""Kills, power loss, full disks, readers beside the writer: a whole checkpoint is found, and it is the newest."""

import json
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dist_training.checkpoints import Checkpoint, read_checkpoint, read_latest_checkpoint
from dist_training.errors import DamagedCheckpointError

WRITER = "tests.dist_training.checkpoints.checkpoint_writer"
KILLS = 60  # about as many calls as write three checkpoints
MEGABYTE_OF_VALUES = 16_384  # in each of 8 arrays
MOUNT = ["unshare", "--mount", *(["--user", "--map-root-user"] if os.geteuid() != 0 else [])]

CheckWhole = Callable[[Checkpoint | None], int]
Write = Callable[..., Path]


class Writers:
    """Starts writers, one at a time, and follows what they say; see ``checkpoint_writer``."""

    def __init__(self, folder: Path, values: int, **options: Any) -> None:
        command = [sys.executable, "-m", WRITER, str(folder), str(values)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, **pipes, **options)

    def start(self, step: int, count: int = 0, kill_at: int = 0) -> int:
        """Start one that goes on after a step and give its process id; it has written one when this returns."""
        self._process.stdin.write(f"{step} {count} {kill_at}\n")
        self._process.stdin.flush()
        pid = int(self._next("writer"))
        if count == 0:
            self._next("written")
        return pid

    def _next(self, word: str) -> str:
        said, value = self._process.stdout.readline().split()
        assert said == word
        return value

    def ended(self) -> tuple[int, list[int]]:
        """Wait for its end; give the exit code, and the steps it has said are written, after the first."""
        written: list[int] = []
        while True:
            said, value = self._process.stdout.readline().split()
            if said == "ended":
                return int(value), written
            assert said == "written"
            written.append(int(value))

    def close(self) -> str:
        """End; give what went to stderr, where that was asked for."""
        return self._process.communicate(timeout=20)[1]


def test_a_writer_killed_anywhere_leaves_what_it_had_finished(tmp_path: Path, check_whole: CheckWhole) -> None:
    """The kill falls into opening, writing, synchronising, renaming and removing."""
    step, leftovers = 0, 0
    writers = Writers(tmp_path, 600)
    for kill_at in range(1, KILLS + 1):
        writers.start(step, kill_at=kill_at)
        code, written = writers.ended()
        assert code == -signal.SIGKILL
        leftovers += any(tmp_path.glob(".*.partial.npz"))
        found = check_whole(read_latest_checkpoint(tmp_path))
        assert found >= max(written, default=step + 1) > step
        step = found
    assert KILLS / 2 < leftovers < KILLS  # some fall into the writing, some before and after
    writers.start(step, 3)
    assert writers.ended()[0] == 0
    writers.close()
    assert not any(tmp_path.glob(".*.partial.npz"))


def test_each_step_is_on_the_disk_before_the_next(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file, its name, the folder's names; only then an older one goes."""
    write(1)
    calls: list[tuple[str, ...]] = []

    def record(name: str) -> None:
        call = getattr(os, name)

        def recorded(*paths: Any, **options: Any) -> None:
            named = [
                (Path(f"/proc/self/fd/{one}").readlink() if isinstance(one, int) else Path(one)).name for one in paths
            ]
            calls.append((name, *(re.sub("[0-9a-f]{8}-[0-9a-f]{8}", "#", named_one) for named_one in named)))
            call(*paths, **options)

        monkeypatch.setattr(os, name, recorded)

    for name in ("fsync", "replace", "unlink"):
        record(name)
    write(2, kept=1)
    monkeypatch.undo()
    beside, folder = ".#.partial.npz", tmp_path.name
    order = [
        ("fsync", beside),
        ("replace", beside, "step-000000002.npz"),
        ("fsync", folder),
        ("unlink", "step-000000001.npz"),
    ]
    assert [call for call in dict.fromkeys(calls) if call != ("unlink", beside)] == order


def test_a_reader_beside_the_writer_finds_whole_ones_in_order(tmp_path: Path, check_whole: CheckWhole) -> None:
    writers = Writers(tmp_path, 600)
    pid, found = writers.start(0), [0]
    while len(set(found)) <= 30:
        found.append(check_whole(read_latest_checkpoint(tmp_path)))
    os.kill(pid, signal.SIGKILL)
    writers.ended()
    writers.close()
    assert found == sorted(found)


def test_a_file_cut_short_anywhere_gives_way_to_the_one_before(
    tmp_path: Path, write: Write, check_whole: CheckWhole, caplog: pytest.LogCaptureFixture
) -> None:
    """What a power loss in the middle of writing may leave, on a disk that renames before it writes."""
    write(1)
    path = write(2)
    content = path.read_bytes()
    for length in (*range(0, len(content), 41), *range(len(content) - 80, len(content))):
        caplog.clear()
        path.write_bytes(content[:length])
        assert check_whole(read_latest_checkpoint(tmp_path)) == 1, length
        assert "step-000000002.npz is damaged" in caplog.text
    path.write_bytes(content[:1000] + bytes(len(content) - 1000))  # the rest never reached the disk
    assert check_whole(read_latest_checkpoint(tmp_path)) == 1
    path.write_bytes(content + b"more")
    assert check_whole(read_latest_checkpoint(tmp_path)) == 1
    path.write_bytes(content)
    assert check_whole(read_latest_checkpoint(tmp_path)) == 2


@pytest.fixture
def two(tmp_path: Path, write: Write) -> tuple[Path, bytes]:
    """The later of two checkpoints, and its content."""
    write(1)
    path = write(2)
    return path, path.read_bytes()


def flip(content: bytes, position: int, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[position] ^= 1 << bit
    return bytes(damaged)


@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=200)
def test_one_flipped_bit_gives_way_to_the_one_before(
    two: tuple[Path, bytes], check_whole: CheckWhole, caplog: pytest.LogCaptureFixture, position: float, bit: int
) -> None:
    path, content = two
    path.write_bytes(flip(content, int(position * len(content)), bit))
    caplog.clear()
    assert check_whole(read_latest_checkpoint(path.parent)) == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_every_bit_of_the_checksum_counts(two: tuple[Path, bytes]) -> None:
    """Where the mark of the checksum is damaged, the file is not taken for one of the version without."""
    path, content = two
    for position in range(len(content) - 72, len(content)):
        for bit in range(8):
            path.write_bytes(flip(content, position, bit))
            with pytest.raises(DamagedCheckpointError):
                read_checkpoint(path)


def test_a_write_that_fails_leaves_the_old_ones_and_no_rubbish(
    tmp_path: Path, write: Write, check_whole: CheckWhole
) -> None:
    """A limit on file sizes: the same write fails half-way as on a full disk, with another number."""
    write(1)

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    writers = Writers(tmp_path, MEGABYTE_OF_VALUES, preexec_fn=limit, stderr=subprocess.PIPE)
    writers.start(1, 1)
    assert writers.ended() == (1, [])
    assert "File too large" in writers.close()
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001.npz"]
    assert check_whole(read_latest_checkpoint(tmp_path)) == 1


def test_a_full_disk_is_named_at_the_next_call_and_costs_nothing_that_is_there(tmp_path: Path) -> None:
    """A real disk of 2.5 MB, checkpoints of 1 MB: the third does not fit beside the two that are kept."""
    can_mount = [*MOUNT, "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "/mnt"]
    if shutil.which("unshare") is None or subprocess.run(can_mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this system lets nobody mount a small disk (unshare --mount, mount -t tmpfs)")
    script = """
import json, sys, threading
from pathlib import Path
from tests.dist_training.checkpoints.checkpoint_writer import state_of
from dist_training.checkpoints import CheckpointStore, read_latest_checkpoint
from r2d2_base.errors import NoSpaceError
folder, said = Path(sys.argv[1]), {}
store = CheckpointStore(folder)
for step in (1, 2, 3):
    store.write(**state_of(step, 16_384))
    try:
        store.wait()
    except NoSpaceError as error:
        said["wait"] = str(error)
store.write(**state_of(4, 16_384))
[thread.join() for thread in threading.enumerate() if thread.name == "checkpoints"]
try:
    store.write(**state_of(5, 6))
except NoSpaceError as error:
    said["write"] = str(error)
store.close()
said["files"] = sorted(path.name for path in folder.iterdir())
said["latest"] = read_latest_checkpoint(folder).progress.epoch
print(json.dumps(said))
"""
    mount = 'mount -t tmpfs -o size=2500k tmpfs "$1"; exec "$2" -c "$3" "$1"'
    command = [*MOUNT, "sh", "-c", mount, "sh", str(tmp_path), sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert "no room left on the disk while writing" in said["wait"]
    assert "step-000000003.npz" in said["wait"]
    assert "step-000000004.npz" in said["write"]
    assert said["files"] == ["step-000000001.npz", "step-000000002.npz"]
    assert said["latest"] == 2
