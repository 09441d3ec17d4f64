"""Checkpoints: whole or not there; the newest that can be read counts."""

import logging
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dist_training.checkpoint import TrainingProgress, read_latest_checkpoint, write_checkpoint
from dist_training.errors import CheckpointError


def write(folder: Path, step: int, value: float = 0.0) -> Path:
    progress = TrainingProgress(step, step_in_epoch=3, loss_sum=1.5, sample_count=7, best_score=0.25, best_epoch=1)
    return write_checkpoint(
        folder,
        step=step,
        progress=progress,
        network={"architecture": "unet", "depth": 2},
        facts={"training_slices": 7},
        model=[np.full((2, 3), value, np.float32), np.arange(4.0)],
        optimizer=[np.array(5, np.int64)],
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write(tmp_path, 4, 2.5)
    checkpoint = read_latest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.progress == TrainingProgress(4, 3, 1.5, 7, 0.25, 1)
    assert checkpoint.network == {"architecture": "unet", "depth": 2}
    assert checkpoint.facts == {"training_slices": 7}
    np.testing.assert_array_equal(checkpoint.model[0], np.full((2, 3), 2.5, np.float32))
    assert [array.dtype for array in checkpoint.model] == [np.float32, np.float64]
    assert checkpoint.optimizer[0] == 5


def test_the_last_two_are_kept_and_nothing_else_remains(tmp_path: Path) -> None:
    for step in (1, 2, 10, 9):
        write(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000009.npz", "step-000000010.npz"]


def test_there_may_be_none(tmp_path: Path) -> None:
    assert read_latest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_one_gives_way_to_the_one_before(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 1, 1.0)
    path = write(tmp_path, 2, 2.0)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        position = content.index(np.full((2, 3), 2.0, np.float32).tobytes())
        content[position] ^= 0xFF
    path.write_bytes({"cut": content[: len(content) // 2], "flipped": content, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        checkpoint = read_latest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.progress.epoch == 1
    assert "step-000000002.npz is damaged" in caplog.text
    path.with_name("step-000000001.npz").write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints"):
        read_latest_checkpoint(tmp_path)


def test_a_write_that_fails_leaves_the_old_ones_and_no_rubbish(tmp_path: Path) -> None:
    """A limit on file sizes stands for a full disk: the same write fails half-way, with another number."""
    write(tmp_path, 1, 1.0)
    script = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from dist_training.checkpoint import TrainingProgress, write_checkpoint\n"
        "write_checkpoint(Path(sys.argv[1]), step=2, progress=TrainingProgress(), network={}, facts={},\n"
        "                 model=[np.random.rand(100000)], optimizer=[])"
    )

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], preexec_fn=limit, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "File too large" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["step-000000001.npz"]
