"""Preparation of one scan: the same steps for a dataset's cases and for scans from anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from imgmed.errors import InvalidVolumeError, WrongChannelsError
from imgmed.intensity_settings import Bounds
from imgmed.operations import Operation, Scan, apply_operations, geometry_after, select_channels
from imgmed.slices import SliceGrid
from imgmed.volume import Volume

__all__ = [
    "PreparedScan",
    "ScanPreparation",
    "channel_array",
    "channel_choice",
    "grid_for",
    "prepare_case",
    "prepare_scan",
]

EXACT = ("u1", "i1", "u2", "i2", "b1", "f4")  # types whose every value is a float32


class ScanPreparation(BaseModel):
    """What is done to a scan before it meets a network; part of a dataset and of a model's card.

    >>> ScanPreparation(channels=("MRI",), slice_axis=2, slice_size=(64, 64)).operations
    ()
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[str, ...] = Field(min_length=1, description="Channel names, in order.")
    channel_indices: tuple[int, ...] | None = Field(
        default=None,
        description="Which channels of the source these are, 0-based: a scan that has all of the source's channels"
        " is reduced to them. null: the source has no others.",
    )
    source_channels: tuple[str, ...] | None = Field(
        default=None,
        description="Names of all channels of the source, where channel_indices choose among them. null: they do not,"
        " or an earlier version did not record the names.",
    )
    operations: tuple[Operation, ...] = Field(default=(), description="What is done to the volume, in this order.")
    slice_axis: int = Field(
        ge=0, le=2, description="Axis across which slices are cut: 0 left-right, 1 back-front, 2 foot-head."
    )
    neighbours: int = Field(
        default=0,
        ge=0,
        description="Slices on either side that the network sees as further channels (2.5D); the arrays hold every"
        " slice once, see imgmed.slices.with_neighbours.",
    )
    slice_size: tuple[int, int] = Field(
        description="(height, width) in pixels that holds every training slice; arrays are not padded to it."
    )

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        indices = self.channel_indices
        if indices is not None and (len(indices) != len(self.channels) or min(indices) < 0):
            raise ValueError(
                f"channel_indices need one number from 0 on for each of the channels {', '.join(self.channels)};"
                f" received {indices}"
            )
        source = self.source_channels
        if source is not None and (indices is None or max(indices) >= len(source)):
            raise ValueError(
                f"source_channels need channel_indices below their number, {len(source)}; received {indices}"
            )
        return self

    @property
    def input_channels(self) -> int:
        """Channels that the network sees: those of the slice and of its neighbours."""
        return len(self.channels) * (2 * self.neighbours + 1)


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """A scan ready to be normalised, and the way back.

    `image` is (slices, height, width, channels) float32, not normalised; `grid` puts arrays on its slices back into
    the original voxels; `bounds` are what each channel was limited to (empty: nothing limited it); `label` is
    (slices, height, width), None where none was given.
    """

    image: np.ndarray
    grid: SliceGrid
    bounds: Bounds
    label: np.ndarray | None = None


def prepare_scan(volume: Volume, preparation: ScanPreparation, names: Sequence[str] | None = None) -> PreparedScan:
    """Turn a volume into a stack of slices: choose channels, reorient, apply the operations; no padding, no z-scores.

    Args:
        volume: (i, j, k) or (i, j, k, channels), any orientation; it is not changed.
        preparation: the steps and their numbers.
        names: of the volume's channels; None: they are those of the source that `preparation` was derived from.

    Raises:
        WrongChannelsError: other channels.
        InvalidVolumeError: NaN or infinite voxels, or a scan that an operation refuses.

    >>> preparation = ScanPreparation(channels=("MRI",), slice_axis=2, slice_size=(16, 16))
    >>> prepare_scan(Volume(np.zeros((4, 5, 6)), np.eye(4)), preparation).image.shape
    (6, 4, 5, 1)
    """
    chosen = channel_choice(preparation, volume.channels, names, str(volume.origin))
    return prepare_case(select_channels(volume, chosen), None, preparation)


def channel_choice(
    preparation: ScanPreparation, count: int, names: Sequence[str] | None = None, origin: str = "the volume"
) -> tuple[int, ...]:
    """Return which channels of a scan are wanted, 0-based, in the order of `preparation.channels`.

    Args:
        preparation: says which.
        count: channels that the scan has.
        names: what they are called, upper or lower case; None: it has all channels of the source, in its order.
        origin: what messages call the scan.

    Raises:
        WrongChannelsError: a wanted channel is not there, or nothing tells which it is.

    >>> preparation = ScanPreparation(channels=("T1", "T2"), slice_axis=2, slice_size=(16, 16))
    >>> channel_choice(preparation, 2), channel_choice(preparation, 3, ("flair", "t2", "t1"))
    ((0, 1), (2, 1))
    """
    wanted, indices, source = preparation.channels, preparation.channel_indices, preparation.source_channels
    if names is not None:
        if len(names) != count:
            raise WrongChannelsError(f"{origin}: {_counted(count)}, but names for {len(names)} ({', '.join(names)})")
        places = {name.casefold(): place for place, name in enumerate(names)}
        missing = [name for name in wanted if name.casefold() not in places]
        if missing:
            raise WrongChannelsError(f"{origin}: no channel {', '.join(missing)} among {', '.join(names)}")
        return tuple(places[name.casefold()] for name in wanted)
    if indices is None:
        if count != len(wanted):
            raise _wrong_count(origin, count, wanted)
        return tuple(range(count))
    is_whole = count > max(indices) if source is None else count == len(source)
    if not is_whole:
        every = f"more than {max(indices)}" if source is None else f"all {len(source)} ({', '.join(source)})"
        numbers = ", ".join(f"{name} is number {index}" for name, index in zip(wanted, indices, strict=True))
        raise WrongChannelsError(f"{origin}: {_counted(count)}; needed: {every}, of which {numbers} from 0 on")
    return indices


def _wrong_count(origin: str, count: int, wanted: Sequence[str]) -> WrongChannelsError:
    return WrongChannelsError(f"{origin}: {_counted(count)}; needed: {len(wanted)} ({', '.join(wanted)})")


def _counted(count: int) -> str:
    return f"{count} channel" if count == 1 else f"{count} channels"


def prepare_case(image: Volume, label: Volume | None, preparation: ScanPreparation) -> PreparedScan:
    """Turn an image and its label map into stacks of slices that stay aligned, see `prepare_scan`.

    Args:
        image: (i, j, k) or (i, j, k, channels), of the wanted channels alone, any orientation; it is not changed.
        label: (i, j, k) whole numbers on the same voxels; values are never invented.
        preparation: the steps and their numbers.

    >>> preparation = ScanPreparation(channels=("MRI",), slice_axis=0, slice_size=(16, 16))
    >>> image, label = Volume(np.zeros((4, 5, 6)), np.eye(4)), Volume(np.zeros((4, 5, 6), np.uint8), np.eye(4))
    >>> prepare_case(image, label, preparation).label.shape
    (4, 5, 6)
    """
    wanted = preparation.channels
    if image.channels != len(wanted):
        raise _wrong_count(image.origin, image.channels, wanted)
    chosen = _checked(image)
    start = SliceGrid.of(image.shape, image.affine, preparation.slice_axis)
    scan = Scan(
        Volume(start.to_stack(chosen), start.stack_affine, image.path),
        None if label is None else Volume(start.to_stack(label.array), start.stack_affine, label.path),
    )
    scan = apply_operations(scan, preparation.operations)
    place, scan = _in_stack_order(scan, start)
    return PreparedScan(
        image=np.ascontiguousarray(scan.image.array, np.float32),
        grid=place,
        bounds=scan.bounds or (),
        label=None if scan.label is None else np.ascontiguousarray(scan.label.array),
    )


def grid_for(volume: Volume, preparation: ScanPreparation) -> SliceGrid:
    """Return where the slices of `volume` will lie after `prepare_scan`, without its voxels.

    Where an operation crops to the content, the grid is that of an uncropped scan: the largest possible.
    """
    start = SliceGrid.of(volume.shape, volume.affine, preparation.slice_axis)
    shape, affine = geometry_after(start.stack_shape, start.stack_affine, preparation.operations, volume.path)
    return _in_stack_order(Scan(Volume(np.broadcast_to(np.float32(0), shape), affine)), start)[0]


def channel_array(volume: Volume) -> np.ndarray:
    """Return the voxels as (i, j, k, channels) float32; raises InvalidVolumeError on NaN and infinity."""
    return _checked(volume).astype(np.float32, copy=False)


def _checked(volume: Volume) -> np.ndarray:
    """The voxels as (i, j, k, channels), finite, of a type whose values are all float32 numbers."""
    array = volume.array if volume.array.ndim == 4 else volume.array[..., np.newaxis]
    image = array if array.dtype.str[1:] in EXACT else array.astype(np.float32)
    if image.dtype.kind == "f" and not np.isfinite([image.min(), image.max()]).all():
        bad = image.size - int(np.count_nonzero(np.isfinite(image)))
        raise InvalidVolumeError(
            f"{volume.origin}: {bad} NaN or infinite voxels; replace them, for example by the background's intensity"
        )
    return image


def _in_stack_order(scan: Scan, start: SliceGrid) -> tuple[SliceGrid, Scan]:
    """The grid of a scan that operations have made from the stack `start`, and the scan in stack order again."""
    turn = SliceGrid.of(scan.image.shape, scan.image.affine, start.slice_axis)
    image = replace(scan.image, array=turn.to_stack(scan.image.array), affine=turn.stack_affine)
    label = scan.label
    if label is not None:
        label = replace(label, array=turn.to_stack(label.array), affine=turn.stack_affine)
    place = start.moved_to(image.shape, image.affine)
    return place, replace(scan, image=image, label=label)
