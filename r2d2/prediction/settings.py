"""What is predicted, and how: settings with a default each."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from imgmed.formats import SpatialUnits
from imgmed.recipe_names import AUTO

__all__ = ["PredictionSettings"]


class PredictionSettings(BaseModel):
    """How scans are found and read. Every default works.

    Example:
        >>> PredictionSettings().on_error
        'stop'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str = Field(default=AUTO, description="Layout of folders of scans, where it is not recognised.")
    series: str | None = Field(
        default=None,
        description="Regular expression on the description of DICOM series in folders; '' takes all. null: as the"
        " model's own scans were chosen.",
    )
    channels: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="Names of the channels that each scan has, in their order, among them those of the model. null: as"
        " the layout names them, else those of the model's own scans.",
    )
    spatial_units: SpatialUnits = Field(
        default="header",
        description="What sizes in NIfTI, NRRD and MetaImage headers count in: header, as each file says; or mm, um"
        " (micrometres), m (metres), whatever the files say.",
    )
    on_error: Literal["stop", "skip"] = Field(
        default="stop", description="Scans that cannot be predicted: stop, or leave them out and name them."
    )
