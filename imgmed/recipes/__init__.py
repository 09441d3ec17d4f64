"""Recipes: how source folders of different layouts are read.

Most recipes are patterns (`Layout`), the others functions. To add one, write a module with a `RECIPE`, name it in
`RECIPES` and test it. With "auto" the folder decides: of the recipes that match, those whose match says most are
taken; if that leaves several, it is an error that names them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from imgmed.archives import is_archive
from imgmed.errors import SourceLayoutError, SourceNotFoundError, UnknownRecipeError
from imgmed.recipes import brats, classification, kits, lasc2013, lits, msd, nnunet, npz, pairs, patients
from imgmed.recipes.layout import Labels, Recipe, Request
from imgmed.recipes.tree import Tree, walk
from imgmed.settings import AUTO
from imgmed.study import Study

__all__ = ["check_recipe", "layouts", "read_study", "recipe_names"]

RECIPES: tuple[Recipe, ...] = (
    msd.RECIPE,
    nnunet.RECIPE,
    npz.RECIPE,
    kits.RECIPE,
    lits.RECIPE,
    brats.RECIPE,
    lasc2013.RECIPE,
    *pairs.RECIPES,
    patients.RECIPE,
    classification.RECIPE,
)
FEW_UNUSED = 20
MOST_WRAPPERS = 3  # folders that hold nothing but one folder


def recipe_names() -> tuple[str, ...]:
    """Return the names of all recipes.

    >>> recipe_names()
    ('msd', 'nnunet', 'npz', 'kits', 'lits', 'brats', 'lasc2013', 'pairs', 'patients', 'classification')
    """
    return tuple(dict.fromkeys(recipe.name for recipe in RECIPES))


def layouts() -> dict[str, str]:
    """Return {name of a recipe: how such a folder looks}."""
    return {name: _layout_of([recipe for recipe in RECIPES if recipe.name == name]) for name in recipe_names()}


def check_recipe(name: str) -> None:
    """Raise UnknownRecipeError unless `name` is "auto" or a recipe."""
    if name != AUTO and name not in recipe_names():
        raise UnknownRecipeError(f"unknown recipe {name!r}; use {', '.join((AUTO, *recipe_names()))}")


def read_study(
    source: Path | str, recipe: str = AUTO, *, series: str | None = None, labels: Labels = "required"
) -> Study:
    """Find the cases of a source folder; volumes are not read, of DICOM only headers.

    A folder that holds nothing but another folder is entered. Hidden files and those of operating systems are
    passed over; links are followed.

    Args:
        source: the folder, or a single .npz file.
        recipe: "auto" or the name of a recipe.
        series: regular expression searched in the descriptions of DICOM series, for patients with several.
        labels: "required": a case is an image with its label; "none": every image is a case, without a label and named
            as it would be with one. Label maps beside the images are then among the `unused` files.

    Raises:
        SourceNotFoundError: no such folder.
        UnknownRecipeError: no such recipe.
        SourceLayoutError: the folder does not follow the recipe's layout, or with "auto" none or several.
        LabelError: the labels that the folder declares cannot be used.
    """
    check_recipe(recipe)
    tree = _tree_of(Path(source))
    request = Request(is_named=recipe != AUTO, series=_checked(series), labels=labels)
    candidates = [one for one in RECIPES if recipe in (AUTO, one.name)]
    place = tree
    for _ in range(MOST_WRAPPERS + 1):
        found = _best(place, candidates, request)
        if found is not None:
            return _finished(found, place, tree)
        if len(place.folders) != 1 or any("/" not in name for name in (*place.volumes, *place.dicom)):
            break
        place = place.within(place.folders[0])
    looked_for = "; ".join(f"{one.name}: {one.layout}" for one in candidates)
    missing = "scans" if request.is_unlabelled else "image/label pairs"
    raise SourceLayoutError(f"no {missing} in {tree.root}; looked for {looked_for}")


def _tree_of(source: Path) -> Tree:
    if source.is_file() and source.name.lower().endswith(npz.SUFFIX):
        return Tree(source.parent, (source.name,))
    if source.is_file() and is_archive(source):
        raise SourceNotFoundError(f"{source} is an archive; unpack it and name the folder (inspect does so for a look)")
    if not source.is_dir():
        kind = "is no folder" if source.exists() else "does not exist"
        raise SourceNotFoundError(f"source folder {source} {kind}; name the folder that holds the study")
    return walk(source)


def _checked(series: str | None) -> str | None:
    try:
        re.compile(series or "")
    except re.error as error:
        raise SourceLayoutError(f"series {series!r} is no regular expression: {error}") from error
    return series


def _best(tree: Tree, candidates: Sequence[Recipe], request: Request) -> Study | None:
    """The study of the recipe that says most about the tree."""
    for rank in sorted({recipe.rank for recipe in candidates}):
        found = [study for one in candidates if one.rank == rank and (study := one.find(tree, request)) is not None]
        if len(found) > 1:
            fits = "; ".join(f"{study.recipe} ({len(study.sources)} cases: {study.reason})" for study in found)
            raise SourceLayoutError(
                f"{tree.root} fits several layouts: {fits}; name one with --recipe (preparation.recipe)"
            )
        if found:
            return found[0]
    return None


def _finished(study: Study, place: Tree, tree: Tree) -> Study:
    """The study with what holds for every layout."""
    used = {path for source in study.sources for path in source.files}
    notes = list(study.notes)
    if place is not tree:
        notes.append(f"read from the folder {place.root.relative_to(tree.root)} within {tree.root}")
    sources = study.sources
    splits = {source.split for source in sources}
    if len(splits) == 1 and splits != {None}:
        notes.append(f"all cases lie in one split ({splits.pop()}); it is left aside, so that they can be divided")
        sources = tuple(replace(source, split=None) for source in sources)
    unused = place.unused(used)
    if len(unused) > max(len(used), FEW_UNUSED):
        notes.append(
            f"{len(unused)} files belong to no case, {len(used)} do; does the source hold several studies, or another"
            " layout?"
        )
    return replace(study, sources=sources, unused=unused, notes=tuple(notes))


def _layout_of(recipes: Sequence[Recipe]) -> str:
    return "; or ".join(recipe.layout for recipe in recipes)
