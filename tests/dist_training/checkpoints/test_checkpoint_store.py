"""Writing while training goes on.

A disk that hangs is a named pipe where the checkpoint's file would be made: it takes 64 kB, then the writer waits for
a reader. When it has been read the write fails, for a pipe cannot be synchronised: so it is also a disk that fails.
"""

import logging
import os
import select
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from dist_training.checkpoints import Checkpoint, CheckpointStore, read_checkpoint
from r2d2_base import files
from r2d2_base.errors import ConfigurationError
from tests.dist_training.checkpoints.checkpoint_writer import state_of

CheckWhole = Callable[[Checkpoint | None], int]


class HangingDisk:
    """Makes the writing of step 2 hang."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pipe, name_beside = folder / "pipe", files.name_beside
        os.mkfifo(pipe)
        self._reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        monkeypatch.setattr(
            files, "name_beside", lambda path: pipe if path.name == "step-000000002.npz" else name_beside(path)
        )

    def receive(self, store: CheckpointStore) -> None:
        """Have the store write step 2; return when it hangs."""
        store.write(**state_of(2, 100_000))
        assert select.select([self._reader], [], [], 20)[0]

    def fail(self) -> None:
        os.set_blocking(self._reader, True)
        while os.read(self._reader, 1 << 20):
            pass
        os.close(self._reader)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CheckpointStore]:
    """A store that has written step 1."""
    with CheckpointStore(tmp_path) as store:
        store.write(**state_of(1, 6))
        store.wait()
        yield store


def steps(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("step-")) for path in folder.glob("step-*"))


def test_it_is_on_the_disk_after_wait(tmp_path: Path, store: CheckpointStore, check_whole: CheckWhole) -> None:
    path = store.write(**state_of(2, 6))
    store.wait()
    assert check_whole(read_checkpoint(path)) == 2
    assert [written.name for written in store.take_written()] == ["step-000000001.npz", "step-000000002.npz"]
    assert store.take_written() == []
    store.write(**state_of(3, 6))
    assert check_whole(store.read_latest()) == 3
    assert steps(tmp_path) == [2, 3]


def test_training_goes_on_meanwhile_and_changes_nothing(
    tmp_path: Path, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, state = HangingDisk(tmp_path, monkeypatch), state_of(3, 6)
    disk.receive(store)
    store.write(**state)  # both return although nothing can be written
    for array in (*state["model"], *state["optimizer"]):
        array += 100
    disk.fail()
    with pytest.raises(OSError, match="invalid argument"):
        store.wait()
    assert np.unique(store.read_latest().model[0]).tolist() == [3]  # type: ignore[union-attr]


def test_a_newer_one_takes_the_place_of_the_one_that_waits(
    tmp_path: Path, store: CheckpointStore, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = HangingDisk(tmp_path, monkeypatch)
    disk.receive(store)
    with caplog.at_level(logging.INFO):
        for step in (3, 4):
            store.write(**state_of(step, 6))
    assert "the checkpoint of step 3 gives way to that of step 4" in caplog.text
    disk.fail()
    with pytest.raises(OSError, match="invalid argument"):
        store.wait()
    assert steps(tmp_path) == [1, 4]


def test_a_failure_is_raised_once_and_the_next_one_is_written(
    tmp_path: Path, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = HangingDisk(tmp_path, monkeypatch)
    disk.receive(store)
    disk.fail()
    with pytest.raises(OSError, match="invalid argument"):
        store.close()
    store.wait()
    store.write(**state_of(3, 6))
    store.close()
    assert steps(tmp_path) == [1, 3]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_failure_does_not_hide_what_ended_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge() -> None:
        with CheckpointStore(tmp_path) as store:
            store.write(**state_of(1, 6))
            store.wait()
            disk = HangingDisk(tmp_path, monkeypatch)
            disk.receive(store)
            disk.fail()
            raise ArithmeticError("the loss became nan")

    with pytest.raises(ArithmeticError, match="the loss became nan"):
        diverge()
    assert "a checkpoint could not be written" in caplog.text


def test_a_process_that_ends_without_closing_has_written(tmp_path: Path, check_whole: CheckWhole) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.dist_training.checkpoints.checkpoint_writer import state_of\n"
        "from dist_training.checkpoints import CheckpointStore\n"
        "CheckpointStore(Path(sys.argv[1])).write(**state_of(1, 100_000)); raise SystemExit(3)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == 3
    assert check_whole(CheckpointStore(tmp_path).read_latest()) == 1


def test_only_writing_removes_what_a_killed_writer_left(tmp_path: Path) -> None:
    """Someone who reads must not take the file away that another process is writing."""
    earlier = (".step-000000007.npz.partial", ".best-000000003.npz.partial", "best-000000003.npz")  # of version 0.1
    left = [tmp_path / name for name in (*earlier, ".0a1b2c3d-01234567.partial.npz")]
    for path in left:
        path.write_bytes(b"half")
    with CheckpointStore(tmp_path) as store:
        assert store.read_latest() is None
        assert all(path.exists() for path in left)
        store.write(**state_of(8, 6))
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000008.npz"]


def test_one_extra_copy_is_in_memory(tmp_path: Path) -> None:
    """40 arrays of 1 MB are handed over one by one: 40 MB and a few small things."""
    arrays = (np.full(125_000, step, np.float64) for step in range(40))
    with CheckpointStore(tmp_path) as store:
        tracemalloc.start()
        store.write(**{**state_of(1, 1), "model": arrays})
        store.wait()
        left, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert 40e6 < peak < 45e6
    assert left < 1e6


def test_none_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="at least 1 checkpoint must be kept; received 0"):
        CheckpointStore(tmp_path, kept=0)
