"""Settings of an evaluation: what is scored, and how. One class, wherever they come from and go to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from r2d2_base.settings_faults import settings_faults
from segeval.class_maps import OtherLabels
from segeval.conventions import Conventions
from segeval.errors import MetricArgumentError
from segeval.labels import Label, check_labels, label_in_json
from segeval.surface import check_spacing

__all__ = ["EvaluationSettings", "SpatialUnits", "build_settings"]

SpatialUnits = Literal["header", "mm", "um", "m"]
"""As ImgMed's readers know them."""


def _as_pythons(value: Any) -> Any:
    return int(value) if isinstance(value, np.integer) else value


_Integer = Annotated[int, Field(strict=True), BeforeValidator(_as_pythons)]


class EvaluationSettings(BaseModel):
    """What is evaluated, and how. Every default works.

    Example:
        >>> EvaluationSettings(labels={"whole": "1-3", "core": 3}).labels
        {'whole': (1, 2, 3), 'core': 3}
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: dict[str, Label] | None = Field(
        default=None,
        description="NAME=1, or NAME=1,2 or NAME=1-250 for a region, the union of its integers. By default the labels"
        " of the dataset (its regions, where it has any) or of the predictions, else every integer in the files.",
    )
    other_labels: OtherLabels = Field(
        default="refuse",
        description="Integers in the files that no label names: refuse stops, background takes them for background.",
    )
    ignore_label: _Integer | None = Field(
        default=None,
        description="Integer of the reference whose voxels are not judged. By default the one that a dataset.json of"
        " nnU-Net calls ignore, if there is any.",
    )
    conventions: Conventions = Field(default=Conventions(), description="How every number is made.")
    on_missing: Literal["error", "worst"] = Field(
        default="error",
        description="A reference without a prediction: error stops; worst scores it worst on every label.",
    )
    unit: Literal["volume", "slice"] = Field(
        default="volume", description="What a case is: volume, or slice, where every slice is a case of its own."
    )
    slice_axis: _Integer = Field(
        default=-1, ge=-3, le=2, description="Axis of the arrays that slices follow each other along."
    )
    spacing_mm: tuple[float, float] | None = Field(
        default=None,
        description="Pixel size of pictures (PNG, TIFF), between rows and between columns. By default distances of"
        " pictures are in pixels.",
    )
    spatial_units: SpatialUnits = Field(
        default="header",
        description="What sizes in NIfTI, NRRD and MetaImage headers count in: as each header says, or mm, um or m.",
    )
    seed: _Integer = Field(default=0, ge=0, description="Seed of the bootstrap over patients.")
    workers: _Integer | None = Field(
        default=None, ge=1, description="Processes; the results do not depend on them. By default as many as help."
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _checked_labels(cls, labels: Any) -> dict[str, Label] | None:
        return None if labels is None else check_labels(labels)

    @field_validator("spacing_mm", mode="before")
    @classmethod
    def _positive_spacing(cls, spacing_mm: Any) -> tuple[float, ...] | None:
        return None if spacing_mm is None else check_spacing(spacing_mm, 2)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.labels is not None:
            for name in check_labels(self.labels, self.ignore_label):
                self.conventions.tolerance_of(name)
        return self

    @field_serializer("labels", when_used="json-unless-none")
    def _in_json(self, labels: dict[str, Label]) -> dict[str, int | str | list[int]]:
        return {name: label_in_json(label) for name, label in labels.items()}


def build_settings(
    settings: EvaluationSettings | None = None, choices: Mapping[str, object] | None = None
) -> EvaluationSettings:
    """Put settings together from a starting point and single choices.

    Args:
        settings: where to start; None: the defaults.
        choices: fields of `EvaluationSettings`, or of its `Conventions`, that differ.

    Returns:
        The settings, checked.

    Raises:
        MetricArgumentError: no `EvaluationSettings` to start from, unknown fields or values that break their rules;
            all faults in one error.

    Example:
        >>> build_settings(choices={"on_missing": "worst", "on_empty": "nnunet"}).conventions.on_empty
        'nnunet'
        >>> build_settings(choices={"seed": -1, "hd95": "mean"})
        Traceback (most recent call last):
            ...
        segeval.errors.MetricArgumentError: hd95: must be 'max_of_directed' or 'pooled'; received \
'mean'; seed: must be at least 0; received -1
    """
    if settings is not None and not isinstance(settings, EvaluationSettings):
        raise MetricArgumentError(f"settings must be EvaluationSettings; received {type(settings).__name__}")
    start = settings or EvaluationSettings()
    if not choices:
        return start
    own = {name: value for name, value in choices.items() if name in EvaluationSettings.model_fields}
    conventions = own.get("conventions") or start.conventions
    if not isinstance(conventions, Conventions):
        raise MetricArgumentError(
            f"conventions must be Conventions, or choices given by name; received {type(conventions).__name__}"
        )
    others = {name: value for name, value in choices.items() if name not in own}
    try:
        return EvaluationSettings.model_validate(
            {**start.model_dump(), **own, "conventions": {**conventions.model_dump(), **others}}
        )
    except ValidationError as error:
        faults = settings_faults(error, EvaluationSettings, unsaid=("conventions",))
        raise MetricArgumentError("; ".join(faults)) from None
