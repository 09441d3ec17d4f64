"""Checkpoints on disk: what is written is read back, the newest that is whole counts, the last ones stay."""

import hashlib
import json
import logging
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from dist_training.checkpoints import (
    TrainingProgress,
    read_checkpoint,
    read_latest_checkpoint,
    write_checkpoint,
)
from dist_training.errors import CheckpointError

Write = Callable[..., Path]
PROGRESS = TrainingProgress(4, step_in_epoch=3, loss_sum=0.1 + 0.2, sample_count=7, best_score=0.25, best_epoch=1)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    model = [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(4.0),
        np.float64(2.5).reshape(()),
        np.empty((0, 3)),
    ]
    optimizer = [np.array(5, np.int64), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array([1, 2], np.uint32)]
    optimizer += [np.array([np.nan, -0.0, np.inf]), np.arange(10.0)[::3], np.array([True, False])]
    facts = {"training_slices": 7, "names": ["Leber", "Größe"], "share": None}
    path = write_checkpoint(
        tmp_path,
        step=4,
        progress=PROGRESS,
        network={"architecture": "unet", "depth": 2},
        facts=facts,
        model=model,
        optimizer=iter(optimizer),
    )
    checkpoint = read_latest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.path == path == tmp_path / "step-000000004.npz"
    assert checkpoint.progress == PROGRESS
    assert checkpoint.network == {"architecture": "unet", "depth": 2}
    assert checkpoint.facts == facts
    for wanted, found in zip([*model, *optimizer], [*checkpoint.model, *checkpoint.optimizer], strict=True):
        assert (wanted.dtype, wanted.shape) == (found.dtype, found.shape)
        assert wanted.tobytes("C") == found.tobytes("C")


def test_it_can_be_checked_and_read_without_our_code(tmp_path: Path, write: Write) -> None:
    content = write(3).read_bytes()
    assert content[-72:] == b"sha256 " + hashlib.sha256(content[:-72]).hexdigest().encode() + b"\n"
    with np.load(tmp_path / "step-000000003.npz") as archive:
        np.testing.assert_array_equal(archive["model_00000"], np.full(6, 3.0))


def test_an_array_that_numpy_could_not_read_back_is_refused(tmp_path: Path) -> None:
    array = np.ones(2, ml_dtypes.bfloat16)
    with pytest.raises(CheckpointError, match="received dtype bfloat16"):
        write_checkpoint(
            tmp_path, step=1, progress=PROGRESS, network={}, facts={}, model=[np.ones(1), array], optimizer=[]
        )
    assert names(tmp_path) == []


def test_the_last_ones_are_kept_and_nothing_else_remains(tmp_path: Path, write: Write) -> None:
    for step in (1, 2, 9, 10):
        write(step)
    assert names(tmp_path) == ["step-000000009.npz", "step-000000010.npz"]
    for step in (11, 12, 13):
        write(step, kept=3)
    assert names(tmp_path) == ["step-000000011.npz", "step-000000012.npz", "step-000000013.npz"]
    write(14, kept=1)
    assert names(tmp_path) == ["step-000000014.npz"]
    write(1_000_000_000)  # ten digits
    assert read_latest_checkpoint(tmp_path).progress.epoch == 1_000_000_000  # type: ignore[union-attr]
    assert names(tmp_path) == ["step-000000014.npz", "step-1000000000.npz"]


def test_damaged_ones_that_the_run_went_back_behind_are_removed(tmp_path: Path, write: Write) -> None:
    """Otherwise they would be the newest ones for ever, and push whole ones out."""
    for step in (7, 9, 10):
        write(step, kept=3)
    for step in (9, 10):
        (tmp_path / f"step-{step:09d}.npz").write_bytes(b"damaged")
    assert read_latest_checkpoint(tmp_path).progress.epoch == 7  # type: ignore[union-attr]
    write(8, kept=3)
    assert names(tmp_path) == ["step-000000007.npz", "step-000000008.npz"]


def test_files_of_others_are_left_alone(tmp_path: Path, write: Write) -> None:
    (tmp_path / "step-notes.npz").write_text("mine")
    (tmp_path / "copy of step-000000001.npz").write_text("mine")
    for step in (1, 2, 3):
        write(step)
    assert names(tmp_path)[0] == "copy of step-000000001.npz"
    assert names(tmp_path)[-1] == "step-notes.npz"
    assert len(names(tmp_path)) == 4


def test_there_may_be_none(tmp_path: Path) -> None:
    assert read_latest_checkpoint(tmp_path) is None
    assert read_latest_checkpoint(tmp_path / "missing") is None


def test_where_none_is_whole_there_is_a_clear_end(tmp_path: Path, write: Write) -> None:
    for step in (1, 2):
        write(step).write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match=r"none of the 2 checkpoints .* can be read; start a new run"):
        read_latest_checkpoint(tmp_path)


def write_archive(path: Path, head: dict, **arrays: np.ndarray) -> Path:
    """What R2D2 wrote before there was a checksum."""
    np.savez(path, head=np.array(json.dumps(head)), **arrays)
    return path


HEAD = {"schema_version": 1, "progress": {"epoch": 3, "loss_sum": 0.5}, "network": {"depth": 2}, "facts": {"seed": 1}}


def test_version_1_is_still_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arrays = {"model_00000": np.ones(3), "model_00001": np.zeros(2), "optimizer_00000": np.array(4)}
    path = write_archive(tmp_path / "step-000000005.npz", HEAD, **arrays)
    checkpoint = read_latest_checkpoint(tmp_path)
    assert checkpoint is not None
    assert checkpoint.progress == TrainingProgress(epoch=3, loss_sum=0.5)
    assert (checkpoint.network, checkpoint.facts) == ({"depth": 2}, {"seed": 1})
    np.testing.assert_array_equal(checkpoint.model[1], np.zeros(2))
    assert checkpoint.optimizer[0] == 4
    path.write_bytes(path.read_bytes()[:-30])
    with caplog.at_level(logging.WARNING), pytest.raises(CheckpointError, match="none of the 1"):
        read_latest_checkpoint(tmp_path)
    assert "step-000000005.npz is damaged" in caplog.text


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "step-000000005.npz", {**HEAD, "schema_version": 3})
    with pytest.raises(CheckpointError, match="schema version 3, this R2D2 reads 1 and 2; resume with the version"):
        read_checkpoint(path)


def test_progress_of_any_fields_comes_back(tmp_path: Path) -> None:
    """Infinity, NaN and the last bit of a number survive JSON."""
    for value in (1 / 3, math.inf, 5e-324, -0.0):
        progress = TrainingProgress(epoch=2, loss_sum=value, best_score=None)
        again = TrainingProgress.from_json(json.loads(json.dumps(progress.to_json())))
        assert again == progress
        assert math.copysign(1, again.loss_sum) == math.copysign(1, value)
    assert math.isnan(TrainingProgress.from_json({"loss_sum": math.nan}).loss_sum)
    assert set(TrainingProgress().to_json()) == {field.name for field in fields(TrainingProgress)}
    assert TrainingProgress.from_json({}) == TrainingProgress()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 1, "zeal": 2, "age": 1}, "newer R2D2 wrote .* has age, zeal, which .* resume with the version"),
        ({"epoch": "many"}, r"epoch: must be a whole number; received 'many'"),
    ],
)
def test_progress_that_is_not_understood_is_refused(content: dict, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        TrainingProgress.from_json(content)
