"""The pixels of DICOM slices: decompressed, rescaled and put in one array."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imgmed.errors import UnsupportedFormatError
from imgmed.formats.dicom_file import FAILURES, read_file
from imgmed.formats.dicom_geometry import Slice
from imgmed.formats.header import damaged

__all__ = ["check_kind", "dtype_for", "read_slices"]

# Decoded by SimpleITK's GDCM: JPEG of 12 bits, and the two kinds of lossless JPEG of before JPEG-LS
BY_SIMPLEITK = ("1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
CANDIDATES = ("uint8", "int16", "uint16", "int32", "uint32")


def check_kind(one: Slice) -> None:
    """Raise UnsupportedFormatError for pixels that would need more than a slope and an intercept."""
    if one.has_table:
        raise UnsupportedFormatError(f"{one.path}: its values need a Modality LUT, which is not applied")
    if one.photometric == "PALETTE COLOR":
        raise UnsupportedFormatError(f"{one.path}: a palette-colour image; convert it to grey or RGB first")
    if one.is_multi_frame:
        raise UnsupportedFormatError(f"{one.path}: a multi-frame file among others; name it alone")


def dtype_for(slices: list[Slice]) -> np.dtype:
    """Return the smallest usual number type that holds whatever the slices can store, after rescaling."""
    lows, highs = [], []
    for one in slices:
        ends = [-(2 ** (one.bits - 1)), 2 ** (one.bits - 1) - 1] if one.is_signed else [0, 2**one.bits - 1]
        scaled = [end * one.slope + one.intercept for end in ends]
        if not (one.slope.is_integer() and one.intercept.is_integer()):
            return np.dtype(np.float32)
        lows.append(min(scaled))
        highs.append(max(scaled))
    for name in CANDIDATES:
        limits = np.iinfo(name)
        if limits.min <= min(lows) and max(highs) <= limits.max:
            return np.dtype(name)
    return np.dtype(np.float32)


def read_slices(slices: list[Slice]) -> np.ndarray:
    """Return (columns, rows, slices[, samples]) with slope and intercept applied."""
    first = slices[0]
    shape = (first.columns, first.rows, len(slices), *((first.samples,) if first.samples > 1 else ()))
    array = np.empty(shape, dtype_for(slices), order="F")
    for k, one in enumerate(slices):
        pixels = _by_simpleitk(one) if one.transfer_syntax in BY_SIMPLEITK else _by_pydicom(one)
        if pixels.shape[:2] != (one.rows, one.columns):
            raise damaged(one.path, f"{pixels.shape} pixels decoded where its header says {one.rows} x {one.columns}")
        array[:, :, k] = np.swapaxes(pixels, 0, 1)
    return array


def _by_pydicom(one: Slice) -> np.ndarray:
    try:
        pixels = read_file(one.path).pixel_array
    except FAILURES as error:
        raise damaged(one.path, error) from error
    if (one.slope, one.intercept) == (1.0, 0.0):
        return pixels
    is_whole = one.slope.is_integer() and one.intercept.is_integer()
    return pixels.astype(np.int64 if is_whole else np.float64) * _number(one.slope) + _number(one.intercept)


def _by_simpleitk(one: Slice) -> np.ndarray:
    """SimpleITK applies slope and intercept itself."""
    import SimpleITK

    from imgmed.formats.itk import without_noise

    def execute() -> np.ndarray:
        reader = SimpleITK.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(Path(one.path)))
        return SimpleITK.GetArrayFromImage(reader.Execute())[0]

    return without_noise(execute, one.path)


def _number(value: float) -> int | float:
    return int(value) if value.is_integer() else value
