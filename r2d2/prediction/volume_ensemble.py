"""Networks that take volumes: their mean probabilities, in several views, by overlapping windows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dist_training.inference.batches import at_a_time
from dist_training.inference.windows import Windows
from dist_training.inputs.patches import widened
from r2d2.errors import PredictionError
from r2d2.prediction.member import Member
from r2d2.prediction.slice_ensemble import SliceEnsemble
from r2d2.prediction.uncertainty import entropy
from r2d2.prediction.views import View
from r2d2_base.progress import Watcher

__all__ = ["VolumeEnsemble"]


class VolumeEnsemble(SliceEnsemble):
    """One network of volumes, or several that take the same stack of slices as a volume."""

    def probabilities(self, image: np.ndarray, watcher: Watcher) -> Iterator[tuple[np.ndarray, np.ndarray | float]]:
        """Yield the mean probabilities (slices, height, width, outputs) of the whole volume, and the mean entropies.

        Args:
            image: float32 (slices, height, width, channels), clipped but not normalised.
            watcher: may ask the work to end, between two views.

        Raises:
            PredictionError: windows of slices are asked for.
            MemoryError: there was too little for it.
        """
        if self._settings.window is not None:
            raise PredictionError(
                f"a window of {' x '.join(map(str, self._settings.window))} is of slices, and {self.members[0].path} "
                "takes volumes, by windows of the patches that it learned from; leave out --window"
            )
        times = len(self.members) * len(self.views)
        total, own = np.zeros((*image.shape[:3], self._outputs.num_outputs), np.float32), np.zeros((), np.float32)
        for member in self.members:
            for view in self.views:
                watcher.check()
                seen = self._seen(member, image, view)
                total += seen / np.float32(times)
                if self._settings.uncertainty == "spread":
                    own = own + entropy(seen, self._outputs) / times
        yield total, own

    def _seen(self, member: Member, image: np.ndarray, view: View) -> np.ndarray:
        """Give what a network says of a volume in one view; where it is smaller than a window, it lies in zeros."""
        size = member.card.patch_size or (1, 1, 1)
        normalisation = member.input.normalisation
        inputs, place = widened(normalisation.apply(image, *normalisation.statistics(image)), size)
        windows, count = Windows(size, self._settings.overlap), at_a_time(size, member.bytes_for(size))
        (scores,) = windows.blend(view.of(inputs)[np.newaxis], member.probabilities, self._outputs.num_outputs, count)
        return view.back(scores)[place]
