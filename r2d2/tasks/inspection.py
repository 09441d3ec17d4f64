"""Looking at a study as one call: what would be read, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from imgmed.archives import Unpacked, opened_source
from imgmed.inspection import Inspection, inspect_source
from imgmed.operations import Clip, Resample
from imgmed.preparation.draft import draft_plan
from imgmed.preparation.plan import AXIS_NAMES
from imgmed.recipe_names import AUTO, RECIPE_NAMES
from imgmed.settings import PreparationSettings
from r2d2_base.progress import Progress, StopRequest

__all__ = ["LAYOUTS", "InspectSettings", "InspectionResult", "ProposedChoice", "inspect", "propose_preparation"]

LAYOUTS = (AUTO, *RECIPE_NAMES)
"""What a layout may be called."""


class InspectSettings(BaseModel):
    """What is looked at.

    >>> InspectSettings(source="Task04_Hippocampus").recipe
    'auto'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Path = Field(description="folder of the study, an .npz, or an archive")
    recipe: str = Field(default="auto", description="layout of the source, or auto")
    series: str | None = Field(default=None, description="which DICOM series: part of its description; none: any")
    spatial_units: Literal["header", "mm", "um", "m"] = Field(default="header", description="what headers count in")


@dataclass(frozen=True)
class InspectionResult:
    """What was seen.

    Attributes:
        inspection: layout, cases, what is wrong, what is left over.
        unpacked: what an archive held besides; None where the source is none.
    """

    inspection: Inspection
    unpacked: Unpacked | None


@dataclass(frozen=True)
class ProposedChoice:
    """What `prepare` would choose.

    Attributes:
        name: of the setting, such as "slice_axis"; of "clipping" and "slice_size" there is none.
        value: what it would be, for people.
        reason: why.
    """

    name: str
    value: str
    reason: str


def inspect(
    settings: InspectSettings, *, progress: Progress | None = None, stop: StopRequest | None = None
) -> InspectionResult:
    """Read what ``prepare`` would read of a source, but only the headers of its volumes; nothing is written.

    Args:
        settings: what to look at.
        progress: told of each stage.
        stop: ends the work where it is made.

    Returns:
        What was seen; problems of single cases are listed there.

    Raises:
        ImgMedError: no study can be recognised.
        CancelledError: ``stop`` was made.
    """
    with opened_source(settings.source, progress, stop) as (folder, unpacked):
        inspection = inspect_source(
            folder,
            settings.recipe,
            series=settings.series,
            spatial_units=settings.spatial_units,
            progress=progress,
            stop=stop,
        )
    return InspectionResult(inspection, unpacked)


def propose_preparation(inspection: Inspection) -> tuple[ProposedChoice, ...]:
    """Tell what `prepare` would choose, as far as headers tell; it decides by the training cases and their voxels.

    Args:
        inspection: of the source.

    Returns:
        The choices with their reasons; none where no header can be read.
    """
    plan = draft_plan(inspection)
    if plan is None:
        return ()
    steps = plan.scan_preparation
    plane = [axis for axis in range(3) if axis != steps.slice_axis]
    values = {
        "kind": PreparationSettings().kind,
        "slice_axis": f"{steps.slice_axis} ({AXIS_NAMES[steps.slice_axis]})",
        "slice_size": " x ".join(map(str, steps.slice_size)),
        "normalisation": plan.normalisation,
    }
    for step in steps.operations:
        if isinstance(step, Resample) and step.spacing_mm is not None:
            values["spacing_mm"] = " x ".join(f"{step.spacing_mm[axis] or 0:.4g}" for axis in plane) + " in the plane"
        if isinstance(step, Clip) and step.percentiles is not None:
            values["clipping"] = "{:g} to {:g} %".format(*step.percentiles)
    return tuple(ProposedChoice(name, values[name], reason) for name, reason in plan.reasons.items() if name in values)
