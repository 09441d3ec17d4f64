"""r2d2 train --fold all: what each fold is told and which are passed over, with the training itself left out."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from dist_training.checkpoints import TrainingProgress, write_checkpoint
from dist_training.record.run_folder import RunEnd, RunFolder
from dist_training.run.plan import run_facts
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset, write_phantom_study
from r2d2.cli import app
from r2d2.config import commented_yaml, configure
from r2d2.errors import LaunchError
from r2d2.launching.plan import RunPlan
from r2d2.tasks import cross_validation
from r2d2.tasks.training import TrainingResult, TrainSettings, result_of
from r2d2_base.errors import ConfigurationError


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[RunPlan]:
    """The plans of the runs that a cross-validation starts; each ends as interrupted, so that nothing is evaluated."""
    plans: list[RunPlan] = []

    def run(plan: RunPlan, **_: Any) -> TrainingResult:
        plans.append(plan)
        end = RunEnd(state="stopped_early", reason="signal SIGINT", stopped_by="signal")
        plan.folder.write_exit(end)
        return result_of(plan, end)

    monkeypatch.setattr(cross_validation, "run_plan", run)
    monkeypatch.setattr(cross_validation, "_check_held_out", lambda dataset, folder: None)
    return plans


def study(tmp_path: Path, cases: int, folds: int) -> PreparedDataset:
    write_phantom_study(tmp_path / "study", cases=cases, shape=(32, 32, 8))
    return prepare_dataset(tmp_path / "study", tmp_path / "dataset", PreparationSettings(folds=folds))


def begin(folder: RunFolder, dataset: PreparedDataset, end: RunEnd, epochs: int | None, planned: int = 7) -> None:
    """A fold as a run leaves it."""
    settings = {"dataset": str(dataset.folder), "run_dir": str(folder.path), "fold": int(folder.path.name[-1])}
    configuration = configure({**settings, "training": {"epochs": planned}})
    folder.create()
    folder.config.write_text(commented_yaml(configuration, "as the fold was begun"))
    folder.write_exit(end)
    if epochs is not None:
        training = configuration.training.resolved(1)
        of_fold = dataset.with_fold(configuration.fold)
        write_checkpoint(
            folder.checkpoints,
            step=epochs,
            progress=TrainingProgress(epoch=epochs),
            network=configuration.network.model_dump(mode="json"),
            facts=run_facts(of_fold, training, configuration.augmentation, configuration.transfer),
            model=[np.zeros(1)],
            optimizer=[],
        )


def test_resumed_it_goes_on_with_the_dataset_and_the_settings_that_the_first_fold_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planned: list[RunPlan]
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = study(tmp_path, cases=6, folds=2)
    begin(RunFolder(tmp_path / "cv" / "fold-0"), dataset, RunEnd(state="completed"), epochs=7)
    (tmp_path / "r2d2.yaml").write_text("training: {epochs: 3}")

    stopped = CliRunner().invoke(app, ["train", "--fold", "all", "--run-dir", "cv", "--resume"]).exception

    (plan,) = planned
    assert (plan.configuration.fold, plan.folder.path, plan.is_resumed) == (1, tmp_path / "cv/fold-1", False)
    assert plan.configuration.dataset == dataset.folder
    assert plan.configuration.training.epochs == 7
    assert not (tmp_path / "r2d2-phantom").exists()
    assert isinstance(stopped, LaunchError)
    assert stopped.exit_code == 130
    assert "fold 1 was stopped (signal SIGINT); go on with: r2d2 train --fold all --run-dir cv --resume" in str(stopped)


def test_settings_that_are_each_folds_own_do_not_reach_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planned: list[RunPlan]
) -> None:
    """What is set by key=value overrides options: every fold would be trained in one folder, or be the same."""
    monkeypatch.chdir(tmp_path)
    study(tmp_path, cases=6, folds=2)
    words = ["train", "--fold", "all", "--dataset", "dataset", "run_dir=cv", "training.epochs=3"]
    refused = CliRunner().invoke(app, [*words, "fold=1"]).exception
    assert isinstance(refused, ConfigurationError)
    assert "--fold all contradicts fold=1" in str(refused)
    CliRunner().invoke(app, words)
    (plan,) = planned
    assert (plan.folder.path, plan.configuration.training.epochs) == (tmp_path / "cv/fold-0", 3)


def test_a_fold_that_was_trained_on_what_it_holds_out_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the dataset was prepared again with other folds, or another one is named with --resume."""
    dataset = study(tmp_path, cases=6, folds=2)
    held_out, trained_on = (dataset.splits.folds[fold].validation for fold in (0, 1))

    def card(folder: Path) -> tuple[Path, SimpleNamespace]:
        cases = [SimpleNamespace(split="train", image_sha256=dataset.case(case).image_sha256) for case in trained_on]
        return folder, SimpleNamespace(cases=cases)

    monkeypatch.setattr("dist_training.inference.model_card.read_model_card", card)
    folder = RunFolder(tmp_path / "cv" / "fold-0")
    begin(folder, dataset, RunEnd(state="completed"), epochs=7)
    settings = TrainSettings(dataset=dataset.folder, run_dir=tmp_path / "cv", resume=True)
    trained_on = (*trained_on, held_out[0])
    with pytest.raises(ConfigurationError, match=f"fold-0 was trained on 1 of the cases .*{held_out[0]}"):
        cross_validation.cross_validate(settings)


def test_folds_that_have_fewer_epochs_than_are_wanted_go_on(tmp_path: Path, planned: list[RunPlan]) -> None:
    """Not those that were stopped as somebody wanted, nor one whose checkpoints are gone: it would begin anew."""
    dataset = study(tmp_path, cases=10, folds=4)
    wanted = RunEnd(state="stopped_early", reason="signal lost", stopped_by="request")
    ends = [(20, RunEnd(state="completed")), (5, wanted), (None, RunEnd(state="completed"))]
    for fold, (epochs, end) in enumerate([*ends, (5, RunEnd(state="completed"))]):
        begin(RunFolder(tmp_path / "cv" / f"fold-{fold}"), dataset, end, epochs, planned=20)
    said: list[str] = []
    words = ("training.epochs=20",)
    settings = TrainSettings(dataset=dataset.folder, run_dir=tmp_path / "cv", settings=words, resume=True)
    with pytest.raises(LaunchError, match="fold 3 was stopped"):
        cross_validation.cross_validate(settings, on_notice=said.append)
    assert [(plan.configuration.fold, plan.is_resumed) for plan in planned] == [(3, True)]
    kept = [line.partition(str(tmp_path))[0] + line.rpartition(" (")[2] for line in said if "trained" in line]
    assert kept == [
        "fold 0 (0 to 3) is trained: 20 epochs)",
        "fold 1 (0 to 3) is trained: 5 epochs; signal lost)",
        "fold 2 (0 to 3) is trained: it has no checkpoint to go on from)",
    ]
    assert "fold 3 (0 to 3) has 5 of 20 epochs and goes on" in said


def test_where_all_are_to_have_the_same_epochs_one_that_was_stopped_goes_on(
    tmp_path: Path, planned: list[RunPlan]
) -> None:
    """As between configurations that are compared; not one whose own settings ended it."""
    dataset = study(tmp_path, cases=6, folds=2)
    patient = RunEnd(state="stopped_early", reason="no better validation Dice", stopped_by="early_stopping")
    asked = RunEnd(state="stopped_early", reason="lunch", stopped_by="request")
    for fold, end in enumerate((patient, asked)):
        begin(RunFolder(tmp_path / "cv" / f"fold-{fold}"), dataset, end, epochs=5, planned=20)
    settings = TrainSettings(dataset=dataset.folder, settings=("training.epochs=20",))
    with pytest.raises(LaunchError, match=r"fold 1 was stopped .*; go on with: the same command$"):
        cross_validation.train_folds(
            dataset, tmp_path / "cv", settings, epochs=20, is_resumed=True, again="the same command"
        )
    assert [(plan.configuration.fold, plan.is_resumed) for plan in planned] == [(1, True)]
