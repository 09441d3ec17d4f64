"""How the cases of a study are divided: by the user's file, the earlier dataset, the source itself, or anew."""

from __future__ import annotations

from collections.abc import Sequence

from imgmed.errors import LeakError
from imgmed.preparation.labelling import Labelling
from imgmed.preparation.survey import SurveyedCase
from imgmed.settings import PreparationSettings
from imgmed.splits import Splits, extend_splits, fixed_splits, folded_splits, read_splits
from imgmed.splits.duplicates import Duplicate
from imgmed.study import Study

__all__ = ["divide_cases", "empty_parts"]


def divide_cases(
    study: Study,
    surveyed: Sequence[SurveyedCase],
    labelling: Labelling,
    duplicates: Sequence[Duplicate],
    settings: PreparationSettings,
    kept: Splits | None,
) -> Splits:
    """Divide the cases, by the first of these that there is.

    Args:
        study: parts or folds of the source itself, unless `settings` has these ignored.
        surveyed: the cases.
        labelling: their labels, of which rare ones reach every part.
        duplicates: copies of one image, which stay together.
        settings: a file of the user's, fractions, number of folds and seed.
        kept: splits of an earlier dataset of this source.

    Raises:
        InvalidSplitsError: the user's file does not hold every case once.
        LeakError: a patient, or copies of one image, would be divided.
        TooFewPatientsError: nothing to train on would be left.
    """
    patients = {case.case_id: case.record.patient_id for case in surveyed}
    strata = {case.case_id: labelling.values_in(case.record) for case in surveyed}
    pairs = [duplicate.pair for duplicate in duplicates]
    fractions = (settings.validation_fraction, settings.test_fraction)
    seed, folds = settings.seed, settings.folds
    if settings.splits is not None:
        return read_splits(settings.splits, patients, folds, seed, strata=strata, duplicates=pairs)
    if kept is not None:
        return extend_splits(kept, patients, *fractions, seed, folds=folds, strata=strata, duplicates=pairs)
    is_given = settings.source_splits == "keep"
    parts = {case.case_id: case.source.split for case in surveyed if is_given and case.source.split is not None}
    try:
        if is_given and study.folds:
            given = _public_folds(study, surveyed)
            test = {case_id for case_id, part in parts.items() if part == "test"}
            return folded_splits(given, test, patients, folds, seed, strata=strata, duplicates=pairs)
        return fixed_splits(parts, patients, *fractions, folds, seed, strata=strata, duplicates=pairs)
    except LeakError as error:
        advice = "the source divides its cases so; preparation.source_splits=ignore draws new splits"
        raise LeakError(error.problems, advice) from None


def _public_folds(study: Study, surveyed: Sequence[SurveyedCase]) -> list[tuple[list[str], list[str]]]:
    """The folds of the source, of the cases that can be used, under the names that these have in the dataset."""
    names = {case.source.case_id: case.case_id for case in surveyed}
    return [
        ([names[case] for case in train if case in names], [names[case] for case in held_out if case in names])
        for train, held_out in study.folds
    ]


def empty_parts(splits: Splits, cases: Sequence[SurveyedCase]) -> tuple[str, ...]:
    """Return a sentence for each part that holds no case: what it would have been for."""
    patients = len({case.record.patient_id for case in cases})
    count = "1 patient" if patients == 1 else f"{patients} patients"
    sentences = []
    if not splits.validation:
        sentences.append(f"no case is kept for validation ({count}): training keeps its last network, not its best")
    if not splits.test:
        sentences.append(f"no case is kept for the test ({count}): score the network on scans from elsewhere")
    return tuple(sentences)
