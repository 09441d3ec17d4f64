"""What augmentation may do to a slice: frozen and validated; every default does nothing."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["PRESETS", "AugmentationSettings"]


class AugmentationSettings(BaseModel):
    """How training slices are varied; all distances are in pixels of the prepared slices.

    Geometric changes are composed into one resampling, in the order flip, zoom, rotate (about the slice's
    centre), translate, deform; then come gamma, contrast, brightness and noise, on pixels of the slice only.
    The name of a preset (see `PRESETS`) stands for all of its settings.

    >>> AugmentationSettings().is_neutral
    True
    >>> AugmentationSettings.model_validate("table1").zoom
    (0.8, 1.2)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rotation_degrees: float = Field(default=0.0, ge=0, le=180, description="rotation by an angle in [-this, this]")
    rotation_probability: float = Field(default=1.0, ge=0, le=1, description="part of the slices that are rotated")
    zoom: tuple[float, float] = Field(default=(1.0, 1.0), description="magnification in [lowest, highest]; 1: none")
    zoom_probability: float = Field(default=1.0, ge=0, le=1, description="part of the slices that are zoomed")
    translation_px: float = Field(
        default=0.0, ge=0, description="shift by [0, this] pixels up or down, and by as much left or right"
    )
    translation_probability: float = Field(default=1.0, ge=0, le=1, description="part of the slices that are shifted")
    vertical_flip_probability: float = Field(
        default=0.0, ge=0, le=1, description="part of the slices that are mirrored top to bottom"
    )
    horizontal_flip_probability: float = Field(
        default=0.0, ge=0, le=1, description="part of the slices that are mirrored left to right"
    )
    slice_flip_probability: float = Field(
        default=0.0, ge=0, le=1, description="volumes: part of the patches that are mirrored from first to last slice"
    )
    elastic_alpha_px: float = Field(
        default=0.0, ge=0, description="elastic deformation: root mean square displacement along each axis"
    )
    elastic_sigma_px: float = Field(
        default=8.0, ge=1, description="elastic deformation: standard deviation of the Gaussian that smooths it"
    )
    elastic_probability: float = Field(default=1.0, ge=0, le=1, description="part of the slices that are deformed")
    crop_size: tuple[int, int] | None = Field(
        default=None, description="(height, width) cut out at random for training; null: the whole slice"
    )
    gamma: tuple[float, float] = Field(
        default=(1.0, 1.0), description="exponent in [lowest, highest] on each channel's own range in the slice"
    )
    gamma_probability: float = Field(default=1.0, ge=0, le=1, description="part of the slices with another gamma")
    contrast: tuple[float, float] = Field(
        default=(1.0, 1.0), description="factor in [lowest, highest] on the distance from each channel's mean"
    )
    contrast_probability: float = Field(default=1.0, ge=0, le=1, description="part of the slices with other contrast")
    brightness: float = Field(
        default=0.0, ge=0, description="added intensity in [-this, this], in units of the normalised image"
    )
    brightness_probability: float = Field(
        default=1.0, ge=0, le=1, description="part of the slices with other brightness"
    )
    noise_std: float = Field(
        default=0.0,
        ge=0,
        description="Gaussian noise with a standard deviation in [0, this], in units of the normalised image",
    )
    noise_probability: float = Field(default=1.0, ge=0, le=1, description="part of the slices with noise")
    interpolation: Literal["linear", "cubic"] = Field(
        default="linear", description="of images: linear, or cubic (a spline; slower); labels take the nearest pixel"
    )
    where: Literal["auto", "host", "device"] = Field(
        default="auto", description="where training applies it: on the device (auto: where that is a GPU) or the host"
    )

    @model_validator(mode="before")
    @classmethod
    def _expand_preset(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        if given not in PRESETS:
            near = difflib.get_close_matches(given, PRESETS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"the presets are {', '.join(PRESETS)}; received {given!r}{hint}")
        return PRESETS[given].model_dump()

    @field_validator("zoom", "gamma", "contrast")
    @classmethod
    def _check_range(cls, factors: tuple[float, float]) -> tuple[float, float]:
        if not 0 < factors[0] <= factors[1]:
            raise ValueError(f"must be two positive numbers [lowest, highest]; received {list(factors)}")
        return factors

    @field_validator("crop_size")
    @classmethod
    def _check_size(cls, size: tuple[int, int] | None) -> tuple[int, int] | None:
        if size is not None and min(size) < 1:
            raise ValueError(f"must be two positive numbers of pixels [height, width]; received {list(size)}")
        return size

    @model_validator(mode="after")
    def _check_cubic(self) -> AugmentationSettings:
        if self.interpolation == "cubic" and self.where == "device":
            raise ValueError("cubic interpolation runs on the host; use where: host, or interpolation: linear")
        return self

    @property
    def is_neutral(self) -> bool:
        """Whether no slice is ever changed."""
        return not self.is_geometric and not self.changes_intensity and self.crop_size is None

    @property
    def is_geometric(self) -> bool:
        """Whether pixels can move (a crop alone moves none against the others)."""
        return bool(
            self.rotation_degrees * self.rotation_probability
            or (self.zoom != (1.0, 1.0) and self.zoom_probability)
            or self.translation_px * self.translation_probability
            or self.vertical_flip_probability
            or self.horizontal_flip_probability
            or self.is_elastic
        )

    @property
    def is_elastic(self) -> bool:
        """Whether slices can be deformed."""
        return bool(self.elastic_alpha_px * self.elastic_probability)

    @property
    def changes_intensity(self) -> bool:
        """Whether intensities can change."""
        return bool(
            (self.gamma != (1.0, 1.0) and self.gamma_probability)
            or (self.contrast != (1.0, 1.0) and self.contrast_probability)
            or self.brightness * self.brightness_probability
            or self.is_noisy
        )

    @property
    def is_noisy(self) -> bool:
        """Whether noise can be added."""
        return bool(self.noise_std * self.noise_probability)

    def facts(self) -> dict[str, Any]:
        """Return what decides the samples, as JSON has it: all but the place where they are made."""
        return self.model_dump(mode="json", exclude={"where"})


PRESETS: dict[str, AugmentationSettings] = {
    "none": AugmentationSettings(),
    "table1": AugmentationSettings(rotation_degrees=45.0, zoom=(0.8, 1.2), translation_px=25.6),
}
"""Named settings: none, and the ranges in Table 1 of the R2D2 paper (its slices had 256 to 512 pixels a side)."""
