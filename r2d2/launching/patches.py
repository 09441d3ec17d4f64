"""Patches of a training that is about to start: whether memory holds them, and which volumes are smaller."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from dist_training.architectures import NetworkSettings, ResidualUNetSettings, UNetSettings
from dist_training.inference.outputs import outputs_of
from dist_training.settings import TrainingSettings
from imgmed import PreparedDataset
from r2d2.training_memory import training_bytes
from r2d2_base.errors import ConfigurationError
from r2d2_base.machine import format_bytes

__all__ = ["check_patch_memory", "thin_volumes"]


def check_patch_memory(
    dataset: PreparedDataset, network: NetworkSettings, settings: TrainingSettings, memory_bytes: int | None
) -> None:
    """Refuse patches that a worker's memory cannot hold.

    Args:
        dataset: the prepared dataset.
        network: of volumes; others, and those whose memory nobody estimates, pass.
        settings: with the global batch for one worker.
        memory_bytes: what a worker has at most; None: not known.

    Raises:
        ConfigurationError: says how many patches at a time, or which size, would fit.
    """
    size = settings.patch_size
    if size is None or memory_bytes is None or not isinstance(network, UNetSettings | ResidualUNetSettings):
        return
    regions = dataset.description.regions
    outputs = outputs_of(dataset.labels, regions, has_regions=settings.region_outputs).num_outputs
    channels = dataset.scan_preparation.input_channels

    def needed(edges: Sequence[int], patches: int) -> int:
        return training_bytes(network, edges, channels, outputs, patches)

    at_once = ceil(settings.batch_size_per_worker / settings.accumulation_steps)
    if needed(size, at_once) <= memory_bytes:
        return
    said = (
        f"{at_once} patches of {_times(size)} voxels at a time would take about {format_bytes(needed(size, at_once))}"
        f" of memory, and there are {format_bytes(memory_bytes)}"
    )
    fewer = next((patches for patches in range(at_once - 1, 0, -1) if needed(size, patches) <= memory_bytes), None)
    if fewer is not None:
        steps = ceil(settings.batch_size_per_worker / fewer)
        raise ConfigurationError(f"{said}; training.accumulation_steps={steps} needs less and gives the same result")
    edges = list(size)
    while needed(edges, 1) > memory_bytes:
        able = [axis for axis, multiple in enumerate(network.size_multiples) if edges[axis] > multiple]
        if not able:
            raise ConfigurationError(f"{said}; no size of patches fits: use a smaller network (network.base_filters)")
        longest = max(able, key=edges.__getitem__)
        edges[longest] -= network.size_multiples[longest]
    raise ConfigurationError(
        f"{said}; training.patch_size={[*edges]} with training.accumulation_steps={settings.batch_size_per_worker} fits"
    )


def thin_volumes(dataset: PreparedDataset, size: Sequence[int]) -> str | None:
    """Say how many training volumes are smaller than a patch, so that it reaches beyond them; None: none is.

    Args:
        dataset: the prepared dataset.
        size: (slices, rows, columns) of a patch.
    """
    shapes = [dataset.grid(case_id).stack_shape for case_id in dataset.splits.train]
    thin = [shape for shape in shapes if any(length < edge for length, edge in zip(shape, size, strict=True))]
    if not thin:
        return None
    smallest = min(thin, key=lambda shape: min(length / edge for length, edge in zip(shape, size, strict=True)))
    return (
        f"{len(thin)} of {len(shapes)} training volumes are smaller than a patch of {_times(size)} voxels (one has"
        f" {_times(smallest)}): what lies beyond them is filled with 0 and counts nowhere"
    )


def _times(values: Sequence[int]) -> str:
    return " x ".join(map(str, values))
