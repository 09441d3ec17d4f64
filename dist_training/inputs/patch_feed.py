"""Patches of volumes, normalised and augmented: what a network of volumes learns from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dist_training.inputs.feed import IGNORED, Batch, Step, class_of_value, sample_seed
from dist_training.inputs.patches import PatchDraws, Size, patch_of
from imgmed import AugmentationSettings, PreparedDataset
from imgmed.augmentation.apply import BEYOND, apply_draw_to_stack
from imgmed.augmentation.draw import draw_sample

__all__ = ["PatchFeed"]


class PatchFeed:
    """The patches of some cases of a prepared dataset, normalised, and augmented if asked.

    What a patch is depends on (seed, epoch, its number in the feed) alone: not on the rank, the number of workers or
    its place in a batch. All slices of a patch are augmented alike, see `apply_draw_to_stack`.

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
        drawn = self._draws.draw(epoch, index)
        image, label_map = (maps[drawn.case] for maps in (self._images, self._label_maps))
        known = patch_of(np.broadcast_to(np.True_, label_map.shape), drawn.corner, self.size, outside=False)
        classes = self._class_of_value[patch_of(label_map, drawn.corner, self.size, outside=0)]
        patch = patch_of(image, drawn.corner, self.size, outside=0)
        patch = self._normalisation.apply(patch, *self._statistics[drawn.case])
        patch[~known] = 0
        settings, (slices, *canvas) = self._augmentation, self.size
        classes[~known] = IGNORED if settings is None else BEYOND
        if settings is None:
            return patch, classes
        key, plane = (self._seed, epoch, index), (canvas[0], canvas[1])
        return apply_draw_to_stack(
            patch, classes, draw_sample(settings, key, plane, plane, channels=slices * self.channels), settings
        )
