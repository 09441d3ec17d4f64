"""Settings proposed for a prepared dataset, each with its reason; a user's own come before them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dist_training.architectures import UNetSettings
from dist_training.settings import TrainingSettings
from imgmed import PreparedDataset
from r2d2.config import Configuration
from r2d2.setting_fields import architectures
from r2d2.training_memory import training_bytes
from r2d2.volume_proposal import WITH_LEVELS, propose_for_volumes
from r2d2_base.errors import ConfigurationError
from r2d2_base.machine import Machine, examine_machine, format_bytes

__all__ = [
    "Proposal",
    "balanced_weights",
    "is_of_volumes",
    "memory_at_hand",
    "propose",
    "propose_here",
    "worker_memory",
]

SLICES_SEEN = 20_000
EPOCHS = (4, 20)
PIXELS_PER_BATCH = 16 * 48 * 64
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
FEWEST_SLICES = 2
SMALLEST_BOTTOM = 3
EXTREME_SHARE = 1e-4
"""A label that is rarer than this among the training voxels is weighted; Dice makes up for less."""

MEMORY_PART = 0.5


@dataclass(frozen=True)
class Proposal:
    """A configuration, and why it is what it is.

    Attributes:
        configuration: names the dataset.
        reasons: a sentence for dotted keys such as "training.epochs"; also for "preparation" choices that the
            dataset was made with.
    """

    configuration: Configuration
    reasons: dict[str, str]


def propose(
    dataset: PreparedDataset,
    memory_bytes: int | None = None,
    *,
    dimensions: int | None = None,
    architecture: str = "unet",
) -> Proposal:
    """Derive a configuration from a dataset: the same on every machine whose memory holds the batch.

    For a network of volumes see ``propose_for_volumes``; of slices:

    - depth: as deep as leaves the lowest level at least 3 pixels wide, 4 at most (Ronneberger et al. 2015);
    - batch: about 49,000 pixels a worker, between 2 and 32 slices; fewer only where the memory holds no more. The
      reference batch, and with it what the learning rate means, stays that of the rule;
    - epochs: about 20,000 slices in all, between 4 and 20 passes. That is ten minutes of a small network on two
      slow cores; more passes give more, where there is more time or a faster machine;
    - class weights: none, unless a label is so rare that Dice alone would not see it.

    Args:
        dataset: the prepared dataset.
        memory_bytes: what a worker may use, see ``memory_at_hand``; None leaves memory out of account.
        dimensions: 2 for a network of slices, 3 of volumes; None: what the dataset was prepared for.
        architecture: name of the network; of those of volumes, unet and residual_unet get levels that suit.

    Returns:
        The configuration with its reasons.

    Raises:
        ConfigurationError: a network of volumes is asked for, and the architecture has none.
    """
    if is_of_volumes(dataset, architecture, dimensions):
        return _of_volumes(dataset, memory_bytes, architecture)
    size = dataset.scan_preparation.slice_size
    depth = max(d for d in range(1, 5) if d == 1 or min(size) / 2**d >= SMALLEST_BOTTOM)
    network = UNetSettings(depth=depth)
    wanted, batch, batch_reason = _batch(network, dataset, memory_bytes)
    slices = sum(dataset.case(case_id).slices_to_train_on for case_id in dataset.splits.train)
    epochs = min(max(round(SLICES_SEEN / max(1, slices)), EPOCHS[0]), EPOCHS[1])
    weights, weights_reason = _class_weights(dataset)
    configuration = Configuration(
        dataset=dataset.folder,
        preparation=dataset.description.settings,
        network=network,
        training=TrainingSettings(
            epochs=epochs, batch_size_per_worker=batch, reference_batch_size=wanted, class_weights=weights
        ),
    )
    bottom = min(size) / 2**depth
    return Proposal(
        configuration,
        _preparation_reasons(dataset)
        | {
            "network.depth": f"{depth} poolings leave {bottom:g} of {min(size)} pixels at the shorter side;"
            f" at most 4 poolings, and at least {SMALLEST_BOTTOM} pixels",
            "training.epochs": f"{slices:,} training slices, so that about {SLICES_SEEN:,} are seen in all;"
            f" between {EPOCHS[0]} and {EPOCHS[1]} epochs",
            "training.batch_size_per_worker": batch_reason,
            "training.reference_batch_size": "the batch of the rule on every machine, so that the learning rate"
            " means the same; it is scaled by global / reference",
            "training.class_weights": weights_reason,
        },
    )


def propose_here(dataset: PreparedDataset, *, dimensions: int | None = None, architecture: str = "unet") -> Proposal:
    """Propose settings for this machine's memory, see ``propose``."""
    memory = memory_at_hand(examine_machine(dataset.folder))
    return propose(dataset, memory, dimensions=dimensions, architecture=architecture)


def is_of_volumes(dataset: PreparedDataset, architecture: str, dimensions: int | None) -> bool:
    """Tell whether a network of volumes is to be proposed: where it is asked for, or the dataset was made for one.

    Raises:
        ConfigurationError: it is asked for, and the architecture takes slices alone.
    """
    defaults = {name: model.model_fields.get("dimensions") for name, model in architectures().items()}
    own = defaults.get("custom" if ":" in architecture else architecture)
    if dimensions == 3 and own is None:
        able = ", ".join(name for name, field in defaults.items() if field is not None)
        raise ConfigurationError(
            f"network.dimensions=3: {architecture} takes slices alone; networks of volumes are {able}"
        )
    if dimensions is not None:
        return dimensions == 3
    is_made_for = dataset.description.settings.kind == "volumes" and not dataset.scan_preparation.neighbours
    return (is_made_for and architecture in WITH_LEVELS) or (own is not None and own.default == 3)


def _of_volumes(dataset: PreparedDataset, memory_bytes: int | None, architecture: str) -> Proposal:
    found = propose_for_volumes(dataset, memory_bytes, architecture)
    weights, weights_reason = _class_weights(dataset)
    configuration = Configuration(
        dataset=dataset.folder,
        preparation=dataset.description.settings,
        network=found.network,
        training=TrainingSettings(**found.training, class_weights=weights),
    )
    why = {"training.class_weights": weights_reason}
    return Proposal(configuration, _preparation_reasons(dataset) | found.reasons | why)


def _preparation_reasons(dataset: PreparedDataset) -> dict[str, str]:
    return {f"preparation.{name}": reason for name, reason in dataset.description.reasons.items()}


def memory_at_hand(machine: Machine) -> int | None:
    """Return the bytes that a worker may use: half of the machine's memory, the rest being for data and others.

    The memory's size counts, not what happens to be free, so that the proposal is the same tomorrow. Where there
    are GPUs, the smallest one's memory counts, if that is less.
    """
    known = [] if machine.memory_bytes is None else [round(MEMORY_PART * machine.memory_bytes)]
    return min([*known, *_gpu_bytes(machine)], default=None)


def worker_memory(machine: Machine) -> int | None:
    """Return the bytes that a worker may have at most: all of the machine's, or where there are GPUs the smallest's."""
    return min(_gpu_bytes(machine), default=machine.memory_bytes)


def _gpu_bytes(machine: Machine) -> list[int]:
    """Memory of each GPU."""
    found = []
    for line in machine.gpus:  # "NVIDIA A10, 23028 MiB, 550.54"
        for word in line.split(","):
            amount, _, unit = word.strip().partition(" ")
            if unit == "MiB" and amount.isdigit():
                found.append(int(amount) * 2**20)
    return found


def balanced_weights(frequencies: Mapping[str, float]) -> dict[str, float]:
    """Weigh classes by the inverse square root of their frequency, so that the mean weight of a pixel is 1.

    With f the share of a class among all pixels, its weight is f^(-1/2) / sum(f^(1/2)): then sum(f w) = 1. A class
    that does not occur gets the largest weight of those that do.

    Args:
        frequencies: of each class; at least one is positive, and they add up to 1.

    >>> balanced_weights({"background": 0.64, "organ": 0.36})  # 1 / (0.8 * 1.4) and 1 / (0.6 * 1.4)
    {'background': 0.893, 'organ': 1.19}
    """
    total = sum(share**0.5 for share in frequencies.values())
    weights = {name: 1 / (share**0.5 * total) for name, share in frequencies.items() if share > 0}
    largest = max(weights.values())
    return {name: float(f"{weights.get(name, largest):.3g}") for name in frequencies}


def _batch(network: UNetSettings, dataset: PreparedDataset, memory_bytes: int | None) -> tuple[int, int, str]:
    """The batch of the rule, the batch that the memory holds, and why."""
    height, width = size = dataset.scan_preparation.slice_size
    candidates = [count for count in BATCH_SIZES if count >= FEWEST_SLICES]
    wanted = max((count for count in candidates if count * height * width <= PIXELS_PER_BATCH), default=candidates[0])
    classes = len(dataset.class_values)

    def needed(slices: int) -> int:
        return training_bytes(network, size, len(dataset.channels), 1 if classes == 2 else classes, slices)

    rule = (
        f"{wanted} slices of {height} x {width} pixels: at most {PIXELS_PER_BATCH:,} pixels per step and worker,"
        f" between {FEWEST_SLICES} and {BATCH_SIZES[-1]} slices"
    )
    if memory_bytes is None or needed(wanted) <= memory_bytes:
        return wanted, wanted, f"{rule}; that takes about {format_bytes(needed(wanted))} of memory"
    fitting = [count for count in BATCH_SIZES if count < wanted and needed(count) <= memory_bytes]
    batch = max(fitting, default=1)
    reason = (
        f"the rule gives {rule}, which would take about {format_bytes(needed(wanted))}; of this machine's memory"
        f" {format_bytes(memory_bytes)} are at hand, so {batch} (about {format_bytes(needed(batch))})"
    )
    if not fitting:
        reason += ", and that is more than there is: a coarser preparation.spacing_mm or fewer base_filters need less"
    return wanted, batch, reason


def _class_weights(dataset: PreparedDataset) -> tuple[tuple[float, ...] | None, str]:
    frequencies = class_frequencies(dataset)
    foreground = {name: share for name, share in frequencies.items() if dataset.labels[name] != 0}
    present = {name: share for name, share in foreground.items() if share > 0}
    if not present:
        return None, "no training voxel is labelled"
    weights = balanced_weights(frequencies)
    rarest = min(present, key=present.__getitem__)
    listed = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
    formula = f"share^(-1/2), scaled so that the average voxel weighs 1 ({listed})"
    share = f"{rarest} is the rarest label with {100 * present[rarest]:.2g} % of the training voxels"
    if present[rarest] < EXTREME_SHARE:
        return tuple(weights.values()), f"{share}, under {100 * EXTREME_SHARE:g} %: weighted by {formula}"
    return None, (
        f"{share}; the Dice in the loss makes up for that (weights are proposed under {100 * EXTREME_SHARE:g} %)."
        f" They would be {formula}"
    )


def class_frequencies(dataset: PreparedDataset) -> dict[str, float]:
    """Return the share of each class, background first, among the voxels of the training cases."""
    names = sorted(dataset.labels, key=dataset.labels.__getitem__)
    counts = {
        name: sum(dataset.case(case_id).label_counts.get(name, 0) for case_id in dataset.splits.train) for name in names
    }
    total = max(1, sum(counts.values()))
    return {name: count / total for name, count in counts.items()}
