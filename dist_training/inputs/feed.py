"""Which slices a step takes, which of them a rank takes, and the arrays made from them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from dist_training.inputs.augmentation import draw_arrays
from imgmed import AugmentationSettings, PreparedDataset
from imgmed.augmentation.apply import OUTSIDE, apply_draw
from imgmed.augmentation.draw import Draw, draw_sample
from imgmed.network_input import NetworkInput
from imgmed.slices import centred_window

__all__ = [
    "IGNORED",
    "Batch",
    "Feed",
    "SliceFeed",
    "Step",
    "class_of_value",
    "epoch_permutation",
    "epoch_steps",
    "prefetch",
    "rank_share",
    "sample_seed",
]

IGNORED = OUTSIDE
"""Class of a pixel that takes no part in the loss: padding around a slice, and what augmentation moves in."""

_DROPOUT = int.from_bytes(b"drop", "big")
"""Sets these seeds apart from others made of the same numbers."""


_Statistics = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Step:
    """One optimizer step, as one rank sees it.

    Attributes:
        indices: int64 (n,), this rank's slices; may be empty.
        global_count: the number of slices in the step over all ranks.
        epoch: 0-based; augmentation differs from epoch to epoch.
    """

    indices: np.ndarray
    global_count: int
    epoch: int = 0


@dataclass(frozen=True)
class Batch:
    """The arrays of one step on one rank.

    Attributes:
        images: (n, height, width, channels), normalised, padding 0; n is at least 1.
        classes: int32 (n, height, width), class indices, padding ``IGNORED``.
        weights: (n,), 1 for a real slice, 0 for one that only fills an empty share.
        sample_seeds: uint32 (n,), of what the network itself draws for each slice in this epoch: its dropout.
        global_count: the number of real slices in the step over all ranks.
        draws: what the device needs to augment them, see ``draw_arrays``; empty where they are as they should be.
    """

    images: np.ndarray
    classes: np.ndarray
    weights: np.ndarray
    sample_seeds: np.ndarray
    global_count: int
    draws: tuple[np.ndarray, ...] = ()


def epoch_permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """Draw the order of the training slices in one epoch; every worker draws the same.

    Args:
        seed: the run's seed.
        epoch: 0-based epoch.
        count: the number of slices.

    Returns:
        int64 (count,), a permutation of ``range(count)``.

    >>> sorted(epoch_permutation(0, 3, 5).tolist())
    [0, 1, 2, 3, 4]
    """
    return np.random.default_rng([seed, epoch]).permutation(count)


def rank_share(count: int, rank: int, world_size: int) -> slice:
    """Cut ``count`` items into consecutive shares whose sizes differ by at most one.

    Args:
        count: the number of items.
        rank: whose share, 0-based.
        world_size: the number of shares.

    Returns:
        The slice of the items that belongs to ``rank``; the first ranks have the longer shares.

    >>> [rank_share(7, rank, 3) for rank in range(3)]
    [slice(0, 3, None), slice(3, 5, None), slice(5, 7, None)]
    """
    size, longer = divmod(count, world_size)
    start = rank * size + min(rank, longer)
    return slice(start, start + size + (rank < longer))


def epoch_steps(seed: int, epoch: int, count: int, *, global_batch_size: int, rank: int, world_size: int) -> list[Step]:
    """List one epoch's steps as one rank sees them: every slice once over all ranks and steps.

    Args:
        seed: the run's seed.
        epoch: 0-based epoch.
        count: the number of training slices.
        global_batch_size: slices per step over all ranks; the last step may have fewer.
        rank: this worker.
        world_size: the number of workers.

    >>> [step.indices.size for step in epoch_steps(0, 0, 5, global_batch_size=4, rank=1, world_size=2)]
    [2, 0]
    """
    order = epoch_permutation(seed, epoch, count)
    batches = [order[start : start + global_batch_size] for start in range(0, count, global_batch_size)]
    return [Step(batch[rank_share(batch.size, rank, world_size)], batch.size, epoch) for batch in batches]


class SliceFeed:
    """The slices of some cases of a prepared dataset, normalised, padded to one size, and augmented if asked.

    What becomes of a slice depends on (seed, epoch, its number in the feed) alone: not on the rank, the number of
    workers or its place in a batch.

    Args:
        dataset: the prepared dataset.
        case_ids: the cases whose slices are numbered 0, 1, ... in this order.
        normalisation_case_ids: the training cases, whose statistics normalise every slice.
        dtype: "float32" or "float64", of the images.
        slices: "all" of each case, or those that its preparation keeps for "training".
        augmentation: how slices are varied; with ``where="device"`` batches hold unchanged slices and the draws.
        seed: of the augmentation and of what the network draws.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        case_ids: Sequence[str],
        normalisation_case_ids: Sequence[str],
        dtype: str = "float32",
        *,
        slices: Literal["all", "training"] = "all",
        augmentation: AugmentationSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.case_ids = tuple(case_ids)
        self._dtype = np.dtype(dtype)
        self._augmentation = None if augmentation is None or augmentation.is_neutral else augmentation
        self._seed = seed
        preparation, normalisation = dataset.scan_preparation, dataset.normalisation(tuple(normalisation_case_ids))
        self._input = NetworkInput(normalisation, preparation.neighbours, preparation.slice_size)
        self._images = [dataset.image(case_id).view(np.ndarray) for case_id in self.case_ids]
        self._label_maps = [dataset.label_map(case_id).view(np.ndarray) for case_id in self.case_ids]
        self.channels = preparation.input_channels
        self._statistics = [normalisation.statistics_of_case(dataset.case_statistics(one)) for one in self.case_ids]
        self._class_of_value = class_of_value(dataset)
        numbers = [_slice_numbers(dataset, case_id, slices) for case_id in self.case_ids]
        self._case_of_slice = np.repeat(np.arange(len(numbers)), [len(part) for part in numbers])
        self._number_in_case = np.concatenate([np.empty(0, np.int64), *numbers])
        # one shape for every batch, so that nothing is compiled twice
        self.slice_size = self._input.canvas_of([image.shape[1:3] for image in self._images])

    def __len__(self) -> int:
        """Give the number of slices."""
        return int(self._case_of_slice.size)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of what the network is given: a crop's where crops are drawn."""
        cropped = self._augmentation.crop_size if self._augmentation is not None else None
        return (*(cropped or self.slice_size), self.channels)

    @property
    def sends_draws(self) -> bool:
        """Whether batches hold unchanged slices, and draws for the device to augment them."""
        return self._augmentation is not None and self._augmentation.where == "device"

    @property
    def batch_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of a batch's images: ``input_shape`` unless it is the device that augments."""
        return (*self.slice_size, self.channels) if self.sends_draws else self.input_shape

    def case_index(self, index: int) -> int:
        """Give the position in ``case_ids`` of the case that slice ``index`` belongs to."""
        return int(self._case_of_slice[index])

    def indices_of(self, case: int) -> np.ndarray:
        """Give int64 (n,), the indices of a case's slices in their order; it is one of ``case_ids``, by number."""
        return np.flatnonzero(self._case_of_slice == case)

    def index_of(self, case_id: str, number: int) -> int:
        """Give the index of a case's slice.

        Args:
            case_id: one of ``case_ids``.
            number: of the slice in the prepared stack; a feed of training slices may not have it.

        Raises:
            ValueError: the feed does not have it.
        """
        found = np.flatnonzero((self._case_of_slice == self.case_ids.index(case_id)) & (self._number_in_case == number))
        if not found.size:
            raise ValueError(f"there is no slice {number} of {case_id} here")
        return int(found[0])

    def batch(self, step: Step) -> Batch:
        """Make the arrays of one step; an empty share gets one slice of zeros with weight 0.

        Args:
            step: the slices to take.

        Returns:
            Arrays of ``batch_shape``: augmented, or each slice centred in ``slice_size``.
        """
        settings, count = self._augmentation, max(1, step.indices.size)
        images = np.zeros((count, *self.batch_shape), dtype=self._dtype)
        classes = np.full((count, *self.batch_shape[:2]), IGNORED, dtype=np.int32)
        weights = np.full(count, float(step.indices.size > 0), dtype=self._dtype)
        seeds = np.zeros(count, dtype=np.uint32)
        draws: list[tuple[Draw, tuple[int, ...]]] = []
        for position, index in enumerate(step.indices.tolist()):
            shown, class_map = self._slice(index)
            seeds[position] = sample_seed(self._seed, step.epoch, index)
            if settings is not None:
                draws.append((self._draw(settings, step.epoch, index, class_map.shape), class_map.shape))
            if settings is None or self.sends_draws:
                images[position] = self._input.centred(*shown, self.slice_size)[0]
                classes[position][centred_window(class_map.shape, self.slice_size)] = class_map
            else:
                image = self._input.slices(*shown)[0]
                images[position], classes[position] = apply_draw(image, class_map, draws[-1][0], settings)
        if settings is None or not self.sends_draws:
            return Batch(images, classes, weights, seeds, step.global_count)
        sent = draw_arrays(draws, settings, self.slice_size, self.input_shape, self._dtype)
        return Batch(images, classes, weights, seeds, step.global_count, sent)

    def _slice(self, index: int) -> tuple[tuple[np.ndarray, np.ndarray, _Statistics], np.ndarray]:
        """Give what `NetworkInput` makes a slice's image of, and the slice's classes (height, width)."""
        case, number = self._case_of_slice[index], self._number_in_case[index]
        shown = self._images[case], np.array([number]), self._statistics[case]
        return shown, self._class_of_value[self._label_maps[case][number]]

    def _draw(self, settings: AugmentationSettings, epoch: int, index: int, size: tuple[int, ...]) -> Draw:
        height, width = size
        *canvas, channels = self.input_shape
        return draw_sample(
            settings, (self._seed, epoch, index), (height, width), (canvas[0], canvas[1]), channels=channels
        )


def class_of_value(dataset: PreparedDataset) -> np.ndarray:
    """Give int32 (largest label value + 1,), the class of each label value, `IGNORED` for the label that is."""
    ignored = dataset.description.ignore_label
    classes = np.zeros(max(*dataset.class_values, ignored or 0) + 1, dtype=np.int32)
    classes[list(dataset.class_values)] = np.arange(len(dataset.class_values), dtype=np.int32)
    if ignored is not None:
        classes[ignored] = IGNORED
    return classes


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """Give the seed, of 32 bits, of what the network itself draws for a sample in an epoch."""
    return int(np.random.SeedSequence([_DROPOUT, seed, epoch, index]).generate_state(1)[0])


def _slice_numbers(dataset: PreparedDataset, case_id: str, slices: Literal["all", "training"]) -> np.ndarray:
    """Number the slices of a case that a feed takes."""
    chosen = dataset.case(case_id).training_slices if slices == "training" else None
    return np.arange(dataset.image(case_id).shape[0]) if chosen is None else np.array(chosen, dtype=np.int64)


class Feed(Protocol):
    """What gives the batches of steps: slices, or patches of volumes."""

    channels: int

    def __len__(self) -> int:
        """Give the number of samples of an epoch."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Size and channels of what the network is given."""

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Size and channels of a batch's images."""

    @property
    def sends_draws(self) -> bool:
        """Whether the device augments them."""

    def batch(self, step: Step) -> Batch:
        """Make the arrays of one step."""


def prefetch(feed: Feed, steps: Sequence[Step], ahead: int = 2) -> Iterator[Batch]:
    """Make the batches of some steps in a thread of their own, a few ahead of the one in use.

    Args:
        feed: makes the arrays.
        steps: what to make, in order.
        ahead: batches kept ready.

    Yields:
        One batch a step, in order. An error in the thread is raised here.
    """
    ready: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=ahead)
    stopped = threading.Event()

    def put(item: Batch | BaseException) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for step in steps:
                if stopped.is_set():
                    return
                put(feed.batch(step))
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="r2d2-feed", daemon=True)
    thread.start()
    try:
        for _ in steps:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
