"""What holds for the study of every recipe: usable names, folds of nnU-Net, links to nothing, what is left over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from imgmed.errors import InvalidSplitsError, SourceLayoutError
from imgmed.recipes.layout import Request
from imgmed.recipes.patient_names import patients_by_name
from imgmed.recipes.tree import Tree
from imgmed.splits.given import are_parts_of_all, read_folds
from imgmed.study import Study, enumerated, usable_name

__all__ = ["finished"]

FEW_UNUSED = 20
FOLDS = "splits_final.json"  # nnU-Net keeps its folds in it


def finished(study: Study, folder: Tree, tree: Tree, request: Request) -> Study:
    """Complete the study that a recipe found in `folder`, which is `tree` or the one folder within."""
    names = {source.case_id: usable_name(source.case_id) for source in study.sources}
    sources = tuple(replace(source, case_id=names[source.case_id]) for source in study.sources)
    folds = tuple((_renamed(names, train), _renamed(names, held_out)) for train, held_out in study.folds)
    study = _with_joined_patients(replace(study, sources=sources, folds=folds))
    if FOLDS in folder.files and not request.is_unlabelled:
        study = _with_folds(study, folder)
    splits = {source.split for source in study.sources}
    if len(splits) == 1 and splits != {None}:
        study = _noted(
            study, f"all cases lie in one split ({splits.pop()}); it is left aside, so that they can be divided"
        )
        study = replace(study, sources=tuple(replace(source, split=None) for source in study.sources))
    if folder is not tree:
        study = _noted(study, f"read from the folder {folder.root.relative_to(tree.root)} within {tree.root}")
    used = {path for source in study.sources for path in source.files}
    unused = folder.unused(used)
    if len(unused) > max(len(used), FEW_UNUSED):
        study = _noted(
            study,
            f"{len(unused)} files belong to no case, {len(used)} do; does the source hold several studies, or another"
            " layout?",
        )
    return replace(study, unused=unused, left_out=(*study.left_out, *_links_to_nothing(folder)))


def _noted(study: Study, sentence: str) -> Study:
    return replace(study, notes=(*study.notes, sentence))


def _renamed(names: dict[str, str], case_ids: Sequence[str]) -> tuple[str, ...]:
    return tuple(names[case_id] for case_id in case_ids)


def _with_joined_patients(study: Study) -> Study:
    """The study with folders of one patient joined where their names tell it: "p1_visit1" and "p1_visit2"."""
    names = sorted({source.patient for source in study.sources if source.patient is not None})
    joined = {name: patient for name, patient in patients_by_name(names).items() if name != patient}
    if not joined:
        return study
    sources = tuple(
        replace(source, patient=joined.get(source.patient or "", source.patient)) for source in study.sources
    )
    example = next(iter(joined))
    study = _noted(
        study,
        f"{len(joined)} folders count as {len(set(joined.values()))} patients by their names, such as {example} as"
        f" {joined[example]}; preparation.patient_pattern tells patients otherwise",
    )
    return replace(study, sources=sources)


def _with_folds(study: Study, folder: Tree) -> Study:
    """The study with the folds that lie beside it; cases that no fold names are left out, as nnU-Net does."""
    path = folder.path(FOLDS)
    try:
        folds = read_folds(path)
    except InvalidSplitsError as error:
        raise SourceLayoutError(str(error)) from error
    named = {case_id for fold in folds for part in fold for case_id in part}
    known = {source.case_id for source in study.sources if source.split != "test"}
    if not named & known:
        raise SourceLayoutError(
            f"{path} names none of the {len(known)} cases, which are called like {min(known, default='')};"
            " correct or remove it"
        )
    strange, unnamed = sorted(named - known), sorted(known - named)
    problems = [f"{path}: names {enumerated(strange)}, which the study does not have"] if strange else []
    left_out = [f"{path} names {enumerated(unnamed)} in no fold: not used, although labelled"] if unnamed else []
    if not are_parts_of_all(folds, named):
        study = _noted(study, f"the folds of {FOLDS} do not hold out every case once; its first one alone is used")
        folds = folds[:1]
    sources = tuple(source for source in study.sources if source.case_id in named or source.split == "test")
    return replace(
        study,
        sources=sources,
        folds=folds,
        problems=(*study.problems, *problems),
        left_out=(*study.left_out, *left_out),
    )


def _links_to_nothing(folder: Tree) -> list[str]:
    """A sentence for each folder with links whose files are not there, as git-annex and DVC leave them."""
    folders: dict[str, list[str]] = {}
    for name in folder.lost_volumes:
        folders.setdefault(PurePosixPath(name).parent.as_posix(), []).append(PurePosixPath(name).name)
    return [
        f"{folder.path(where)}: {enumerated(names)} {'is a link' if len(names) == 1 else 'are links'} to nothing; fetch"
        f" what is missing (git annex get, datalad get, dvc pull)"
        for where, names in folders.items()
    ]
