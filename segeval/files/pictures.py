"""Pictures as label maps: PNG and TIFF through Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segeval.errors import UnreadableLabelMapError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["SUFFIXES", "read"]

SUFFIXES = (".png", ".tif", ".tiff")
_FORMATS = ("PNG", "TIFF")

# How Pillow names the pixels in the file, and by how much it multiplies them.
_GREY_OR_PALETTE = {"1": 1, "L": 1, "L;2": 85, "L;4": 17, "P": 1, "P;1": 1, "P;2": 1, "P;4": 1}
_COLOURS = ("LA", "RGB", "RGBA")
_WIDE = ("I;16", "I;16B", "I", "F")


def read(path: Path) -> NDArray[np.generic]:
    """Read the pixels of a picture, (rows, columns): grey levels, or the indices of a palette.

    Raises:
        UnreadableLabelMapError: damaged, cut short, of several pages, or with colours, which are no labels.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            image.verify()  # checksums, which reading pixels does not look at; the file must be opened anew after it
        with Image.open(path, formats=_FORMATS) as image:
            pages = getattr(image, "n_frames", 1)
            if pages > 1:
                raise UnreadableLabelMapError(f"{path}: a picture must have one page; received {pages}")
            return _labels(image, path)
    except UnreadableLabelMapError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableLabelMapError(f"{path}: unreadable or truncated ({reason}); write it again") from error


def _labels(image: Image, path: Path) -> NDArray[np.generic]:
    stored = _stored_kind(image)
    pixels = np.asarray(image)
    if image.mode in _WIDE:
        return pixels
    if stored in _GREY_OR_PALETTE:
        return pixels // _GREY_OR_PALETTE[stored]
    if stored not in _COLOURS:
        raise UnreadableLabelMapError(
            f"{path}: pixels stored as {stored or image.mode} cannot be taken as labels; save the picture with 8- or"
            " 16-bit grey levels, or with a palette"
        )
    channels = pixels[..., :-1] if image.mode.endswith("A") else pixels
    if image.mode.endswith("A") and pixels[..., -1].min() != pixels[..., -1].max():
        raise UnreadableLabelMapError(f"{path}: a label has no transparency; save the picture without alpha")
    coloured = (channels != channels[..., :1]).any(axis=-1)
    if coloured.any():
        example = tuple(int(value) for value in channels[coloured][0])
        raise UnreadableLabelMapError(
            f"{path}: colours are no labels; {int(coloured.sum())} pixels have colours, such as {example}; save the"
            " label numbers as grey levels, or with a palette"
        )
    return np.asarray(channels[..., 0])


def _stored_kind(image: Image) -> str:
    """Name of the pixels as they lie in the file, which `mode` does not tell: 4-bit grey is "L" as well."""
    tiles = getattr(image, "tile", ())
    arguments = tiles[0][3] if tiles else image.mode
    return str(arguments if isinstance(arguments, str) else arguments[0])
