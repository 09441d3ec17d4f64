"""A cross-validation goes on only with networks that have not seen what they are to be judged by."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from imgmed import PreparationSettings, prepare_dataset, write_phantom_study
from r2d2 import folds
from r2d2.errors import ConfigurationError


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

    monkeypatch.setattr("dist_training.model_card.read_model_card", card)
    monkeypatch.setattr(folds, "_is_trained", lambda folder: folder.path.name == "fold-0")
    monkeypatch.setattr(folds, "_run", lambda command: 7)
    with pytest.raises(folds.LaunchError, match="fold 1 is not started"):  # fold 0 is passed over
        folds.train_folds(dataset, tmp_path / "cv", [], is_resumed=True)
    trained_on = (*other, held_out[0])
    with pytest.raises(ConfigurationError, match=f"fold-0 was trained on 1 of the cases .*{held_out[0]}"):
        folds.train_folds(dataset, tmp_path / "cv", [], is_resumed=True)
