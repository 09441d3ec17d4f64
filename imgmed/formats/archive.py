"""One picture within an .npz: what classification sets such as MedMNIST hand out."""

from __future__ import annotations

import zipfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from imgmed.archives import DAMAGED
from imgmed.errors import ImgMedError, SourceNotFoundError
from imgmed.formats.header import DEFLATE_RATIO, PICTURE_AFFINE, VolumeHeader, check_size, damaged
from imgmed.volume import MAX_VALUES, Volume

__all__ = ["DAMAGED_NPZ", "read", "read_header"]

DAMAGED_NPZ: tuple[type[Exception], ...] = (*DAMAGED, ValueError, KeyError, TypeError, RuntimeError, SyntaxError)
"""Whatever zipfile and NumPy raise where bytes of an .npz are wrong."""


def read(path: Path, entry: str, max_values: int = MAX_VALUES) -> Volume:
    """Return sample `number` of array `name`, for entry "name/number", as one slice (rows, columns, 1[, channels]).

    Raises:
        SourceNotFoundError: no such array or sample.
        UnreadableFileError: no .npz, damaged, or holding Python objects, which are never unpacked.
    """
    name, _, number = entry.rpartition("/")
    try:
        samples = _samples(path, name, path.stat().st_mtime_ns, max_values)
    except DAMAGED_NPZ as error:
        if isinstance(error, ImgMedError):
            raise
        raise damaged(path, error) from error
    if not number.isdecimal() or int(number) >= len(samples) or samples.ndim not in (3, 4):
        raise SourceNotFoundError(f"{path}: no entry {entry}; array {name} has shape {samples.shape}, one entry a row")
    return Volume(samples[int(number)][:, :, np.newaxis], PICTURE_AFFINE, path)


def read_header(path: Path, entry: str) -> VolumeHeader:
    """Return shape and number type of an entry; the array is read and kept for the next call."""
    volume = read(path, entry)
    return VolumeHeader(volume.shape, volume.channels, volume.array.dtype, volume.affine, {"format": "npz"})


@lru_cache(maxsize=1)
def _samples(path: Path, name: str, modified: int, max_values: int) -> np.ndarray:
    """An array of the archive, kept because its samples are read one after the other."""
    member = f"{name}.npy"
    with zipfile.ZipFile(path) as archive:
        if member not in archive.namelist():
            known = ", ".join(Path(one).stem for one in archive.namelist())
            raise SourceNotFoundError(f"{path}: no array {name}; it holds {known}")
        with archive.open(member) as stream:
            version = np.lib.format.read_magic(stream)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = reader(stream)
        check_size(path, shape, dtype.itemsize, archive.getinfo(member).compress_size, max_values, DEFLATE_RATIO)
        with archive.open(member) as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False)
    array.setflags(write=False)
    return array
