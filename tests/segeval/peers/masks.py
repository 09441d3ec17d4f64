"""Thousands of pairs of masks and of label maps, the same on every machine: only integer draws and comparisons.

The kinds are those on which libraries disagree or fail: borders, single voxels, images one voxel thick, empty
and full masks, distant structures, checkerboards, 255 for the foreground, absent classes, ignored voxels.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["IGNORE_LABEL", "LabelMapPair", "MaskPair", "digest", "label_map_pairs", "mask_pairs", "study_pairs"]

Mask = NDArray[np.bool_]
Draw = Callable[[np.random.Generator, tuple[int, ...]], tuple[Mask, Mask]]

IGNORE_LABEL = 255
# No multiple or diagonal of these comes near the tolerance of 1 mm without being 1 exactly.
SPACINGS_MM = (
    (1.0, 1.0, 1.0),
    (3.0, 0.75, 0.75),
    (0.5, 2.0, 1.25),
    (5.0, 0.9, 0.9),
    (2.5, 0.7, 1.1),
    (1.5, 1.5, 0.5),
)


@dataclass(frozen=True, slots=True, eq=False)
class MaskPair:
    """One structure: uint8 arrays of 0 and `label`, its kind and the spacing."""

    kind: str
    reference: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    label: int
    spacing_mm: tuple[float, ...]

    @property
    def masks(self) -> tuple[Mask, Mask]:
        """Reference and prediction as booleans."""
        return self.reference == self.label, self.prediction == self.label

    @property
    def is_slice(self) -> bool:
        """Whether the image is one voxel thick along an axis."""
        return 1 in self.reference.shape

    def in_larger_image(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Both arrays with an empty slice on either side along each axis of one voxel."""
        sides = [(int(length == 1),) * 2 for length in self.reference.shape]
        return np.pad(self.reference, sides), np.pad(self.prediction, sides)

    @property
    def emptiness(self) -> str:
        """Which of the masks has no voxel: measured, both_empty, reference_empty or prediction_empty."""
        reference, prediction = self.reference.any(), self.prediction.any()
        if reference and prediction:
            return "measured"
        return "prediction_empty" if reference else "reference_empty" if prediction else "both_empty"


@dataclass(frozen=True, slots=True, eq=False)
class LabelMapPair:
    """Several structures: uint8 label maps with the labels 0 to classes - 1, IGNORE_LABEL in some references."""

    kind: str
    reference: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    classes: int
    spacing_mm: tuple[float, ...]

    @property
    def ignore_label(self) -> int | None:
        """IGNORE_LABEL where the reference may have it."""
        return IGNORE_LABEL if self.kind == "ignored" else None


@functools.cache
def mask_pairs() -> tuple[MaskPair, ...]:
    """Make all pairs of masks; the order is that of the recorded values."""
    return tuple(_make_mask_pairs())


@functools.cache
def label_map_pairs() -> tuple[LabelMapPair, ...]:
    """Make all pairs of label maps; the order is that of the recorded values."""
    kinds = (("all_classes", 150), ("absent_classes", 150), ("ignored", 100))
    return tuple(
        _label_map_pair(kind, np.random.Generator(np.random.PCG64([2, kind_index, number])))
        for kind_index, (kind, count) in enumerate(kinds)
        for number in range(count)
    )


@functools.cache
def study_pairs(kind: str) -> tuple[LabelMapPair, ...]:
    """Make ten volumes of one study, "absent_classes" or "ignored": the labels 1 to 3, some absent; never label 4."""
    pairs = []
    for number in range(10):
        rng = np.random.Generator(np.random.PCG64([3, kind == "ignored", number]))
        spacing_mm = SPACINGS_MM[int(rng.integers(len(SPACINGS_MM)))]
        shape = tuple(int(side) for side in rng.integers(6, 12, 3))
        pairs.append(LabelMapPair(kind, *_label_maps(kind, rng, shape, 4), 5, spacing_mm))
    return tuple(pairs)


def digest() -> str:
    """SHA-256 of all pairs: kinds, shapes, spacings and voxels."""
    total = hashlib.sha256()
    for pair in (*mask_pairs(), *label_map_pairs(), *study_pairs("absent_classes"), *study_pairs("ignored")):
        size = pair.label if isinstance(pair, MaskPair) else pair.classes
        total.update(repr((pair.kind, pair.reference.shape, pair.spacing_mm, size)).encode())
        total.update(pair.reference.tobytes() + pair.prediction.tobytes())
    return total.hexdigest()


def _make_mask_pairs() -> Iterator[MaskPair]:
    for kind_index, (kind, (count, draw)) in enumerate(KINDS.items()):
        for number in range(count):
            rng = np.random.Generator(np.random.PCG64([1, kind_index, number]))
            spacing_mm = SPACINGS_MM[int(rng.integers(len(SPACINGS_MM)))]
            axes = 2 + number % 2
            largest = 26 if axes == 2 else 12
            shape = tuple(int(side) for side in rng.integers(5, largest, axes))
            if number % 6 == 0:
                shape = (shape[0],) * 2
            if kind == "thin":
                axes, shape = 3, _thin_shape(rng)
            reference, prediction = draw(rng, shape)
            label = 255 if kind == "foreground_255" else 1
            yield MaskPair(kind, _valued(reference, label), _valued(prediction, label), label, spacing_mm[3 - axes :])


def _valued(mask: Mask, label: int) -> NDArray[np.uint8]:
    return mask.astype(np.uint8) * np.uint8(label)


def _thin_shape(rng: np.random.Generator) -> tuple[int, ...]:
    """One or two axes of a single voxel."""
    shape = rng.integers(4, 20, 3)
    shape[rng.integers(3)] = 1
    if rng.integers(4) == 0:
        shape[rng.integers(3)] = 1
    return tuple(int(side) for side in shape)


def _ball(rng: np.random.Generator, shape: tuple[int, ...], lowest: int = 0) -> Mask:
    """An ellipsoid of random centre and size, anywhere in the image."""
    total: NDArray[np.int64] = np.zeros(shape, np.int64)
    limit = 1
    for axis, side in enumerate(shape):
        centre, radius = int(rng.integers(side)), int(rng.integers(1, max(2, side // 2) + lowest))
        offset = (np.arange(side) - centre).reshape([-1 if other == axis else 1 for other in range(len(shape))])
        # (x / a)² + (y / b)² <= 1 without a division: every term and the limit times all squared radii
        total = total * radius**2 + offset**2 * limit
        limit *= radius**2
    return total <= limit


def _blob(rng: np.random.Generator, shape: tuple[int, ...]) -> Mask:
    """One to three balls together."""
    blob = _ball(rng, shape)
    for _ in range(int(rng.integers(3))):
        blob = blob | _ball(rng, shape)
    return blob


def _shift(rng: np.random.Generator, mask: Mask, largest: int) -> Mask:
    """Move a mask by up to `largest` voxels along every axis of several; what leaves the image is lost."""
    moved = mask
    for axis, side in enumerate(mask.shape):
        if side == 1:
            continue
        step = int(rng.integers(-largest, largest + 1))
        moved = np.roll(moved, step, axis)
        lost = np.moveaxis(moved, axis, 0)
        lost[slice(0, min(step, side)) if step >= 0 else slice(max(side + step, 0), side)] = False
    return moved


def _near(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    """A structure and the same one moved a little, with some voxels wrong."""
    reference = _blob(rng, shape)
    wrong = rng.integers(0, 100, shape) < int(rng.integers(6))
    return reference, _shift(rng, reference, 2) ^ wrong


def _apart(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    return _blob(rng, shape), _blob(rng, shape)


def _border(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    """A structure cut off by one face of the image, or by several."""
    reference = _blob(rng, shape)
    axis = int(rng.integers(len(shape)))
    face = np.moveaxis(reference, axis, 0)
    face[: int(rng.integers(1, 3))] |= rng.integers(0, 2, face.shape[1:]).astype(bool)
    if rng.integers(2):
        reference = reference[::-1]
    return reference, _shift(rng, reference, 1)


def _one_voxel(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    reference, prediction = np.zeros(shape, bool), np.zeros(shape, bool)
    reference[tuple(rng.integers(0, shape))] = True
    prediction[tuple(rng.integers(0, shape))] = True
    case = int(rng.integers(4))
    if case == 0:
        return reference, reference.copy()
    return (reference, prediction | _blob(rng, shape)) if case == 1 else (reference, prediction)


def _far(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    """Opposite corners, and a structure in two parts of which one is found."""
    first, second = np.zeros(shape, bool), np.zeros(shape, bool)
    first[tuple(slice(0, int(rng.integers(1, 3))) for _ in shape)] = True
    second[tuple(slice(side - int(rng.integers(1, 3)), side) for side in shape)] = True
    return (first, second) if rng.integers(2) else (first | second, first)


def _full(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    full, blob = np.ones(shape, bool), _blob(rng, shape)
    return ((full, blob), (blob, full), (full, full.copy()))[int(rng.integers(3))]


def _checkerboard(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    board = sum(np.ogrid[tuple(slice(side) for side in shape)]) % 2 == int(rng.integers(2))
    return ((board, ~board), (board, board.copy()), (board, _blob(rng, shape)))[int(rng.integers(3))]


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    reference = rng.integers(0, 100, shape) < int(rng.integers(1, 100))
    return reference, rng.integers(0, 100, shape) < int(rng.integers(1, 100))


def _nested(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    """A structure within the other, or the other hollowed out."""
    outer = _ball(rng, shape, 3)
    inner = outer & _ball(rng, shape)
    if not inner.any():
        inner = outer
    return ((outer, inner), (inner, outer), (outer, outer & ~inner | ~outer))[int(rng.integers(3))]


def _reference_empty(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    return np.zeros(shape, bool), _blob(rng, shape)


def _prediction_empty(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    return _blob(rng, shape), np.zeros(shape, bool)


def _both_empty(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    return np.zeros(shape, bool), np.zeros(shape, bool)


KINDS: dict[str, tuple[int, Draw]] = {
    "near": (700, _near),
    "apart": (300, _apart),
    "border": (250, _border),
    "one_voxel": (150, _one_voxel),
    "thin": (300, _near),
    "far": (120, _far),
    "full": (90, _full),
    "checkerboard": (90, _checkerboard),
    "noise": (250, _noise),
    "nested": (150, _nested),
    "foreground_255": (100, _near),
    "reference_empty": (80, _reference_empty),
    "prediction_empty": (80, _prediction_empty),
    "both_empty": (40, _both_empty),
}
"""Kind → number of pairs (every second one has three axes) and how a pair is drawn."""


def _label_map_pair(kind: str, rng: np.random.Generator) -> LabelMapPair:
    classes, axes = int(rng.integers(2, 7)), int(rng.integers(2, 4))
    shape = tuple(int(side) for side in rng.integers(6, 24 if axes == 2 else 12, axes))
    spacing_mm = SPACINGS_MM[int(rng.integers(len(SPACINGS_MM)))]
    return LabelMapPair(kind, *_label_maps(kind, rng, shape, classes), classes, spacing_mm[3 - axes :])


def _label_maps(
    kind: str, rng: np.random.Generator, shape: tuple[int, ...], classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Balls of every class painted over one another; the prediction moves each and errs in some voxels."""
    reference, prediction = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for label in range(1, classes):
        structure = _blob(rng, shape)
        in_reference, in_prediction = (kind == "all_classes" or bool(rng.integers(2)) for _ in range(2))
        if in_reference:
            reference[structure] = label
        if in_prediction:
            prediction[_shift(rng, structure, 1)] = label
    wrong = rng.integers(0, 100, shape) < int(rng.integers(5))
    if kind == "all_classes":
        prediction[wrong] = rng.integers(0, classes, shape)[wrong]
    if kind == "ignored":
        reference[rng.integers(0, 100, shape) < int(rng.integers(1, 40))] = IGNORE_LABEL
    return reference, prediction
