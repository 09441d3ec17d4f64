import json
import math

import pytest

from r2d2.reports.curves import EpochFigures, draw_curves, read_epochs


def write(path, *events, end=""):
    path.write_text("".join(json.dumps(event) + "\n" for event in events) + end, encoding="utf-8")
    return path


def epoch(number, **figures):
    figures = {"loss": 1.0, "validation_dice": 0.5, "learning_rate": 1e-3, "images_per_second": 20.0} | figures
    return {"event": "epoch", "time": 1.8e9, "epoch": number, "step": 4 * number, "seconds": 3.0, **figures}


def test_epochs_are_read_between_other_events(tmp_path):
    path = write(
        tmp_path / "events.jsonl",
        {"event": "state", "state": "running"},
        {"event": "step", "step": 1, "epoch": 1, "loss": 9.0},
        epoch(1, loss=2.0),
        epoch(2, loss=1.0),
    )
    assert read_epochs(path) == (
        EpochFigures(1, 2.0, 0.5, 1e-3, 20.0),
        EpochFigures(2, 1.0, 0.5, 1e-3, 20.0),
    )


@pytest.mark.parametrize("end", ['{"event": "epoch", "epoch": 2, "lo', '{"event": "epoch", "epoch": 2}', "[1, 2]\n"])
def test_a_torn_or_odd_line_does_not_matter(tmp_path, end):
    assert [e.epoch for e in read_epochs(write(tmp_path / "events.jsonl", epoch(1), end=end))] == [1]


def test_an_epoch_that_was_run_again_counts_as_it_was_in_the_end(tmp_path):
    path = write(tmp_path / "events.jsonl", epoch(1), epoch(2, loss=7.0), epoch(2, loss=3.0), epoch(3))
    assert [(e.epoch, e.loss) for e in read_epochs(path)] == [(1, 1.0), (2, 3.0), (3, 1.0)]


def test_no_file_is_no_epochs(tmp_path):
    assert read_epochs(tmp_path / "events.jsonl") == ()


def test_figures_that_are_missing_leave_gaps(tmp_path):
    path = write(
        tmp_path / "events.jsonl", epoch(1, validation_dice=None), epoch(2, validation_dice=None, learning_rate=None)
    )
    first, second = read_epochs(path)
    assert math.isnan(first.validation_dice)
    assert math.isnan(second.learning_rate)
    assert len(draw_curves((first, second))) == 3  # no validation Dice at all, so no curve of it


def test_curves_are_described_in_words():
    epochs = [EpochFigures(n, 1 / n, dice, 1e-3, 20.0) for n, dice in ((1, 0.2), (2, 0.8), (3, 0.7))]
    loss, dice, rate, speed = draw_curves(epochs)
    assert loss.alt == "Training loss over 3 epochs: first 1.0000, last 0.3333."
    assert "best 0.800 in epoch 2" in dice.alt
    assert dice.caption == "best 0.800 in epoch 2 (star); last 0.700"
    assert "1.00e-03" in rate.alt
    assert "20.0" in speed.alt
    assert all(picture.png.startswith(b"\x89PNG") for picture in (loss, dice, rate, speed))
