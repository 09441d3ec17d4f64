"""The curves of a run are what its events say, whatever happened on the way."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from dist_training.record.events import (
    CheckpointWritten,
    Ended,
    EpochEnded,
    Event,
    EventLog,
    RequestServed,
    Running,
    StepTaken,
)
from r2d2.curves import RunCurves, run_curves


def begun(resumed_at_step: int = 0) -> Running:
    return Running(
        epochs=3,
        steps_per_epoch=10,
        training_slices=40,
        validation_slices=8,
        global_batch_size=4,
        parameters=100,
        resumed_at_step=resumed_at_step,
    )


def step(number: int, loss: float) -> StepTaken:
    epoch = (number - 1) // 10 + 1
    return StepTaken(step=number, epoch=epoch, loss=loss, learning_rate=0.1, seconds=0.5, images_per_second=8.0)


def record(run: Path, *events: Event) -> None:
    run.mkdir(exist_ok=True)
    log = EventLog(run / "events.jsonl")
    for event in events:
        log.record(event)
    log.close()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def curves(run: Path, tmp_path: Path) -> RunCurves:
    return RunCurves(run, tmp_path / "curves")


def test_a_run_as_it_goes_on(run: Path, curves: RunCurves) -> None:
    before = curves.view()
    assert len(before.steps.last) == 0 and before.running is None and not before.is_behind
    record(run, begun(), *(step(n, 1 / n) for n in range(1, 11)))
    record(run, EpochEnded(epoch=1, step=10, loss=0.3, validation_dice=0.5, validation_dice_per_label={"liver": 0.5}))
    first = curves.view()
    np.testing.assert_allclose(first.steps.mean[:, 0], [1 / n for n in range(1, 11)])
    assert [epoch.validation_dice for epoch in first.epochs] == [0.5]
    assert first.running is not None and first.running.epochs == 3 and first.last_step == 10
    assert curves.view().version == first.version != before.version
    record(run, CheckpointWritten(step=5, file="step-5.npz"), CheckpointWritten(step=10, file="step-10.npz"))
    record(run, step(11, 0.05))
    record(run, RequestServed(request="stop_early", step=11, reason="enough", id="a"), Ended(state="stopped_early"))
    last = curves.view()
    assert last.version != first.version and last.steps.last[-1] == 11
    assert [(mark.step, mark.kind, mark.text) for mark in last.marks] == [
        (10, "checkpoint", "step-10.npz"),
        (11, "request", "stop early: enough"),
        (11, "ended", "stopped_early"),
    ]


def test_what_was_read_is_good_for_a_while(run: Path, curves: RunCurves, tmp_path: Path) -> None:
    record(run, begun(), step(1, 1.0))
    slow = RunCurves(run, tmp_path / "curves", fresh_s=60.0)
    seen = slow.view()
    record(run, step(2, 1.0))
    assert slow.view() is seen and seen.last_step == 1, "many that look at once are shown one view"
    os.utime(tmp_path / "curves" / "curves.json", (0, time.time() - 61))
    assert slow.view().last_step == 2
    record(run, step(3, 1.0))
    assert curves.view().last_step == 3, "whoever does not say so is shown what there is"


def test_what_lies_far_behind_is_read_on_at_once(run: Path, tmp_path: Path) -> None:
    record(run, begun(), *(step(n, 1.0) for n in range(1, 5001)))
    curves = RunCurves(run, tmp_path / "curves", fresh_s=60.0)
    curves.catch_up(0.0)
    assert curves.catch_up(0.0).is_behind
    while (view := curves.view()).is_behind:
        continue
    assert view.last_step == 5000


def test_steps_done_twice_are_shown_once(run: Path, curves: RunCurves, tmp_path: Path) -> None:
    """A run that was killed at step 25 goes on from its checkpoint of step 20."""
    record(run, begun(), *(step(n, 1.0) for n in range(1, 26)), EpochEnded(epoch=2, step=20, loss=1.0))
    curves.view()
    record(run, begun(20), *(step(n, 2.0) for n in range(21, 31)), EpochEnded(epoch=3, step=30, loss=2.0))
    found = curves.view()
    assert list(found.steps.last) == list(range(1, 31))
    assert list(found.steps.mean[:, 0]) == [1.0] * 20 + [2.0] * 10
    assert [epoch.epoch for epoch in found.epochs] == [2, 3]
    record(run, begun(20), step(21, 3.0), EpochEnded(epoch=3, step=21, loss=3.0), begun(10))
    assert curves.view().epochs == ()
    record(run, step(11, 4.0), EpochEnded(epoch=2, step=11, loss=4.0))
    assert [epoch.loss for epoch in curves.view().epochs] == [4.0]
    lines = (tmp_path / "curves" / "epochs.jsonl").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in lines] == [4.0]


def test_what_is_left_takes_as_long_as_what_was(run: Path, curves: RunCurves) -> None:
    record(run, begun(), step(1, 1.0))
    assert curves.view().seconds_left is None
    record(
        run, step(10, 1.0), EpochEnded(epoch=1, step=10, loss=1.0, seconds=6.0, validation_seconds=2.0), step(15, 1.0)
    )
    assert curves.view().seconds_left == pytest.approx(1.5 * 8.0)


def test_of_very_many_epochs_the_extremes_are_kept(run: Path, curves: RunCurves) -> None:
    dice = np.random.default_rng(3).uniform(size=3000)
    ends = (EpochEnded(epoch=at, step=at, loss=1.0, validation_dice=value) for at, value in enumerate(dice, 1))
    record(run, begun(), step(3000, 1.0), *ends)
    while (view := curves.view()).is_behind:
        continue
    chosen = view.chosen_epochs(100)
    assert len(chosen) <= 102 and chosen[-1].epoch == 3000
    assert [epoch.epoch for epoch in chosen] == sorted(epoch.epoch for epoch in chosen)
    kept = {epoch.validation_dice for epoch in chosen}
    for group in dice.reshape(50, 60):
        assert {group.min(), group.max()} <= kept
    assert view.chosen_epochs(3000) == list(view.epochs)


def forget_what_is_remembered() -> None:
    """Be as a process that has just begun."""
    for kept in (run_curves._STATES, run_curves._VIEWS):
        kept._values.clear()


def test_a_loss_that_is_none(run: Path, curves: RunCurves) -> None:
    record(run, begun(), step(1, 1.0), step(2, float("nan")), step(3, float("inf")))
    record(run, EpochEnded(epoch=1, step=3, loss=float("nan")))
    loss = curves.view().steps.mean[:, 0]
    assert loss[0] == 1.0 and not np.isfinite(loss[1:]).any()
    record(run, step(4, 1.0))
    forget_what_is_remembered()
    assert np.isnan(curves.view().epochs[0].loss), "kept, and read again"


def test_what_is_kept_may_be_lost_or_damaged(run: Path, curves: RunCurves, tmp_path: Path) -> None:
    record(run, begun(), *(step(n, 1 / n) for n in range(1, 101)), EpochEnded(epoch=1, step=100, loss=0.1))
    expected = curves.view()
    for harm in (
        lambda kept: shutil.rmtree(kept),
        lambda kept: (kept / "curves.json").write_text("{"),
        lambda kept: (kept / "curves.json").write_text('{"schema_version": 99}'),
        lambda kept: (kept / "curves.json").unlink(),
        lambda kept: (kept / "epochs.jsonl").unlink(),
        lambda kept: (kept / "epochs.jsonl").write_text("{"),
    ):
        harm(tmp_path / "curves")
        forget_what_is_remembered()
        found = curves.view()
        assert found.epochs == expected.epochs
        assert found.version == expected.version
        np.testing.assert_array_equal(found.steps.mean, expected.steps.mean)


def test_a_view_of_what_was_being_removed_is_not_remembered(run: Path, curves: RunCurves, tmp_path: Path) -> None:
    record(run, begun(), *(step(n, 1 / n) for n in range(1, 101)))
    curves.catch_up()
    (tmp_path / "curves" / "level-0.f64").unlink()
    assert len(curves.view().steps.last) == 0
    shutil.rmtree(tmp_path / "curves")
    assert len(curves.view().steps.last) == 100


def test_another_run_in_the_same_folder(run: Path, curves: RunCurves) -> None:
    record(run, begun(), *(step(n, 1.0) for n in range(1, 101)))
    curves.view()
    (run / "events.jsonl").unlink()
    record(run, begun(), step(1, 7.0))
    found = curves.view()
    assert list(found.steps.last) == [1] and found.steps.mean[0, 0] == 7.0


def test_a_torn_line_waits_for_its_end(run: Path, curves: RunCurves) -> None:
    record(run, begun(), step(1, 1.0))
    with (run / "events.jsonl").open("a") as file:
        file.write('{"event": "step", "time": 0, "step": 2')
    torn = curves.view()
    assert torn.last_step == 1 and not torn.is_behind
    with (run / "events.jsonl").open("a") as file:
        file.write(', "epoch": 1, "loss": 3, "learning_rate": 1, "seconds": 1, "images_per_second": 1}\n')
    assert curves.view().last_step == 2


def test_a_long_run_is_read_bit_by_bit(run: Path, tmp_path: Path) -> None:
    """Who looks at it does not wait for all of it: it is said that more comes."""
    record(run, begun(), *(step(n, float(n)) for n in range(1, 501)))
    curves = RunCurves(run, tmp_path / "curves")
    looks = 0
    while curves.catch_up(seconds=0).count < 500:
        looks += 1
    assert looks > 2
    assert curves.view(101, 200, 1000).steps.mean[:, 0].tolist() == [float(n) for n in range(101, 201)]
