"""What is checked before a run starts; loads no TensorFlow."""

from __future__ import annotations

from typing import Any

from dist_training.architectures import NetworkSettings
from dist_training.checkpoint import Checkpoint
from dist_training.errors import CheckpointError, ConfigurationError, TooManyWorkersError
from imgmed import PreparedDataset

__all__ = ["check_checkpoint", "check_normalisation", "check_workers", "run_facts", "training_slice_count"]


def training_slice_count(dataset: PreparedDataset) -> int:
    """Count the slices of the training cases."""
    return sum(int(dataset.image(case_id).shape[0]) for case_id in dataset.splits.train)


def check_workers(dataset: PreparedDataset, world_size: int) -> None:
    """Refuse more workers than there are training slices.

    Raises:
        TooManyWorkersError: where some worker could never get a slice.
    """
    count = training_slice_count(dataset)
    if world_size > count:
        raise TooManyWorkersError(
            f"more workers than training samples: {world_size} workers, {count} training slices in {dataset.folder}; "
            f"use at most {count} workers"
        )


def check_normalisation(network: NetworkSettings, world_size: int) -> None:
    """Refuse batch normalisation on several workers: each would average over its own share of the batch.

    Raises:
        ConfigurationError: where the result would depend on the number of workers.
    """
    if world_size > 1 and getattr(network, "normalisation", None) == "batch":
        raise ConfigurationError(
            f"network.normalisation=batch averages over each worker's own share, so {world_size} workers would not "
            "train what one does; use group (the default) or instance, or one worker"
        )


def run_facts(dataset: PreparedDataset) -> dict[str, Any]:
    """Collect what must not change between the parts of a run, as JSON has it."""
    return {
        "training_slices": training_slice_count(dataset),
        "channels": len(dataset.channels),
        "class_values": list(dataset.class_values),
    }


def check_checkpoint(checkpoint: Checkpoint, network: NetworkSettings, facts: dict[str, Any]) -> None:
    """Refuse a checkpoint of another architecture or of other data.

    Args:
        checkpoint: what would be resumed.
        network: the architecture in use.
        facts: what must not change between the parts of a run, see ``run_facts``.

    Raises:
        CheckpointError: naming each difference.
    """
    wanted = network.model_dump(mode="json")
    differences = _differences(checkpoint.network, wanted) + _differences(checkpoint.facts, facts)
    if differences:
        raise CheckpointError(
            f"{checkpoint.path} is a checkpoint of another architecture or dataset: {'; '.join(differences)}; "
            "resume with the settings it was made with, or train anew with another --run-dir"
        )


def _differences(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    names = sorted(theirs.keys() | ours.keys())
    return [f"{n} was {theirs.get(n)!r}, now {ours.get(n)!r}" for n in names if theirs.get(n) != ours.get(n)]
