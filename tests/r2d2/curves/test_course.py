"""A run in words: whether it diverges is said where it does, and only there."""

from pathlib import Path

import numpy as np
import pytest

from dist_training.record.events import CheckpointWritten, EpochEnded, Running
from r2d2.curves import Course, RunCurves
from tests.r2d2.curves.test_run_curves import begun, record, step


def course(folder: Path, losses: list[float]) -> Course:
    start = Running.model_validate({**begun().model_dump(), "learning_rate_setting": 0.01})
    record(folder / "run", start, *(step(at, loss) for at, loss in enumerate(losses, 1)))
    found = Course.of(RunCurves(folder / "run", folder / "curves").view(most=40))
    assert found is not None
    return found


NOISE = np.random.default_rng(0).normal(0, 0.1, 2000)
FALLING = [1 + 4 * np.exp(-at / 200) + NOISE[at] for at in range(2000)]


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (FALLING, None),
        ([*FALLING, float("nan")], "no number any more"),
        ([*FALLING, *(1 + at / 5 for at in range(200))], "it began at 4"),
        ([*FALLING, *(2.5 for _ in range(200))], None),  # more than twice the least, and less than at the beginning
        ([1.0, 5.0, 9.0], None),  # too early to tell
        ([2.0] * 30, None),
    ],
)
def test_whether_it_diverges(tmp_path: Path, losses: list[float], words: str | None) -> None:
    advice = course(tmp_path, losses).advice
    assert (advice is None) if words is None else (words in (advice or ""))
    assert advice is None or "training.learning_rate=0.001, or with training.clip_norm=1" in advice


def test_figures_of_a_run(tmp_path: Path) -> None:
    course(tmp_path, [1.0] * 20)
    dice = [0.1, 0.6, None, 0.5] * 50
    epochs = (EpochEnded(epoch=at, step=10 * at, loss=1.0, validation_dice=value) for at, value in enumerate(dice, 1))
    record(tmp_path / "run", *epochs, CheckpointWritten(step=2000, file="step-2000.npz"))
    found = Course.of(RunCurves(tmp_path / "run", tmp_path / "curves").view(most=40))
    assert found is not None
    assert (found.epoch, found.best_dice, found.best_epoch, found.last_dice) == (200, 0.6, 2, 0.5)
    assert len(found.dice) <= 60 and found.dice[-1] == 0.5
    assert found.checkpoint == ("step-2000.npz", 2000)


def test_before_training_there_is_none(tmp_path: Path) -> None:
    assert Course.of(RunCurves(tmp_path / "run", tmp_path / "curves").view()) is None
