"""Networks that take the same slices of a scan: their mean probabilities, in several views, whole or by windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dist_training.inference.batches import at_a_time, batches
from dist_training.inference.windows import Windows
from dist_training.ranks.devices import has_gpu
from imgmed.slices import centred_window
from r2d2.errors import PredictionError
from r2d2.prediction.member import Member
from r2d2.prediction.settings import InferenceSettings
from r2d2.prediction.uncertainty import entropy
from r2d2.prediction.views import views_of
from r2d2_base.machine import usable_memory
from r2d2_base.progress import Watcher

__all__ = ["SliceEnsemble"]

GIB = 2**30

Size = tuple[int, int]


class SliceEnsemble:
    """One network, or several that take the same slices of a scan.

    Args:
        members: the networks; their preparations give the same slices.
        settings: how they are applied.

    Raises:
        PredictionError: a view that none was trained for.
    """

    def __init__(self, members: Sequence[Member], settings: InferenceSettings) -> None:
        self.members, self._settings = tuple(members), settings
        self.preparation = self.members[0].card.scan_preparation
        self.views = views_of(self._flips(), settings.views.rotations_degrees)
        self._outputs = self.members[0].outputs

    def probabilities(self, image: np.ndarray, watcher: Watcher) -> Iterator[tuple[np.ndarray, np.ndarray | float]]:
        """Yield the mean probabilities (n, height, width, outputs) of a few slices at a time, padding cut off again.

        With each come the entropies (n, height, width) that networks and views have by themselves, their mean; 0
        where the spread is not asked for.

        Args:
            image: float32 (slices, height, width, channels), clipped but not normalised.
            watcher: may ask the work to end, between some slices and the next.

        Raises:
            PredictionError: the memory cannot hold what the networks make of a single slice, or window.
            MemoryError: there was too little for all of it.
        """
        size = (image.shape[1], image.shape[2])
        canvas, window = self._canvas(size)
        count = self._at_a_time(canvas)
        statistics = [member.input.normalisation.statistics(image) for member in self.members]
        rows, columns = centred_window(size, canvas)
        times = len(self.members) * len(self.views)
        for indices in map(np.array, batches(image.shape[0], count)):
            sums: list[np.ndarray | float] = [0.0, 0.0]
            for member, numbers in zip(self.members, statistics, strict=True):
                inputs = member.input.centred(image, indices, numbers, canvas)
                for view in self.views:
                    watcher.check()
                    seen = view.back(self._probabilities(member, view.of(inputs), window))[:, rows, columns]
                    if times == 1:  # nothing to add: no copy
                        sums[0] = seen
                    else:
                        sums[0] += seen
                    if self._settings.uncertainty == "spread":
                        sums[1] += entropy(seen, self._outputs)
            yield np.asarray(sums[0] if times == 1 else sums[0] / times, np.float32), sums[1] / times

    def _probabilities(self, member: Member, inputs: np.ndarray, window: Size | None) -> np.ndarray:
        if window is None:
            return member.probabilities(inputs)
        windows = Windows(window, self._settings.overlap)
        parts = windows.blend(inputs, member.probabilities, self._outputs.num_outputs, self._at_a_time(window))
        return np.stack(list(parts))

    def _at_a_time(self, size: Size) -> int:
        return at_a_time(size, max(member.bytes_for(size) for member in self.members))

    def _canvas(self, size: Size) -> tuple[Size, Size | None]:
        """The (height, width) that slices get, and that of the windows in it; None: whole slices are taken.

        Windows are taken where the settings say so, or where the memory cannot hold what the networks make of a whole
        slice: TensorFlow would end the process (a GPU says so itself).
        """
        window = self._settings.window
        if window is None:
            usual = self.members[0].input.canvas_of([member.input.slice_size for member in self.members])
            canvas = self.members[0].input.canvas_of([usual, size])
            if self._memory_fault(canvas) is None:
                return canvas, None
            window = usual
        canvas = (max(size[0], window[0]), max(size[1], window[1]))
        if (fault := self._memory_fault(window, canvas)) is not None:
            raise PredictionError(fault)
        return canvas, None if canvas == window else window

    def _memory_fault(self, window: Size, canvas: Size | None = None) -> str | None:
        """Say that the memory cannot hold a window, and the slice (height, width) that it lies in; None: it can."""
        height, width = canvas or window
        needed, free = max(member.bytes_for(window) for member in self.members), usable_memory()[1]
        if canvas is not None:
            needed += 4 * height * width * (self.preparation.input_channels + self._outputs.num_outputs + 1)
        if free is None or needed <= free or has_gpu():
            return None
        return (
            f"slices of {height} x {width} pixels, as the model sees them, need about {needed / GIB:.0f} GiB of"
            f" memory, and {free / GIB:.0f} are free; is the spacing in the header right?"
        )

    def _flips(self) -> tuple[bool, ...]:
        """Along which axes all networks have been trained to be mirrored, where that is asked for.

        Raises:
            PredictionError: along none.
        """
        flips = tuple(map(all, zip(*(member.card.trained_flips for member in self.members), strict=True)))
        if not self._settings.flips:
            return (False,) * len(flips)
        if not any(flips):
            raise PredictionError(
                f"{self.members[0].path} was not trained on mirrored slices, so it cannot be asked about them; leave"
                " out --flips"
            )
        return flips
