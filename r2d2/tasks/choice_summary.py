"""What is written down of a choice: every candidate with its folds and costs, every pair, and the reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dist_training.record.events import EpochEnded, Running, read_events
from dist_training.record.run_folder import RunFolder
from r2d2 import __version__
from r2d2.choosing.decision import Decision, Pair, fewest_patients
from r2d2.choosing.record import (
    Budget,
    CandidateRecord,
    ChoiceRecord,
    FoldRecord,
    FoundScore,
    PairRecord,
    number,
    score_record,
)
from r2d2.choosing.scores import CandidateScores
from r2d2.reports.formatting import and_list, plural
from r2d2.tasks.compared_configurations import Candidate, ResolvedConfiguration
from r2d2.tasks.cross_validation import fold_folder
from segeval import METRICS

__all__ = ["choice_record", "parameters_of"]


def parameters_of(candidate: Candidate, out: Path) -> int:
    """Count the numbers that the networks of one fold hold.

    Args:
        candidate: whose folds are trained.
        out: folder of the choice.
    """
    return sum(_parameters(fold_folder(out / member.name, 0)) for member in candidate.members)


def _parameters(run: Path) -> int:
    return [event for event in read_events(RunFolder(run).events) if isinstance(event, Running)][-1].parameters


def choice_record(
    candidates: Sequence[Candidate],
    scores: CandidateScores,
    decision: Decision,
    expected: FoundScore,
    out: Path,
    labels: tuple[str, ...],
    confidence: float,
) -> ChoiceRecord:
    """Put together what choice.json says.

    Args:
        candidates: all that were compared.
        scores: what they reached.
        decision: what these say.
        expected: what the chosen one reaches where it was not chosen.
        out: folder of the choice.
        labels: over which a case's value is a mean.
        confidence: of the intervals.
    """
    dataset, training = candidates[0].members[0].dataset, candidates[0].members[0].configuration.training
    records = tuple(_candidate_record(one, scores, decision, out) for one in candidates)
    by_name = {one.name: one for one in records}
    chosen = by_name[decision.chosen]
    return ChoiceRecord(
        r2d2=__version__,
        dataset=dataset.name,
        metric=scores.metric,
        better=METRICS[scores.metric].better,
        confidence=confidence,
        labels=labels,
        cases=len(scores.case_ids),
        patients=len(set(scores.patient_ids)),
        folds=len(dataset.splits.folds),
        budget=Budget(epochs=training.epochs, max_minutes=training.max_minutes, seed=training.seed),
        candidates=records,
        pairs=tuple(map(_pair_record, decision.pairs)),
        best=decision.best,
        alike=decision.alike,
        chosen=decision.chosen,
        networks=chosen.members,
        reason=_reason(decision),
        expected=expected,
        notes=tuple(_notes(records, scores, candidates, confidence)),
    )


def _candidate_record(candidate: Candidate, scores: CandidateScores, decision: Decision, out: Path) -> CandidateRecord:
    members, is_single = candidate.members, len(candidate.members) == 1
    folds = {member.name: tuple(_fold_records(member, scores, out)) for member in members}
    return CandidateRecord(
        name=candidate.name,
        folder=candidate.name if is_single else None,
        members=tuple(member.name for member in members),
        dataset=str(members[0].dataset.folder),
        architecture=tuple(member.configuration.network.architecture for member in members),
        dimensions=tuple(len(member.configuration.network.size_multiples) for member in members),
        neighbours=tuple(member.dataset.scan_preparation.neighbours for member in members),
        parameters=parameters_of(candidate, out),
        minutes=sum(fold.minutes for of_member in folds.values() for fold in of_member),
        score=score_record(decision.means[candidate.name]),
        folds=folds[candidate.name] if is_single else (),
    )


def _fold_records(member: ResolvedConfiguration, scores: CandidateScores, out: Path) -> Iterator[FoldRecord]:
    for fold in range(len(member.dataset.splits.folds)):
        run = RunFolder(fold_folder(out / member.name, fold))
        status = run.status()
        epochs = {event.epoch: event for event in read_events(run.events) if isinstance(event, EpochEnded)}
        seconds = sum((event.seconds or 0.0) + (event.validation_seconds or 0.0) for event in epochs.values())
        values = scores.of(member.name)[scores.folds == fold]
        yield FoldRecord(
            fold=fold,
            score=number(float(np.mean(values))) if values.size else None,
            epochs=status.epoch,
            best_epoch=status.best_epoch,
            minutes=seconds / 60,
            ended=status.reason,
        )


def _pair_record(pair: Pair) -> PairRecord:
    row = pair.row
    return PairRecord(
        first=pair.first,
        second=pair.second,
        difference=number(row.difference.mean),
        low=number(row.difference.low),
        high=number(row.difference.high),
        patients=row.patients,
        p=_p(row.p),
        p_holm=_p(row.p_holm),
        method=row.method,
        reason=row.reason,
        better=pair.better,
    )


def _p(value: float) -> float | None:
    return None if np.isnan(value) else value


def _reason(decision: Decision) -> str:
    best, chosen = decision.best, decision.chosen
    others = [name for name in decision.alike if name != chosen]
    if not decision.is_tested:
        return f"{best} has the best mean; there are too few patients to show whether another is as good."
    if not others:
        return f"{chosen} is better than every other."
    if chosen == best:
        return (
            f"{best} has the best mean; it cannot be told apart from {and_list(others)}, and of these it has the "
            "fewest parameters."
        )
    return f"{best} has the best mean, and cannot be told apart from {chosen}, which has fewer parameters."


def _notes(
    records: Sequence[CandidateRecord], scores: CandidateScores, candidates: Sequence[Candidate], confidence: float
) -> Iterator[str]:
    patients, needed = len(set(scores.patient_ids)), fewest_patients(len(records), confidence)
    if patients < needed:
        yield (
            f"With {plural(patients, 'patient')} no difference between {len(records)} candidates can be shown, however "
            f"large: {needed} would be the fewest."
        )
    held_out = sum(len(fold.validation) for fold in candidates[0].members[0].dataset.original_splits.folds)
    if held_out > len(scores.case_ids):
        yield (
            f"{held_out - len(scores.case_ids)} of {plural(held_out, 'case')} have no value of {scores.metric} with "
            "all candidates, and are left out."
        )
    for record in records:
        early = [fold for fold in record.folds if fold.ended is not None]
        if early:
            yield (
                f"{record.name}: {len(early)} of {plural(len(record.folds), 'training')} ended before the last epoch "
                f"({early[0].ended})."
            )
