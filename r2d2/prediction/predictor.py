"""Trained networks applied to one scan: one or an ensemble, seen in one way or several, whole or by windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from dist_training.inference.model_card import Split
from dist_training.inference.postprocessing import check_rules
from dist_training.run.plan import check_tensorflow
from imgmed import ScanPreparation, SliceGrid
from r2d2.errors import PredictionError
from r2d2.prediction.ensemble import by_preparation, check_ensemble
from r2d2.prediction.member import Member
from r2d2.prediction.model import resolve_ensemble
from r2d2.prediction.settings import InferenceSettings
from r2d2.prediction.slabs import in_step
from r2d2.prediction.slice_ensemble import SliceEnsemble
from r2d2.prediction.uncertainty import entropy
from r2d2.prediction.volume_ensemble import VolumeEnsemble
from r2d2_base.progress import UNWATCHED, Watcher

__all__ = ["Predictor", "Segmentation", "Stack"]

BY_WEIGHT: tuple[Split, ...] = ("train", "validation", "test")
"""What a network's training used a scan for, what weighs most first."""

Stack = tuple[np.ndarray, SliceGrid]
"""Slices of a prepared scan, float32 (slices, height, width, channels), clipped but not normalised; and their place."""


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
    """Trained networks that agree on channels and labels, and how they are applied.

    Networks may differ in how they prepare a scan, such as in the axis across which slices are cut: each is given its
    own slices then, and their probabilities are averaged in the scan's voxels.

    Args:
        models: what `resolve_ensemble` takes.
        settings: how they are applied; None: the defaults. What they leave open, the first network's card says.
        trust_code: see `Member`.

    Raises:
        ModelError: there is no such network, or it is damaged.
        PredictionError: the networks differ in their labels or channels; a view that none was trained for.

    Attributes:
        members: the networks.
        preparations: how a scan is prepared for them: one, or each that some of them need.
        card: of the first network, which stands for all of them.
        path: of the first network.
        rules: that label maps are set right by.
        settings: how they are applied, nothing left open.
    """

    def __init__(
        self,
        models: str | Path | Sequence[str | Path],
        settings: InferenceSettings | None = None,
        *,
        trust_code: bool = False,
    ) -> None:
        check_tensorflow()
        self.members = tuple(Member(path, trust_code=trust_code) for path in resolve_ensemble(models))
        check_ensemble([(member.path, member.card) for member in self.members])
        self.path, self.card = self.members[0].path, self.members[0].card
        self.settings = (settings or InferenceSettings()).seen_as(self.card.views)
        self._outputs = self.members[0].outputs
        self._ensembles = tuple(
            (SliceEnsemble if group[0].card.patch_size is None else VolumeEnsemble)(group, self.settings)
            for group in by_preparation(self.members)
        )
        self.preparations: tuple[ScanPreparation, ...] = tuple(one.preparation for one in self._ensembles)
        self.rules = self.card.postprocessing if self.settings.rules is None else self.settings.rules
        check_rules(self.rules, self.card.labels)
        times_seen = sum(len(one.members) * len(one.views) for one in self._ensembles)
        if self.settings.uncertainty == "spread" and times_seen == 1:
            raise PredictionError(
                "one network that sees each slice once has no spread; ask several, or with --flips or --rotate, or take"
                " --uncertainty entropy"
            )

    def predict(self, stacks: Sequence[Stack], watcher: Watcher = UNWATCHED) -> Segmentation:
        """Segment a prepared scan.

        Args:
            stacks: the scan as each of `preparations` gives it, in their order.
            watcher: may ask the work to end, between some slices and the next.

        Raises:
            PredictionError: the memory cannot hold what a network makes of a single slice, or window.
            MemoryError: there was too little for all of it.
        """
        grid, outputs = stacks[0][1], self._outputs.num_outputs
        slabs = self._on_scan(stacks, watcher)
        slabs = chain([next(slabs)], slabs)  # what no memory holds is told before memory is asked for
        values = np.array(self.card.class_values, dtype=np.min_scalar_type(max(self.card.class_values)))
        label_map = np.empty(grid.shape, values.dtype)
        scores = np.empty((*grid.shape, outputs), np.float32) if self.settings.probabilities else None
        doubts = None if self.settings.uncertainty == "none" else np.empty(grid.shape, np.float32)
        labels_there = grid.to_stack(label_map)
        scores_there = None if scores is None else grid.to_stack(scores)
        doubts_there = None if doubts is None else grid.to_stack(doubts)
        first = 0
        for said in slabs:
            probabilities, slices = said[..., :outputs], slice(first, first + len(said))
            labels_there[slices] = values[self._outputs.decode_probabilities(probabilities)]
            if scores_there is not None:
                scores_there[slices] = probabilities
            if doubts_there is not None:
                doubts_there[slices] = said[..., outputs]
            first = slices.stop
        return Segmentation(label_map, scores, doubts)

    def _on_scan(self, stacks: Sequence[Stack], watcher: Watcher) -> Iterator[np.ndarray]:
        """Yield some slices of the scan after the other, (n, height, width, outputs): the mean probabilities.

        Where the uncertainty is asked for, it is one more number of each voxel. Networks that are given slices of their
        own are averaged in the scan's voxels, each counting alike.
        """
        if len(stacks) == 1:
            yield from self._restored(self._ensembles[0], *stacks[0], watcher, is_alone=True)
            return
        shares = [np.float32(len(ensemble.members) / len(self.members)) for ensemble in self._ensembles]
        restored = [
            self._restored(ensemble, *stack, watcher, is_alone=False)
            for ensemble, stack in zip(self._ensembles, stacks, strict=True)
        ]
        grids = [grid for _, grid in stacks]
        for parts in _alike(restored, grids):
            mean = np.asarray(sum(share * part for share, part in zip(shares, parts, strict=True)))
            if self.settings.uncertainty != "none":
                mean[..., -1] = entropy(mean[..., :-1], self._outputs) - mean[..., -1]
            yield mean

    def _restored(
        self, ensemble: SliceEnsemble, image: np.ndarray, grid: SliceGrid, watcher: Watcher, *, is_alone: bool
    ) -> Iterator[np.ndarray]:
        """Yield what networks of one preparation say, on the scan's slices.

        Where the uncertainty is asked for, one more number of each voxel is that, if they are alone, else the mean
        entropy of each by itself.
        """
        outside = [0.0] * self._outputs.num_outputs
        outside[0] = float(self._outputs.is_softmax)  # the background
        if self.settings.uncertainty == "none":
            said = (probabilities for probabilities, _ in ensemble.probabilities(image, watcher))
            return grid.restored_slabs(said, outside)
        judged = (
            _with(probabilities, entropy(probabilities, self._outputs) - own if is_alone else own)
            for probabilities, own in ensemble.probabilities(image, watcher)
        )
        return grid.restored_slabs(judged, [*outside, 0.0])

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


def _with(probabilities: np.ndarray, number: np.ndarray | float) -> np.ndarray:
    """Add one more number to each pixel's probabilities."""
    numbers = np.broadcast_to(np.asarray(number, np.float32), probabilities.shape[:-1])
    return np.concatenate([probabilities, numbers[..., np.newaxis]], axis=-1)


def _alike(restored: Sequence[Iterator[np.ndarray]], grids: Sequence[SliceGrid]) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield the same slices of each of several stacks of scores, those of the first.

    Stacks of slices across different axes are held as a whole, all others some slices at a time.
    """
    own = grids[0]

    def turned(slabs: Iterator[np.ndarray], grid: SliceGrid) -> Iterator[np.ndarray]:
        if grid.slice_axis == own.slice_axis:
            yield from slabs
            return
        whole, first = None, 0
        for slab in slabs:
            whole = np.empty((*grid.shape, slab.shape[-1]), np.float32) if whole is None else whole
            grid.to_stack(whole)[first : first + len(slab)] = slab
            first += len(slab)
        if whole is not None:
            yield own.to_stack(whole)

    return in_step([turned(slabs, grid) for slabs, grid in zip(restored, grids, strict=True)])
