"""Volumes to pictures: one picture a slice, upright as radiologists look at it.

In every picture the patient is seen as on a light box. Axial (axis 2): front at the top, the patient's right at the
picture's left. Coronal (axis 1): head at the top, the patient's right at the left. Sagittal (axis 0): head at the top,
front at the left. Whichever way the file stores its voxels, its affine decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from imgmed.conversion.files import PictureFormat, encode_picture, is_picture
from imgmed.conversion.pictures import Converted, Size, check_size, to_pixels
from imgmed.errors import InvalidVolumeError, LabelError
from imgmed.formats import case_stem, has_known_suffix, known_suffixes, read_volume
from imgmed.intensity import percentile_bounds
from imgmed.intensity_settings import WINDOWS
from imgmed.labels import WHOLE_WITHIN, to_label_map
from imgmed.resampling import resample_images, resample_labels
from imgmed.selection import evenly_spread
from imgmed.slices import SliceGrid
from imgmed.study import VolumeSource
from imgmed.volume import Volume

__all__ = ["SliceConversion", "upright"]

AXIS_LETTERS = "xyz"


class SliceConversion(BaseModel):
    """One volume becomes one picture a slice (or one a slice and channel), named CASE_z000.png.

    The letter tells the axis (x right, y anterior, z superior), the number is the slice's index along it, counted
    from the left, the back or the feet.

    >>> SliceConversion(format="jpg", bits=16)
    Traceback (most recent call last):
    ...
    pydantic_core._pydantic_core.ValidationError: 1 validation error for SliceConversion
      Value error, JPEG holds 8 bits; use the format png for 16 ...
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["slices"] = Field(default="slices", description="Volumes become pictures of their slices.")
    axis: Literal[0, 1, 2] = Field(
        default=2, description="Axis across which slices are cut: 0 sagittal, 1 coronal, 2 axial."
    )
    slices: int | None = Field(default=None, ge=1, description="Slices per volume, evenly spread; null: all.")
    colour: Literal["grey", "rgb"] = Field(
        default="grey", description="A grey picture for each channel, or three channels as red, green, blue."
    )
    channels: tuple[int, ...] | None = Field(
        default=None, description="Channels, from 0; null: all for grey; 0, 1, 2 for rgb, or 0 if there are fewer."
    )
    format: PictureFormat = Field(default="png", description="png is lossless, jpg is not.")
    bits: Literal[8, 16] = Field(default=8, description="Bits of each pixel and channel; 16 for grey png.")
    window: Literal["percentiles", "values"] | tuple[float, float] | None = Field(
        default=None,
        description="What becomes black and white: percentiles of each volume, two intensities, the name of a window "
        "for CT, or values: every number is stored as it is. null: percentiles for 8 bits, values for 16.",
    )
    percentiles: tuple[float, float] = Field(
        default=(0.5, 99.5), description="The percentiles of each volume and channel that become black and white."
    )
    offset: int = Field(default=0, description="Added to intensities that are stored as they are, such as 1024 for CT.")
    size: Size | None = Field(default=None, description="(height, width) in pixels; null: one a voxel.")
    labels: bool = Field(default=False, description="The volumes are label maps: stored as they are.")
    quality: int = Field(default=95, ge=1, le=100, description="Quality of JPEG.")

    @field_validator("window", mode="before")
    @classmethod
    def _look_up_window(cls, window: Any) -> Any:
        return WINDOWS.get(window, window) if isinstance(window, str) else window  # type: ignore[call-overload]

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_size(self.size)
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ValueError(f"percentiles rise within 0 to 100; received {low:g} and {high:g}")
        if isinstance(self.window, tuple) and not -np.inf < self.window[0] < self.window[1] < np.inf:
            raise ValueError(f"a window rises from black to white; received {self.window[0]:g} to {self.window[1]:g}")
        if self.bits == 16 and self.format == "jpg":
            raise ValueError("JPEG holds 8 bits; use the format png for 16")
        if self.bits == 16 and self.colour == "rgb":
            raise ValueError("pictures of 16 bits are grey; use the colour grey, which keeps every channel")
        if self.offset and self._window != "values":
            raise ValueError("an offset goes with intensities stored as they are; use the window values")
        self._check_channels()
        self._check_labels()
        return self

    def _check_channels(self) -> None:
        if self.channels is not None:
            if not self.channels or min(self.channels) < 0:
                raise ValueError(f"channels are counted from 0; received {list(self.channels)}")
            if self.colour == "rgb" and len(self.channels) not in (1, 3):
                raise ValueError(f"rgb takes three channels, or one for grey; received {len(self.channels)}")
            if self.colour == "grey" and len(set(self.channels)) < len(self.channels):
                raise ValueError(f"a channel stands twice; received {list(self.channels)}")

    def _check_labels(self) -> None:
        if self.labels and (self.format == "jpg" or self.colour == "rgb" or self.offset or self._window != "values"):
            raise ValueError("label maps are stored as they are; use png, grey and neither window nor offset")

    @property
    def _window(self) -> Literal["percentiles", "values"] | tuple[float, float]:
        if self.window is not None:
            return self.window
        return "values" if self.labels or self.bits == 16 else "percentiles"

    @property
    def _dtype(self) -> np.dtype:
        return np.dtype(np.uint8 if self.bits == 8 else np.uint16)

    @property
    def takes(self) -> str:
        """The files that are taken, for messages."""
        return f"volumes ({', '.join(suffix for suffix in known_suffixes() if not is_picture(Path('a' + suffix)))})"

    def accepts(self, path: Path) -> bool:
        """Tell whether a file is one to convert, by its name."""
        return has_known_suffix(path) and not is_picture(path)

    def claim(self, name: PurePosixPath) -> str:
        """Return what the paths of all results of the source `name` begin with, relative like it."""
        return str(name.with_name(case_stem(Path(name))))

    def convert(self, source: Path | VolumeSource) -> Converted:
        """Convert one volume; pictures are made one at a time.

        Raises:
            ImgMedError: as `read_volume` raises; a channel that is not there; NaN or infinite voxels; numbers that
                the chosen bits cannot hold.
        """
        volume = read_volume(source, spatial_units="mm")  # pictures have no size, so whatever the unit is will do
        if self.labels:
            return self._convert_labels(volume)
        stack = _stack(volume, volume.array, self.axis)
        channels = self._channels_of(volume)
        _check_finite(stack, volume.origin)
        if self._window == "values":
            _check_values([stack[..., channel] for channel in channels], self.offset, self.bits, volume.origin)
        windows = [self._black_and_white(stack[..., channel]) for channel in channels]
        detail = {"shape": list(volume.array.shape), "channels": list(channels), "black_and_white": windows}
        return Converted(detail, self._pictures(stack, channels, windows))

    def _convert_labels(self, volume: Volume) -> Converted:
        stack = _stack(volume, to_label_map(volume.array, volume.origin), self.axis)
        if np.iinfo(stack.dtype).max > np.iinfo(self._dtype).max:
            raise LabelError(f"{volume.origin}: labels up to {stack.max()} need 16 bits; received 8")
        detail = {"shape": list(volume.array.shape), "labels": np.unique(stack).tolist()}
        return Converted(detail, self._label_pictures(stack))

    def _channels_of(self, volume: Volume) -> tuple[int, ...]:
        every = tuple(range(volume.channels))
        if self.channels is None:
            return every if self.colour == "grey" else every[:3] if volume.channels >= 3 else (0,)
        if max(self.channels) >= volume.channels:
            raise InvalidVolumeError(
                f"{volume.origin}: channels are 0 to {volume.channels - 1}; asked for channel {max(self.channels)}"
            )
        return self.channels

    def _black_and_white(self, channel: np.ndarray) -> tuple[float, float]:
        if self._window == "percentiles":
            return percentile_bounds(channel[..., np.newaxis], self.percentiles)[0]
        if self._window == "values":
            return float(-self.offset), float(np.iinfo(self._dtype).max - self.offset)
        return self._window

    def _pictures(
        self, stack: np.ndarray, channels: Sequence[int], windows: Sequence[tuple[float, float]]
    ) -> Iterator[tuple[str, bytes]]:
        numbers = stack.shape[3] > 1
        for index, ending in self._endings(len(stack)):
            planes = [
                self._plane(stack[index, ..., channel], *window)
                for channel, window in zip(channels, windows, strict=True)
            ]
            if self.colour == "rgb":
                picture = np.stack(planes if len(planes) == 3 else planes * 3, axis=-1)
                yield f"{ending}.{self.format}", encode_picture(picture, self.format, self.quality)
                continue
            for channel, plane in zip(channels, planes, strict=True):
                number = f"_{channel:04d}" if numbers else ""
                yield f"{ending}{number}.{self.format}", encode_picture(plane, self.format, self.quality)

    def _plane(self, plane: np.ndarray, black: float, white: float) -> np.ndarray:
        """One channel of one slice as pixels: windowed, then resized, then rounded once."""
        top = np.iinfo(self._dtype).max
        scale = top / (white - black) if white > black else 0.0
        values = np.clip((plane.astype(np.float64) - black) * scale, 0, top).astype(np.float32)
        picture = upright(values)
        if self.size is not None:
            picture = resample_images(picture[np.newaxis, ..., np.newaxis], self.size)[0, ..., 0]
        return to_pixels(picture, self._dtype)

    def _label_pictures(self, stack: np.ndarray) -> Iterator[tuple[str, bytes]]:
        for index, ending in self._endings(len(stack)):
            picture = upright(stack[index, ..., 0])
            if self.size is not None:
                picture = resample_labels(picture[np.newaxis], self.size)[0]
            yield f"{ending}.png", encode_picture(picture.astype(self._dtype), "png")

    def _endings(self, count: int) -> Iterator[tuple[int, str]]:
        digits = max(3, len(str(count - 1)))
        for index in evenly_spread(count, self.slices):
            yield index, f"_{AXIS_LETTERS[self.axis]}{index:0{digits}d}"


def upright(plane: np.ndarray) -> np.ndarray:
    """Return a view of a canonical slice (the two other of right, anterior, superior, in order) as it is looked at.

    >>> upright(np.array([["left back", "left front"], ["right back", "right front"]])).tolist()
    [['right front', 'left front'], ['right back', 'left back']]
    """
    return plane.T[::-1, ::-1]


def _stack(volume: Volume, array: np.ndarray, axis: int) -> np.ndarray:
    """View as (slices, ..., channels) in canonical orientation."""
    stack = SliceGrid.of(volume.shape, volume.affine, axis).to_stack(array)
    return stack if stack.ndim == 4 else stack[..., np.newaxis]


def _check_finite(stack: np.ndarray, origin: str) -> None:
    if stack.dtype.kind != "f":
        return
    bad = sum(plane.size - int(np.count_nonzero(np.isfinite(plane))) for plane in stack)
    if bad:
        raise InvalidVolumeError(f"{origin}: {bad} NaN or infinite voxels; replace them, for example by the background")


def _check_values(stacks: Sequence[np.ndarray], offset: int, bits: int, origin: str) -> None:
    """Refuse intensities that unsigned whole numbers of `bits` cannot hold exactly."""
    top = 2**bits - 1
    low, high = float(min(stack.min() for stack in stacks)), float(max(stack.max() for stack in stacks))
    if not all(_is_whole(plane) for stack in stacks if stack.dtype.kind == "f" for plane in stack):
        raise InvalidVolumeError(
            f"{origin}: intensities from {low:g} to {high:g} are not whole numbers: give a window that scales them"
        )
    if low + offset < 0 or high + offset > top:
        fits = high - low <= top
        way = f"give an offset of {-low:g} to {top - high:g}" if fits else "use 16 bits" if bits == 8 else ""
        raise InvalidVolumeError(
            f"{origin}: intensities from {low:g} to {high:g}, offset {offset}, do not fit 0 to {top}:"
            f" {way}{', or ' if way else ''}give a window that scales them"
        )


def _is_whole(plane: np.ndarray) -> bool:
    return bool((np.abs(plane - np.rint(plane)) <= WHOLE_WITHIN).all())
