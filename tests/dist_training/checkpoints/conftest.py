"""Checkpoints whose content says which they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dist_training.checkpoints import Checkpoint, write_checkpoint
from tests.dist_training.checkpoints.checkpoint_writer import ARRAYS, state_of


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write the checkpoint of a step in the test's folder; see ``checkpoint_writer``."""

    def write_one(step: int, values: int = 6, **options: Any) -> Path:
        return write_checkpoint(tmp_path, **state_of(step, values), **options)

    return write_one


@pytest.fixture
def check_whole() -> Callable[[Checkpoint | None], int]:
    """Check that every part of a checkpoint is of one step, and give that step."""

    def check(checkpoint: Checkpoint | None) -> int:
        assert checkpoint is not None
        step = checkpoint.progress.epoch
        assert checkpoint.network["depth"] == checkpoint.facts["training_slices"] == step
        assert len(checkpoint.model) + len(checkpoint.optimizer) == ARRAYS
        assert all(np.unique(array).tolist() == [step] for array in (*checkpoint.model, *checkpoint.optimizer))
        assert checkpoint.path.stem.endswith(f"{step:09d}")
        return step

    return check
