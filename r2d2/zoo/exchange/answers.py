"""What must be known of a network that was made elsewhere, so that scans are prepared for it and its answers read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dist_training.inference.outputs import NetworkOutputs
from imgmed import Normalisation, ScanPreparation
from imgmed.operations import Operation, Resample
from r2d2.errors import ZooError
from r2d2_base.settings_faults import settings_faults

__all__ = ["TEMPLATE", "Activation", "ImportAnswers", "check_answer", "checked_answers", "read_answers"]

Activation = Literal["logits", "softmax", "sigmoid"]

TEMPLATE = """\
# What R2D2 must know of a network that was made elsewhere: r2d2 zoo import FILE --out FOLDER --answers THIS_FILE
channels: [MRI]               # names of a scan's channels, in the order of the network's
labels: {liver: 1, tumour: 2} # what the outputs stand for, in their order, and the values in label maps; no background
activation: softmax           # what the last layer applies: logits (nothing), softmax (background first) or sigmoid
slice_axis: 2                 # slices are cut across: 0 left-right, 1 back-front, 2 foot-head
slice_size: [256, 256]        # height and width in pixels of the slices that it was trained on
spacing_mm: null              # along left-right, back-front, foot-head, such as [1, 1, null]; null: as the scan has it
neighbours: 0                 # slices on either side that are further channels
normalisation:                # none, zscore_case, zscore_nonzero, min_max; zscore_dataset with mean: [0] and std: [1]
  kind: zscore_case
operations: []                # further steps before slices are cut, as in the documentation of operations
trained_on: unknown           # the data
"""
"""A file of answers, to be filled in."""


class ImportAnswers(BaseModel):
    """The answers to what no file of a network says.

    >>> ImportAnswers(channels=["CT"], labels={"liver": 1}, activation="sigmoid", slice_size=(64, 64)).all_labels
    {'background': 0, 'liver': 1}
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    channels: tuple[str, ...] = Field(min_length=1, description="names of a scan's channels, in the network's order")
    labels: dict[str, int] = Field(
        min_length=1, description="names of the outputs in their order, with their values in label maps; no background"
    )
    activation: Activation = Field(
        description="what the last layer applies: logits (nothing), softmax (background first) or sigmoid"
    )
    slice_axis: Literal[0, 1, 2] = Field(
        default=2, description="axis across which slices are cut: 0 left-right, 1 back-front, 2 foot-head"
    )
    slice_size: tuple[int, int] = Field(description="height and width in pixels of the slices that it was trained on")
    spacing_mm: tuple[float | None, float | None, float | None] | None = Field(
        default=None, description="mm along left-right, back-front, foot-head; null: as the scan has it"
    )
    neighbours: int = Field(default=0, ge=0, description="slices on either side that are further channels")
    normalisation: Normalisation = Field(
        default=Normalisation(kind="zscore_case"), description="how intensities are normalised"
    )
    operations: tuple[Operation, ...] = Field(default=(), description="further steps before slices are cut")
    trained_on: str = Field(default="unknown", min_length=1, max_length=200, description="the data it was trained on")

    @model_validator(mode="after")
    def _values_differ(self) -> Self:
        values = list(self.labels.values())
        if min(values) < 1 or max(values) > 65535 or len(set(values)) < len(values) or "background" in self.labels:
            raise ValueError(
                "labels need values from 1 to 65535 that differ; the background is 0 and is not named; received "
                f"{self.labels}"
            )
        if min(self.slice_size) < 1:
            raise ValueError(f"slice_size must be at least 1 pixel; received {self.slice_size}")
        return self

    @property
    def all_labels(self) -> dict[str, int]:
        """Name and value of each label, with the background."""
        return {"background": 0, **self.labels}

    @property
    def scan_preparation(self) -> ScanPreparation:
        """How a scan becomes slices."""
        resampling = () if self.spacing_mm is None else (Resample(spacing_mm=self.spacing_mm),)
        return ScanPreparation(
            channels=self.channels,
            operations=(*resampling, *self.operations),
            slice_axis=self.slice_axis,
            neighbours=self.neighbours,
            slice_size=self.slice_size,
        )

    def outputs(self, count: int) -> NetworkOutputs:
        """Tell what the outputs of a network mean, or refuse their number.

        Args:
            count: of its outputs.

        Raises:
            ZooError: there must be another number for these labels.
        """
        labels = len(self.labels)
        if self.activation != "sigmoid" and count == labels + 1:
            return NetworkOutputs.of_classes(count)
        if self.activation != "softmax" and count == labels:
            parts = {name: (value,) for name, value in self.labels.items()}
            return NetworkOutputs.of_classes(2) if labels == 1 else NetworkOutputs.of_regions(self.all_labels, parts)
        wanted = {"softmax": f"{labels + 1}, the background first", "sigmoid": f"{labels}, one a label"}
        also = f"{labels + 1} (softmax, the background first) or {labels} (sigmoids)"
        raise ZooError(
            f"the network has {count} outputs, and the labels {', '.join(self.labels)} with activation "
            f"{self.activation} need {wanted.get(self.activation, also)}"
        )


def check_answer(field: str, value: Any) -> None:
    """Check one answer, whatever the others are.

    Args:
        field: of the answers.
        value: the answer.

    Raises:
        ZooError: it cannot be.
    """
    others = {"channels": ["MRI"], "labels": {"liver": 1}, "activation": "softmax", "slice_size": [256, 256]}
    checked_answers({**others, field: value}, "not taken")


def read_answers(path: Path) -> ImportAnswers:
    """Read a file of answers.

    Raises:
        ZooError: it is missing, no YAML, or an answer cannot be.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ZooError(f"{path} is no file of answers ({reason}); 'r2d2 zoo import --template' prints one") from error
    if not isinstance(content, dict):
        raise ZooError(f"{path} must hold keys with values; 'r2d2 zoo import --template' prints one")
    return checked_answers(content, str(path))


def checked_answers(content: dict[str, Any], origin: str = "the answers") -> ImportAnswers:
    """Check answers.

    Raises:
        ZooError: every fault, in a line.
    """
    try:
        return ImportAnswers.model_validate(content)
    except ValidationError as error:
        raise ZooError(f"{origin}: {'; '.join(settings_faults(error, ImportAnswers))}") from error
