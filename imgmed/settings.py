"""Settings of `prepare`: what a user may decide; what stays open is derived from the data."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from imgmed.errors import UnknownRecipeError

__all__ = ["AUTO", "PreparationSettings"]

AUTO = "auto"


class PreparationSettings(BaseModel):
    """How a study becomes a prepared dataset; every default works.

    >>> PreparationSettings(folds=3).normalisation
    'auto'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str = Field(
        default=AUTO, description="Layout of the source folder: auto, or a name that `r2d2 inspect --help` lists."
    )
    labels: dict[str, int] | None = Field(
        default=None,
        description="Names of the label values, overriding those of the source; null: from the source.",
    )
    slice_axis: Literal[0, 1, 2] | None = Field(
        default=None,
        description="Cut slices across 0 left-right, 1 back-front, 2 foot-head; null: from the data.",
    )
    spacing_mm: tuple[float, float, float] | None = Field(
        default=None,
        description="Wanted spacing along left-right, back-front, foot-head; the number across slices is"
        " not used (slices are not resampled across); null: from the data.",
    )
    normalisation: Literal["auto", "zscore_case", "zscore_dataset"] = Field(
        default="auto", description="Mean and standard deviation of each case, or of all training cases."
    )
    validation_fraction: float = Field(default=0.1, gt=0, lt=1, description="Part of the patients kept for validation.")
    test_fraction: float = Field(default=0.2, gt=0, lt=1, description="Part of the patients kept for the test.")
    folds: int = Field(
        default=5, ge=2, description="Cross-validation folds over the patients that are not test patients."
    )
    seed: int = Field(default=0, ge=0, description="Decides which patients go where.")
    patient_pattern: str | None = Field(
        default=None,
        description="Regular expression searched in the case name; its group 1 is the patient. null: one case each.",
    )

    @field_validator("recipe")
    @classmethod
    def _check_recipe(cls, recipe: str) -> str:
        from imgmed.recipes import check_recipe  # here: the command line shows these settings without nibabel

        try:
            check_recipe(recipe)
        except UnknownRecipeError as error:
            raise ValueError(str(error)) from error
        return recipe

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, labels: dict[str, int] | None) -> dict[str, int] | None:
        from imgmed.labels import parse_labels  # here: without numpy

        return None if labels is None else parse_labels(labels, "settings")

    @field_validator("spacing_mm")
    @classmethod
    def _check_spacing(cls, spacing: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        if spacing is not None and not all(0 < value < float("inf") for value in spacing):
            raise ValueError(f"spacing_mm must be three positive numbers; received {spacing}")
        return spacing

    @field_validator("patient_pattern")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"patient_pattern {pattern!r} is no regular expression: {error}") from error
        if groups < 1:
            raise ValueError(f"patient_pattern {pattern!r} needs a group, such as '^(sub-[0-9]+)'")
        return pattern

    @model_validator(mode="after")
    def _check_fractions(self) -> Self:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError(
                "validation_fraction and test_fraction together must leave patients to train on;"
                f" received {self.validation_fraction} and {self.test_fraction}"
            )
        return self
