"""r2d2 choose: a network of slices, one of volumes and both together, killed midway and begun again."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dist_training.inference.model_card import read_model_card
from dist_training.record.run_folder import RunFolder
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset, write_phantom_study
from r2d2.choosing.record import ChoiceRecord, read_choice
from r2d2.cli import app
from r2d2.prediction.manifest import read_manifest
from r2d2.tasks import choice_folder, choosing
from r2d2.tasks.compared_configurations import ResolvedConfiguration
from r2d2.tasks.registry import Listener, find_task
from segeval import Evaluation, read_evaluation
from tests.small_network import SMALL_WORDS

pytestmark = pytest.mark.end_to_end

LEVELS = "network.depth=1 network.strides=null network.kernels=null network.base_filters=4"
VOLUMES = f"network.dimensions=3 {LEVELS} training.patch_size=[4,16,16]"
CONFIGURATIONS = [
    f"2d: {' '.join(SMALL_WORDS)}",
    f"3d: {VOLUMES}",
    "training.epochs=2",
    "training.sample_predictions=0",
]
PATIENCE_S = 600


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    folder = tmp_path_factory.mktemp("choose")
    write_phantom_study(folder / "study", cases=6, shape=(32, 32, 8))
    return prepare_dataset(folder / "study", folder / "dataset", PreparationSettings(folds=2))


def words(dataset: PreparedDataset) -> list[str]:
    options = ["--dataset", str(dataset.folder), "--out", str(dataset.folder.parent / "choice"), "--ensembles"]
    return ["choose", *CONFIGURATIONS, *options]


def asked(dataset: PreparedDataset) -> choosing.ChooseSettings:
    """The same in Python."""
    variants, settings = CONFIGURATIONS[:2], CONFIGURATIONS[2:]
    out = dataset.folder.parent / "choice"
    return choosing.ChooseSettings(
        dataset=dataset.folder, out=out, variants=variants, settings=settings, ensembles=True
    )


def kill_within(dataset: PreparedDataset, run: RunFolder) -> None:
    """Begin the choice, and kill it as soon as a run has learned; its worker notices, and ends."""
    command = [sys.executable, "-m", "r2d2", *words(dataset)]
    started = subprocess.Popen(command, cwd=dataset.folder.parent, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + PATIENCE_S
    while not run.status().has_learned:
        assert started.poll() is None, started.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.1)
    os.kill(started.pid, signal.SIGKILL)
    started.communicate()
    while run.status().is_running:
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.fixture(scope="module")
def chosen(dataset: PreparedDataset) -> tuple[ChoiceRecord, str]:
    """The choice after a kill in the second training, and what the second call printed."""
    folder = dataset.folder.parent / "choice"
    kill_within(dataset, RunFolder(folder / "2d" / "fold-1"))
    first = folder / "2d" / "fold-0" / "model.keras"
    trained = first.stat().st_mtime_ns
    done = CliRunner().invoke(app, words(dataset))
    assert done.exit_code == 0, done.output
    assert first.stat().st_mtime_ns == trained
    assert "2d: fold 0 (0 to 1) is trained" in done.stderr
    return read_choice(folder), done.stdout


def test_each_case_is_scored_by_networks_that_had_not_seen_it(
    dataset: PreparedDataset, chosen: tuple[ChoiceRecord, str]
) -> None:
    choice, folder = chosen[0], dataset.folder.parent / "choice"
    held_out = sorted(case for fold in dataset.splits.folds for case in fold.validation)
    for candidate in choice.candidates:
        judged = read_evaluation(folder / candidate.name / "evaluation")
        assert sorted(case.case_id for case in judged.cases) == held_out
        assert candidate.score.mean == pytest.approx(judged.per_case["dice"].mean)
        for number, fold in enumerate(dataset.splits.folds):
            manifest = read_manifest(folder / candidate.name / f"fold-{number}" / "predictions")
            assert manifest is not None
            assert {case.split for case in manifest.cases} == {"validation"}
            assert {case.case_id for case in manifest.cases} == set(fold.validation)
            cards = [read_model_card(folder / member / f"fold-{number}")[1] for member in candidate.members]
            assert [one.model_sha256 for one in manifest.ensemble or [manifest]] == [
                card.model_sha256 for card in cards
            ]
    assert (choice.cases, choice.patients, choice.folds) == (len(held_out), len(held_out), 2)


def test_what_is_written_down_says_what_was_compared_and_at_what_cost(chosen: tuple[ChoiceRecord, str]) -> None:
    choice = chosen[0]
    slices, volumes, both = choice.candidates
    assert [one.name for one in choice.candidates] == ["2d", "3d", "2d+3d"]
    assert (slices.dimensions, volumes.dimensions, both.dimensions) == ((2,), (3,), (2, 3))
    assert both.parameters == slices.parameters + volumes.parameters
    assert both.minutes == pytest.approx(slices.minutes + volumes.minutes)
    assert [(fold.epochs, fold.ended) for one in (slices, volumes) for fold in one.folds] == [(2, None)] * 4
    assert (choice.budget.epochs, choice.budget.max_minutes, choice.budget.seed) == (2, None, 0)
    # five patients: no difference can be shown, so that the best mean decides
    assert all(pair.better is None for pair in choice.pairs) and len(choice.pairs) == 3
    assert set(choice.alike) == {"2d", "3d", "2d+3d"}
    best = max(choice.candidates, key=lambda one: one.score.mean)
    assert (choice.best, choice.chosen, choice.networks) == (best.name, best.name, best.members)
    assert any("no difference between 3 candidates can be shown" in note for note in choice.notes)


def test_the_chosen_one_is_scored_on_test_cases_alone_by_all_its_networks(
    dataset: PreparedDataset, chosen: tuple[ChoiceRecord, str]
) -> None:
    choice, folder = chosen[0], dataset.folder.parent / "choice"
    test = folder / choice.chosen / "test"
    judged, manifest = read_evaluation(test / "evaluation"), read_manifest(test / "predictions")
    assert choice.expected.source == "test"
    assert {case.case_id for case in judged.cases} == set(dataset.splits.test)
    assert choice.expected.score.mean == pytest.approx(judged.per_case["dice"].mean)
    assert manifest is not None
    folds = [folder / member / f"fold-{fold}" / "model.keras" for member in choice.networks for fold in (0, 1)]
    assert [Path(one.model) for one in manifest.ensemble] == folds
    assert {case.split for case in manifest.cases} == {"test"}
    others = [one.name for one in choice.candidates if one.name != choice.chosen]
    assert [name for name in others if (folder / name / "test").exists()] == []


def test_it_is_told_in_eighty_columns_and_on_a_page(dataset: PreparedDataset, chosen: tuple[ChoiceRecord, str]) -> None:
    choice, printed = chosen
    table = printed[: printed.index("use ")]
    assert all(len(line) <= 80 for line in table.splitlines())
    assert all(re.search(rf"^ *{re.escape(one.name)} +[\d,]+ ", table, re.MULTILINE) for one in choice.candidates)
    assert f"use {choice.chosen}: " in printed and "What to expect: Dice 0." in printed
    page = (dataset.folder.parent / "choice" / "choice.html").read_text()
    assert f"Use {choice.chosen}. {choice.reason}" in page
    assert page.count("<section>") == 5


def test_the_same_call_trains_nothing_and_ends_the_same(
    dataset: PreparedDataset, chosen: tuple[ChoiceRecord, str]
) -> None:
    folder = dataset.folder.parent / "choice"
    runs = sorted(folder.rglob("events.jsonl"))
    before = {path: path.stat().st_mtime_ns for path in (*runs, *folder.rglob("summary.json"))}
    again = CliRunner().invoke(app, words(dataset))
    assert again.exit_code == 0, again.output
    assert read_choice(folder) == chosen[0]
    assert again.stdout == chosen[1]
    as_job = find_task("choose").run(asked(dataset), Listener())
    assert (as_job.state, as_job.reason) == ("completed", f"use {chosen[0].chosen}: {chosen[0].reason}")
    assert as_job.result["report"] == str(folder / "choice.html")
    now = {path: path.stat().st_mtime_ns for path in before}
    assert [path for path in runs if now[path] != before[path]] == []
    assert len(runs) == 4


def test_without_test_cases_folds_that_did_not_choose_score_it(
    dataset: PreparedDataset, chosen: tuple[ChoiceRecord, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same networks, of a dataset that keeps no case for the test."""
    out = dataset.folder.parent / "choice"
    before = choice_folder.begun_configurations

    def without_test(*given: object) -> tuple[ResolvedConfiguration, ...]:
        splits = dataset.splits.model_copy(update={"test": ()})
        return tuple(replace(one, dataset=replace(one.dataset, splits=splits)) for one in before(*given))

    monkeypatch.setattr(choosing, "begun_configurations", without_test)
    expected = choosing.choose(asked(dataset)).choice.expected
    scores = {one.name: read_evaluation(out / one.name / "evaluation") for one in chosen[0].candidates}
    by_hand = []
    for number, fold in enumerate(dataset.splits.folds):
        of_others = dataset.splits.folds[1 - number].validation
        means = {name: np.mean([case_dice(one, case) for case in of_others]) for name, one in scores.items()}
        best = max(means, key=lambda name: means[name])
        assert expected.choices[number] == best
        by_hand += [case_dice(scores[best], case) for case in fold.validation]
    assert expected.source == "nested_folds"
    assert expected.score.mean == pytest.approx(np.mean(by_hand))
    assert expected.score.cases == len(by_hand)


def case_dice(evaluation: Evaluation, case_id: str) -> float:
    case = next(case for case in evaluation.cases if case.case_id == case_id)
    return float(np.nanmean([score.values["dice"] for score in case.scores]))
