"""Trained networks applied to one scan: one or an ensemble, seen in one way or several, whole or by windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
        if len(stacks) == 1:
            return self._of_slices(*stacks[0], watcher)
        return self._of_voxels(stacks, watcher)

    def _of_slices(self, image: np.ndarray, grid: SliceGrid, watcher: Watcher) -> Segmentation:
        """Decide slice by slice where slices have the scan's voxels: probabilities of a few are held at a time."""
        wanted, is_resampled = self.settings, grid.is_resampled
        keeps_scores = is_resampled or wanted.probabilities
        scores, classes, doubts = [], [], []
        for probabilities, own_entropy in self._ensembles[0].probabilities(image, watcher):
            if keeps_scores:
                scores.append(probabilities)
            if not is_resampled:
                classes.append(self._decide(probabilities))
            if wanted.uncertainty != "none":
                doubts.append(entropy(probabilities, self._outputs) - own_entropy)
        # between voxels, probabilities are what may be averaged
        restored = grid.restore(np.concatenate(scores), order=1) if scores else np.empty(0)
        whole = grid.restore(np.concatenate(classes), order=0) if classes else self._decide(restored)
        return self._segmentation(whole, restored, _restored_map(np.concatenate(doubts), grid) if doubts else None)

    def _of_voxels(self, stacks: Sequence[Stack], watcher: Watcher) -> Segmentation:
        """Average in the scan's voxels what networks say of slices of their own, each network counting alike."""
        mean: np.ndarray = np.zeros((), np.float32)
        own: np.ndarray = np.zeros((), np.float32)
        for ensemble, (image, grid) in zip(self._ensembles, stacks, strict=True):
            share, said = np.float32(len(ensemble.members) / len(self.members)), []
            own_entropies: list[np.ndarray | float] = []
            for probabilities, own_entropy in ensemble.probabilities(image, watcher):
                said.append(probabilities)
                own_entropies.append(own_entropy)
            mean = mean + share * grid.restore(np.concatenate(said), order=1)
            if self.settings.uncertainty == "spread":
                own = own + share * _restored_map(np.concatenate(own_entropies), grid)
        is_wanted = self.settings.uncertainty != "none"
        return self._segmentation(self._decide(mean), mean, entropy(mean, self._outputs) - own if is_wanted else None)

    def _segmentation(self, classes: np.ndarray, scores: np.ndarray, doubt: np.ndarray | None) -> Segmentation:
        values = np.array(self.card.class_values, dtype=np.min_scalar_type(max(self.card.class_values)))
        return Segmentation(values[classes], scores if self.settings.probabilities else None, doubt)

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

    def _decide(self, probabilities: np.ndarray) -> np.ndarray:
        """Turn (..., outputs) into class indices."""
        classes = self._outputs.decode_probabilities(probabilities)
        return classes.astype(np.min_scalar_type(len(self.card.class_values)))


def _restored_map(numbers: np.ndarray, grid: SliceGrid) -> np.ndarray:
    """Put numbers (slices, height, width) into the scan's voxels."""
    return grid.restore(numbers[..., np.newaxis], order=1)[..., 0]
