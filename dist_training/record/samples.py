"""Sample predictions of a run on disk: a few validation slices once, and their label maps after each epoch."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from dist_training.errors import RunFolderError
from r2d2_base.files import make_folder, remove_leftovers, write_whole, writing
from r2d2_base.settings_faults import settings_faults

__all__ = ["MOST_EPOCHS", "SampleDescription", "SampleFolder", "SampleSlice", "SampleSlices", "kept_epochs"]

MOST_EPOCHS = 50
"""That are kept of a run, however long."""

_BESIDE = 3  # the first, the latest and the best
_Read = TypeVar("_Read")
_NAME = re.compile(r"epoch-(\d{6,})\.npz")
_DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error, EOFError)


class SampleSlice(BaseModel):
    """A slice that is shown of a run.

    Attributes:
        case_id: whose it is.
        number: in the prepared stack, from 0.
        of: slices of that stack.
        pixel_mm: (height, width) of a pixel; of pictures in pixels.
        is_picture: whether it has colours, red, green and blue first, or no size in millimetres.
    """

    model_config = ConfigDict(frozen=True)

    case_id: str
    number: int
    of: int
    pixel_mm: tuple[float, float]
    is_picture: bool = False


class SampleDescription(BaseModel):
    """What the arrays are of.

    Attributes:
        labels: name to value, background included.
        channels: names of the scans' channels.
        slices: in the order of the arrays.
    """

    model_config = ConfigDict(frozen=True)

    schema_version: Literal[1] = 1
    labels: dict[str, int]
    channels: tuple[str, ...]
    slices: tuple[SampleSlice, ...]


@dataclass(frozen=True, eq=False)
class SampleSlices:
    """The slices that are shown of a run, as they were prepared.

    Attributes:
        description: what they are.
        scans: uint8 (height, width, channels) each, black and white where nearly all intensities of the slice lie.
        references: label values (height, width) each.
    """

    description: SampleDescription
    scans: tuple[np.ndarray, ...]
    references: tuple[np.ndarray, ...]


def kept_epochs(latest: int, best: int | None, most: int = MOST_EPOCHS) -> set[int]:
    """Tell which epochs' label maps are kept after an epoch: the first, this one, the best, and every n-th.

    n doubles as a run grows, so what is kept later is among what was kept before: it is the same whether a run was
    interrupted or not.

    Args:
        latest: the epoch, from 1.
        best: with the best validation Dice so far; None: there is none.
        most: epochs that are kept.

    >>> sorted(kept_epochs(9, 5, most=6))
    [1, 4, 5, 8, 9]
    """
    every = 1
    while latest // every > most - _BESIDE:
        every *= 2
    return {1, latest, *range(every, latest + 1, every)} | ({best} if best is not None else set())


class SampleFolder:
    """The folder of a run's sample predictions; reading it needs no TensorFlow.

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.slices = self.path / "slices.npz"

    def epoch_file(self, epoch: int) -> Path:
        """Name the file of an epoch's label maps.

        >>> SampleFolder(Path("samples")).epoch_file(12).name
        'epoch-000012.npz'
        """
        return self.path / f"epoch-{epoch:06d}.npz"

    def epochs(self) -> tuple[int, ...]:
        """Give the epochs, from 1, whose label maps are there."""
        try:
            names = [_NAME.fullmatch(path.name) for path in self.path.iterdir()]
        except OSError:
            return ()
        return tuple(sorted(int(name[1]) for name in names if name))

    # ---- for the one process that writes here ------------------------------------------------------------------

    def begin(self, slices: SampleSlices, epoch: int) -> None:
        """Write the slices; label maps of other slices, and of epochs that are still to come, are removed.

        Args:
            slices: what is shown from now on.
            epoch: epochs that the run has behind it.
        """
        make_folder(self.path)
        remove_leftovers(self.path)
        try:
            is_same = self.read_description() == slices.description
        except RunFolderError:
            is_same = False
        self._keep({one for one in self.epochs() if one <= epoch} if is_same else set())
        arrays = {f"scan-{place}": array for place, array in enumerate(slices.scans)}
        arrays |= {f"reference-{place}": array for place, array in enumerate(slices.references)}
        _write(self.slices, {"description": np.array(slices.description.model_dump_json()), **arrays})

    def write_epoch(self, epoch: int, label_maps: Sequence[np.ndarray], *, best: int | None) -> None:
        """Write the label maps of an epoch, and remove those that are not kept any more.

        Args:
            epoch: from 1.
            label_maps: label values (height, width) of each slice.
            best: the epoch with the best validation Dice so far.
        """
        _write(self.epoch_file(epoch), {f"prediction-{place}": array for place, array in enumerate(label_maps)})
        self._keep(kept_epochs(epoch, best))

    def _keep(self, epochs: set[int]) -> None:
        with writing(self.path):
            for one in self.epochs():
                if one not in epochs:
                    self.epoch_file(one).unlink(missing_ok=True)

    # ---- for all others ----------------------------------------------------------------------------------------

    def read_description(self) -> SampleDescription:
        """Read what the slices are, without them.

        Raises:
            RunFolderError: they are not there, or damaged.
        """
        return self._read_slices(lambda arrays, description: description)

    def read_slices(self) -> SampleSlices:
        """Read the slices.

        Raises:
            RunFolderError: they are not there, or damaged.
        """

        def with_arrays(arrays: Mapping[str, np.ndarray], description: SampleDescription) -> SampleSlices:
            places = range(len(description.slices))
            scans = tuple(arrays[f"scan-{place}"] for place in places)
            return SampleSlices(description, scans, tuple(arrays[f"reference-{place}"] for place in places))

        return self._read_slices(with_arrays)

    def _read_slices(self, take: Callable[[Mapping[str, np.ndarray], SampleDescription], _Read]) -> _Read:
        try:
            with self.slices.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                return take(arrays, SampleDescription.model_validate_json(str(arrays["description"])))
        except ValidationError as error:
            raise RunFolderError(f"{self.slices}: missing or damaged ({settings_faults(error)[0]})") from error
        except _DAMAGE as error:
            raise RunFolderError(f"{self.slices}: missing or damaged ({error})") from error

    def read_epoch(self, epoch: int) -> tuple[np.ndarray, ...]:
        """Read the label maps of an epoch: label values (height, width) of each slice.

        Raises:
            RunFolderError: they are not there, not kept any more, or damaged.
        """
        path = self.epoch_file(epoch)
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                return tuple(arrays[f"prediction-{place}"] for place in range(len(arrays.files)))
        except _DAMAGE as error:
            raise RunFolderError(f"{path}: missing or damaged ({error})") from error


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    write_whole(path, lambda stream: np.savez_compressed(stream, **arrays))
