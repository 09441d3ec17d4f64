"""What is proposed for networks of volumes: patches, levels, batch and accumulation, from sizes, spacings and memory.

Source of the rule for axes of unlike spacing: F. Isensee et al., nnU-Net, Nature Methods 18 (2021) 203-211, with its
supplement. Numbers of voxels are smaller than there, for a few cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any, NamedTuple

import numpy as np

from dist_training.architectures import ResidualUNetSettings, UNetSettings
from dist_training.inputs.patches import patch_count
from imgmed import PreparedDataset
from r2d2.training_memory import training_bytes
from r2d2_base.machine import format_bytes

__all__ = ["WITH_LEVELS", "Levels", "VolumeProposal", "levels_for", "patch_size_for", "propose_for_volumes"]

WITH_LEVELS = ("unet", "residual_unet")
"""Networks whose levels are proposed."""
VOXELS = 64**3
"""Of a patch: what a small network learns from in seconds on a core."""
FEWEST_VOXELS = 16**3
STEP_VOXELS = 2 * VOXELS
BATCHES = (2, 4, 8)
VOXELS_SEEN = 1_000 * VOXELS
EPOCHS = (4, 20)
SMALLEST_MAP = 4
MOST_POOLINGS = 4
BASE_FILTERS = 8
NEAR = 2.0
"""Spacings under this factor apart are alike: such axes are pooled together, and kernels look along them."""

Size = tuple[int, int, int]


class Levels(NamedTuple):
    """What a network's levels cover along each axis: strides from each to the next, and kernels."""

    strides: tuple[Size, ...]
    kernels: tuple[Size, ...]

    @property
    def size_multiples(self) -> Size:
        """Of which the sizes of patches are multiples."""
        a, b, c = (prod(along) for along in zip((1, 1, 1), *self.strides, strict=True))
        return a, b, c


def levels_for(size: Sequence[int], spacing_mm: Sequence[float]) -> Levels:
    """Choose poolings and kernels: an axis of long voxels is left alone until the others have become as long.

    An axis is pooled while it keeps at least 4 voxels and its spacing is under twice the smallest of those that could
    be pooled; a kernel looks along an axis once its spacing is under twice the smallest. An axis that alone is left is
    pooled down to 6 voxels. At most 4 poolings.

    Args:
        size: (slices, rows, columns) of a patch.
        spacing_mm: along the same axes.

    >>> levels_for((16, 128, 128), (5.0, 0.6, 0.6)).strides
    ((1, 2, 2), (1, 2, 2), (1, 2, 2), (2, 2, 2))
    >>> levels_for((16, 128, 128), (5.0, 0.6, 0.6)).kernels
    ((1, 3, 3), (1, 3, 3), (1, 3, 3), (3, 3, 3), (3, 3, 3))
    """
    sizes, spacings = list(size), list(spacing_mm)
    strides: list[Size] = []
    kernels: list[Size] = []
    looking = [False] * 3
    while len(strides) < MOST_POOLINGS:
        able = [axis for axis in range(3) if sizes[axis] >= 2 * SMALLEST_MAP]
        finest = min((spacings[axis] for axis in able), default=0.0)
        pooled = [axis for axis in able if spacings[axis] < NEAR * finest]
        if not pooled or (len(pooled) == 1 and sizes[pooled[0]] < 3 * SMALLEST_MAP):
            break
        looking = [was or spacings[axis] < NEAR * min(spacings) for axis, was in enumerate(looking)]
        kernels.append(_triple([3 if looks else 1 for looks in looking]))
        strides.append(_triple([2 if axis in pooled else 1 for axis in range(3)]))
        for axis in pooled:
            sizes[axis], spacings[axis] = ceil(sizes[axis] / 2), 2 * spacings[axis]
    if not strides:
        return Levels(((1, 1, 1),), ((3, 3, 3),) * 2)
    return Levels(tuple(strides), (*kernels, (3, 3, 3)))


def patch_size_for(shape: Sequence[float], spacing_mm: Sequence[float], voxels: int = VOXELS) -> tuple[Size, Levels]:
    """Choose the size of patches, a cube in the body as far as volumes reach, and the levels that suit it.

    Args:
        shape: (slices, rows, columns) of a typical volume.
        spacing_mm: along the same axes.
        voxels: about so many at most.

    Returns:
        The size, in multiples of what the levels divide by, and the levels.

    >>> patch_size_for((100, 256, 256), (1.0, 1.0, 1.0))[0]
    (64, 64, 64)
    >>> patch_size_for((20, 320, 320), (5.0, 0.6, 0.6))[0]
    (16, 128, 128)
    >>> patch_size_for((36, 50, 35), (1.0, 1.0, 1.0))[0]
    (40, 56, 40)
    """
    side = _side(shape, spacing_mm, voxels)
    size = [_along(length, spacing, side) for length, spacing in zip(shape, spacing_mm, strict=True)]
    levels = levels_for(size, spacing_mm)
    fitted = []
    for length, wanted, multiple in zip(shape, size, levels.size_multiples, strict=True):
        is_whole = wanted >= length
        fitted.append(multiple * (ceil(wanted / multiple) if is_whole else max(1, round(wanted / multiple))))
    return _triple(fitted), levels


def _side(shape: Sequence[float], spacing_mm: Sequence[float], voxels: int) -> float:
    """Millimetres along an edge of the largest cube that has so many voxels within a volume."""
    low, high = 0.0, max(length * spacing for length, spacing in zip(shape, spacing_mm, strict=True))
    for _ in range(50):
        middle = (low + high) / 2
        is_small = prod(min(n, middle / step) for n, step in zip(shape, spacing_mm, strict=True)) <= voxels
        low, high = (middle, high) if is_small else (low, middle)
    return high


def _along(length: float, spacing: float, side: float) -> int:
    return max(1, min(ceil(length), round(side / spacing)))


def _triple(values: Sequence[int]) -> Size:
    a, b, c = values
    return a, b, c


@dataclass(frozen=True)
class VolumeProposal:
    """Settings of a network of volumes and of its training, and why.

    Attributes:
        network: of dimensions 3.
        training: patch_size, batch_size_per_worker, reference_batch_size, accumulation_steps, epochs.
        reasons: by dotted keys.
    """

    network: UNetSettings | ResidualUNetSettings
    training: dict[str, Any]
    reasons: dict[str, str]


def propose_for_volumes(
    dataset: PreparedDataset, memory_bytes: int | None = None, architecture: str = "unet"
) -> VolumeProposal:
    """Derive what a network of volumes needs from a dataset: the same on every machine whose memory holds a patch.

    Args:
        dataset: the prepared dataset; its stacks of slices are the volumes.
        memory_bytes: what a worker may use; None leaves memory out of account.
        architecture: unet or residual_unet.
    """
    grids = [dataset.grid(case_id) for case_id in dataset.splits.train]
    shapes = [grid.stack_shape for grid in grids]
    shape = np.median(np.array(shapes), axis=0).tolist()
    spacing = np.median(np.array([grid.stack_spacing_mm for grid in grids]), axis=0).tolist()
    classes, channels = len(dataset.class_values), len(dataset.channels)
    outputs = 1 if classes == 2 else classes
    voxels = VOXELS
    while True:
        size, levels = patch_size_for(shape, spacing, voxels)
        network = _network(architecture, levels)
        needed = training_bytes(network, size, channels, outputs, 1)
        if memory_bytes is None or needed <= memory_bytes or voxels <= FEWEST_VOXELS:
            break
        voxels //= 2
    batch = max((count for count in BATCHES if count * prod(size) <= STEP_VOXELS), default=BATCHES[0])
    parts, batch_reason = _parts(network, size, channels, outputs, batch, memory_bytes)
    patches = patch_count(shapes, size)
    epochs = min(max(round(VOXELS_SEEN / max(1, patches * prod(size))), EPOCHS[0]), EPOCHS[1])
    return VolumeProposal(
        network,
        {
            "patch_size": size,
            "batch_size_per_worker": batch,
            "reference_batch_size": batch,
            "accumulation_steps": parts,
            "epochs": epochs,
        },
        {
            "training.patch_size": _size_reason(shape, spacing, size, memory_bytes),
            **_level_reasons(architecture, levels, spacing),
            "training.batch_size_per_worker": f"{batch} patches: at most {STEP_VOXELS:,} voxels per step and worker, at"
            f" least {BATCHES[0]} and at most {BATCHES[-1]} patches",
            "training.accumulation_steps": batch_reason,
            "training.reference_batch_size": "the batch of the rule, so that the learning rate means the same; it is"
            " scaled by global / reference",
            "training.epochs": f"{patches:,} patches, so that about {VOXELS_SEEN / 1e6:,.0f} million voxels are seen in"
            f" all; between {EPOCHS[0]} and {EPOCHS[1]} epochs",
        },
    )


def _size_reason(shape: Sequence[float], spacing: Sequence[float], size: Size, memory_bytes: int | None) -> str:
    whole = patch_size_for(shape, spacing)[0]
    reason = (
        f"the largest cube in the body of about {VOXELS:,} voxels that a typical volume holds, which has"
        f" {_times(shape)} voxels of {_times(spacing)} mm (slices, rows, columns)"
    )
    if size == whole or memory_bytes is None:
        return reason
    return f"{reason}; {_times(whole)} would not fit the memory at hand, {format_bytes(memory_bytes)}"


def _network(architecture: str, levels: Levels) -> UNetSettings | ResidualUNetSettings:
    """A network of these levels; what is everywhere 2, or 3, is left to the default."""
    strides = None if all(one == (2, 2, 2) for one in levels.strides) else levels.strides
    kernels = None if all(one == (3, 3, 3) for one in levels.kernels) else levels.kernels
    chosen = {"dimensions": 3, "strides": strides, "kernels": kernels}
    if architecture == "residual_unet":
        blocks = (1, *[2] * len(levels.strides))
        return ResidualUNetSettings.model_validate(chosen | {"blocks": blocks})
    return UNetSettings.model_validate(chosen | {"depth": len(levels.strides), "base_filters": BASE_FILTERS})


def _level_reasons(architecture: str, levels: Levels, spacing: Sequence[float]) -> dict[str, str]:
    bottom = "blocks" if architecture == "residual_unet" else "depth"
    rule = (
        f"each axis is pooled while it keeps {SMALLEST_MAP} voxels and its spacing is under {NEAR:g} times the smallest"
        f" of the axes that can be pooled; at most {MOST_POOLINGS} poolings"
    )
    reasons = {f"network.{bottom}": f"{len(levels.strides)} poolings: {rule}"}
    if architecture == "unet":
        reasons["network.base_filters"] = (
            "half of those for slices, as a U-Net of volumes doubles them before each pooling (Çiçek et al. 2016)"
        )
    if any(one != (2, 2, 2) for one in levels.strides):
        reasons["network.strides"] = f"voxels are {_times(spacing)} mm: {rule} (Isensee et al. 2021)"
    if any(one != (3, 3, 3) for one in levels.kernels):
        reasons["network.kernels"] = (
            f"voxels are {_times(spacing)} mm: kernels look along an axis once its spacing is under {NEAR:g} times the"
            " smallest (Isensee et al. 2021)"
        )
    return reasons


def _parts(
    network: UNetSettings | ResidualUNetSettings,
    size: Size,
    channels: int,
    outputs: int,
    batch: int,
    memory_bytes: int | None,
) -> tuple[int, str]:
    """In how many parts a worker computes its batch, and why."""

    def needed(patches: int) -> int:
        return training_bytes(network, size, channels, outputs, patches)

    if memory_bytes is None or needed(batch) <= memory_bytes:
        return 1, f"{batch} patches at once take about {format_bytes(needed(batch))} of memory"
    parts = next((parts for parts in (2, 4) if parts < batch and needed(batch // parts) <= memory_bytes), batch)
    reason = (
        f"{batch} patches at once would take about {format_bytes(needed(batch))}; of this machine's memory"
        f" {format_bytes(memory_bytes)} are at hand, so {batch // parts} at a time"
        f" (about {format_bytes(needed(batch // parts))}): the same result in less memory"
    )
    if needed(batch // parts) > memory_bytes:
        reason += "; that is more than there is: fewer base_filters, or a coarser preparation.spacing_mm, need less"
    return parts, reason


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.3g}" for value in values)
