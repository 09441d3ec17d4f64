"""Picture files as plain arrays, through Pillow: nothing is cut to 8 bits, dropped or rotated in silence."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from imgmed.errors import UnreadableFileError, UnsupportedFormatError
from imgmed.formats.pictures import undivided_pages

__all__ = ["JPEG_SUFFIXES", "PICTURE_SUFFIXES", "PictureFormat", "encode_picture", "is_picture", "read_picture"]

PictureFormat = Literal["png", "jpg"]
JPEG_SUFFIXES = (".jpg", ".jpeg")
PICTURE_SUFFIXES = (*JPEG_SUFFIXES, ".png", ".tif", ".tiff", ".bmp")
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
SIXTEEN_BIT_GREY = ("I;16", "I;16L", "I;16B", "I;16N")


def is_picture(path: Path, suffixes: tuple[str, ...] = PICTURE_SUFFIXES) -> bool:
    """Tell whether the name of `path` ends like a picture and is not hidden.

    >>> [is_picture(Path(name)) for name in ("a.JPG", ".a.png", "a.nii.gz")]
    [True, False, False]
    """
    name = Path(path).name
    return not name.startswith(".") and name.lower().endswith(suffixes)


def read_picture(path: Path, labels: bool = False) -> np.ndarray:
    """Read one picture.

    Args:
        path: PNG, JPEG, TIFF or BMP.
        labels: return the stored numbers of a picture with a palette, not their colours.

    Returns:
        (height, width) uint8 or uint16, or (height, width, 3) uint8 in the order red, green, blue. Turned as
        its EXIF entry says; a fully opaque alpha channel is left out.

    Raises:
        UnreadableFileError: damaged, or not what its name says.
        UnsupportedFormatError: what an 8 bit colour or 16 bit grey array cannot hold: several pages, real
            transparency, 16 bit colour, 32 bit or floating point numbers.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # twice as large is an error of Pillow's
            with Image.open(path) as image:
                _check_kind(image, path)
                image.load()
                return _array_of(ImageOps.exif_transpose(image), path, labels)
    except DAMAGED as error:
        if isinstance(error, UnsupportedFormatError):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableFileError(f"{path}: cannot be read as a picture ({reason})") from error


def encode_picture(array: np.ndarray, form: PictureFormat, quality: int = 95) -> bytes:
    """Return the bytes of a picture file; the same array gives the same bytes.

    Args:
        array: (height, width) uint8 or uint16, or (height, width, 3) uint8; uint16 for PNG only.
        form: "png" is lossless; "jpg" is lossy, stored without chroma subsampling (4:4:4).
        quality: of JPEG, 1 to 100.

    >>> encode_picture(np.zeros((2, 3), np.uint16), "png")[1:4]
    b'PNG'
    """
    stream = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(array))
    if form == "png":
        image.save(stream, "PNG")
    else:
        image.save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()


def _check_kind(image: Image.Image, path: Path) -> None:
    pages = max(getattr(image, "n_frames", 1), undivided_pages(image))
    if pages != 1:
        raise UnsupportedFormatError(f"{path}: holds {pages} pictures; save each in a file of its own")
    raw = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))
    if ";16" in raw and image.mode not in SIXTEEN_BIT_GREY:
        raise UnsupportedFormatError(f"{path}: 16 bit colour would be cut to 8 bits; save its channels as 16 bit grey")


def _array_of(image: Image.Image, path: Path, labels: bool) -> np.ndarray:
    mode = image.mode
    if mode in SIXTEEN_BIT_GREY:
        return np.asarray(image).astype(np.uint16)
    if mode == "L" or (mode == "P" and labels):
        return np.array(image)
    if mode == "1":
        return np.array(image.convert("L"))
    if mode in ("P", "LA", "PA", "RGBA"):
        return _opaque(image, path)
    if mode in ("RGB", "CMYK", "YCbCr"):
        return np.array(image.convert("RGB"))
    raise UnsupportedFormatError(f"{path}: pixels of kind {mode}; save it as 8 or 16 bit grey, or 8 bit RGB")


def _opaque(image: Image.Image, path: Path) -> np.ndarray:
    pixels = np.array(image.convert("RGBA"))
    if (pixels[..., 3] != 255).any():
        raise UnsupportedFormatError(f"{path}: has transparent pixels; flatten it onto a background first")
    return np.ascontiguousarray(pixels[..., 0] if image.mode == "LA" else pixels[..., :3])
