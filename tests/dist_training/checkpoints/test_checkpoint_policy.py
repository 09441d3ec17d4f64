"""When a checkpoint is due."""

import pytest

from dist_training.checkpoints import CheckpointPolicy, LastCheckpoint
from r2d2_base.errors import ConfigurationError

STEPS_PER_EPOCH = 5


def steps_due(policy: CheckpointPolicy, steps: int, minutes_per_step: float = 1.0, start: int = 0) -> list[int]:
    """The steps at which a run writes, asked after every step."""
    due, last = [], LastCheckpoint(start, 0.0)
    for step in range(start + 1, steps + 1):
        minutes = (step - start) * minutes_per_step
        is_epoch_end = step % STEPS_PER_EPOCH == 0
        if policy.is_due(
            step=step, epoch=step // STEPS_PER_EPOCH, is_epoch_end=is_epoch_end, minutes=minutes, last=last
        ):
            due.append(step)
            last = LastCheckpoint(step, minutes)
    return due


def test_by_epochs() -> None:
    assert steps_due(CheckpointPolicy(), 12) == [5, 10]
    assert steps_due(CheckpointPolicy(every_epochs=2), 22) == [10, 20]


def test_by_steps() -> None:
    assert steps_due(CheckpointPolicy(None, every_steps=4), 12) == [4, 8, 12]


def test_by_minutes_since_the_last_one_of_any_kind() -> None:
    assert steps_due(CheckpointPolicy(None, every_minutes=3), 10) == [3, 6, 9]
    assert steps_due(CheckpointPolicy(1, every_minutes=3), 10) == [3, 5, 8, 10]
    assert steps_due(CheckpointPolicy(None, every_minutes=0.25), 6, minutes_per_step=0.1) == [3, 6]


def test_one_step_has_one_checkpoint() -> None:
    assert steps_due(CheckpointPolicy(1, every_steps=5, every_minutes=5), 11) == [5, 10]
    assert not CheckpointPolicy().is_due(step=5, epoch=1, is_epoch_end=True, minutes=9, last=LastCheckpoint(5, 0))


def test_a_resumed_run_writes_at_the_same_steps_and_starts_its_clock_anew() -> None:
    whole = steps_due(CheckpointPolicy(1, every_steps=4), 20)
    assert [step for step in whole if step > 7] == steps_due(CheckpointPolicy(1, every_steps=4), 20, start=7)
    assert steps_due(CheckpointPolicy(None, every_minutes=3), 14, start=7) == [10, 13]


def test_never() -> None:
    assert steps_due(CheckpointPolicy(None), 30) == []


@pytest.mark.parametrize("setting", ["every_epochs", "every_steps", "every_minutes"])
def test_what_is_not_positive_is_refused(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{setting} must be positive.*received 0"):
        CheckpointPolicy(**{setting: 0})
