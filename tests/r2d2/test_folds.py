"""r2d2 train --fold all: what each fold is told, with the training itself left out."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dist_training.run_folder import RunFolder
from imgmed import PreparationSettings, prepare_dataset, write_phantom_study
from r2d2 import folds
from r2d2.cli import app
from r2d2.config import commented_yaml, configure


def test_resumed_it_goes_on_with_the_dataset_and_the_settings_that_the_first_fold_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Sequence[str]] = []

    def fail(command: Sequence[str]) -> int:
        told.append(command)
        return 1

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folds, "_run", fail)
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
