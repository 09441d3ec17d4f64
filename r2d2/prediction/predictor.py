"""Trained networks applied to one scan: one or an ensemble, seen in one way or several, whole or by windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dist_training.inference.model_card import Split
from dist_training.inference.postprocessing import check_rules
from dist_training.ranks.devices import has_gpu
from dist_training.run.plan import check_tensorflow
from imgmed import SliceGrid
from imgmed.slices import centred_window
from r2d2.errors import PredictionError
from r2d2.prediction.ensemble import check_ensemble
from r2d2.prediction.member import Member
from r2d2.prediction.model import resolve_ensemble
from r2d2.prediction.settings import InferenceSettings
from r2d2.prediction.uncertainty import entropy
from r2d2.prediction.views import views_of
from r2d2.prediction.windows import Windows
from r2d2_base.machine import usable_memory
from r2d2_base.progress import UNWATCHED, Watcher

__all__ = ["Predictor", "Segmentation"]

PIXELS_AT_A_TIME = 2**19
GIB = 2**30
BY_WEIGHT: tuple[Split, ...] = ("train", "validation", "test")
"""What a network's training used a scan for, what weighs most first."""

Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What networks make of a scan, in its own voxel order and shape (i, j, k).

    Attributes:
        label_map: label values, the smallest unsigned type that fits.
        probabilities: float32 (i, j, k, outputs), where they were asked for.
        uncertainty: float32, entropy in units of the largest, 0 to 1, where it was asked for.
    """

    label_map: np.ndarray
    probabilities: np.ndarray | None = None
    uncertainty: np.ndarray | None = None


class Predictor:
    """Trained networks that agree on their scans and labels, and how they are applied.

    Args:
        models: what `resolve_ensemble` takes.
        settings: how they are applied; None: the defaults.
        trust_code: see `Member`.

    Raises:
        ModelError: there is no such network, or it is damaged.
        PredictionError: the networks differ in their labels or in how a scan is prepared; a view that none was
            trained for.
    """

    def __init__(
        self,
        models: str | Path | Sequence[str | Path],
        settings: InferenceSettings | None = None,
        *,
        trust_code: bool = False,
    ) -> None:
        check_tensorflow()
        self.settings = settings or InferenceSettings()
        self.members = tuple(Member(path, trust_code=trust_code) for path in resolve_ensemble(models))
        check_ensemble([(member.path, member.card) for member in self.members])
        self.path, self.card = self.members[0].path, self.members[0].card
        self._outputs = self.members[0].outputs
        self._views = views_of(self._flips(), self.settings.rotations_degrees)
        self.rules = self.card.postprocessing if self.settings.rules is None else self.settings.rules
        check_rules(self.rules, self.card.labels)
        if self.settings.uncertainty == "spread" and len(self.members) * len(self._views) == 1:
            raise PredictionError(
                "one network that sees each slice once has no spread; ask several, or with --flips or --rotate, or take"
                " --uncertainty entropy"
            )

    def predict(self, image: np.ndarray, grid: SliceGrid, watcher: Watcher = UNWATCHED) -> Segmentation:
        """Segment a prepared scan.

        Args:
            image: float32 (slices, height, width, channels), clipped but not normalised.
            grid: where the slices lie in the scan.
            watcher: may ask the work to end, between some slices and the next.

        Raises:
            PredictionError: the memory cannot hold what the network makes of a single slice, or window.
            MemoryError: there was too little for all of it.
        """
        wanted, is_resampled = self.settings, grid.is_resampled
        keeps_scores = is_resampled or wanted.probabilities
        scores, classes, doubts = [], [], []
        for probabilities, own_entropy in self._slices(image, watcher):
            if keeps_scores:
                scores.append(probabilities)
            if not is_resampled:
                classes.append(self._decide(probabilities))
            if wanted.uncertainty != "none":
                doubts.append(entropy(probabilities, self._outputs) - own_entropy)
        # between voxels, probabilities are what may be averaged
        restored = grid.restore(np.concatenate(scores), order=1) if scores else np.empty(0)
        whole = grid.restore(np.concatenate(classes), order=0) if classes else self._decide(restored)
        values = np.array(self.card.class_values, dtype=np.min_scalar_type(max(self.card.class_values)))
        return Segmentation(
            label_map=values[whole],
            probabilities=restored if wanted.probabilities else None,
            uncertainty=grid.restore(np.concatenate(doubts)[..., np.newaxis], order=1)[..., 0] if doubts else None,
        )

    def _slices(self, image: np.ndarray, watcher: Watcher) -> Iterator[tuple[np.ndarray, np.ndarray | float]]:
        """Yield the mean probabilities (n, height, width, outputs) of a few slices at a time, padding cut off again.

        With each come the entropies (n, height, width) that networks and views have by themselves, their mean; 0
        where the spread is not asked for.
        """
        size = (image.shape[1], image.shape[2])
        canvas, window = self._canvas(size)
        count = max(1, PIXELS_AT_A_TIME // (canvas[0] * canvas[1]))
        statistics = [member.input.normalisation.statistics(image) for member in self.members]
        rows, columns = centred_window(size, canvas)
        for start in range(0, image.shape[0], count):
            indices = np.arange(start, min(start + count, image.shape[0]))
            sums: list[np.ndarray | float] = [0.0, 0.0]
            for member, numbers in zip(self.members, statistics, strict=True):
                inputs = member.input.centred(image, indices, numbers, canvas)
                for view in self._views:
                    watcher.check()
                    seen = view.back(self._probabilities(member, view.of(inputs), window))[:, rows, columns]
                    sums[0] += seen
                    if self.settings.uncertainty == "spread":
                        sums[1] += entropy(seen, self._outputs)
            times = len(self.members) * len(self._views)
            yield np.asarray(sums[0] / times, np.float32), sums[1] / times

    def _probabilities(self, member: Member, inputs: np.ndarray, window: Size | None) -> np.ndarray:
        if window is None:
            return member.probabilities(inputs)
        windows, count = Windows(window, self.settings.overlap), max(1, PIXELS_AT_A_TIME // (window[0] * window[1]))
        return np.stack(list(windows.blend(inputs, member.probabilities, self._outputs.num_outputs, count)))

    def _canvas(self, size: Size) -> tuple[Size, Size | None]:
        """The (height, width) that slices get, and that of the windows in it; None: whole slices are taken.

        Windows are taken where the settings say so, or where the memory cannot hold what the networks make of a whole
        slice: TensorFlow would end the process (a GPU says so itself).
        """
        window = self.settings.window
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
            needed += 4 * height * width * (self.card.scan_preparation.input_channels + self._outputs.num_outputs + 1)
        if free is None or needed <= free or has_gpu():
            return None
        return (
            f"slices of {height} x {width} pixels, as the model sees them, need about {needed / GIB:.0f} GiB of"
            f" memory, and {free / GIB:.0f} are free; is the spacing in the header right?"
        )

    @property
    def output_names(self) -> tuple[str, ...]:
        """What each channel of the probabilities is that of: a label, or a region."""
        card = self.card
        names = {value: name for name, value in card.labels.items()}
        labels = [names[value] for value in card.class_values]
        return tuple(card.regions) or tuple(labels if self._outputs.is_softmax else labels[1:])

    def split_of(self, image_sha256: Sequence[str]) -> Split | None:
        """Tell what the training of any of the networks used a scan for, see `ModelCard.split_of`."""
        splits = {member.card.split_of(image_sha256) for member in self.members}
        return next((split for split in BY_WEIGHT if split in splits), None)

    def _flips(self) -> tuple[bool, bool]:
        """Along which axes of slices all networks have been trained to be mirrored, where that is asked for.

        Raises:
            PredictionError: along none.
        """
        if not self.settings.flips:
            return False, False
        seen = [member.card.trained_flips for member in self.members]
        flips = (all(rows for rows, _ in seen), all(columns for _, columns in seen))
        if not any(flips):
            raise PredictionError(
                f"{self.path} was not trained on mirrored slices, so it cannot be asked about them; leave out --flips"
            )
        return flips

    def _decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Turn (..., outputs) into class indices."""
        classes = self._outputs.decode_probabilities(probabilities)
        return classes.astype(np.min_scalar_type(len(self.card.class_values)))
