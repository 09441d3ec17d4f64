"""Slices as they are looked at: turned, as large as in the patient, with the edges of labels, as PNG files."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

__all__ = ["edges_of", "png_of", "size_of", "turned"]


def edges_of(plane: np.ndarray) -> np.ndarray:
    """Tell which pixels have a neighbour of another label; the end of the picture is no border."""
    edge = np.zeros(plane.shape, bool)
    down, right = plane[1:] != plane[:-1], plane[:, 1:] != plane[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge


def turned(plane: np.ndarray) -> np.ndarray:
    """Turn a slice (height, width) of a prepared stack, or (height, width, channels), as it is looked at."""
    return np.ascontiguousarray(np.swapaxes(plane[::-1, ::-1], 0, 1))


def size_of(width_mm: float, height_mm: float, longest_px: int) -> tuple[int, int]:
    """Give the pixels of a picture whose sides are as long, one to the other, as in the patient.

    >>> size_of(30.0, 60.0, longest_px=160)
    (80, 160)
    """
    scale = longest_px / max(width_mm, height_mm)
    return max(1, round(width_mm * scale)), max(1, round(height_mm * scale))


def png_of(array: np.ndarray) -> bytes:
    """Write pixels, uint8 (rows, columns) or (rows, columns, 3 or 4), as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
