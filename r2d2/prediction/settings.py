"""What is predicted, and how: settings with a default each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dist_training.inference.model_card import ViewSettings
from dist_training.inference.postprocessing import Rule
from imgmed.formats import SpatialUnits
from imgmed.recipe_names import AUTO

__all__ = ["DicomOutput", "InferenceSettings", "PredictionSettings"]

DicomOutput = Literal["seg", "rtstruct", "nifti"]

Positive = Annotated[int, Field(ge=1)]


class PredictionSettings(BaseModel):
    """How scans are found and read. Every default works.

    Example:
        >>> PredictionSettings().on_error
        'skip'
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
        default="skip",
        description="Scans that cannot be predicted: skip, leave them out and list them at the end, with exit code 2;"
        " or stop at the first.",
    )


class InferenceSettings(BaseModel):
    """How trained networks are applied to the slices of a scan. Every default works.

    >>> InferenceSettings(rotations_degrees=(-5, 5)).overlap
    0.5
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    window: tuple[Positive, Positive] | None = Field(
        default=None,
        description="Height and width in pixels of the windows that larger slices are cut into. null: whole slices,"
        " or windows of the size of training slices where memory is short.",
    )
    overlap: float = Field(default=0.5, ge=0, lt=1, description="Part of a window that its neighbour covers too.")
    flips: bool | None = Field(
        default=None,
        description="Average over mirrored slices, along the axes that training mirrored. null: as the model's card"
        " says.",
    )
    rotations_degrees: tuple[float, ...] | None = Field(
        default=None,
        description="Average over slices turned by these angles too, such as -5 and 5; 0 alone turns none. null: as the"
        " model's card says.",
    )
    rules: tuple[Rule, ...] | None = Field(
        default=None,
        description="Rules that label maps are set right by, in their order, such as largest_component:liver,"
        " minimum_size:lesion:0.05 (ml), fill_holes:liver, only_inside:tumour:kidney. null: those of the model's card.",
    )
    probabilities: bool = Field(
        default=False, description="Write the probability of each label too, as a file of 16-bit numbers a label."
    )
    uncertainty: Literal["none", "entropy", "spread"] = Field(
        default="none",
        description="Write how unsure each voxel is, 0 to 1, and a number a case: entropy, of the mean probabilities;"
        " spread, how far networks and views disagree.",
    )
    dicom_output: DicomOutput | None = Field(
        default=None,
        description="What label maps of DICOM series are written as: seg (DICOM SEG) or rtstruct (RTSTRUCT), which"
        " refer to the series and name the patient; or nifti. null: seg; for cases of a dataset, which hides patients,"
        " nifti.",
    )

    def seen_as(self, views: ViewSettings) -> InferenceSettings:
        """Give these settings with a model's views where none are asked for; null stands then for none at all.

        >>> InferenceSettings().seen_as(ViewSettings(rotations_degrees=(-5, 5))).rotations_degrees
        (-5.0, 5.0)
        >>> InferenceSettings(rotations_degrees=(0,)).seen_as(ViewSettings(rotations_degrees=(-5, 5))).rotations_degrees
        """
        flips = views.flips if self.flips is None else self.flips
        degrees = views.rotations_degrees if self.rotations_degrees is None else self.rotations_degrees
        turned = tuple(angle for angle in dict.fromkeys(degrees) if angle)
        return self.model_copy(update={"flips": flips or None, "rotations_degrees": turned or None})

    @property
    def views(self) -> ViewSettings:
        """The views that are asked for."""
        return ViewSettings(flips=bool(self.flips), rotations_degrees=self.rotations_degrees or ())
