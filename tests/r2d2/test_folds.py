"""r2d2 train --fold all: what each fold is told and which are passed over, with the training itself left out."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from dist_training.checkpoints import TrainingProgress, write_checkpoint
from dist_training.record.run_folder import RunFolder
from imgmed import PreparationSettings, prepare_dataset, write_phantom_study
from r2d2.cli import app
from r2d2.config import commented_yaml, configure
from r2d2.tasks import cross_validation
from r2d2_base.errors import ConfigurationError


def test_resumed_it_goes_on_with_the_dataset_and_the_settings_that_the_first_fold_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Sequence[str]] = []

    def fail(command: Sequence[str]) -> int:
        told.append(command)
        return 1

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cross_validation, "_run", fail)
    monkeypatch.setattr(cross_validation, "_check_held_out", lambda dataset, folder: None)
    write_phantom_study(tmp_path / "study", cases=6, shape=(32, 32, 8))
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "dataset", PreparationSettings(folds=2))
    first = RunFolder(tmp_path / "cv" / "fold-0")
    first.create()
    asked = {"dataset": str(dataset.folder), "run_dir": str(first.path), "fold": 0, "training": {"epochs": 7}}
    first.config.write_text(commented_yaml(configure(asked), "as the first fold left it"))
    first.write_exit("completed")

    CliRunner().invoke(app, ["train", "--fold", "all", "--run-dir", "cv", "--resume"])

    words = told[0]
    given = dict(itertools.pairwise(words))
    assert (given["--fold"], given["--run-dir"]) == ("1", "cv/fold-1")
    assert given["--dataset"] == str(dataset.folder)
    assert given["--config"] == "cv/fold-0/config.yaml"
    assert not (tmp_path / "r2d2-phantom").exists()


def test_settings_that_are_each_folds_own_do_not_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set by key=value overrides options: every fold would be trained in one folder, or be the same."""
    told: list[Sequence[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cross_validation, "_run", lambda command: told.append(command) or 7)
    write_phantom_study(tmp_path / "study", cases=6, shape=(32, 32, 8))
    prepare_dataset(tmp_path / "study", tmp_path / "dataset", PreparationSettings(folds=2))
    words = ["train", "--fold", "all", "--dataset", "dataset", "run_dir=cv", "training.epochs=3"]
    CliRunner().invoke(app, words)
    assert told[0][-1] == "training.epochs=3"
    assert "cv/fold-0" in told[0]
    assert "run_dir=cv" not in told[0]
    refused = CliRunner().invoke(app, [*words, "fold=1"]).exception
    assert isinstance(refused, ConfigurationError)
    assert "--fold all contradicts fold=1" in str(refused)
    assert len(told) == 1


def test_a_fold_that_was_trained_on_what_it_holds_out_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the dataset was prepared again with other folds, or another one is named with --resume."""
    write_phantom_study(tmp_path / "study", cases=6, shape=(32, 32, 8))
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "dataset", PreparationSettings(folds=2))
    held_out, other = (dataset.splits.folds[fold].validation for fold in (0, 1))
    trained_on = other

    def card(folder: Path) -> tuple[Path, SimpleNamespace]:
        cases = [SimpleNamespace(split="train", image_sha256=dataset.case(case).image_sha256) for case in trained_on]
        return folder, SimpleNamespace(cases=cases)

    monkeypatch.setattr("dist_training.inference.model_card.read_model_card", card)
    monkeypatch.setattr(cross_validation, "_is_trained", lambda folder: folder.path.name == "fold-0")
    monkeypatch.setattr(cross_validation, "_run", lambda command: 7)
    with pytest.raises(cross_validation.LaunchError, match="fold 1 is not started"):  # fold 0 is passed over
        cross_validation.train_folds(dataset, tmp_path / "cv", [], epochs=1, is_resumed=True)
    trained_on = (*other, held_out[0])
    with pytest.raises(ConfigurationError, match=f"fold-0 was trained on 1 of the cases .*{held_out[0]}"):
        cross_validation.train_folds(dataset, tmp_path / "cv", [], epochs=1, is_resumed=True)


def test_folds_that_have_fewer_epochs_than_are_wanted_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those that were stopped, nor one whose checkpoints are gone: it would begin anew."""
    write_phantom_study(tmp_path / "study", cases=8, shape=(32, 32, 8))
    dataset = prepare_dataset(tmp_path / "study", tmp_path / "dataset", PreparationSettings(folds=4))
    for fold, (epochs, reason) in enumerate([(20, None), (5, None), (5, "no better Dice"), (None, None)]):
        folder = RunFolder(tmp_path / "cv" / f"fold-{fold}")
        folder.create()
        folder.config.touch()
        folder.write_exit("completed" if reason is None else "stopped_early", reason=reason)
        if epochs is not None:
            progress, weights = TrainingProgress(epoch=epochs), [np.zeros(1)]
            write_checkpoint(
                folder.checkpoints, step=1, progress=progress, network={}, facts={}, model=weights, optimizer=[]
            )
    told: list[Sequence[str]] = []
    said: list[str] = []
    monkeypatch.setattr(cross_validation, "_check_held_out", lambda dataset, folder: None)
    monkeypatch.setattr(cross_validation, "_run", lambda command: told.append(command) or 0)
    cross_validation.train_folds(dataset, tmp_path / "cv", ["a=b"], epochs=20, is_resumed=True, on_notice=said.append)
    assert [words[words.index("--fold") :] for words in told] == [
        ["--fold", "1", "--run-dir", str(tmp_path / "cv/fold-1"), "--resume", "a=b"]
    ]
    kept = [line.partition(str(tmp_path))[0] + line.rpartition(" (")[2] for line in said if "trained" in line]
    assert kept == [
        "fold 0 (0 to 3) is trained: 20 epochs)",
        "fold 2 (0 to 3) is trained: 5 epochs; no better Dice)",
        "fold 3 (0 to 3) is trained: it has no checkpoint to go on from)",
    ]
    assert "fold 1 (0 to 3) has 5 of 20 epochs and goes on" in said
