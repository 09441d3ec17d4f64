"""Where the patches lie that a network of volumes learns from: drawn from seed, epoch and number, by no worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, prod

import numpy as np

__all__ = ["Patch", "PatchDraws", "patch_count", "patch_of", "proposed_patch_size"]

STREAM = int.from_bytes(b"patch", "big") % 2**32
"""Sets these draws apart from others made of the same numbers."""

MOST_VOXELS = 64**3
"""Of a patch that is proposed: what a network of volumes learns from in seconds on a few cores."""

Size = tuple[int, int, int]


def proposed_patch_size(shapes: Sequence[tuple[int, ...]], multiples: Sequence[int]) -> Size:
    """Propose the size of patches: that of the middle volume, made smaller along its longest axes until it is small.

    Args:
        shapes: (slices, rows, columns) of the volumes.
        multiples: of which the sizes are, see ``size_multiples`` of networks.

    >>> proposed_patch_size([(36, 50, 36), (30, 48, 33), (35, 51, 40)], (8, 8, 8))
    (40, 56, 40)
    >>> proposed_patch_size([(100, 256, 256)], (4, 16, 16))
    (64, 64, 64)
    """
    middle = np.median(np.array(shapes), axis=0)
    size = [max(1, -(-int(length) // to)) * to for length, to in zip(middle, multiples, strict=True)]
    while prod(size) > MOST_VOXELS:
        able = [axis for axis, to in enumerate(multiples) if size[axis] > to]
        if not able:
            break
        longest = max(able, key=size.__getitem__)
        size[longest] -= multiples[longest]
    return size[0], size[1], size[2]


def patch_count(shapes: Sequence[tuple[int, ...]], size: Size) -> int:
    """Count the patches of an epoch: as many as it takes to hold each volume's voxels, at least one each."""
    return sum(-(-prod(shape) // prod(size)) for shape in shapes)


@dataclass(frozen=True)
class Patch:
    """A box of a volume.

    Attributes:
        case: number of the volume.
        corner: its first (slice, row, column); below 0 where the volume is smaller than the patch, which it is then in
            the middle of.
        around: label value of the voxel that it was drawn around; None: it lies anywhere.
    """

    case: int
    corner: Size
    around: int | None = None


class PatchDraws:
    """The patches of an epoch.

    Each volume has as many patches as it takes to hold its voxels, at least one: an epoch sees about every voxel once.
    A stated share of the patches are drawn around a voxel of the foreground, in the middle of it as far as the volume
    reaches (as nnU-Net does, Isensee et al. 2021, whose share is a third); the structures of a volume take turns, so
    that the rare ones are seen as often as the large. All others lie anywhere in the volume.

    Args:
        label_maps: (slices, rows, columns) label values of each volume.
        foreground: label values that count as such, in the order of their turns.
        size: (slices, rows, columns) of a patch.
        foreground_share: of the patches drawn around foreground, 0 to 1.
        seed: of the run.

    >>> label_map = np.zeros((4, 8, 8), np.uint8)
    >>> label_map[1, 2, 6] = 5
    >>> draws = PatchDraws([label_map], (5,), (2, 4, 4), foreground_share=1)
    >>> len(draws), draws.draw(epoch=0, index=3)
    (8, Patch(case=0, corner=(0, 0, 4), around=5))
    """

    def __init__(
        self,
        label_maps: Sequence[np.ndarray],
        foreground: Sequence[int],
        size: Size,
        *,
        foreground_share: float = 1 / 3,
        seed: int = 0,
    ) -> None:
        self._label_maps, self._size, self._share, self._seed = list(label_maps), size, foreground_share, seed
        counts = [-(-prod(one.shape) // prod(size)) for one in self._label_maps]
        self._case_of_patch = np.repeat(np.arange(len(counts)), counts)
        self._voxels = [_voxels_up_to(one, foreground) for one in self._label_maps]

    def __len__(self) -> int:
        """Give the number of patches of an epoch."""
        return int(self._case_of_patch.size)

    def case_index(self, index: int) -> int:
        """Give the number of the volume that a patch is of, in every epoch."""
        return int(self._case_of_patch[index])

    def draw(self, epoch: int, index: int) -> Patch:
        """Draw a patch: a pure function of the seed and the arguments.

        Args:
            epoch: 0-based.
            index: of the patch in the epoch.
        """
        case, number = self.case_index(index), epoch * len(self) + index
        generator = np.random.default_rng([self._seed, epoch, index, STREAM])
        turn, voxels = floor(number * self._share), self._voxels[case]
        if floor((number + 1) * self._share) > turn and voxels:
            value = list(voxels)[turn % len(voxels)]
            middle = self._voxel(case, value, generator)
            wanted = [at - size // 2 for at, size in zip(middle, self._size, strict=True)]
            return Patch(case, self._within(case, wanted), value)
        spaces = [max(0, length - size) for length, size in zip(self._label_maps[case].shape, self._size, strict=True)]
        return Patch(case, self._within(case, [int(generator.integers(space + 1)) for space in spaces]))

    def _voxel(self, case: int, value: int, generator: np.random.Generator) -> tuple[int, ...]:
        """Draw one of a structure's voxels, each as likely as the others."""
        up_to = self._voxels[case][value]
        number = int(generator.integers(up_to[-1]))
        slice_number = int(np.searchsorted(up_to, number, side="right"))
        before = int(up_to[slice_number - 1]) if slice_number else 0
        plane = self._label_maps[case][slice_number]
        place = np.flatnonzero(plane == value)[number - before]
        return (slice_number, *(int(at) for at in np.unravel_index(place, plane.shape)))

    def _within(self, case: int, corner: Sequence[int]) -> Size:
        """Move a patch into the volume, or a smaller volume into its middle."""
        shape = self._label_maps[case].shape
        moved = [
            min(max(0, first), length - size) if length >= size else -((size - length) // 2)
            for first, length, size in zip(corner, shape, self._size, strict=True)
        ]
        return moved[0], moved[1], moved[2]


def patch_of(volume: np.ndarray, corner: Size, size: Size, outside: float) -> np.ndarray:
    """Cut a patch out of a volume.

    Args:
        volume: (slices, rows, columns, ...).
        corner: see `Patch`.
        size: of the patch.
        outside: value of what lies beyond the volume.

    Returns:
        (*size, ...), of the volume's dtype.

    >>> patch_of(np.arange(3).reshape(1, 1, 3), (0, 0, -1), (1, 1, 4), outside=-1)[0, 0].tolist()
    [-1, 0, 1, 2]
    """
    patch = np.full((*size, *volume.shape[3:]), outside, volume.dtype)
    source, target = [], []
    for first, length, count in zip(corner, volume.shape, size, strict=False):
        low, high = max(0, first), min(length, first + count)
        source.append(slice(low, high))
        target.append(slice(low - first, high - first))
    patch[tuple(target)] = volume[tuple(source)]
    return patch


def _voxels_up_to(label_map: np.ndarray, values: Sequence[int]) -> dict[int, np.ndarray]:
    """Count the voxels of each structure that is there up to and with each slice."""
    counts = {value: np.zeros(len(label_map), np.int64) for value in values}
    for number, plane in enumerate(label_map):
        found = np.bincount(plane.ravel(), minlength=max(values, default=0) + 1)
        for value in values:
            counts[value][number] = found[value]
    return {value: np.cumsum(count) for value, count in counts.items() if count.any()}
