"""What augmentation may do to a slice or a patch of a volume: frozen and validated; every default does nothing."""

from __future__ import annotations

import difflib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

__all__ = ["PRESETS", "AugmentationSettings"]


MOST_PIXELS_APART = 3.0
"""How far slices may lie apart, in their pixels, to be augmented as a volume; nnU-Net's threshold of anisotropy."""

_OF_VOLUMES = (
    "tilt_degrees",
    "across_slices",
    "slice_flip_probability",
    "inverted_gamma_probability",
    "intensity_factor",
    "intensity_factor_probability",
    "blur_sigma_px",
    "blur_probability",
    "low_resolution",
    "low_resolution_probability",
)


class AugmentationSettings(BaseModel):
    """How training slices, or patches of volumes, are varied; all distances are in pixels of the prepared slices.

    Geometric changes are composed into one resampling, in the order flip, zoom, rotate (about the slice's
    centre), translate, deform; then come gamma, contrast, brightness and noise, on pixels of the slice only.
    A patch of a volume is turned about its own centre, zoomed and deformed along three axes. What is of volumes
    only (`of_volumes`) says so. The name of a preset (see `PRESETS`) stands for all of its settings.

    >>> AugmentationSettings().is_neutral
    True
    >>> AugmentationSettings.model_validate("table1").zoom
    (0.8, 1.2)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rotation_degrees: float = Field(default=0.0, ge=0, le=180, description="rotation by an angle in [-this, this]")
    rotation_probability: float = Field(default=1.0, ge=0, le=1, description="part of the slices that are rotated")
    tilt_degrees: float = Field(
        default=0.0,
        ge=0,
        le=180,
        description="volumes: rotation out of the plane of the slices, by an angle in [-this, this] about the rows and "
        "another about the columns, of the patches that are rotated",
    )
    across_slices: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="volumes: whether patches are tilted, zoomed, deformed, blurred and coarsened across slices too; "
        "auto: where slices are at most 3 times as far apart as pixels",
    )
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
    inverted_gamma_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="volumes: part of the patches with another gamma, drawn apart, on the range turned round: it bends "
        "what is bright as the other bends what is dark",
    )
    intensity_factor: tuple[float, float] = Field(
        default=(1.0, 1.0), description="volumes: factor in [lowest, highest] on the normalised image"
    )
    intensity_factor_probability: float = Field(
        default=1.0, ge=0, le=1, description="volumes: part of the patches that are multiplied"
    )
    blur_sigma_px: tuple[float, float] = Field(
        default=(0.0, 0.0), description="volumes: standard deviation in [lowest, highest] of a Gaussian blur; 0: none"
    )
    blur_probability: float = Field(
        default=1.0, ge=0, le=1, description="volumes: part of the patches that are blurred"
    )
    low_resolution: tuple[float, float] = Field(
        default=(1.0, 1.0),
        description="volumes: factor in [lowest, highest] by which voxels are coarsened, and made fine again; 1: none",
    )
    low_resolution_probability: float = Field(
        default=1.0, ge=0, le=1, description="volumes: part of the patches that are coarsened"
    )
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

    @field_validator("zoom", "gamma", "contrast", "intensity_factor")
    @classmethod
    def _check_range(cls, factors: tuple[float, float]) -> tuple[float, float]:
        if not 0 < factors[0] <= factors[1]:
            raise ValueError(f"must be two positive numbers [lowest, highest]; received {list(factors)}")
        return factors

    @field_validator("blur_sigma_px")
    @classmethod
    def _check_blur(cls, sigmas: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= sigmas[0] <= sigmas[1]:
            raise ValueError(f"must be two numbers of pixels [lowest, highest], 0 or more; received {list(sigmas)}")
        return sigmas

    @field_validator("low_resolution")
    @classmethod
    def _check_coarsening(cls, factors: tuple[float, float]) -> tuple[float, float]:
        if not 1 <= factors[0] <= factors[1]:
            raise ValueError(f"must be two factors [lowest, highest], 1 or more; received {list(factors)}")
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
            or self.tilt_degrees * self.rotation_probability
            or self.slice_flip_probability
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
            (self.gamma != (1.0, 1.0) and (self.gamma_probability or self.inverted_gamma_probability))
            or (self.intensity_factor != (1.0, 1.0) and self.intensity_factor_probability)
            or (self.blur_sigma_px[1] and self.blur_probability)
            or (self.low_resolution != (1.0, 1.0) and self.low_resolution_probability)
            or (self.contrast != (1.0, 1.0) and self.contrast_probability)
            or self.brightness * self.brightness_probability
            or self.is_noisy
        )

    @property
    def is_noisy(self) -> bool:
        """Whether noise can be added."""
        return bool(self.noise_std * self.noise_probability)

    @property
    def of_volumes(self) -> tuple[str, ...]:
        """The settings among those in use that only patches of volumes know."""
        fields = type(self).model_fields
        return tuple(name for name in _OF_VOLUMES if getattr(self, name) != fields[name].default)

    def moves_across(self, slice_distance_px: float) -> bool:
        """Whether patches are tilted, zoomed, deformed, blurred and coarsened across slices too.

        nnU-Net keeps to the plane where the longest side of a patch is more than 3 times the one across slices; here
        the voxels decide, for which its threshold of anisotropy is the same (Isensee et al. 2021).

        Args:
            slice_distance_px: how far slices are apart, in pixels of a slice.

        >>> AugmentationSettings().moves_across(3.0), AugmentationSettings().moves_across(5.0)
        (True, False)
        """
        if self.across_slices != "auto":
            return self.across_slices == "always"
        return slice_distance_px <= MOST_PIXELS_APART

    def facts(self) -> dict[str, Any]:
        """Return what decides the samples, as JSON has it: all but the place where they are made."""
        return self.model_dump(mode="json", exclude={"where"})


PRESETS: dict[str, AugmentationSettings] = {
    "none": AugmentationSettings(),
    "table1": AugmentationSettings(rotation_degrees=45.0, zoom=(0.8, 1.2), translation_px=25.6),
    "nnunet": AugmentationSettings(
        rotation_degrees=30.0,
        tilt_degrees=30.0,
        rotation_probability=0.2,
        zoom=(0.7, 1.4),
        zoom_probability=0.2,
        slice_flip_probability=0.5,
        vertical_flip_probability=0.5,
        horizontal_flip_probability=0.5,
        noise_std=0.1**0.5,
        noise_probability=0.1,
        blur_sigma_px=(0.5, 1.0),
        blur_probability=0.1,
        intensity_factor=(0.75, 1.25),
        intensity_factor_probability=0.15,
        contrast=(0.75, 1.25),
        contrast_probability=0.15,
        low_resolution=(1.0, 2.0),
        low_resolution_probability=0.125,
        gamma=(0.7, 1.5),
        gamma_probability=0.3,
        inverted_gamma_probability=0.1,
    ),
}
"""Named settings.

- none;
- table1: the ranges in Table 1 of the R2D2 paper (its slices had 256 to 512 pixels a side);
- nnunet: ranges and probabilities of volumes in the code of nnU-Net 2.8.1 (``nnUNetTrainer.get_training_transforms``;
  the method: Isensee et al. 2021, Nature Methods 18:203). There, a channel is blurred or coarsened with probability
  1/2 in a fifth or a quarter of the patches; here all are in half as many. Draws are uniform here: there, gamma and
  contrast are as often below 1 as above, and noise is uniform by its variance, coarsening by the inverse factor.
"""
