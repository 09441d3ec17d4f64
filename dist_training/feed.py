"""Which slices a step takes, which of them a rank takes, and the arrays made from them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from imgmed import PreparedDataset

__all__ = ["IGNORED", "Batch", "SliceFeed", "Step", "epoch_permutation", "epoch_steps", "prefetch", "rank_share"]

IGNORED = -1
"""Class of a pixel that takes no part in the loss: padding around a slice."""


@dataclass(frozen=True)
class Step:
    """One optimizer step, as one rank sees it.

    Attributes:
        indices: int64 (n,), this rank's slices; may be empty.
        global_count: the number of slices in the step over all ranks.
    """

    indices: np.ndarray
    global_count: int


@dataclass(frozen=True)
class Batch:
    """The arrays of one step on one rank.

    Attributes:
        images: (n, height, width, channels), normalised, padding 0; n is at least 1.
        classes: int32 (n, height, width), class indices, padding ``IGNORED``.
        weights: (n,), 1 for a real slice, 0 for one that only fills an empty share.
        global_count: the number of real slices in the step over all ranks.
    """

    images: np.ndarray
    classes: np.ndarray
    weights: np.ndarray
    global_count: int


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
    return [Step(batch[rank_share(batch.size, rank, world_size)], batch.size) for batch in batches]


class SliceFeed:
    """The slices of some cases of a prepared dataset, normalised and padded to one size.

    Args:
        dataset: the prepared dataset.
        case_ids: the cases whose slices are numbered 0, 1, ... in this order.
        normalisation_case_ids: the training cases, whose statistics normalise every slice.
        dtype: "float32" or "float64", of the images.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        case_ids: Sequence[str],
        normalisation_case_ids: Sequence[str],
        dtype: str = "float32",
    ) -> None:
        self.case_ids = tuple(case_ids)
        self._dtype = np.dtype(dtype)
        self._normalisation = dataset.normalisation(tuple(normalisation_case_ids))
        self._images = [dataset.image(case_id) for case_id in self.case_ids]
        self._label_maps = [dataset.label_map(case_id) for case_id in self.case_ids]
        self._statistics = [
            self._normalisation.statistics_of_case(dataset.case_statistics(case_id)) for case_id in self.case_ids
        ]
        self._class_of_value = np.zeros(max(dataset.class_values) + 1, dtype=np.int32)
        self._class_of_value[list(dataset.class_values)] = np.arange(len(dataset.class_values), dtype=np.int32)
        lengths = [image.shape[0] for image in self._images]
        self._case_of_slice = np.repeat(np.arange(len(lengths)), lengths)
        self._first_slice = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.channels = len(dataset.channels)
        self.slice_size = _common_size([dataset.scan_preparation.slice_size, *(i.shape[1:3] for i in self._images)])

    def __len__(self) -> int:
        """Give the number of slices."""
        return int(self._first_slice[-1])

    def case_index(self, index: int) -> int:
        """Give the position in ``case_ids`` of the case that slice ``index`` belongs to."""
        return int(self._case_of_slice[index])

    def batch(self, step: Step) -> Batch:
        """Make the arrays of one step; an empty share gets one slice of zeros with weight 0.

        Args:
            step: the slices to take.

        Returns:
            Arrays of size ``slice_size``, each slice centred.
        """
        count = max(1, step.indices.size)
        images = np.zeros((count, *self.slice_size, self.channels), dtype=self._dtype)
        classes = np.full((count, *self.slice_size), IGNORED, dtype=np.int32)
        for position, index in enumerate(step.indices):
            self._place(int(index), images[position], classes[position])
        weights = np.full(count, float(step.indices.size > 0), dtype=self._dtype)
        return Batch(images, classes, weights, step.global_count)

    def _place(self, index: int, image: np.ndarray, classes: np.ndarray) -> None:
        case = self._case_of_slice[index]
        number = index - self._first_slice[case]
        source = self._images[case][number]
        top, left = ((whole - part) // 2 for whole, part in zip(self.slice_size, source.shape[:2], strict=True))
        window = (slice(top, top + source.shape[0]), slice(left, left + source.shape[1]))
        image[window] = self._normalisation.apply(source, *self._statistics[case])
        classes[window] = self._class_of_value[self._label_maps[case][number]]


def _common_size(sizes: Sequence[tuple[int, ...]]) -> tuple[int, int]:
    """Give the smallest size that holds all: one shape for every batch, so nothing is compiled twice."""
    return max(size[0] for size in sizes), max(size[1] for size in sizes)


def prefetch(feed: SliceFeed, steps: Sequence[Step], ahead: int = 2) -> Iterator[Batch]:
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
