"""A larger training part: augmented copies of training cases, written as cases of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np

from imgmed.augmentation.apply import OUTSIDE, apply_draw
from imgmed.augmentation.draw import draw_sample
from imgmed.augmentation.settings import AugmentationSettings
from imgmed.dataset import Case, map_arrays, write_arrays
from imgmed.errors import AugmentationError
from imgmed.intensity import IntensityStatistics
from imgmed.splits import Fold, Splits
from r2d2_base.files import check_free_space
from r2d2_base.progress import UNWATCHED, Watcher

__all__ = ["PlannedCopy", "enlarge_training", "plan_copies", "write_copy"]


@dataclass(frozen=True)
class PlannedCopy:
    """One copy to be made.

    Attributes:
        source: the training case that it varies.
        number: 1 for the first copy of that case, 2 for the second, ...
        slices: how many of its slices are trained on.
    """

    source: Case
    number: int
    slices: int

    @property
    def case_id(self) -> str:
        """Identifier of the copy, such as CASE__aug001."""
        return f"{self.source.case_id}__aug{self.number:03d}"


def enlarge_training(
    folder: Path,
    cases: Sequence[Case],
    splits: Splits,
    *,
    target_slices: int,
    settings: AugmentationSettings,
    seed: int,
    watcher: Watcher = UNWATCHED,
) -> tuple[list[Case], Splits]:
    """Add augmented copies of training cases to a dataset folder until its training part has enough slices.

    Validation and test stay as they are. A copy belongs to the training part, and to that of every fold in which
    its source trains; it is in no fold's validation.

    Args:
        folder: of the dataset, with the arrays of all training cases.
        cases: all cases.
        splits: their division.
        target_slices: training slices wanted, those at hand included; the last copy trains on no more than that.
        settings: how copies vary.
        seed: with a copy's case and number it decides what the copy is.
        watcher: told of ("augmenting", done, total).

    Returns:
        All cases with the copies at the end, and the splits with them.

    Raises:
        AugmentationError: settings that make plain copies or that crop; no training slices; copies already there.
        NoSpaceError: the disk has too little room for the copies.
    """
    _check(settings)
    check_free_space(folder, _bytes_needed(folder, cases, splits, target_slices))
    planned = plan_copies(cases, splits, target_slices)
    copies = []
    watcher.report("augmenting", 0, len(planned))
    for done, copy in enumerate(planned, start=1):
        copies.append(write_copy(folder, copy, settings, seed))
        watcher.report("augmenting", done, len(planned))
    return [*cases, *copies], _with_copies(splits, copies)


def plan_copies(cases: Sequence[Case], splits: Splits, target_slices: int) -> list[PlannedCopy]:
    """List the copies that bring the training part to `target_slices`: of each case in turn, over and over.

    Raises:
        AugmentationError: there is nothing to copy.
    """
    train = set(splits.train)
    counts = {case.case_id: case.slices_to_train_on for case in cases if case.case_id in train}
    sources = [case for case in cases if case.augmented_from is None and counts.get(case.case_id, 0)]
    missing = target_slices - sum(counts.values())
    if missing > 0 and not sources:
        raise AugmentationError("no training case has a slice to make copies of; keep more slices for training")
    made = {case.augmented_from for case in cases if case.augmented_from is not None}
    if made & {case.case_id for case in sources}:
        raise AugmentationError("this dataset holds augmented copies already; enlarge the dataset that they came from")
    planned: list[PlannedCopy] = []
    for number in count(1):
        for source in sources:
            if missing <= 0:
                return planned
            planned.append(PlannedCopy(source, number, min(missing, counts[source.case_id])))
            missing -= planned[-1].slices
    return planned


def write_copy(folder: Path, copy: PlannedCopy, settings: AugmentationSettings, seed: int) -> Case:
    """Make one copy: its arrays in the dataset folder, and its case. A function of the arguments alone.

    All slices of a copy move alike, so that it is a plausible scan and its neighbouring slices stay neighbours;
    noise differs between them. Intensities, not normalised yet, change relative to the source's own standard
    deviation and stay within its clip bounds, or its own extremes. What lies outside the source's slices is
    background of the lowest intensity, and no part of the copy's statistics: tissue is normalised as in the source.

    Args:
        folder: of the dataset, with the source's arrays.
        copy: which copy.
        settings: how it varies.
        seed: of the whole enlargement.
    """
    source = copy.source
    image, label_map = map_arrays(folder, source.case_id)
    low, high = np.array(source.clip_bounds or _extremes(source.intensity), np.float32).T
    mean, std = (np.array(values, np.float32) for values in (source.intensity.mean, source.intensity.std))
    height, width, channels = image.shape[1:]
    size = (height, width)
    name = int.from_bytes(hashlib.sha256(source.case_id.encode()).digest()[:8], "big")
    key = (seed, copy.number, name)
    whole = draw_sample(settings.model_copy(update={"noise_std": 0.0}), key, size, size)
    new_image, new_labels = np.empty_like(image), np.empty_like(label_map)
    statistics = []
    for number in range(len(image)):
        noise = draw_sample(settings, (*key, number), size, size, channels).noise if settings.is_noisy else None
        draw = replace(whole, noise=noise)
        moved, labels = apply_draw((image[number] - mean) / std, label_map[number].astype(np.int32), draw, settings)
        inside = labels != OUTSIDE
        new_image[number] = np.where(inside[..., np.newaxis], np.clip(moved * std + mean, low, high), low)
        new_labels[number] = np.where(inside, labels, 0)
        if inside.any():
            statistics.append(IntensityStatistics.of(new_image[number][inside]))
    write_arrays(folder, copy.case_id, new_image, new_labels)
    return source.model_copy(
        update={
            "case_id": copy.case_id,
            "slice_range": _labelled_range(new_labels),
            "intensity": IntensityStatistics.pooled(statistics or [IntensityStatistics.of(new_image)]),
            "training_slices": _chosen_slices(source, copy.slices),
            "augmented_from": source.case_id,
        }
    )


def _check(settings: AugmentationSettings) -> None:
    if settings.crop_size is not None:
        raise AugmentationError(
            f"copies keep the size of their source, so they cannot be cropped; received crop_size"
            f" {list(settings.crop_size)}; leave it out here and crop during training"
        )
    if settings.of_volumes:
        raise AugmentationError(
            f"copies are made slice by slice, which leaves no room for {', '.join(settings.of_volumes)}; leave "
            "this out here, and augment patches of volumes during training"
        )
    if settings.is_neutral:
        raise AugmentationError("these settings change nothing, so copies would be duplicates; use table1, or your own")


def _bytes_needed(folder: Path, cases: Sequence[Case], splits: Splits, target_slices: int) -> int:
    """Estimate the size of the copies from that of the training cases: as large for as many slices."""
    train = [case for case in cases if case.case_id in set(splits.train)]
    at_hand = sum(case.slices_to_train_on for case in train)
    size = sum(array.nbytes for case in train for array in map_arrays(folder, case.case_id))
    return size * max(0, target_slices - at_hand) // max(1, at_hand)


def _extremes(intensity: IntensityStatistics) -> list[tuple[float, float]]:
    return list(zip(intensity.lowest, intensity.highest, strict=True))


def _labelled_range(label_map: np.ndarray) -> tuple[int, int]:
    labelled = np.flatnonzero(label_map.any(axis=(1, 2)))
    return (int(labelled[0]), int(labelled[-1]) + 1) if len(labelled) else (0, 0)


def _chosen_slices(source: Case, wanted: int) -> tuple[int, ...] | None:
    """The source's choice of slices, thinned evenly to `wanted`."""
    slices = source.training_slices if source.training_slices is not None else tuple(range(source.grid.slices))
    if wanted == len(slices):
        return source.training_slices
    return tuple(slices[position * len(slices) // wanted] for position in range(wanted))


def _with_copies(splits: Splits, copies: Sequence[Case]) -> Splits:
    def joined(part: Sequence[str]) -> tuple[str, ...]:
        return tuple(sorted([*part, *(copy.case_id for copy in copies if copy.augmented_from in set(part))]))

    return splits.model_copy(
        update={
            "train": joined(splits.train),
            "folds": tuple(Fold(train=joined(fold.train), validation=fold.validation) for fold in splits.folds),
        }
    )
