"""The sample predictions of a run: chosen once, caught as validation makes them, written by rank 0."""

from __future__ import annotations

import numpy as np

from dist_training.inputs.feed import SliceFeed
from dist_training.inputs.sample_slices import choose_slices
from dist_training.ranks.communicator import Communicator
from dist_training.record.samples import SampleDescription, SampleFolder, SampleSlice, SampleSlices
from imgmed import PreparedDataset
from imgmed.intensity import sorted_percentiles
from imgmed.slices import centred_window

__all__ = ["RunSamples"]

_SHOWN = (0.5, 99.5)  # percentiles of a slice that are black and white
_COLOURS = 3


class RunSamples:
    """Label maps of a few validation slices after each epoch; every rank has one, and calls the same.

    Nothing is predicted for it: each rank keeps what validation predicts of the slices of its share.

    Args:
        folder: where rank 0 writes.
        dataset: the prepared dataset.
        feed: the validation slices.
        count: slices that are kept; 0: none, and nothing is written.
        communicator: the ranks.
    """

    def __init__(
        self, folder: SampleFolder, dataset: PreparedDataset, feed: SliceFeed, count: int, communicator: Communicator
    ) -> None:
        self._folder, self._dataset, self._communicator = folder, dataset, communicator
        self._slices: tuple[tuple[str, int], ...] = ()
        if count > 0 and len(feed) > 0:
            is_main = communicator.rank == 0
            chosen = choose_slices(dataset, feed.case_ids, count) if is_main else ()  # label maps are read once
            self._slices = communicator.broadcast_object(chosen)
        self._places = {feed.index_of(*one): place for place, one in enumerate(self._slices)}
        values = np.array(dataset.class_values)
        self._value_of_class = values.astype(np.uint8 if values.max() < 256 else np.uint16)
        self._caught = np.zeros((len(self._slices), *feed.slice_size), self._value_of_class.dtype)

    def begin(self, epoch: int) -> None:
        """Have the slices written.

        Args:
            epoch: epochs that the run has behind it.
        """
        if self._slices and self._communicator.rank == 0:
            self._folder.begin(self._described(), epoch)

    def catch(self, index: int, prediction: np.ndarray) -> None:
        """Take what validation has predicted of a slice, if it is among those that are kept.

        Args:
            index: its number in the feed.
            prediction: class indices (height, width), padded as the feed's slices are.
        """
        place = self._places.get(index)
        if place is not None:
            self._caught[place] = self._value_of_class[prediction]

    def write(self, epoch: int, best: int | None) -> None:
        """Bring the ranks' parts together and have them written.

        Args:
            epoch: that has ended, from 1.
            best: the epoch with the best validation Dice so far.
        """
        if not self._slices:
            return
        caught = _joined(self._caught, self._communicator)
        self._caught[:] = 0
        if self._communicator.rank == 0:
            self._folder.write_epoch(epoch, list(map(self._without_padding, self._slices, caught)), best=best)

    def _without_padding(self, one: tuple[str, int], label_map: np.ndarray) -> np.ndarray:
        size = self._dataset.grid(one[0]).slice_shape
        return label_map[centred_window(size, label_map.shape)]

    def _described(self) -> SampleSlices:
        dataset = self._dataset
        described, scans, references = [], [], []
        for case_id, number in self._slices:
            case, stack = dataset.case(case_id), dataset.image(case_id)
            _, *pixel_mm = dataset.grid(case_id).stack_spacing_mm
            described.append(
                SampleSlice(
                    case_id=case_id,
                    number=number,
                    of=len(stack),
                    pixel_mm=(pixel_mm[0], pixel_mm[1]),
                    is_picture=case.is_picture,
                )
            )
            scans.append(_grey(np.asarray(stack[number]), has_colours=case.is_picture and stack.shape[3] >= _COLOURS))
            references.append(np.array(dataset.label_map(case_id)[number]))
        description = SampleDescription(labels=dataset.labels, channels=dataset.channels, slices=tuple(described))
        return SampleSlices(description, tuple(scans), tuple(references))


def _joined(array: np.ndarray, communicator: Communicator) -> np.ndarray:
    """Put together what each rank has a part of, and zeros elsewhere: in one sum, of eight bytes at a time.

    That is one exchange, of the same length each time; gathering objects would take two, of any length.
    """
    if communicator.world_size == 1:
        return array.copy()
    data = np.frombuffer(array.tobytes().ljust(-(-array.nbytes // 8) * 8, b"\0"), np.int64)
    return np.frombuffer(communicator.sum_array(data).tobytes()[: array.nbytes], array.dtype).reshape(array.shape)


def _grey(plane: np.ndarray, *, has_colours: bool) -> np.ndarray:
    """Bring the channels of a slice (height, width, channels) to 0 to 255, each by itself unless they are colours."""
    groups = [plane] if has_colours else np.split(plane, plane.shape[2], axis=2)
    shown = []
    for group in groups:
        low, high = sorted_percentiles(group, _SHOWN)
        if low == high:
            low, high = float(group.min()), float(group.max())
        scaled = (np.clip(group, low, high) - low) / max(high - low, np.finfo(np.float32).tiny)
        shown.append(np.rint(255 * scaled).astype(np.uint8))
    return np.concatenate(shown, axis=2)
