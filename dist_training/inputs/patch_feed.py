"""Patches of volumes, normalised and augmented: what a network of volumes learns from."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

from dist_training.inputs.feed import IGNORED, Batch, Step, class_of_value, sample_seed
from dist_training.inputs.patches import PatchDraws, Size, patch_of
from imgmed import AugmentationSettings, PreparedDataset
from imgmed.augmentation.volume_apply import adjust_patch, cut_patch
from imgmed.augmentation.volume_draw import draw_patch

__all__ = ["PatchFeed"]


class PatchFeed:
    """The patches of some cases of a prepared dataset, normalised, and augmented if asked.

    What a patch is depends on (seed, epoch, its number in the feed) alone: not on the rank, the number of workers or
    its place in a batch. A patch that augmentation turns shows the voxels beside it, see `cut_patch`.

    Args:
        dataset: the prepared dataset; slices are taken without neighbours.
        case_ids: the cases whose patches are numbered 0, 1, ... in this order, see `PatchDraws`.
        size: (slices, rows, columns) of a patch.
        dtype: "float32" or "float64", of the images.
        foreground_share: of the patches that are drawn around foreground.
        augmentation: how patches are varied.
        seed: of places, augmentation and of what the network draws.
    """

    sends_draws = False

    def __init__(
        self,
        dataset: PreparedDataset,
        case_ids: Sequence[str],
        size: Size,
        dtype: str = "float32",
        *,
        foreground_share: float = 1 / 3,
        augmentation: AugmentationSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.case_ids, self.size = tuple(case_ids), size
        self._dtype, self._seed = np.dtype(dtype), seed
        self._augmentation = None if augmentation is None or augmentation.is_neutral else augmentation
        self._normalisation = dataset.normalisation(self.case_ids)
        self._statistics = [self._normalisation.statistics_of_case(dataset.case_statistics(one)) for one in case_ids]
        self._images = [dataset.image(case_id).view(np.ndarray) for case_id in self.case_ids]
        self._label_maps = [dataset.label_map(case_id).view(np.ndarray) for case_id in self.case_ids]
        self._slice_distances = [_slice_distance_px(dataset, case_id) for case_id in self.case_ids]
        self._class_of_value = class_of_value(dataset)
        self._draws = PatchDraws(
            self._label_maps, dataset.class_values[1:], size, foreground_share=foreground_share, seed=seed
        )
        self.channels = dataset.scan_preparation.input_channels

    def __len__(self) -> int:
        """Give the number of patches of an epoch."""
        return len(self._draws)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(slices, rows, columns, channels) of what the network is given."""
        return (*self.size, self.channels)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The same."""
        return self.input_shape

    def batch(self, step: Step) -> Batch:
        """Make the arrays of one step; an empty share gets one patch of zeros with weight 0.

        Args:
            step: the patches to take.

        Returns:
            Images (n, *size, channels) and classes (n, *size); what lies beyond a volume is 0 and `IGNORED`.
        """
        count = max(1, step.indices.size)
        images = np.zeros((count, *self.input_shape), dtype=self._dtype)
        classes = np.full((count, *self.size), IGNORED, dtype=np.int32)
        weights = np.full(count, float(step.indices.size > 0), dtype=self._dtype)
        seeds = np.zeros(count, dtype=np.uint32)
        for position, index in enumerate(step.indices.tolist()):
            images[position], classes[position] = self._patch(step.epoch, index)
            seeds[position] = sample_seed(self._seed, step.epoch, index)
        return Batch(images, classes, weights, seeds, step.global_count)

    def _patch(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Give the image and the classes of a patch."""
        drawn, settings = self._draws.draw(epoch, index), self._augmentation
        image, label_map = (maps[drawn.case] for maps in (self._images, self._label_maps))
        if settings is not None:
            draw = draw_patch(
                settings,
                (self._seed, epoch, index),
                drawn.corner,
                self.size,
                channels=self.channels,
                slice_distance_px=self._slice_distances[drawn.case],
            )
            patch, labels, known = cut_patch(
                image, label_map, draw, settings, lambda part: self._normalised(part, drawn.case)
            )
            patch, classes = adjust_patch(patch, known, draw), self._class_of_value[labels]
        else:
            known = patch_of(np.broadcast_to(np.True_, label_map.shape), drawn.corner, self.size, outside=False)
            classes = self._class_of_value[patch_of(label_map, drawn.corner, self.size, outside=0)]
            patch = self._normalised(patch_of(image, drawn.corner, self.size, outside=0), drawn.case)
            patch[~known] = 0
        classes[~known] = IGNORED
        return patch, classes

    def _normalised(self, part: np.ndarray, case: int) -> np.ndarray:
        """Normalise a part of a case's image, as float32."""
        return self._normalisation.apply(part, *self._statistics[case])


def _slice_distance_px(dataset: PreparedDataset, case_id: str) -> float:
    """Give how far a case's slices are apart, in their pixels."""
    across, height, width = dataset.grid(case_id).stack_spacing_mm
    return across / sqrt(height * width)
