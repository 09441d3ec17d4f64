"""The names of the recipes that read source folders: what users type, known without loading any reader."""

from __future__ import annotations

from imgmed.errors import UnknownRecipeError

__all__ = ["AUTO", "RECIPE_NAMES", "check_recipe"]

AUTO = "auto"
RECIPE_NAMES = (
    *("msd", "nnunet", "bids", "npz", "kits", "lits", "brats", "lasc2013", "pairs", "patients", "classification"),
)


def check_recipe(name: str) -> None:
    """Raise UnknownRecipeError unless `name` is "auto" or a recipe."""
    if name not in (AUTO, *RECIPE_NAMES):
        raise UnknownRecipeError(f"unknown recipe {name!r}; use {', '.join((AUTO, *RECIPE_NAMES))}")
