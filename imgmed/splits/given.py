"""Splits that a user wrote down: a JSON file, read and checked against the cases of a study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from imgmed.errors import InvalidSplitsError, SourceNotFoundError
from imgmed.splits.parts import PARTS
from imgmed.study import usable_name
from r2d2_base.files import read_json

__all__ = ["are_parts_of_all", "parse_splits", "read_folds"]

SIDES = ("train", "validation")
NNUNETS_SIDES = ("train", "val")
FORM = (
    '{"train": [case, ...], "validation": [...], "test": [...]},'
    ' optionally with "folds": [{"train": [...], "validation": [...]}, ...]; or nnU-Net\'s list of folds'
)
FoldCases = tuple[tuple[str, ...], tuple[str, ...]]


def read_folds(path: Path) -> tuple[FoldCases, ...]:
    """Return (training, validation) cases of each fold of nnU-Net's splits_final.json.

    Raises:
        InvalidSplitsError: no list of {"train": [...], "val": [...]}, or a case on both sides of a fold.
    """
    content = _read(path)
    if not isinstance(content, list) or not content:
        raise InvalidSplitsError(f'{path}: expected a list of folds, {{"train": [case, ...], "val": [...]}} each')
    folds = []
    for number, entry in enumerate(content):
        sides = _named_lists(entry, NNUNETS_SIDES, path)
        both = set(sides["train"]) & set(sides["val"])
        if both:
            raise InvalidSplitsError(f"{path}: fold {number} trains on and holds out {', '.join(sorted(both))}")
        folds.append((tuple(sorted(set(sides["train"]))), tuple(sorted(set(sides["val"])))))
    return tuple(folds)


def are_parts_of_all(folds: Sequence[FoldCases], case_ids: Collection[str]) -> bool:
    """Tell whether folds hold out every case once and train on all others, as a cross-validation does.

    >>> are_parts_of_all([(("a",), ("b",)), (("b",), ("a",))], "ab"), are_parts_of_all([(("a",), ("b",))], "ab")
    (True, False)
    """
    held_out = Counter(case_id for _, side in folds for case_id in side)
    is_once = len(folds) > 1 and held_out.keys() == set(case_ids) and max(held_out.values(), default=0) == 1
    return is_once and all({*train, *side} == set(case_ids) for train, side in folds)


def parse_splits(path: Path, case_ids: Collection[str]) -> dict[str, Any]:
    """Return {"train", "validation", "test": sorted case ids} and, where given, "folds": [(train, validation)].

    Args:
        path: a JSON file of that form, see `imgmed.splits.read_splits`.
        case_ids: all cases of the study.

    Raises:
        SourceNotFoundError: no such file.
        InvalidSplitsError: another form, or cases unknown, missing or named twice; all of them are listed.
    """
    content = _read(path)
    if isinstance(content, list) and content:
        content = _as_parts(read_folds(path))
    parts = _named_lists(content, PARTS, path, also=("folds", "schema_version"))
    folds = content.get("folds", [])
    if not isinstance(folds, list):
        raise InvalidSplitsError(f"{path}: folds must be a list; received {type(folds).__name__}; expected {FORM}")
    sides = [_named_lists(fold, SIDES, path) for fold in folds]
    problems = _part_problems(parts, case_ids)
    if not problems and sides:
        problems = _fold_problems(sides, [*parts["train"], *parts["validation"]])
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise InvalidSplitsError(f"{path}: every case of the study must be in the splits exactly once:\n{lines}")
    sorted_parts: dict[str, Any] = {name: sorted(cases) for name, cases in parts.items()}
    return sorted_parts | {"folds": [(sorted(side["train"]), sorted(side["validation"])) for side in sides]}


def _read(path: Path) -> Any:
    if not path.is_file():
        raise SourceNotFoundError(f"splits file {path} does not exist; it holds {FORM}")
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise InvalidSplitsError(f"{path}: no readable JSON ({error}); it must hold {FORM}") from error


def _as_parts(folds: Sequence[FoldCases]) -> dict[str, Any]:
    """nnU-Net's folds in our form: the first one divides the cases, and nothing is kept for the test."""
    named = {case_id for fold in folds for side in fold for case_id in side}
    train, validation = folds[0]
    parts: dict[str, Any] = {"train": list(train), "validation": list(validation), "test": []}
    if are_parts_of_all(folds, named):
        parts["folds"] = [{"train": list(train), "validation": list(held_out)} for train, held_out in folds]
    return parts


def _named_lists(content: Any, names: Sequence[str], path: Path, also: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return the lists of strings under `names`; nothing but those and `also` may be there."""
    if not isinstance(content, dict) or not set(names) <= content.keys() <= {*names, *also}:
        received = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise InvalidSplitsError(
            f"{path}: expected {', '.join(names)}; received {received}; a splits file holds {FORM}"
        )
    for name in names:
        if not isinstance(content[name], list) or not all(isinstance(case, str) for case in content[name]):
            raise InvalidSplitsError(f"{path}: {name} must be a list of case names; a splits file holds {FORM}")
    return {name: [usable_name(case) for case in content[name]] for name in names}


def _part_problems(parts: dict[str, list[str]], case_ids: Collection[str]) -> list[str]:
    known = set(case_ids)
    named = Counter(case for cases in parts.values() for case in cases)
    problems = [f"{name} holds no case" for name in SIDES if not parts[name]]
    problems += _listed("not in the study", [case for case in named if case not in known])
    problems += _listed("missing", [case for case in case_ids if case not in named])
    return problems + _listed("named more than once", [case for case, count in named.items() if count > 1])


def _fold_problems(sides: list[dict[str, list[str]]], cases: list[str]) -> list[str]:
    """Every fold holds the cases outside the test once, and every such case is held out by one fold."""
    known = set(cases)
    problems = []
    for index, side in enumerate(sides):
        named = Counter([*side["train"], *side["validation"]])
        problems += [f"fold {index}: {name} holds no case" for name in SIDES if not side[name]]
        problems += _listed(f"fold {index}: not in train or validation", [case for case in named if case not in known])
        problems += _listed(f"fold {index}: missing", [case for case in cases if case not in named])
        problems += _listed(f"fold {index}: named more than once", [case for case in named if named[case] > 1])
    held_out = Counter(case for side in sides for case in side["validation"])
    problems += _listed("never in a fold's validation", [case for case in cases if case not in held_out])
    return problems + _listed("in the validation of several folds", [case for case in held_out if held_out[case] > 1])


def _listed(what: str, cases: Collection[str]) -> list[str]:
    return [f"{what}: {', '.join(sorted(cases))}"] if cases else []
