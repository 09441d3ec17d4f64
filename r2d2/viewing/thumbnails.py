"""Small pictures of the cases of a prepared dataset, for lists of them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from imgmed import PreparedDataset
from imgmed.slice_pictures import edges_of, size_of, turned
from r2d2.reports.palette import colours_of, rgb
from r2d2.viewing.pictures import window_of

__all__ = ["thumbnail"]

LARGEST_PX = 160
QUALITY = 82


def thumbnail(dataset: PreparedDataset, case_id: str) -> bytes:
    """Draw the slice in the middle of what is labelled, with the outlines of the labels; only arrays are read.

    Args:
        dataset: with the case.
        case_id: the case.

    Returns:
        A JPEG file, at most 160 pixels wide and high, with the sides as long as in the patient.

    Raises:
        ImgMedError: there is no such case, or its arrays are damaged.
    """
    case, grid = dataset.case(case_id), dataset.grid(case_id)
    image = dataset.image(case_id)
    first, end = case.slice_range
    position = (first + end) // 2 if end > first else len(image) // 2
    position = min(position, len(image) - 1)
    is_coloured = case.is_picture and image.shape[3] >= 3
    plane = turned(np.asarray(image[position, ..., :3] if is_coloured else image[position, ..., 0]))
    low, high = window_of(plane)
    grey = (np.clip(plane, low, high) - low) * (255.0 / (high - low))
    drawn = Image.fromarray(np.rint(grey).astype(np.uint8)).convert("RGB")
    _, across_mm, up_mm = grid.stack_spacing_mm
    size = size_of(plane.shape[1] * across_mm, plane.shape[0] * up_mm, LARGEST_PX)
    drawn = drawn.resize(size, Image.Resampling.BILINEAR)
    if case.label is not None:
        labels = Image.fromarray(turned(np.asarray(dataset.label_map(case_id)[position])).astype(np.int32))
        drawn = _outlined(drawn, np.asarray(labels.resize(size, Image.Resampling.NEAREST)), dataset)
    buffer = io.BytesIO()
    drawn.save(buffer, format="JPEG", quality=QUALITY)
    return buffer.getvalue()


def _outlined(drawn: Image.Image, labels: np.ndarray, dataset: PreparedDataset) -> Image.Image:
    pixels = np.array(drawn)
    edges = edges_of(labels) & (labels != 0)
    values = {name: value for name, value in dataset.labels.items() if value != 0}
    for name, colour in colours_of(values).items():
        pixels[edges & (labels == values[name])] = rgb(colour)
    return Image.fromarray(pixels)
