"""Networks that take volumes: their mean probabilities, in several views, by overlapping windows, band by band."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod

import numpy as np

from dist_training.inference.batches import at_a_time
from dist_training.inference.windows import Windows
from dist_training.inputs.patches import patch_of
from dist_training.ranks.devices import has_gpu
from imgmed.slices import centred_window
from r2d2.errors import PredictionError
from r2d2.prediction.member import Member
from r2d2.prediction.slabs import in_step
from r2d2.prediction.slice_ensemble import GIB, SliceEnsemble
from r2d2.prediction.uncertainty import entropy
from r2d2.prediction.views import View
from r2d2_base.machine import usable_memory
from r2d2_base.progress import Watcher

__all__ = ["VolumeEnsemble"]

Place = tuple[int, int, int]
Box = tuple[slice, ...]
Normalised = Callable[[Member, Box], np.ndarray]
Cut = Callable[[Member, Place], np.ndarray]


@dataclass(frozen=True)
class _Lane:
    """Sights of a volume that are averaged window by window: their windows lie in the same places.

    Attributes:
        size: (slices, rows, columns) of the windows.
        views: of each network, how it sees a window.
        frame: how the whole volume is seen, into which the windows are cut; None: as it is.
    """

    size: Place
    views: tuple[tuple[Member, View], ...]
    frame: View | None = None


class VolumeEnsemble(SliceEnsemble):
    """One network of volumes, or several that take the same stack of slices as a volume."""

    def probabilities(self, image: np.ndarray, watcher: Watcher) -> Iterator[tuple[np.ndarray, np.ndarray | float]]:
        """Yield the mean probabilities (n, height, width, outputs) of some slices after the other.

        With each come the entropies (n, height, width) that networks and views have by themselves, their mean; 0
        where the spread is not asked for. No more is held than a band of slices as deep as a window; where the spread
        is asked for, or slices are turned, one for each network and view.

        Args:
            image: float32 (slices, height, width, channels), clipped but not normalised.
            watcher: may ask the work to end, between some windows and the next.

        Raises:
            PredictionError: windows of slices are asked for.
            MemoryError: there was too little for it.
        """
        if self._settings.window is not None:
            raise PredictionError(
                f"a window of {' x '.join(map(str, self._settings.window))} is of slices, and {self.members[0].path} "
                "takes volumes, by windows of the patches that it learned from; leave out --window"
            )
        lanes, times = self._lanes(), len(self.members) * len(self.views)
        shape = (image.shape[0], image.shape[1], image.shape[2])
        self._check_memory(lanes, shape)
        statistics = {member: member.input.normalisation.statistics(image) for member in self.members}

        def normalised(member: Member, box: Box) -> np.ndarray:
            return member.input.normalisation.apply(image[box], *statistics[member])

        shares = [np.float32(len(lane.views) / times) for lane in lanes]
        for parts in in_step([self._bands(lane, shape, normalised, watcher) for lane in lanes]):
            own: np.ndarray | float = 0.0
            if self._settings.uncertainty == "spread":
                own = sum((entropy(part, self._outputs) / times for part in parts), 0.0)
            if len(parts) == 1:  # nothing to add: no copy
                yield parts[0], own
            else:
                yield np.asarray(sum(part * share for part, share in zip(parts, shares, strict=True))), own

    def _check_memory(self, lanes: Sequence[_Lane], shape: tuple[int, ...]) -> None:
        """Refuse windows that the memory cannot hold, or the band of slices that they lie in."""
        free = usable_memory()[1]
        largest = max((lane.size for lane in lanes), key=prod)
        needed = 0.0 if has_gpu() else max(member.bytes_for(largest) for member in self.members)
        needed += sum(4 * (self._outputs.num_outputs + 1) * lane.size[0] * prod(shape[1:]) for lane in lanes)
        if free is not None and needed > free:
            raise PredictionError(
                f"windows of {_by(largest)} voxels in a scan of {_by(shape)} slices, rows and columns need about"
                f" {needed / GIB:.1f} GiB of memory, and {free / GIB:.1f} are free; is the spacing in the header right?"
            )

    def _lanes(self) -> list[_Lane]:
        """All networks' views, those together whose windows lie in the same places and whose mean alone is wanted."""
        together: dict[Place, list[tuple[Member, View]]] = {}
        apart: list[_Lane] = []
        for member in self.members:
            size = member.card.patch_size or (1, 1, 1)
            for view in self.views:
                if view.degrees:
                    across, *in_plane = view.flips
                    mirrored = View((across, False, False))
                    apart.append(_Lane(size, ((member, mirrored),), View(tuple(in_plane), view.degrees)))
                elif self._settings.uncertainty == "spread":
                    apart.append(_Lane(size, ((member, view),)))
                else:
                    together.setdefault(size, []).append((member, view))
        return [*(_Lane(size, tuple(views)) for size, views in together.items()), *apart]

    def _bands(self, lane: _Lane, shape: Place, normalised: Normalised, watcher: Watcher) -> Iterator[np.ndarray]:
        """Yield what a lane's networks say of some slices after the other, the mean of its views."""
        windows, outputs = Windows(lane.size, self._settings.overlap), self._outputs.num_outputs
        count = at_a_time(lane.size, max(member.bytes_for(lane.size) for member, _ in lane.views))
        if lane.frame is None:
            cut: Cut = partial(_cut, normalised, shape, lane.size)
            yield from windows.bands(shape, partial(self._said, lane, cut, watcher), outputs, count)
            return
        canvas = (max(shape[1], lane.size[1]), max(shape[2], lane.size[2]))
        rows, columns = centred_window(shape[1:], canvas)
        cut = _cut_in(lane.frame, normalised, shape, lane.size, canvas)
        for band in windows.bands((shape[0], *canvas), partial(self._said, lane, cut, watcher), outputs, count):
            yield lane.frame.back(band)[:, rows, columns]

    @staticmethod
    def _said(lane: _Lane, cut: Cut, watcher: Watcher, corners: Sequence[Place]) -> np.ndarray:
        """Give the mean of what a lane's networks say of some windows."""
        mean: np.ndarray | float = 0.0
        inputs: dict[Member, np.ndarray] = {}
        for member, view in lane.views:
            watcher.check()
            if member not in inputs:  # a network's views come together
                inputs = {member: np.stack([cut(member, corner) for corner in corners])}
            seen = view.back(member.probabilities(view.of(inputs[member])))
            if len(lane.views) == 1:  # nothing to add: no copy
                return seen
            mean = mean + seen
        return np.asarray(mean / np.float32(len(lane.views)))


def _cut(normalised: Normalised, shape: Place, size: Place, member: Member, corner: Place) -> np.ndarray:
    """Cut a window out of a volume of this shape, in zeros where it reaches beyond."""
    ends = zip(corner, shape, size, strict=True)
    part = normalised(member, tuple(slice(max(0, at), min(length, at + count)) for at, length, count in ends))
    first, row, column = (min(0, at) for at in corner)
    return part if part.shape[:3] == size else patch_of(part, (first, row, column), size, outside=0)


def _cut_in(frame: View, normalised: Normalised, shape: Place, size: Place, canvas: tuple[int, int]) -> Cut:
    """Cut windows out of slices that are turned in the middle of a canvas, those of one depth at a time."""
    rows, columns = centred_window(shape[1:], canvas)
    whole = (slice(rows.stop - rows.start), slice(columns.stop - columns.start))

    @lru_cache(maxsize=2)  # windows that are asked about together are of two depths at most, or small
    def turned(member: Member, first: int) -> np.ndarray:
        part = normalised(member, (slice(max(0, first), min(shape[0], first + size[0])), *whole))
        corner = (min(0, first), -rows.start, -columns.start)
        return frame.of(patch_of(part, corner, (size[0], *canvas), outside=0))

    def cut(member: Member, corner: Place) -> np.ndarray:
        first, row, column = corner
        return turned(member, first)[:, row : row + size[1], column : column + size[2]]

    return cut


def _by(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))
