"""Settings of `prepare`: what a user may decide; what stays open is derived from the data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from imgmed.errors import UnknownRecipeError
from imgmed.intensity_settings import NormalisationKind
from imgmed.label_codes import LabelCode
from imgmed.operations import Operation
from imgmed.recipe_names import AUTO, check_recipe
from imgmed.selection import SliceSelection

__all__ = ["PreparationSettings"]


class PreparationSettings(BaseModel):
    """How a study becomes a prepared dataset; every default works.

    >>> PreparationSettings(folds=3).normalisation
    'auto'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str = Field(
        default=AUTO, description="Layout of the source: auto, or a name that 'r2d2 inspect --help' lists."
    )
    series: str | None = Field(
        default=None,
        description="Regular expression on the description of DICOM series, where a patient has several; null: any.",
    )
    spatial_units: Literal["header", "mm", "um", "m"] = Field(
        default="header",
        description="What sizes in NIfTI, NRRD and MetaImage headers count in: header, as each file says; or mm, um"
        " (micrometres), m (metres), whatever the files say.",
    )
    channel_names: tuple[str, ...] | None = Field(
        default=None,
        description="Names of the source's channels in their order, such as those of a 4D file; null: as the source"
        " names them.",
    )
    channels: tuple[str | int, ...] | None = Field(
        default=None, description="Channels to keep, in order, by name or by number from 0; null: all."
    )
    labels: dict[str, int] | None = Field(
        default=None,
        description="Names of the label values, overriding those of the source; null: from the source.",
    )
    remap_labels: dict[int, int] | Literal["foreground"] | None = Field(
        default=None,
        description="{value in the files: wanted value}, to merge or renumber labels, others stay; foreground: every"
        " value above 0 becomes 1 (instance numbers, masks of 255); null: as they are.",
    )
    keep_labels: tuple[str | int, ...] | None = Field(
        default=None,
        description="Labels to keep, by name or number, after remap_labels; all others become background. null: all.",
    )
    mask_threshold: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="For masks with soft edges (128 of 0 to 255) and probabilities (0.5): values from this on are"
        " label 1, all others background; null: values are labels.",
    )
    ignore_label: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Label value of voxels that count nowhere: not in the loss, the statistics, the scores;"
        " null: from the source (nnU-Net's ignore).",
    )
    regions: dict[str, tuple[int, ...]] | None = Field(
        default=None, description="{name: label values that make it up}, such as liver: [1, 2]; null: from the source."
    )
    label_codes: dict[str, LabelCode] = Field(
        default={},
        description="{label: SCHEME:VALUE:MEANING}, such as liver: SCT:10200004:Liver, what labels are called in DICOM"
        " SEG (docs/reference/prediction.md); of others their names tell.",
    )
    operations: tuple[Operation, ...] | None = Field(
        default=None,
        description="Steps that every volume goes through, in order (docs/operations.md); null: derived"
        " from the data: resampling in the plane and clipping; of volumes cropping, resampling and clipping.",
    )
    kind: Literal["slices", "volumes"] = Field(
        default="slices",
        description="What networks are to see: slices, or volumes, which are also resampled across slices and cropped"
        " to what is not empty; networks of slices take these too.",
    )
    slice_axis: Literal[0, 1, 2] | None = Field(
        default=None,
        description="Cut slices across 0 left-right, 1 back-front, 2 foot-head; null: from the data.",
    )
    spacing_mm: tuple[float, float, float] | None = Field(
        default=None,
        description="Wanted spacing along left-right, back-front, foot-head; of kind slices the number across them is"
        " not used (they are not resampled across); null: from the data.",
    )
    neighbours: int = Field(
        default=0, ge=0, le=8, description="Slices on each side that join a slice as further channels (2.5D)."
    )
    slices: SliceSelection = Field(
        default_factory=SliceSelection,
        description="Which slices of the training cases are trained on; validation and test take every slice.",
    )
    normalisation: Literal["auto"] | NormalisationKind = Field(
        default="auto",
        description="Mean and standard deviation of each case (zscore_case), of its non-zero voxels (zscore_nonzero)"
        " or of all training cases (zscore_dataset), min_max, or none.",
    )
    validation_fraction: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Part of the patients kept for validation; 0: none.",
    )
    test_fraction: float = Field(
        default=0.2, ge=0, lt=1, description="Part of the patients kept for the test; 0: none."
    )
    folds: int = Field(
        default=5, ge=2, description="Cross-validation folds over the patients that are not test patients."
    )
    seed: int = Field(default=0, ge=0, description="Decides which patients go where.")
    splits: Path | None = Field(
        default=None, description="JSON file with lists train, validation and test of case names; null: drawn."
    )
    source_splits: Literal["keep", "ignore"] = Field(
        default="keep",
        description="Where the source divides its cases itself (folders, lists, folds): as it does, or not.",
    )
    patient_pattern: str | None = Field(
        default=None,
        description="Regular expression searched in the case name; its group 1 is the patient. null: as the source"
        " names patients, otherwise one case each.",
    )
    patient_ids: Literal["hashed", "plain"] = Field(
        default="hashed", description="Patients that the source names: a keyed hash in their place, or as named."
    )
    on_error: Literal["stop", "skip"] = Field(
        default="stop", description="Cases that cannot be used: stop and list all of them, or leave them out."
    )
    on_duplicate: Literal["keep_together", "stop"] = Field(
        default="keep_together", description="Cases with the same image content: one side of each split, or stop."
    )
    augment_to: int | None = Field(
        default=None, ge=1, description="Enlarge the training part to this many slices by augmented copies; null: no."
    )

    @field_validator("recipe")
    @classmethod
    def _check_recipe(cls, recipe: str) -> str:
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

    @field_validator("channels")
    @classmethod
    def _check_channels(cls, channels: tuple[str | int, ...] | None) -> tuple[str | int, ...] | None:
        if channels is None:
            return None
        if not channels or len(set(channels)) < len(channels) or any(isinstance(n, int) and n < 0 for n in channels):
            raise ValueError(
                f"channels must be names or numbers from 0, at least one and none twice; received {list(channels)}"
            )
        return channels

    @field_validator("channel_names")
    @classmethod
    def _check_channel_names(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and (not names or len({name.casefold() for name in names}) < len(names)):
            raise ValueError(f"channel_names must be at least one name, none twice; received {list(names)}")
        return names

    @field_validator("remap_labels")
    @classmethod
    def _check_remapping(
        cls, mapping: dict[int, int] | Literal["foreground"] | None
    ) -> dict[int, int] | Literal["foreground"] | None:
        if isinstance(mapping, dict) and not all(0 <= value <= 65535 for pair in mapping.items() for value in pair):
            raise ValueError(f"remap_labels takes and gives values from 0 to 65535; received {mapping}")
        return mapping

    @field_validator("keep_labels")
    @classmethod
    def _check_kept(cls, kept: tuple[str | int, ...] | None) -> tuple[str | int, ...] | None:
        if kept is not None and (not kept or any(isinstance(label, int) and not 0 < label <= 65535 for label in kept)):
            raise ValueError(
                f"keep_labels takes names, or numbers from 1 to 65535, at least one; received {list(kept)}"
            )
        return kept

    @model_validator(mode="after")
    def _check_threshold(self) -> Self:
        if self.mask_threshold is not None and (self.remap_labels is not None or self.keep_labels is not None):
            raise ValueError("mask_threshold makes one label of a mask; leave out remap_labels and keep_labels")
        return self

    @field_validator("spacing_mm")
    @classmethod
    def _check_spacing(cls, spacing: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        if spacing is not None and not all(0 < value < float("inf") for value in spacing):
            raise ValueError(f"spacing_mm must be three positive numbers; received {spacing}")
        return spacing

    @field_validator("patient_pattern", "series")
    @classmethod
    def _check_pattern(cls, pattern: str | None, info: ValidationInfo) -> str | None:
        if pattern is None:
            return None
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"{info.field_name} {pattern!r} is no regular expression: {error}") from error
        if groups < 1 and info.field_name == "patient_pattern":
            raise ValueError(f"patient_pattern {pattern!r} needs a group, such as '^(sub-[0-9]+)'")
        return pattern

    @model_validator(mode="after")
    def _check_operations(self) -> Self:
        if self.operations is not None and self.spacing_mm is not None:
            raise ValueError("spacing_mm derives a resampling; beside operations, put a resample among these instead")
        return self

    @model_validator(mode="after")
    def _check_fractions(self) -> Self:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError(
                "validation_fraction and test_fraction together must leave patients to train on;"
                f" received {self.validation_fraction} and {self.test_fraction}"
            )
        return self
