"""Recipes: how source folders of different layouts are read.

Most recipes are patterns (`Layout`), the others functions. To add one, write a module with a `RECIPE`, name it in
`RECIPES` and test it. With "auto" the folder decides: of the recipes that match, those whose match says most are
taken; if that leaves several, it is an error that names them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path, PurePosixPath

from imgmed.archives import is_archive
from imgmed.errors import SourceLayoutError, SourceNotFoundError
from imgmed.formats import known_suffixes
from imgmed.recipe_names import AUTO, RECIPE_NAMES, check_recipe
from imgmed.recipes import bids, brats, classification, kits, lasc2013, lits, msd, nnunet, npz, pairs, patients
from imgmed.recipes.finishing import finished
from imgmed.recipes.layout import BY_STANDARD, Labels, Recipe, Request
from imgmed.recipes.names import label_name
from imgmed.recipes.tree import Tree, walk
from imgmed.study import Study

__all__ = ["layouts", "read_study"]

RECIPES: tuple[Recipe, ...] = (
    msd.RECIPE,
    nnunet.RECIPE,
    bids.RECIPE,
    npz.RECIPE,
    kits.RECIPE,
    lits.RECIPE,
    brats.RECIPE,
    lasc2013.RECIPE,
    *pairs.RECIPES,
    patients.RECIPE,
    classification.RECIPE,
)
MOST_WRAPPERS = 3  # folders that hold nothing but one folder


def layouts() -> dict[str, str]:
    """Return {name of a recipe: how such a folder looks}."""
    return {name: _layout_of([recipe for recipe in RECIPES if recipe.name == name]) for name in RECIPE_NAMES}


def read_study(
    source: Path | str, recipe: str = AUTO, *, series: str | None = None, labels: Labels = "required"
) -> Study:
    """Find the cases of a source folder; volumes are not read, of DICOM only headers.

    A folder that holds nothing but another folder is entered; a file that lists the cases, or names of BIDS, count
    before the names of folders, in whichever of them they are. Hidden files and those of operating systems are
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
    recipes = [known for known in RECIPES if recipe in (AUTO, known.name)]
    folders = _wrappers(tree)
    declared = [known for known in recipes if known.rank <= BY_STANDARD]
    guessed = [known for known in recipes if known.rank > BY_STANDARD]
    for asked, folder in product((declared, guessed), folders):
        study = _best(folder, asked, request)
        if study is not None:
            return finished(study, folder, tree, request)
    raise SourceLayoutError(_nothing_found(tree, recipe, request))


def _wrappers(tree: Tree) -> list[Tree]:
    """A folder, the only one that it holds, the only one in that ..."""
    folders = [tree]
    while len(folders) <= MOST_WRAPPERS:
        folder = folders[-1]
        if len(folder.folders) != 1 or any("/" not in name for name in (*folder.volumes, *folder.dicom)):
            break
        folders.append(folder.within(folder.folders[0]))
    return folders


def _nothing_found(tree: Tree, recipe: str, request: Request) -> str:
    """What a folder lacks to be read, in one or two sentences."""
    scans = len(tree.volumes) + len(tree.dicom)
    if not scans and tree.lost_volumes:
        reason = f"its {len(tree.lost_volumes)} scans are links to nothing; fetch the files that they stand for"
    elif not tree.files:
        reason = "the folder is empty"
    elif not scans:
        reason = f"of its {len(tree.files)} files none is DICOM or ends in {', '.join(known_suffixes())}"
    else:
        count = sum(label_name(PurePosixPath(tree.stems[name]).name) is not None for name in tree.volumes)
        named = f"{count} of them named like label maps" if count else "none of them named like a label map (_seg ...)"
        reason = f"{scans} files can be read, {named}"
    missing = "scans" if request.is_unlabelled else "image/label pairs"
    sentence = f"no {missing} in {tree.root}: {reason}"
    if not scans:
        return sentence
    if recipe != AUTO:
        return f"{sentence}. The layout {recipe} is {layouts()[recipe]}"
    return f"{sentence}. 'r2d2 inspect --layouts' shows how a folder may look"


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


def _best(tree: Tree, recipes: Sequence[Recipe], request: Request) -> Study | None:
    """The study of the recipe that says most about the tree."""
    for rank in sorted({recipe.rank for recipe in recipes}):
        fitting = [recipe.find(tree, request) for recipe in recipes if recipe.rank == rank]
        studies = [study for study in fitting if study is not None]
        if len(studies) > 1:
            fits = "; ".join(f"{study.recipe} ({len(study.sources)} cases: {study.reason})" for study in studies)
            raise SourceLayoutError(
                f"{tree.root} fits several layouts: {fits}; name one with --recipe (preparation.recipe)"
            )
        if studies:
            return studies[0]
    return None


def _layout_of(recipes: Sequence[Recipe]) -> str:
    return "; or ".join(recipe.layout for recipe in recipes)
