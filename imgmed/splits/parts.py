"""Splits: which cases are trained on, choose the best network, are only predicted, and are held out by each fold."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_serializer

__all__ = ["PARTS", "Fold", "Splits"]

PARTS = ("train", "validation", "test")


class Fold(NamedTuple):
    """Case identifiers of one division of the non-test cases: `train, validation = fold`."""

    train: tuple[str, ...]
    validation: tuple[str, ...]


class Splits(BaseModel):
    """Case identifiers of each part, sorted. No patient is in two of train, validation and test."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: tuple[str, ...] = Field(description="Cases that a network learns from.")
    validation: tuple[str, ...] = Field(description="Cases that choose the best network.")
    test: tuple[str, ...] = Field(description="Cases that are only ever predicted.")
    folds: tuple[Fold, ...] = Field(description="Divisions of all cases outside the test part.")

    @field_serializer("folds")
    def _name_parts(self, folds: tuple[Fold, ...]) -> list[dict[str, tuple[str, ...]]]:
        return [fold._asdict() for fold in folds]

    @property
    def part_of(self) -> dict[str, str]:
        """{case_id: "train", "validation" or "test"}."""
        return {case_id: part for part in PARTS for case_id in getattr(self, part)}

    @property
    def fold_of(self) -> dict[str, int]:
        """{case_id: index of the fold that holds it out}."""
        return {case_id: index for index, fold in enumerate(self.folds) for case_id in fold.validation}
