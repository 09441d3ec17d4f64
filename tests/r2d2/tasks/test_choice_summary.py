"""What is written down of trainings that are there: what they cost, how they ended, what the scores leave out."""

from pathlib import Path

import numpy as np
import pytest

from dist_training.record.events import EpochEnded, Event, EventLog, Running
from dist_training.record.run_folder import RunEnd, RunFolder
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset, write_phantom_study
from r2d2.choosing.decision import decide
from r2d2.choosing.record import ChoiceRecord, FoundScore, ScoreRecord
from r2d2.choosing.scores import CandidateScores
from r2d2.tasks.choice_summary import choice_record, parameters_of
from r2d2.tasks.compared_configurations import AskedConfiguration, candidates_among, resolved

PARAMETERS = {"2d": 100, "3d": 40}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("summary")
    write_phantom_study(folder / "study", cases=9, shape=(32, 32, 8))
    return prepare_dataset(folder / "study", folder / "dataset", PreparationSettings(folds=2))


def write_run(path: Path, parameters: int, epochs: list[EpochEnded], end: RunEnd) -> None:
    """A run that was begun twice, as after a kill: epochs since the last checkpoint come again."""
    run = RunFolder(path)
    run.create()
    begun = Running(
        epochs=3,
        steps_per_epoch=1,
        training_slices=1,
        validation_slices=1,
        global_batch_size=1,
        parameters=parameters,
    )
    with_restart: list[Event] = [begun, epochs[0], begun, *epochs]
    log = EventLog(run.events)
    for event in with_restart:
        log.record(event)
    log.close()
    run.write_exit(end)


def epoch(number: int, dice: float) -> EpochEnded:
    return EpochEnded(epoch=number, step=number, loss=1.0, validation_dice=dice, seconds=30.0, validation_seconds=6.0)


def summary(dataset: PreparedDataset, out: Path, values: dict[str, np.ndarray], cases: list[str]) -> ChoiceRecord:
    asked = [AskedConfiguration(name, None, (f"network.base_filters={place}",)) for place, name in enumerate(values, 4)]
    found = [resolved(one, dataset.folder, ["training.epochs=3"]) for one in asked]
    candidates = candidates_among(found, with_pairs=False)
    late = RunEnd(state="stopped_early", reason="max_minutes=1 of training are over", stopped_by="time_budget")
    for name in values:
        for fold in (0, 1):
            end = late if name == "3d" and fold == 1 else RunEnd(state="completed")
            count = 2 if end is late else 3
            made = [epoch(number, dice=0.9 - 0.1 * abs(number - 2)) for number in range(1, count + 1)]
            write_run(out / name / f"fold-{fold}", PARAMETERS[name], made, end)
    folds = [next(at for at, fold in enumerate(dataset.splits.folds) if case in fold.validation) for case in cases]
    table = np.array(list(values.values()))
    scores = CandidateScores(tuple(values), "dice", tuple(cases), tuple(cases), np.array(folds), table)
    sizes = {one.name: parameters_of(one, out) for one in candidates}
    assert sizes == {name: PARAMETERS[name] for name in values}
    nothing = FoundScore(source="test", score=ScoreRecord(mean=0.5, low=None, high=None, cases=1, patients=1))
    return choice_record(candidates, scores, decide(scores, sizes), nothing, out, ("organ", "lesion"), 0.95)


def held_out(dataset: PreparedDataset) -> list[str]:
    return sorted(case for fold in dataset.splits.folds for case in fold.validation)


def test_costs_and_ends_are_those_of_the_runs(dataset: PreparedDataset, tmp_path: Path) -> None:
    cases = held_out(dataset)
    values = {"2d": np.linspace(0.5, 0.6, len(cases)), "3d": np.linspace(0.7, 0.9, len(cases))}
    choice = summary(dataset, tmp_path, values, cases)
    slices, volumes = choice.candidates
    assert [(fold.epochs, fold.best_epoch, fold.ended) for fold in slices.folds] == [(3, 2, None)] * 2
    assert [fold.epochs for fold in volumes.folds] == [3, 2]
    assert [fold.minutes for fold in volumes.folds] == pytest.approx([3 * 0.6, 2 * 0.6])  # an epoch twice counts once
    assert slices.minutes == pytest.approx(6 * 0.6)
    assert choice.notes == ("3d: 1 of 2 trainings ended before the last epoch (max_minutes=1 of training are over).",)
    assert (choice.chosen, choice.reason) == ("3d", "3d is better than every other.")
    of_fold = [values["2d"][cases.index(case)] for case in dataset.splits.folds[1].validation]
    assert slices.folds[1].score == pytest.approx(np.mean(of_fold))


def test_cases_that_no_score_pairs_are_counted(dataset: PreparedDataset, tmp_path: Path) -> None:
    cases = held_out(dataset)[1:]
    alike = np.linspace(0.5, 0.6, len(cases))
    values = {"2d": alike, "3d": alike - 1e-3 * (np.arange(len(cases)) % 3 - 0.5)}
    choice = summary(dataset, tmp_path, values, cases)
    assert f"1 of {len(cases) + 1} cases have no value of dice with all candidates, and are left out." in choice.notes
    assert choice.chosen == "3d"
    assert choice.reason == "2d has the best mean, and cannot be told apart from 3d, which has fewer parameters."
