"""Early stopping and divergence: values that follow from the numbers alone."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from dist_training.stopping.divergence import LossWatch, diverged, has_only_finite
from dist_training.stopping.early_stopping import EarlyStopping, check_validation
from r2d2_base.errors import ConfigurationError


def epochs_until_stop(scores: list[float | None], patience: int, min_delta: float = 0.0) -> int | None:
    state = EarlyStopping()
    for epoch, score in enumerate(scores, 1):
        state = state.after(score, min_delta=min_delta)
        if state.is_exhausted(patience):
            return epoch
    return None


def test_it_stops_after_patience_epochs_without_a_better_score() -> None:
    assert epochs_until_stop([0.5, 0.6, 0.6, 0.5, 0.4], patience=3) == 5
    assert epochs_until_stop([0.5, 0.6, 0.6, 0.5, 0.61, 0.6], patience=3) is None
    assert epochs_until_stop([0.5] * 10, patience=1) == 2


def test_gains_up_to_min_delta_do_not_count_but_add_up() -> None:
    """0.50 -> 0.51 -> 0.52 -> 0.53: with min_delta 0.02 only the last exceeds the counted best, 0.50, by enough."""
    state = EarlyStopping()
    counts = []
    for score in (0.50, 0.51, 0.52, 0.53):
        state = state.after(score, min_delta=0.02)
        counts.append(state.epochs_without)
    assert counts == [0, 1, 2, 0]
    assert state.best == 0.53


@pytest.mark.parametrize("undefined", [None, math.nan])
def test_an_undefined_score_counts_neither_way(undefined: float | None) -> None:
    assert EarlyStopping(0.5, 2).after(undefined) == EarlyStopping(0.5, 2)


def test_without_patience_it_never_stops() -> None:
    assert not EarlyStopping(0.5, 10**9).is_exhausted(None)


def test_early_stopping_without_validation_is_refused() -> None:
    check_validation(5, 1)
    with pytest.raises(ConfigurationError, match="needs validation cases"):
        check_validation(5, 0)


def diverged_at(losses: list[float], factor: float = 100.0) -> int | None:
    watch = LossWatch()
    for step, loss in enumerate(losses, 1):
        watch = watch.after(loss, factor=factor)
        if watch.is_diverged:
            return step
    return None


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_ends_the_run_at_once(loss: float) -> None:
    assert diverged_at([2.0, loss]) == 2
    assert diverged_at([loss]) == 1


def test_three_steps_in_a_row_over_the_limit_end_it_and_fewer_do_not() -> None:
    assert diverged_at([2.0, 201.0, 201.0, 201.0]) == 4
    assert diverged_at([2.0, 201.0, 201.0, 200.0, 201.0, 201.0]) is None  # exactly 100 times is not more


def test_a_network_that_already_fits_is_measured_against_1() -> None:
    assert diverged_at([0.001, 90.0, 90.0, 90.0]) is None
    assert diverged_at([0.001, 101.0, 101.0, 101.0]) == 4


def test_states_survive_a_checkpoint_as_json() -> None:
    for state in (LossWatch(2.0, 1), EarlyStopping(0.5, 3)):
        assert type(state)(**json.loads(json.dumps(dataclasses.asdict(state)))) == state


@pytest.mark.parametrize("checkpoint", ["step-40.npz", None])
def test_the_error_says_step_loss_checkpoint_and_what_to_change(checkpoint: str | None) -> None:
    watch = LossWatch(2.0).after(math.nan, factor=100)
    figures = {"step": 41, "epoch": 3, "learning_rate": 0.01, "run_dir": Path("runs/a"), "checkpoint": checkpoint}
    said = str(diverged("the loss became nan", watch, **figures))  # type: ignore[arg-type]
    for words in ("the loss became nan in epoch 3, step 41", "began at 2", "training.learning_rate=0.001", "clip_norm"):
        assert words in said
    assert ("step-40.npz" in said and "--run-dir runs/a --resume" in said) == (checkpoint is not None)


def test_a_state_with_a_value_that_is_not_finite_is_told() -> None:
    assert has_only_finite([np.ones(3), np.array([True]), np.arange(4)])
    assert not has_only_finite([np.ones(3), np.array([1.0, -np.inf], np.float16)])
