"""Two-dimensional pictures and stacks of them: PNG, JPEG and TIFF through Pillow (16-bit colour: OpenCV)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from imgmed.errors import InvalidVolumeError, UnreadableFileError, UnsupportedFormatError
from imgmed.formats.header import DEFLATE_RATIO, PICTURE_AFFINE, VolumeHeader, check_size, damaged
from imgmed.formats.quiet import quiet
from imgmed.formats.units import SpatialUnits
from imgmed.volume import MAX_VALUES, Volume, storable
from r2d2_base.files import write_bytes

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.TiffImagePlugin import TiffImageFile

__all__ = ["LOSSY", "SUFFIXES", "WRITTEN_SUFFIXES", "read", "read_header", "read_indices", "undivided_pages", "write"]

LOSSY = (".jpg", ".jpeg")
TIFF = (".tif", ".tiff")
SUFFIXES: tuple[str, ...] = (".png", *LOSSY, *TIFF)
WRITTEN_SUFFIXES = (".png", *TIFF)
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
# Pillow's modes: how many channels each has, and as which number type it is read
MODES = {
    "1": (1, "u1"), "L": (1, "u1"), "LA": (2, "u1"), "RGB": (3, "u1"), "RGBA": (4, "u1"),
    "I;16": (1, "u2"), "I;16B": (1, "u2"), "I;16L": (1, "u2"), "I": (1, "i4"), "F": (1, "f4"),
}  # fmt: skip
# Grey levels of 2 and 4 bits, and the number by which Pillow multiplies them; labels are wanted as they are stored
STRETCHED = {"L;2": 85, "L;4": 17}
WITH_ALPHA = ("LA", "RGBA")
IMAGEJ = re.compile(r"\AImageJ=.*?^images=(\d+)", re.DOTALL | re.MULTILINE)
DESCRIPTION, BITS_PER_SAMPLE, SAMPLES_PER_PIXEL = 270, 258, 277  # tags of TIFF
FAILURES = (OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError)


def read(files: tuple[Path, ...], max_values: int = MAX_VALUES, spatial_units: SpatialUnits = "header") -> Volume:
    """Return pictures as one volume, (rows, columns, pages) or (rows, columns, pages, channels).

    A sequence of pictures, and the pages of a TIFF, are the third axis. 8 and 16 bits, 32-bit integers and
    floats are kept as they are; black-and-white becomes 0 and 1; a palette is expanded to its colours; an alpha
    channel is dropped where it is the same everywhere, otherwise kept as the last channel. Turning marks of
    cameras (EXIF) are not followed, so that a picture meets its label map as stored. No size is taken
    from a picture: `spatial_units` changes nothing.

    Returns:
        Affine: PICTURE_AFFINE. Pictures say nothing about patients; one pixel counts as 1 mm.

    Raises:
        UnreadableFileError: truncated, damaged or of another format.
        UnsupportedFormatError: colours that are no plain channels (CMYK), or an animation.
        InvalidVolumeError: sizes or kinds differ within the stack, or are absurd.
    """
    array = _stack(files, max_values, keep_indices=False)
    return Volume(_without_constant_alpha(array, _header(files, False)[1]), PICTURE_AFFINE, files[0])


def read_indices(files: tuple[Path, ...], max_values: int = MAX_VALUES, *, will_be_cut: bool = False) -> Volume:
    """Return pictures as a label map, (rows, columns, pages): the numbers of a palette, not its colours.

    Args:
        files: one picture a page.
        max_values: as for `read`.
        will_be_cut: a threshold makes a mask of the values, so that those that a JPEG changes a little do no harm.

    Raises:
        UnsupportedFormatError: a JPEG, whose compression changes numbers, without a threshold.
    """
    for path in files:
        if path.name.lower().endswith(LOSSY) and not will_be_cut:
            raise UnsupportedFormatError(
                f"{path}: JPEG changes pixel values, so a JPEG cannot be a label map; save it as PNG from its source."
                " 'r2d2 prepare' takes JPEG masks of one structure with preparation.mask_threshold=128"
            )
    array = _stack(files, max_values, keep_indices=True)
    array = _without_constant_alpha(array, _header(files, True)[1])
    if array.ndim == 4 and array.shape[3] == 3 and (array == array[..., :1]).all():
        array = array[..., 0]  # grey written as RGB
    return Volume(array, PICTURE_AFFINE, files[0])


def write(path: Path, volume: Volume, like: Path | None) -> None:
    """Store grey levels of 8 or 16 bits without loss: (rows, columns, 1) as PNG, (rows, columns, pages) as TIFF.

    Raises:
        UnsupportedFormatError: several pages as PNG, or numbers that are no such grey levels.
    """
    from PIL import Image

    array = storable(volume.array)
    if array.ndim != 3 or array.dtype not in (np.uint8, np.uint16):
        raise UnsupportedFormatError(f"{path}: a picture holds whole numbers from 0 to 65535; use .nii.gz")
    pages = [Image.fromarray(np.ascontiguousarray(page)) for page in np.moveaxis(array, 2, 0)]
    is_tiff = path.name.lower().endswith(TIFF)
    if len(pages) > 1 and not is_tiff:
        raise UnsupportedFormatError(f"{path}: holds one page; {len(pages)} pages are written as .tif")
    stream = io.BytesIO()
    if is_tiff:
        pages[0].save(stream, "TIFF", compression="tiff_adobe_deflate", save_all=True, append_images=pages[1:])
    else:
        pages[0].save(stream, "PNG")
    write_bytes(path, stream.getvalue())


def read_header(files: tuple[Path, ...], spatial_units: SpatialUnits = "header") -> VolumeHeader:
    """Return shape and number type without decoding pixels; a constant alpha channel still counts as a channel."""
    (rows, columns, pages), mode, dtype, channels = _header(files, False)
    kind = FORMATS[files[0].suffix.lower()]
    axes = 2 if pages == 1 else 3
    return VolumeHeader((rows, columns, pages), channels, dtype, PICTURE_AFFINE, {"format": kind, "mode": mode}, axes)


def _header(files: tuple[Path, ...], keep_indices: bool) -> tuple[tuple[int, int, int], str, np.dtype, int]:
    """Shape of the stack, Pillow's mode after expansion, number type and channels, from the first picture."""
    with _opened(files[0]) as image:
        mode = _expanded_mode(image, keep_indices, files[0])
        channels, name = MODES[mode]
        dtype = np.dtype(np.uint16) if _is_deep_colour(image) else np.dtype(name)
        return (image.height, image.width, _pages(image, files[0]) * len(files)), mode, dtype, channels


def _stack(files: tuple[Path, ...], max_values: int, keep_indices: bool) -> np.ndarray:
    shape, mode, dtype, channels = _header(files, keep_indices)
    is_png = files[0].name.lower().endswith(".png")
    stored = sum(path.stat().st_size for path in files)
    per_byte = 8 if dtype.itemsize == 1 else 1  # a pixel may be stored in a single bit
    expansion = DEFLATE_RATIO * per_byte if is_png else None
    check_size(files[0], (*shape, channels), dtype.itemsize, stored, max_values, expansion)
    stack = np.empty((*shape, channels), dtype)
    page = 0
    for path in files:
        with _opened(path) as image:
            image.verify()  # checksums of a PNG, which decoding passes over; the file must be opened anew after it
        with _opened(path) as image:
            for frame in _frames(image, path):
                found = (frame.height, frame.width), _expanded_mode(frame, keep_indices, path)
                if found != (shape[:2], mode) or page >= shape[2]:
                    raise InvalidVolumeError(
                        f"{path}: pictures of one stack need one size and kind; received {found[0][0]} x {found[0][1]}"
                        f" {found[1]} after {shape[0]} x {shape[1]} {mode} in {files[0].name}"
                    )
                pixels = _pixels(frame, mode, path, keep_indices)
                stack[:, :, page] = pixels.reshape(*shape[:2], channels)
                page += 1
    return stack[..., 0] if channels == 1 else stack


def _pixels(image: Image, mode: str, path: Path, keep_indices: bool) -> np.ndarray:
    if _is_deep_colour(image):
        return _deep_colour(path, image)
    factor = STRETCHED.get(_stored_as(image), 1) if keep_indices else 1
    if factor > 1:
        return np.asarray(image) // factor
    if image.mode == mode or (keep_indices and image.mode == "P"):
        return np.asarray(image)
    return np.asarray(image.convert(mode))


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """Open a picture by the format that its suffix names; Pillow's own limit for one picture holds as well."""
    from PIL import Image

    try:
        # sizes are checked here; odd tags do not matter
        with quiet("PIL"), Image.open(path, formats=[FORMATS[path.suffix.lower()]]) as image:
            yield image
    except (UnreadableFileError, InvalidVolumeError, UnsupportedFormatError):
        raise
    except Image.DecompressionBombError as error:
        raise InvalidVolumeError(f"{path}: its header asks for an absurd size ({error})") from error
    except Image.UnidentifiedImageError as error:
        raise UnreadableFileError(
            f"{path}: not a {FORMATS[path.suffix.lower()]} picture that can be read; was it renamed or cut short?"
        ) from error
    except FAILURES as error:
        raise damaged(path, error) from error


def _pages(image: Image, path: Path) -> int:
    frames = int(getattr(image, "n_frames", 1))
    if frames > 1 and image.format == "PNG":
        raise UnsupportedFormatError(f"{path}: an animated PNG of {frames} frames; save them as a multi-page TIFF")
    if image.format != "TIFF":
        return 1
    return _undivided_pages(cast("TiffImageFile", image), path) if frames == 1 else frames


def undivided_pages(image: Image) -> int:
    """Return how many pictures a TIFF says to hold behind a single directory, as ImageJ writes large stacks; else 1."""
    tags = getattr(image, "tag_v2", {})
    said = IMAGEJ.search(str(tags.get(DESCRIPTION, ""))) if getattr(image, "n_frames", 1) == 1 else None
    return int(said[1]) if said else 1


def _undivided_pages(image: TiffImageFile, path: Path) -> int:
    """The same, where they can be found one after the other."""
    pages = undivided_pages(image)
    if pages > 1 and not (_is_one_block(image) and path.stat().st_size >= image.tile[0][2] + pages * _block(image)):
        raise UnsupportedFormatError(
            f"{path}: an ImageJ stack of {pages} pictures, of which only the first can be found; save it again as a"
            " TIFF with a directory for each picture"
        )
    return pages


def _is_one_block(image: TiffImageFile) -> bool:
    """Whether the pixels of a TIFF lie in one part, as they are."""
    row, first = _block(image) // image.height, image.tile[0].offset
    return all(
        part.codec_name == "raw" and part.extents is not None and part.offset == first + part.extents[1] * row
        for part in image.tile
    )


def _block(image: TiffImageFile) -> int:
    """Bytes of a picture of a TIFF without compression."""
    bits = max(image.tag_v2.get(BITS_PER_SAMPLE, (1,))) * int(image.tag_v2.get(SAMPLES_PER_PIXEL, 1))
    return image.height * (-(-image.width * bits // 8))


def _frames(image: Image, path: Path) -> Iterator[Image]:
    """The pages of a file, one after the other."""
    pages = _pages(image, path)
    if pages == getattr(image, "n_frames", 1) or image.format != "TIFF":
        for page in range(pages):
            image.seek(page)
            yield image
        return
    size = _block(cast("TiffImageFile", image))
    for page in range(pages):
        with _opened(path) as opened:
            shifted = cast("TiffImageFile", opened)
            shifted.tile = [tile._replace(offset=tile.offset + page * size) for tile in shifted.tile]
            yield shifted


def _expanded_mode(image: Image, keep_indices: bool, path: Path) -> str:
    if image.mode == "P":
        if keep_indices:
            return "L"
        return "RGBA" if "transparency" in image.info else "RGB"
    if image.mode not in MODES:
        raise UnsupportedFormatError(
            f"{path}: pixels of kind {image.mode} are no plain channels; convert the picture to grey or RGB"
        )
    return image.mode


def _is_deep_colour(image: Image) -> bool:
    """Whether the file has colour of 16 bits, which Pillow would cut to 8 without saying so."""
    return ";16" in _stored_as(image) and not image.mode.startswith("I")


def _stored_as(image: Image) -> str:
    """Pillow's name for the pixels as they lie in the file, which `mode` does not tell."""
    tiles = getattr(image, "tile", ())
    tile = tiles[0][3] if tiles else ""
    return tile if isinstance(tile, str) else str(tile[0] if tile else "")


def _deep_colour(path: Path, image: Image) -> np.ndarray:
    """(rows, columns, channels) uint16 of one page, in the order of Pillow's mode."""
    import cv2

    if image.mode not in ("RGB", "RGBA"):
        raise UnsupportedFormatError(f"{path}: 16-bit {image.mode} cannot be read; save it as 16-bit grey or RGB")
    image.load()  # Pillow notices what is cut short, OpenCV fills it with zeros
    data = np.fromfile(path, np.uint8)
    done, pages = cv2.imdecodemulti(data, cv2.IMREAD_UNCHANGED)
    if not done or len(pages) <= image.tell() or pages[image.tell()].dtype != np.uint16:
        raise damaged(path, "its 16-bit colours could not be decoded")
    pixels = pages[image.tell()]
    order = [2, 1, 0, 3][: pixels.shape[2]]
    return pixels[:, :, order]


def _without_constant_alpha(array: np.ndarray, mode: str) -> np.ndarray:
    if mode not in WITH_ALPHA:
        return array
    alpha = array[..., -1]
    if (alpha != alpha.flat[0]).any():
        return array
    return array[..., :-1] if array.shape[3] > 2 else array[..., 0]
