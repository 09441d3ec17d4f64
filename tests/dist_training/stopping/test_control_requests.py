"""Requests become votes, votes an agreement, agreements a record that a resumed run repeats."""

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest

from dist_training.errors import ControlError
from dist_training.ranks.communicator import SoloCommunicator
from dist_training.record.events import EventLog, Running
from dist_training.record.states import Stop
from dist_training.stopping.control import (
    VOTES,
    Agreement,
    Control,
    LearningRateChange,
    agreed,
    replayed_requests,
    request_checkpoint,
    request_learning_rate,
    request_stop,
    served_requests,
)
from dist_training.stopping.time_budget import TimeBudget

NOTHING = Agreement(is_stop=False, is_checkpoint=False, learning_rate=None)

RUNNING = {
    "epochs": 5,
    "steps_per_epoch": 3,
    "training_slices": 21,
    "validation_slices": 7,
    "global_batch_size": 8,
    "parameters": 1687,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.json"


def record(path: Path, control: Control, agreement: Agreement, step: int) -> None:
    log = EventLog(path.with_name("events.jsonl"))
    for event in control.served(agreement, step):
        log.record(event)
    log.close()


def test_each_request_is_voted_for_once_and_a_stop_for_good(path: Path) -> None:
    control = Control(path)
    assert agreed(control.votes()) == NOTHING
    request_checkpoint(path, "before lunch")
    checkpoint = agreed(control.votes())
    assert checkpoint == Agreement(is_stop=False, is_checkpoint=True, learning_rate=None)
    record(path, control, checkpoint, 3)
    assert agreed(control.votes()) == NOTHING
    request_learning_rate(path, 0.25, "plateau")
    assert agreed(control.votes()).learning_rate == 0.25
    request_stop(path, "enough")
    assert agreed(control.votes()).is_stop
    assert agreed(control.votes()).is_stop
    assert control.shared_stop(SoloCommunicator()) == Stop("request", "enough")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rate", [1e-4, 0.1, 1 / 3, 3.3e-30])
def test_all_ranks_read_the_same_rate_in_both_precisions(path: Path, dtype: type, rate: float) -> None:
    """Rank 0 alone gives the rate; its value after rounding to float32 survives the sum of 18 ranks unchanged."""
    request_learning_rate(path, rate, "test")
    votes = np.stack([Control(path).votes(), *(Control(None).votes() for _ in range(17))]).astype(dtype)
    assert votes.shape == (18, VOTES)
    summed = votes.sum(0, dtype=dtype)
    assert agreed(summed).learning_rate == float(np.float32(rate))
    assert abs(agreed(summed).learning_rate / rate - 1) < 1e-7  # type: ignore[operator]


def test_a_signal_on_any_rank_stops_all(path: Path) -> None:
    ranks = [Control(path), Control(None), Control(None)]
    ranks[2].stop = Stop("signal", "signal SIGUSR1")
    assert agreed(np.sum([rank.votes() for rank in ranks], 0)) == Agreement(True, False, None)


@pytest.mark.parametrize(
    "content",
    [
        "{half",
        "[1]",
        '{"request": "dance"}',
        '{"request": "profile", "steps": 0}',
        '{"request": "profile", "steps": true}',
        '{"request": "profile", "steps": 1.5}',
        '{"request": "set_learning_rate"}',
        '{"request": "set_learning_rate", "learning_rate": -1}',
        '{"request": "set_learning_rate", "learning_rate": NaN}',
        '{"request": "set_learning_rate", "learning_rate": true}',
        '{"request": "set_learning_rate", "learning_rate": 1' + 400 * "0" + "}",
        '{"request": "set_learning_rate", "learning_rate": "fast"}',
    ],
)
def test_a_malformed_request_is_warned_about_once_and_ignored(
    path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    control = Control(path)
    path.write_text(content)
    with caplog.at_level(logging.WARNING):
        assert agreed(control.votes()) == NOTHING
        assert agreed(control.votes()) == NOTHING
    assert len(caplog.records) == 1
    request_checkpoint(path, "a whole one takes its place")
    assert agreed(control.votes()).is_checkpoint


def test_a_request_written_by_hand_needs_neither_id_nor_reason(path: Path) -> None:
    path.write_text('{"request": "checkpoint"}')
    control = Control(path)
    assert agreed(control.votes()).is_checkpoint
    assert agreed(control.votes()) == NOTHING
    os.utime(path, ns=(0, 1))  # the same words, written again
    assert agreed(control.votes()).is_checkpoint
    assert agreed(control.votes()) == NOTHING


def test_a_request_that_was_read_before_it_was_whole_is_read_again(path: Path) -> None:
    """A shell empties a file before it writes, and both may fall into one tick of the file system's clock."""
    control = Control(path)
    for content, is_served in (("", False), ('{"request": "checkpoint"}', True)):
        path.write_text(content)
        os.utime(path, ns=(0, 1))
        assert agreed(control.votes()).is_checkpoint is is_served


def test_a_request_does_not_push_a_waiting_one_aside_but_a_stop_does(path: Path) -> None:
    request_learning_rate(path, 1e-4, "plateau")
    with pytest.raises(ControlError, match="not served yet \\(set_learning_rate\\)"):
        request_checkpoint(path, "too early")
    request_stop(path, "enough")
    assert json.loads(path.read_text())["request"] == "stop_early"
    with pytest.raises(ControlError, match="stop_early"):
        request_learning_rate(path, 1e-4, "too late")


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf"), 1e-40, True])
def test_a_rate_that_cannot_be_trained_with_is_refused(path: Path, rate: float) -> None:
    with pytest.raises(ControlError, match="learning_rate must lie within"):
        request_learning_rate(path, rate, "test")
    assert not path.exists()


def test_served_requests_are_not_served_again_by_a_restarted_run_but_a_stop_is(path: Path) -> None:
    control = Control(path)
    request_checkpoint(path, "once")
    record(path, control, agreed(control.votes()), 5)
    events = path.with_name("events.jsonl")
    assert agreed(Control(path, served=served_requests(events)).votes()) == NOTHING
    request_stop(path, "enough")
    control = Control(path, served=served_requests(events))
    record(path, control, agreed(control.votes()), 6)
    assert agreed(Control(path, served=served_requests(events)).votes()).is_stop


def test_a_resumed_run_repeats_the_changes_after_its_checkpoint(path: Path) -> None:
    control, events = Control(path), path.with_name("events.jsonl")
    for step, rate in ((4, 0.5), (9, 0.25), (12, 0.125)):
        request_learning_rate(path, rate, "test")
        record(path, control, agreed(control.votes()), step)
        if step == 9:
            request_checkpoint(path, "checkpoints are not repeated")
            record(path, control, agreed(control.votes()), 10)
    assert replayed_requests(events, 9) == (LearningRateChange(9, 0.25), LearningRateChange(12, 0.125))
    assert replayed_requests(events, 13) == ()
    assert replayed_requests(path.with_name("none.jsonl"), 0) == ()


def test_changes_made_after_going_back_are_repeated_by_step(path: Path) -> None:
    """A run at step 9 changed, was resumed at 5, and changed at 7, too: both happened in what was then trained."""
    control, events = Control(path), path.with_name("events.jsonl")
    for step, rate in ((9, 0.25), (7, 0.5)):
        request_learning_rate(path, rate, "test")
        record(path, control, agreed(control.votes()), step)
    assert [change.step for change in replayed_requests(events, 5)] == [7, 9]


def test_changes_from_before_another_learning_rate_was_set_are_not_repeated(path: Path) -> None:
    """A rate that made a run diverge would, at the same step again, whatever rate the run is resumed with."""
    control, events = Control(path), path.with_name("events.jsonl")
    for setting, step, expected in ((0.1, 9, [9]), (0.1, 11, [9, 11]), (0.01, 7, [7]), (0.01, 8, [7, 8])):
        log = EventLog(events)
        log.record(Running(**RUNNING, learning_rate_setting=setting))
        log.close()
        request_learning_rate(path, 0.5, "test")
        record(path, control, agreed(control.votes()), step)
        assert [change.step for change in replayed_requests(events, 5)] == expected


def test_time_before_a_restart_counts(path: Path) -> None:
    now = [100.0]
    budget = TimeBudget(2.0, trained_minutes=1.5, clock=lambda: now[0])
    control = Control(path, budget=budget)
    now[0] += 29.0
    assert agreed(control.votes()) == NOTHING
    now[0] += 1.0
    assert budget.minutes() == 2.0
    assert agreed(control.votes()).is_stop
    assert control.stop is not None
    assert control.stop.by == "time_budget"
    assert control.stop.reason.startswith("max_minutes=2 of training are over")
    assert not TimeBudget(None, trained_minutes=1e9).is_spent()
