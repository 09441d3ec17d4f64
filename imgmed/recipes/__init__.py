"""Recipes: how source folders of different layouts are read.

A recipe is a module with a `RECIPE`; to add one, write the module and name it in `RECIPES`. With "auto" the
first that matches is taken.
"""

from __future__ import annotations

from pathlib import Path

from imgmed.errors import SourceLayoutError, SourceNotFoundError, UnknownRecipeError
from imgmed.recipes import msd, pairs
from imgmed.settings import AUTO
from imgmed.study import Recipe, Study

__all__ = ["check_recipe", "read_study", "recipe_names"]

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (msd.RECIPE, pairs.RECIPE)}


def recipe_names() -> tuple[str, ...]:
    """Return the names of all recipes.

    >>> recipe_names()
    ('msd', 'pairs')
    """
    return tuple(RECIPES)


def check_recipe(name: str) -> None:
    """Raise UnknownRecipeError unless `name` is "auto" or a recipe."""
    if name != AUTO and name not in RECIPES:
        raise UnknownRecipeError(f"unknown recipe {name!r}; use {', '.join((AUTO, *RECIPES))}")


def read_study(source: Path | str, recipe: str = AUTO) -> Study:
    """Find the cases of a source folder; volumes are not read.

    Args:
        source: the folder.
        recipe: "auto" or the name of a recipe.

    Raises:
        SourceNotFoundError: no such folder.
        UnknownRecipeError: no such recipe.
        SourceLayoutError: the folder does not follow the recipe's layout, or with "auto" none.
    """
    check_recipe(recipe)
    source = Path(source)
    if not source.is_dir():
        kind = "is no folder" if source.exists() else "does not exist"
        raise SourceNotFoundError(f"source folder {source} {kind}; name the folder that holds the study")
    candidates = list(RECIPES.values()) if recipe == AUTO else [RECIPES[recipe]]
    for candidate in candidates:
        if candidate.matches(source):
            return candidate.read(source)
    layouts = "; ".join(f"{candidate.name}: {candidate.layout}" for candidate in candidates)
    raise SourceLayoutError(f"no image/label pairs in {source}; looked for {layouts}")
