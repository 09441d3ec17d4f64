"""Volumes of cases as they are looked at again and again: read once, kept while there is room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from imgmed import PreparedDataset, Volume, VolumeSource, read_label, read_volume
from imgmed.dataset import array_path
from imgmed.formats.labels import Segments
from imgmed.volume import storable
from r2d2.errors import R2D2Error
from r2d2.viewing.case import Layer, ViewedCase

__all__ = ["CaseReader", "Scan"]

MOST_BYTES = 512 * 2**20
"""Volumes that are kept together; the last one is kept, however large."""

MOST_VALUES = 2**28
"""Voxels times channels of a scan; larger ones are not opened."""

Check = Callable[[Iterable[Path]], None]
_Kept = TypeVar("_Kept")


@dataclass(frozen=True, eq=False)
class Scan:
    """The voxels of a scan as they are shown.

    Attributes:
        volume: (i, j, k) of one channel, or (i, j, k, 3) colours of a picture.
        note: why it is not the scan itself; empty: it is.
    """

    volume: Volume
    note: str = ""


class CaseReader:
    """Reads scans and label maps of cases, each on the voxel grid of the scan.

    Args:
        check: called with every file outside of a prepared dataset before it is opened; refuses by raising.
        most_bytes: that are kept.
    """

    def __init__(self, check: Check, most_bytes: int = MOST_BYTES) -> None:
        self._check = check
        self._kept = _Shelf(most_bytes)

    def scan(self, case: ViewedCase, channel: int = 0) -> Scan:
        """Read a channel of a case's scan; where the scan cannot be read, what was prepared of it.

        Args:
            case: what to read.
            channel: number among those of the case; of pictures with colours all are given.

        Raises:
            R2D2Error: neither can be read; says why.
        """
        channel = min(max(channel, 0), max(len(case.channels) - 1, 0))
        reason = "where it lies is not known"
        if case.images:
            try:
                return Scan(self._channel(case, channel))
            except (R2D2Error, OSError) as error:
                reason = str(error)
        if case.dataset is None:
            raise R2D2Error(f"the scan of {case.case_id} cannot be shown: {reason}")
        note = f"This is the scan as it was prepared; the scan itself: {reason}"
        return Scan(self._prepared(case.dataset, case, channel), note)

    def label_map(self, case: ViewedCase, layer: Layer) -> np.ndarray:
        """Read a label map, on the voxel grid of the scan.

        Args:
            case: what to read.
            layer: which one.

        Returns:
            (i, j, k) integers.

        Raises:
            R2D2Error: there is none, or it does not lie on the scan's voxels.
        """
        file = case.file_of(layer)
        if file is None:
            raise R2D2Error(f"{case.case_id} has no {layer}")
        image = self.scan(case).volume
        self._check([file])
        return self._kept.get(
            ("labels", _stamp(file), image.shape, image.affine.tobytes()), lambda: _labels(file, image, case.labels)
        )

    def _channel(self, case: ViewedCase, channel: int) -> Volume:
        number = case.channel_numbers[channel]
        is_split = len(case.images) > 1
        source = case.images[min(number, len(case.images) - 1)] if is_split else case.images[0]
        files = source.files if isinstance(source, VolumeSource) else sorted(source.iterdir())
        self._check(files)
        key = ("scan", str(source), len(files), *(_stamp(file) for file in files[:1]))
        volume = self._kept.get(key, lambda: _read(source))
        if volume.array.ndim == 3:
            return volume
        if case.is_picture and volume.channels >= 3 and len(case.channels) >= 3:
            return Volume(volume.array[..., :3], volume.affine)
        at = 0 if is_split else min(number, volume.channels - 1)
        return Volume(volume.array[..., at], volume.affine)

    def _prepared(self, dataset: PreparedDataset, case: ViewedCase, channel: int) -> Volume:
        file = array_path(dataset.folder, case.case_id, "image")
        self._check([file])
        key = ("prepared", _stamp(file))
        volume = self._kept.get(key, lambda: dataset.restored_image(case.case_id))
        if case.is_picture and volume.channels >= 3:
            return Volume(volume.array[..., :3], volume.affine)
        return Volume(volume.array[..., min(channel, volume.channels - 1)], volume.affine)


class _Shelf:
    """Arrays by a key, the latest used ones; who asks for what another is reading waits for it."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._entries: OrderedDict[tuple, object] = OrderedDict()
        self._lock = threading.Lock()
        self._reading = threading.Lock()

    def get(self, key: tuple, read: Callable[[], _Kept]) -> _Kept:
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]  # type: ignore[return-value]
        with self._reading:  # one large file at a time: two would take twice the memory
            with self._lock:
                if key in self._entries:
                    return self._entries[key]  # type: ignore[return-value]
            found = read()
            with self._lock:
                self._entries[key] = found
                while len(self._entries) > 1 and sum(map(_bytes, self._entries.values())) > self._most:
                    self._entries.popitem(last=False)
            return found


def _bytes(entry: object) -> int:
    array = entry.array if isinstance(entry, Volume) else entry
    return int(getattr(array, "nbytes", 0))


def _read(source: VolumeSource | Path) -> Volume:
    volume = read_volume(source, MOST_VALUES)
    return Volume(storable(volume.array), volume.affine, volume.path)


def _labels(file: Path, image: Volume, labels: dict[str, int]) -> np.ndarray:
    found = read_label(file, Volume(image.array if image.array.ndim == 3 else image.array[..., 0], image.affine))
    if not isinstance(found, Segments):
        return found.array
    array = np.zeros(image.shape, np.uint16)
    for place, name in enumerate(found.masks, start=1):
        array[found.masks[name]] = labels.get(name, place)
    return array


def _stamp(file: Path) -> tuple[str, int, int]:
    state = file.stat()
    return str(file), state.st_mtime_ns, state.st_size
