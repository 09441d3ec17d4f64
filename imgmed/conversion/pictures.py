"""Pictures to pictures: colour to grey, another format, another size."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from imgmed.conversion.files import (
    JPEG_SUFFIXES,
    PICTURE_SUFFIXES,
    PictureFormat,
    encode_picture,
    is_picture,
    read_picture,
)
from imgmed.errors import LabelError
from imgmed.resampling import resample_images, resample_labels
from imgmed.study import VolumeSource

__all__ = ["Converted", "PictureConversion", "Size", "resize_picture", "to_grey", "to_pixels"]

Side = int
Size = tuple[Side, Side]
LARGEST_SIDE = 16384
# ITU-R BT.601 luma, 0.299 R + 0.587 G + 0.114 B, in units of 2**-16; they sum to 2**16, so equal channels stay.
LUMA = np.array([19595, 38470, 7471], np.uint32)


class Converted(NamedTuple):
    """What one source becomes: facts for the manifest, and (ending of the name, bytes) of each picture."""

    detail: dict[str, Any]
    pictures: Iterator[tuple[str, bytes]]


class PictureConversion(BaseModel):
    """One picture becomes one picture of the same name, perhaps grey, of another format or size.

    >>> PictureConversion(format="png", size=(350, 350)).claim(PurePosixPath("a/b.jpg"))
    'a/b.png'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["pictures"] = Field(default="pictures", description="Pictures become pictures.")
    source: Literal["any", "jpg"] = Field(default="any", description="Which pictures are taken: any, or only JPEG.")
    grey: bool = Field(default=False, description="Colour becomes grey: 0.299 R + 0.587 G + 0.114 B (BT.601).")
    format: PictureFormat | None = Field(
        default=None, description="Format of the result; null: JPEG stays JPEG, all else becomes PNG."
    )
    size: Size | None = Field(default=None, description="(height, width) in pixels; null: as it is.")
    labels: bool = Field(default=False, description="The numbers are labels: resizing invents no value.")
    quality: int = Field(default=95, ge=1, le=100, description="Quality of JPEG.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_size(self.size)
        if self.labels and self.grey:
            raise ValueError("labels are numbers, not colours; leave out grey")
        if self.labels and self.format == "jpg":
            raise ValueError("JPEG changes the numbers of labels; use the format png")
        return self

    @property
    def takes(self) -> str:
        """The files that are taken, for messages."""
        return f"pictures ({', '.join(self._suffixes)})"

    @property
    def _suffixes(self) -> tuple[str, ...]:
        return JPEG_SUFFIXES if self.source == "jpg" else PICTURE_SUFFIXES

    def accepts(self, path: Path) -> bool:
        """Tell whether a file is one to convert, by its name."""
        return is_picture(path, self._suffixes)

    def claim(self, name: PurePosixPath) -> str:
        """Return the path of the result of the source `name`, both relative."""
        return str(name.with_suffix(f".{self._format_for(name)}"))

    def convert(self, source: Path | VolumeSource) -> Converted:
        """Convert one picture; raises the errors of `read_picture`, and LabelError for labels in a JPEG or colours."""
        return Converted({}, iter([("", self._encoded(source if isinstance(source, Path) else source.path))]))

    def _encoded(self, path: Path) -> bytes:
        is_jpeg = is_picture(path, JPEG_SUFFIXES)
        if self.labels and is_jpeg:
            raise LabelError(f"{path}: JPEG does not keep the numbers of labels; start from the original label map")
        picture = read_picture(path, self.labels)
        if self.labels and picture.ndim != 2:
            raise LabelError(f"{path}: labels are one number a pixel; this picture has colours")
        form = self._format_for(PurePosixPath(path.name))
        result = to_grey(picture) if self.grey else picture
        result = result if self.size is None else resize_picture(result, self.size, self.labels)
        if form == "jpg":
            if result is picture and is_jpeg:
                return path.read_bytes()  # encoding it again would only lose
            if result.dtype != np.uint8:
                raise LabelError(f"{path}: JPEG holds 8 bits, this picture has 16; use the format png")
        return encode_picture(result, form, self.quality)

    def _format_for(self, name: PurePosixPath) -> PictureFormat:
        if self.format is not None:
            return self.format
        return "jpg" if name.suffix.lower() in JPEG_SUFFIXES else "png"


def check_size(size: Size | None) -> None:
    """Raise ValueError where a side is not within 1 to 16384 pixels."""
    if size is not None and not all(1 <= side <= LARGEST_SIDE for side in size):
        raise ValueError(f"a side has 1 to {LARGEST_SIDE} pixels; received {size[0]}x{size[1]}")


def to_grey(picture: np.ndarray) -> np.ndarray:
    """Return the luma of a colour picture; a grey one is returned as it is.

    Args:
        picture: (height, width, 3) uint8, or (height, width) of any type.

    Returns:
        (height, width): 0.299 R + 0.587 G + 0.114 B, rounded; where R = G = B, that value exactly.

    Source: ITU-R BT.601-7, 2.5.1, in 16 bit fixed point.

    >>> to_grey(np.array([[[255, 0, 0], [7, 7, 7]]], np.uint8)).tolist()
    [[76, 7]]
    """
    if picture.ndim == 2:
        return picture
    return ((picture.astype(np.uint32) @ LUMA + 2**15) >> 16).astype(np.uint8)


def resize_picture(picture: np.ndarray, size: Size, labels: bool = False) -> np.ndarray:
    """Return a picture of `size`; the same one if that is its size.

    Args:
        picture: (height, width) or (height, width, channels), uint8 or uint16.
        size: new (height, width); the field of view stays, so another shape stretches it.
        labels: give each pixel the label with the largest share, never a new value; otherwise pixels are
            averaged over their area where a direction shrinks, and interpolated (cubic) where it grows.

    >>> resize_picture(np.array([[0, 100], [0, 100]], np.uint8), (1, 1)).tolist()
    [[50]]
    """
    if picture.shape[:2] == tuple(size):
        return picture
    if labels:
        return resample_labels(picture[np.newaxis], size)[0]
    flat = picture.reshape(*picture.shape[:2], -1)[np.newaxis].astype(np.float32)
    resized = to_pixels(resample_images(flat, size)[0], picture.dtype)
    return resized.reshape(*size, *picture.shape[2:])


def to_pixels(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Round to whole numbers within the range of an unsigned `dtype` (cubic interpolation may overshoot)."""
    return np.clip(np.rint(values), 0, np.iinfo(dtype).max).astype(dtype)
