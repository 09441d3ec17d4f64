"""What a start gained: two recorded runs whose epochs to each level are known."""

import json
from pathlib import Path

import pytest

from dist_training.errors import ModelError
from dist_training.inference.model_card import ModelCard, UsedCase
from imgmed import Normalisation, ScanPreparation
from r2d2.config import commented_yaml, configure
from r2d2.reports.gain import Level, measure_gain
from r2d2.tasks.reporting import ReportSettings, report
from r2d2_base.errors import ConfigurationError
from r2d2_base.files import sha256_of, write_json

FROM_ZOO, FROM_NOTHING = (0.70, 0.80, 0.84, 0.86), (0.20, 0.40, None, 0.70, 0.78, 0.80)


def write_run(folder: Path, dice, cases: str = "abc", **settings) -> Path:
    """Write of a run folder what is read: settings, events, and a network with its card."""
    folder.mkdir()
    chosen = configure({"dataset": str(folder.parent / "dataset"), "run_dir": str(folder), **settings})
    (folder / "config.yaml").write_text(commented_yaml(chosen, "a run"))
    figures = {"loss": 1.0, "learning_rate": 1e-3, "images_per_second": 20.0, "seconds": 3.0, "time": 1.8e9}
    lines = [
        {"event": "epoch", "epoch": number, "step": number, "validation_dice": value, **figures}
        for number, value in enumerate(dice, start=1)
    ]
    (folder / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "model.keras").write_bytes(b"weights, which nobody reads here")
    card = ModelCard(
        network=chosen.network,
        channels=("MRI",),
        num_outputs=1,
        labels={"background": 0, "liver": 1},
        class_values=(0, 1),
        scan_preparation=ScanPreparation(channels=("MRI",), slice_axis=2, slice_size=(8, 8)),
        normalisation=Normalisation(kind="zscore_case"),
        validation_dice=0.8,
        validation_dice_per_label={"liver": 0.8},
        epoch=1,
        dataset="livers",
        cases=tuple(
            UsedCase(case_id=one, split="train" if one < "c" else "validation", image_sha256=(one * 64,))
            for one in cases
        ),
        versions={},
        model_sha256=sha256_of(folder / "model.keras"),
    )
    write_json(folder / "model.json", card.model_dump(mode="json"))
    return folder


@pytest.fixture
def runs(tmp_path) -> tuple[Path, Path]:
    start = {"start_from": str(tmp_path / "zoo"), "start_name": "liver-ct:2"}
    return (
        write_run(tmp_path / "zoo-run", FROM_ZOO, transfer=start),
        write_run(tmp_path / "nothing", FROM_NOTHING),
    )


def test_the_epochs_to_each_level_are_those_recorded(runs):
    gain = measure_gain(*runs)
    assert gain.differences == ()
    assert [(round(level.dice, 3), level.epoch, level.epoch_against) for level in gain.levels] == [
        (0.2, 1, 1),
        (0.3, 1, 2),
        (0.4, 1, 2),
        (0.5, 1, 4),
        (0.6, 1, 4),
        (0.7, 1, 4),
        (0.8, 2, 6),
        (0.8, 2, 6),
    ]
    assert (gain.levels[-1].saved, round(gain.levels[-1].ratio, 3)) == (4, 0.333)
    assert Level(0.9, 3, None).saved is None and Level(0.9, None, 3).ratio is None


def test_the_page_says_it_in_words_and_names_what_else_differs(runs, tmp_path):
    slower = write_run(tmp_path / "slower", FROM_NOTHING, training={"learning_rate": 0.25})
    page = report(ReportSettings(run_dir=runs[0], against=slower))
    text = page.read_text()
    assert page == runs[0] / "gain.html" and "started from liver-ct:2;" in text
    assert "its best validation Dice, 0.800, in epoch 6; the other did in epoch 2: 4 epochs earlier" in text
    assert "a ratio of 0.33" in text and "best 0.860 in epoch 4" in text
    assert "training.learning_rate is" in text and "0.25 in the other" in text
    assert text.count("<img") == 1


def test_what_cannot_be_compared_is_refused(runs, tmp_path):
    zoo, nothing = runs
    other = write_run(tmp_path / "other", FROM_NOTHING, cases="abd")
    empty = write_run(tmp_path / "empty", ())
    with pytest.raises(ModelError, match=r"they differ in their validation cases; train both on the same"):
        measure_gain(zoo, other)
    with pytest.raises(ModelError, match="has no epoch with a validation Dice yet"):
        measure_gain(zoo, empty)
    with pytest.raises(ConfigurationError, match=r"--run-dir must be a run with transfer\.start_from, and --against"):
        measure_gain(nothing, zoo)
    with pytest.raises(ConfigurationError, match="--against is compared with the run of --run-dir"):
        report(ReportSettings(against=nothing))
