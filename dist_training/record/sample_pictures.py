"""Sample predictions as pictures for TensorBoard: the scan, with the contours of reference and prediction."""

from __future__ import annotations

import numpy as np
from PIL import Image

from dist_training.record.samples import SampleSlices
from imgmed.slice_pictures import edges_of, size_of, turned

__all__ = ["BOTH", "LEGEND", "PREDICTION", "REFERENCE", "contour_picture", "is_drawn"]

REFERENCE, PREDICTION, BOTH = (86, 180, 233), (230, 159, 0), (255, 255, 255)
"""Red, green and blue of contours; sky blue and orange are told apart with every kind of colour blindness."""

LEGEND = "Contours: blue is the reference, orange the prediction, white where both lie at the same place."
LONGEST_PX = 256
_ALL_UNTIL = 4  # as a power of two


def is_drawn(epoch: int, epochs: int) -> bool:
    """Tell whether an epoch's pictures are kept: of the first 16, of 8 for each time that a run doubles, of the last.

    That is a bound for what a long run leaves: 1000 epochs have 64 pictures of a slice.

    Args:
        epoch: from 1.
        epochs: planned in all.

    >>> [epoch for epoch in range(1, 41) if epoch > 16 and is_drawn(epoch, 39)]
    [18, 20, 22, 24, 26, 28, 30, 32, 36, 39, 40]
    """
    every = 1 << max(0, (epoch - 1).bit_length() - _ALL_UNTIL)
    return epoch % every == 0 or epoch == epochs


def contour_picture(slices: SampleSlices, place: int, label_map: np.ndarray) -> np.ndarray:
    """Draw a slice with the contours of its labels: of the reference, and of what was predicted.

    Args:
        slices: those that are shown of a run.
        place: of the slice among them, from 0.
        label_map: predicted label values (height, width).

    Returns:
        uint8 (rows, columns, 3): the first channel in greys, or a picture in its colours; the longer side has 256
        pixels, and both are as long, one to the other, as in the patient.
    """
    one, scan = slices.description.slices[place], slices.scans[place]
    is_coloured = one.is_picture and scan.shape[2] >= 3
    width_mm, height_mm = (side * mm for side, mm in zip(scan.shape[:2], one.pixel_mm, strict=True))  # as it is turned
    size = size_of(width_mm, height_mm, LONGEST_PX)
    plane = Image.fromarray(turned(scan[..., :3] if is_coloured else scan[..., 0])).convert("RGB")
    pixels = np.array(plane.resize(size, Image.Resampling.BILINEAR))
    reference, prediction = (_contours(labels, size) for labels in (slices.references[place], label_map))
    pixels[reference], pixels[prediction], pixels[reference & prediction] = REFERENCE, PREDICTION, BOTH
    return pixels


def _contours(label_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Tell where labels border on others, two pixels wide."""
    drawn = Image.fromarray(turned(label_map).astype(np.int32)).resize(size, Image.Resampling.NEAREST)
    return edges_of(np.asarray(drawn))
