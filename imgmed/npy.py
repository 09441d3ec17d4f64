"""Arrays in .npy files, which are mapped into memory when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from r2d2_base.files import write_all, write_whole

__all__ = ["write_npy"]


def write_npy(path: Path, array: np.ndarray) -> None:
    """Write `array` (any shape, plain dtype) as a memory-mappable .npy file in C order, atomically."""
    contiguous = np.ascontiguousarray(array)
    write_whole(Path(path), lambda stream: _write_array(stream, contiguous))


def _write_array(stream: BinaryIO, array: np.ndarray) -> None:
    # np.save would lose the error number on a full disk, so the bytes go through Python's own stream.
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(stream, header)
    if array.size:
        write_all(stream, array.data.cast("B"))
