"""Choosing between configurations: all trained on the same folds, compared case by case, the chosen one judged anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from r2d2.choosing.decision import decide, nested_score
from r2d2.choosing.record import ChoiceRecord, FoundScore, score_record, write_choice
from r2d2.choosing.scores import mean_over_labels_of, scores_of
from r2d2.prediction.manifest import MANIFEST
from r2d2.reports.choice import CHOICE_PAGE, build_choice_report
from r2d2.tasks.choice_folder import CONFIGURATION, begin, begun_configurations
from r2d2.tasks.choice_summary import choice_record, parameters_of
from r2d2.tasks.compared_configurations import (
    AskedConfiguration,
    Candidate,
    ResolvedConfiguration,
    asked_configurations,
    candidates_among,
    resolved,
)
from r2d2.tasks.cross_validation import fold_folder, predict_once, predict_trained_folds, train_folds
from r2d2.tasks.evaluation import evaluate_dataset, evaluate_folds, split_case_ids
from r2d2.tasks.training import TrainSettings
from r2d2_base.errors import ConfigurationError
from r2d2_base.files import check_writable, make_folder
from r2d2_base.folders import locked_folder
from r2d2_base.progress import Progress, StopRequest, Watcher
from segeval import DEFAULT_METRICS, METRICS, EvaluationSettings, ScoreTable, mean_over_cases, read_scores
from segeval.settings import build_settings
from segeval.statistics import score_table

if TYPE_CHECKING:
    from dist_training.record.events import Event
    from r2d2.config import Configuration

__all__ = ["ChoiceResult", "ChooseSettings", "checked_configurations", "choose"]

NESTED_REMARK = (
    "No test cases were kept, so this is of the folds: each case by the candidate that the other folds choose. The "
    "cases of a fold chose the epoch of its networks, so it is a little hopeful."
)


class ChooseSettings(BaseModel):
    """Which configurations are compared, on which dataset.

    >>> ChooseSettings(dataset="work/liver", variants=["2d:", "3d: network.dimensions=3"], out="work/choice").metric
    'dice'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Path = Field(description="prepared dataset with folds, of all configurations that name none of their own")
    out: Path = Field(description="folder for the trainings and choice.json; the same call goes on with one")
    files: tuple[Path, ...] = Field(default=(), description="configurations as YAML files, each called as its file")
    variants: tuple[str, ...] = Field(
        default=(), description="configurations in words: a name and key=value, like '3d: network.dimensions=3'"
    )
    settings: tuple[str, ...] = Field(default=(), description="key=value words for all, like training.epochs=50")
    ensembles: bool = Field(default=False, description="compare every two configurations together as well")
    max_restarts: int = Field(default=0, ge=0, description="times that a training which lost a worker is started again")
    metric: str = Field(default="dice", description="what is compared: a metric, averaged over the labels of a case")
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1, description="coverage of the intervals; tests are at 1 minus this"
    )


@dataclass(frozen=True)
class ChoiceResult:
    """What was chosen.

    Attributes:
        choice: content of choice.json.
        folder: of all that was trained.
        record: choice.json.
        report: HTML file.
    """

    choice: ChoiceRecord
    folder: Path
    record: Path
    report: Path


def choose(
    settings: ChooseSettings,
    *,
    on_event: Callable[[Event], None] = lambda event: None,
    on_notice: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> ChoiceResult:
    """Train configurations on the same folds, compare them case by case, and say which one to use.

    1. Each configuration is trained on each fold, with the same epochs (or minutes) and seed.
    2. Each network segments the cases that its fold held out; with ``ensembles`` those of every two configurations do
       so together, without being trained again.
    3. All pairs are tested; the smallest of those that the best is not better than is chosen, see `decide`.
    4. What it reaches is measured on the test cases, by its networks of all folds together; without test cases by
       folds that did not choose, see `nested_score`.

    The same call goes on with what was interrupted: what is trained and predicted stays, and the end is the same.
    Further configurations may be added to it.

    Args:
        settings: what is compared.
        on_event: called with every event of each training.
        on_notice: called with a line for the user.
        progress: told of the cases that are predicted and evaluated.
        stop: ends the work where it is made; a training stops with a checkpoint.

    Returns:
        The choice, which also lies in the folder.

    Raises:
        ConfigurationError: configurations that cannot be trained or compared; nothing is written then.
        OutputExistsError: the folder holds something else.
        LaunchError: a training failed, or was stopped.
        CancelledError: ``stop`` was made between trainings.
    """
    configurations = checked_configurations(settings)
    candidates = candidates_among(configurations, with_pairs=settings.ensembles)
    check_writable(settings.out)
    make_folder(settings.out)
    with locked_folder(settings.out, settings.out):
        begin(configurations, *_given(settings))
        for place, one in enumerate(configurations, start=1):
            on_notice(f"{one.name}: configuration {place} of {len(configurations)}")
            _train(one, settings, on_event, on_notice, stop)
        watcher = Watcher(progress, stop)
        tables = {one.name: _scored(one, settings, watcher, on_notice) for one in candidates}
        return _chosen(candidates, tables, settings, watcher)


def checked_configurations(
    settings: ChooseSettings, allow: Callable[[Configuration], None] = lambda configuration: None
) -> tuple[ResolvedConfiguration, ...]:
    """Fill in all configurations and check everything, as `choose` would, and train and write nothing.

    Args:
        settings: what is compared.
        allow: called with all settings of each before anything that they name, but the dataset, is read; refuses by
            raising.

    Raises:
        ConfigurationError, OutputExistsError: see `choose`.
    """
    if settings.metric not in METRICS:
        raise ConfigurationError(f"metric must be one of {', '.join(METRICS)}; received {settings.metric}")
    asked, dataset, words, out = _given(settings)
    for one in asked:
        allow(resolved(one, dataset, words).configuration)
    found = begun_configurations(asked, dataset, words, out)
    candidates_among(found, with_pairs=settings.ensembles)
    return found


def _given(settings: ChooseSettings) -> tuple[tuple[AskedConfiguration, ...], Path, tuple[str, ...], Path]:
    asked = asked_configurations(settings.files, settings.variants)
    return asked, settings.dataset, settings.settings, settings.out


def _train(
    one: ResolvedConfiguration,
    settings: ChooseSettings,
    on_event: Callable[[Event], None],
    on_notice: Callable[[str], None],
    stop: StopRequest | None,
) -> None:
    if stop is not None:
        stop.check()
    folder = settings.out / one.name
    config, restarts = folder / CONFIGURATION, settings.max_restarts
    train_folds(
        one.dataset,
        folder,
        TrainSettings(dataset=one.dataset.folder, config=config, max_restarts=restarts),
        epochs=one.configuration.training.epochs,
        is_resumed=True,
        on_event=on_event,
        on_notice=lambda text: on_notice(f"{one.name}: {text}"),
        stop=stop,
        again=f"the same 'r2d2 choose' ({one.name} is at work)",
    )


def _scored(
    candidate: Candidate, settings: ChooseSettings, watcher: Watcher, on_notice: Callable[[str], None]
) -> ScoreTable:
    """Score all cases outside of the test by networks that had not seen them, unless that is done."""
    watcher.check()
    dataset, folder = candidate.members[0].dataset, settings.out / candidate.name
    members = [settings.out / member.name for member in candidate.members]
    on_notice(f"{candidate.name}: each case by the networks of the fold that held it out")
    predictions = predict_trained_folds(dataset, members, folder, watcher.progress, watcher.stop)
    evaluation, scoring = folder / "evaluation", _scoring(settings.metric)
    if _is_newer(evaluation / "summary.json", [path / MANIFEST for path in predictions.values()]):
        table = read_scores(evaluation)
        if settings.metric in table.metrics:
            return table
    evaluate_folds(dataset, predictions, evaluation, scoring, progress=watcher.progress, stop=watcher.stop)
    return read_scores(evaluation)


def _scoring(metric: str) -> EvaluationSettings:
    return build_settings(choices={"metrics": tuple(dict.fromkeys((*DEFAULT_METRICS, metric)))})


def _is_newer(file: Path, others: Sequence[Path]) -> bool:
    return file.is_file() and all(file.stat().st_mtime_ns >= other.stat().st_mtime_ns for other in others)


def _chosen(
    candidates: Sequence[Candidate], tables: Mapping[str, ScoreTable], settings: ChooseSettings, watcher: Watcher
) -> ChoiceResult:
    """Decide by the scores, find out what the decision is worth, and write both down."""
    dataset, out = candidates[0].members[0].dataset, settings.out
    fold_of = {case: place for place, fold in enumerate(dataset.original_splits.folds) for case in fold.validation}
    scores = scores_of(tables, settings.metric, fold_of)
    sizes = {one.name: parameters_of(one, out) for one in candidates}
    decision = decide(scores, sizes, confidence=settings.confidence)
    if dataset.original_splits.test:
        chosen = next(one for one in candidates if one.name == decision.chosen)
        expected = _on_test(chosen, settings, watcher)
    else:
        nested = nested_score(scores, sizes, confidence=settings.confidence)
        expected = FoundScore(
            source="nested_folds",
            score=score_record(nested.score),
            choices=dict(nested.choices),
            remark=NESTED_REMARK,
        )
    labels = tuple(next(iter(tables.values())).labels)
    choice = choice_record(candidates, scores, decision, expected, out, labels, settings.confidence)
    record = write_choice(out, choice)
    return ChoiceResult(choice, out, record, build_choice_report(out / CHOICE_PAGE, choice))


def _on_test(candidate: Candidate, settings: ChooseSettings, watcher: Watcher) -> FoundScore:
    """Score the test cases by the networks of all folds together: what there is to use, without another training."""
    dataset, folder = candidate.members[0].dataset, settings.out / candidate.name / "test"
    folds = range(len(dataset.splits.folds))
    models = [fold_folder(settings.out / member.name, fold) for member in candidate.members for fold in folds]
    cases, predictions = split_case_ids(dataset, "test"), folder / "predictions"
    predict_once(dataset, models, cases, predictions, watcher.progress, watcher.stop)
    scoring = _scoring(settings.metric)
    how: dict[str, Any] = {"progress": watcher.progress, "stop": watcher.stop}
    table = score_table(evaluate_dataset(dataset, "test", predictions, folder / "evaluation", scoring, **how))
    values = mean_over_labels_of(table.metrics[settings.metric][np.newaxis])[0]
    score = mean_over_cases(values, table.patient_ids, confidence=settings.confidence)
    together = f"{len(models)} networks together, those of all folds"
    return FoundScore(source="test", score=score_record(score), remark=f"Test cases, which chose nothing; {together}.")
