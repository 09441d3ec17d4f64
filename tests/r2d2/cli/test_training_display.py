"""What a run says to whoever started it, and to nobody."""

import os
import sys

import pytest

from dist_training.record.events import EpochEnded, Running, WeightsTaken
from r2d2.cli.progress import training_display

RUNNING = Running(
    epochs=5,
    steps_per_epoch=3,
    training_slices=21,
    validation_slices=7,
    global_batch_size=8,
    parameters=1687,
    resumed_at_step=9,
    extended_from_epochs=3,
    learning_rate=0.000125,
)


def test_more_epochs_say_what_they_mean_for_the_rate(capsys: pytest.CaptureFixture[str]) -> None:
    with training_display() as display:
        display(RUNNING)
    said = capsys.readouterr().err
    assert "going on from step 9" in said
    assert "3 epochs were planned, now 5" in said
    assert "goes on at 0.000125" in said


def test_a_precision_that_the_processor_lacks_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    for dtype in (None, "mixed_bfloat16"):
        with training_display() as display:
            display(RUNNING.model_copy(update={"slow_dtype": dtype}))
        said = capsys.readouterr().err
        assert ("warning: this processor has no instructions for mixed_bfloat16" in said) == (dtype is not None)


def test_what_does_not_come_from_the_network_to_start_from_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    event = WeightsTaken(source="work/run", copied=12, fresh=("logits/kernel", "logits/bias"))
    with training_display() as display:
        display(event)
    assert "starting from work/run: 12 variables taken over; starting anew: logits\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("trained_on", "said"),
    [
        ({"validation": 0, "test": 0}, "taken over\n"),
        ({"validation": 2, "test": 0}, "taken over\nwarning: it was trained on 2 cases of validation of this run: "),
        ({"validation": 1, "test": 3}, "\nwarning: it was trained on 1 case of validation and 3 cases of test of this"),
        (None, "taken over; it has no card, so what it was trained on is not known\n"),
    ],
)
def test_held_out_cases_that_the_network_to_start_from_knows_are_warned_of(
    trained_on: dict[str, int] | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    event = WeightsTaken(source="work/run", copied=12, trained_on=trained_on)
    with training_display() as display:
        display(event)
    assert said in capsys.readouterr().err


def test_each_label_has_its_dice_where_there_are_several(capsys: pytest.CaptureFixture[str]) -> None:
    with training_display() as display:
        for labels in ({"liver": 0.5}, {"liver": 0.9125, "vessel": None}):
            display(EpochEnded(epoch=1, step=3, loss=0.25, validation_dice=0.7, validation_dice_per_label=labels))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[2] == "  liver 0.9125, vessel -"


def test_a_reader_that_is_gone_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under a horovodrun that a signal has killed, whose workers still have five seconds."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", buffering=1)
    monkeypatch.setattr(sys, "stderr", stream)
    with training_display() as display:
        display(RUNNING)
        display.notice("stopping")
    with pytest.raises(BrokenPipeError):  # what the display has borne
        stream.close()
