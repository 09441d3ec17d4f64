"""Several score tables on the same cases and labels, or a list of the reasons why they cannot be compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segeval.conventions import Conventions, empty_policy
from segeval.errors import ComparisonError, MetricArgumentError
from segeval.labels import Label, label_integers, label_key
from segeval.metrics import METRICS
from segeval.statistics.score_table import ScoreTable

__all__ = ["AlignedScores", "OnUnmatched", "align"]

OnUnmatched = Literal["error", "leave_out"]

_NAMED = 5
_SPACING_TOLERANCE = 0.01
_CHOICES_OF_FAMILY = {"surface": ("surface",), "lesion": ("lesion_connectivity", "lesion_match")}


@dataclass(frozen=True, slots=True, eq=False)
class AlignedScores:
    """Scores of several models on the same cases.

    Attributes:
        names: the models.
        case_ids: the cases that all of them have, sorted.
        patient_ids: patient of each.
        labels: the labels that all of them have.
        values: for each metric float64 (models, cases, labels).
        left_out: of each model the cases that another model lacks.
    """

    names: tuple[str, ...]
    case_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    labels: Mapping[str, Label]
    values: Mapping[str, NDArray[np.float64]]
    left_out: Mapping[str, tuple[str, ...]]


def align(
    tables: Mapping[str, ScoreTable], metrics: Sequence[str] | None = None, on_unmatched: OnUnmatched = "error"
) -> AlignedScores:
    """Bring score tables onto the same cases, labels and metrics, and refuse what cannot be compared.

    Refused, all reasons in one error: cases or labels that only some have (unless they are to be left out), another
    number of voxels of the reference or of the image for the same case and label, other conventions for a metric,
    another voxel size for one in mm or ml, other patients.

    Args:
        tables: two or more, by the names of their models.
        metrics: names of metrics; None: those that all have.
        on_unmatched: "error" refuses cases and labels that only some have, "leave_out" leaves them out.

    Returns:
        The scores on common ground.

    Raises:
        ComparisonError: with every reason.
        MetricArgumentError: fewer than two tables, an unknown metric or value of `on_unmatched`.

    Example:
        >>> one = ScoreTable(("a", "b"), ("a", "b"), {"liver": 1}, {"dice": np.array([[0.9], [0.8]])})
        >>> align({"A": one, "B": one}).values["dice"].shape
        (2, 2, 1)
    """
    _check_arguments(tables, metrics, on_unmatched)
    chosen = _common(METRICS if metrics is None else metrics, [table.metrics for table in tables.values()])
    case_ids = _common(sorted(next(iter(tables.values())).case_ids), [table.case_ids for table in tables.values()])
    labels = _common_labels(tables)
    faults = (
        [] if on_unmatched == "leave_out" else [*_unmatched_cases(tables, case_ids), *_unmatched_labels(tables, labels)]
    )
    if not (case_ids and labels and chosen):
        missing = [word for word, some in (("case", case_ids), ("label", labels), ("metric", chosen)) if not some]
        raise ComparisonError([*faults, f"{_listed(tables)} have no {' and no '.join(missing)} in common"])
    faults += [
        f"{_listed(_without(tables, metric))} has no {metric}" for metric in metrics or () if metric not in chosen
    ]
    faults += _other_names(tables, labels)
    for pair in combinations(tables, 2):
        faults += _other_references(tables, pair, case_ids, labels)
        faults += _other_conventions(tables, pair, chosen, labels)
        faults += _other_spacings(tables, pair, chosen, case_ids)
    patients, patient_faults = _patients(tables, case_ids)
    if faults or patient_faults:
        raise ComparisonError([*faults, *patient_faults])
    return AlignedScores(
        names=tuple(tables),
        case_ids=case_ids,
        patient_ids=patients,
        labels=labels,
        values={
            metric: np.stack([_pick(t, t.metrics[metric], case_ids, labels) for t in tables.values()])
            for metric in chosen
        },
        left_out={name: tuple(sorted(set(table.case_ids) - set(case_ids))) for name, table in tables.items()},
    )


def _check_arguments(tables: Mapping[str, ScoreTable], metrics: Sequence[str] | None, on_unmatched: str) -> None:
    if len(tables) < 2:
        raise MetricArgumentError(f"a comparison needs at least two evaluations; received {len(tables)}")
    if on_unmatched not in ("error", "leave_out"):
        raise MetricArgumentError(f"on_unmatched must be error or leave_out; received {on_unmatched}")
    unknown = [metric for metric in metrics or () if metric not in METRICS]
    if unknown or (metrics is not None and not metrics):
        raise MetricArgumentError(
            f"metrics must be among {', '.join(METRICS)}; received {', '.join(unknown) or 'none'}"
        )


def _common(names: Mapping[str, object] | Sequence[str], collections: Sequence[object]) -> tuple[str, ...]:
    sets = [set(collection) for collection in collections]  # type: ignore[call-overload]
    return tuple(name for name in names if all(name in members for members in sets))


def _common_labels(tables: Mapping[str, ScoreTable]) -> dict[str, Label]:
    """Match labels by their integers; the name is the first that is more than those integers."""
    labels: dict[str, Label] = {}
    for value in next(iter(tables.values())).labels.values():
        names = [_name_of(table, value) for table in tables.values()]
        if None not in names:
            labels[next((name for name in names if name and name != label_key(value)), label_key(value))] = value
    return labels


def _name_of(table: ScoreTable, value: Label) -> str | None:
    return next((name for name, other in table.labels.items() if other == value), None)


def _pick(table: ScoreTable, values: NDArray, case_ids: Sequence[str], labels: Mapping[str, Label]) -> NDArray:
    places = {case_id: row for row, case_id in enumerate(table.case_ids)}
    columns = list(table.labels.values())
    return values[
        np.ix_([places[case_id] for case_id in case_ids], [columns.index(value) for value in labels.values()])
    ]


def _unmatched_cases(tables: Mapping[str, ScoreTable], case_ids: Sequence[str]) -> Iterator[str]:
    for name, table in tables.items():
        lonely = sorted(set(table.case_ids) - set(case_ids))
        if lonely:
            plural = "cases" if len(lonely) > 1 else "case"
            yield f"{name} has {len(lonely)} {plural} that not every other has: {', '.join(lonely)}"


def _unmatched_labels(tables: Mapping[str, ScoreTable], labels: Mapping[str, Label]) -> Iterator[str]:
    for name, table in tables.items():
        lonely = [label for label, value in table.labels.items() if value not in labels.values()]
        if lonely:
            yield f"{name} has a label that not every other has: {', '.join(lonely)}"


def _without(tables: Mapping[str, ScoreTable], metric: str) -> list[str]:
    return [name for name, table in tables.items() if metric not in table.metrics]


def _other_names(tables: Mapping[str, ScoreTable], labels: Mapping[str, Label]) -> Iterator[str]:
    for value in labels.values():
        names = {name: _name_of(table, value) for name, table in tables.items()}
        if len({label for label in names.values() if label != label_key(value)}) > 1:
            named = ", ".join(f"“{label}” in {name}" for name, label in names.items())
            integers = ",".join(map(str, label_integers(value)))
            yield f"label {value} is {named}; evaluate again with one name for it (--label NAME={integers})"


def _other_references(
    tables: Mapping[str, ScoreTable], pair: tuple[str, str], case_ids: Sequence[str], labels: Mapping[str, Label]
) -> Iterator[str]:
    """Find signs that a case's reference was not the same: its voxels, and those of the image without the ignored."""
    for attribute, what in (("n_ref", "voxels of the reference"), ("voxels", "compared voxels")):
        tables_of_pair = [(tables[name], getattr(tables[name], attribute)) for name in pair]
        if any(counts is None for _, counts in tables_of_pair):
            continue
        first, second = (_pick(table, counts, case_ids, labels) for table, counts in tables_of_pair)
        differ = [
            f"{case_ids[row]} ({list(labels)[column]}: {first[row, column]} and {second[row, column]})"
            for row, column in np.argwhere(first != second)
        ]
        if differ:
            more = f" and {len(differ) - _NAMED} more" if len(differ) > _NAMED else ""
            yield (
                f"{pair[0]} and {pair[1]} were not measured against the same reference: the number of {what} differs "
                f"for {', '.join(differ[:_NAMED])}{more}"
            )
            return


def _other_conventions(
    tables: Mapping[str, ScoreTable], pair: tuple[str, str], metrics: Sequence[str], labels: Mapping[str, Label]
) -> Iterator[str]:
    first, second = (tables[name].conventions for name in pair)
    if first is None or second is None:
        return
    differing: dict[str, list[str]] = {}
    for metric in metrics:
        for choice in _differing_choices(metric, first, second, labels):
            differing.setdefault(choice, []).append(metric)
    for choice, named in differing.items():
        yield (
            f"{', '.join(named)} cannot be compared: {choice} is {getattr(first, choice)} in {pair[0]} and "
            f"{getattr(second, choice)} in {pair[1]}; evaluate both with the same"
        )


def _other_spacings(
    tables: Mapping[str, ScoreTable], pair: tuple[str, str], metrics: Sequence[str], case_ids: Sequence[str]
) -> Iterator[str]:
    """Find cases measured with another voxel size, as pictures are in pixels or in mm; shares of voxels do not care."""
    named = [name for name in metrics if METRICS[name].family == "surface" or METRICS[name].unit == "ml"]
    first, second = (tables[name] for name in pair)
    if not named or first.spacings_mm is None or second.spacings_mm is None:
        return
    of_first = dict(zip(first.case_ids, first.spacings_mm, strict=True))
    of_second = dict(zip(second.case_ids, second.spacings_mm, strict=True))
    for case_id in case_ids:
        spacings = of_first[case_id], of_second[case_id]
        if spacings[0] is not None and spacings[1] is not None and not _is_same_spacing(spacings[0], spacings[1]):
            yield (
                f"{', '.join(named)} cannot be compared: the voxels of {case_id} are {_written(spacings[0])} mm in"
                f" {pair[0]} and {_written(spacings[1])} mm in {pair[1]}; evaluate both with the same (pictures:"
                " --spacing-mm)"
            )
            return


def _is_same_spacing(first: Sequence[float], second: Sequence[float]) -> bool:
    # a volume of one slice may have been an image of two axes for the other
    return all(math.isclose(a, b, rel_tol=_SPACING_TOLERANCE) for a, b in zip(first, second, strict=False))


def _written(spacing_mm: Sequence[float]) -> str:
    return " × ".join(f"{mm:.6g}" for mm in spacing_mm)


def _differing_choices(
    metric: str, first: Conventions, second: Conventions, labels: Mapping[str, Label]
) -> Iterator[str]:
    if _empty_values(metric, first) != _empty_values(metric, second):
        yield "on_empty"
    choices = (*_CHOICES_OF_FAMILY.get(METRICS[metric].family, ()), *(("hd95",) if metric == "hd95_mm" else ()))
    yield from (choice for choice in choices if getattr(first, choice) != getattr(second, choice))
    if metric == "nsd" and any(first.tolerance_of(label) != second.tolerance_of(label) for label in labels):
        yield "tolerance_mm"


def _empty_values(metric: str, conventions: Conventions) -> list[str]:
    """Say what a metric is where a structure is missing, in words, as NaN is not equal to itself."""
    policy, _ = empty_policy(conventions, metric)
    values = (policy.both_empty, policy.reference_empty, policy.prediction_empty)
    anywhere = METRICS[metric].worst_anywhere
    worst = "worst" if anywhere is None else anywhere
    return [str(worst if value == "worst" else float(value) if value != "measured" else value) for value in values]


def _patients(tables: Mapping[str, ScoreTable], case_ids: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Take the patients of the tables that know any: where none is known, each case is its own patient."""
    known = {
        name: dict(zip(table.case_ids, table.patient_ids, strict=True))
        for name, table in tables.items()
        if table.patient_ids != table.case_ids
    }
    if not known:
        return tuple(case_ids), []
    (first, patient_of), *others = known.items()
    faults = []
    for other, patient_of_other in others:
        differ = [case_id for case_id in case_ids if patient_of[case_id] != patient_of_other[case_id]]
        if differ:
            named = ", ".join(differ[:_NAMED])
            faults.append(f"{first} and {other} name other patients for {len(differ)} cases: {named}")
    return tuple(patient_of[case_id] for case_id in case_ids), faults


def _listed(names: Mapping[str, object] | Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
