"""Settings proposed for a prepared dataset, each with its reason; a user's own come before them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dist_training.architectures import UNetSettings
from dist_training.settings import TrainingSettings
from imgmed import PreparedDataset
from r2d2.config import Configuration
from r2d2_base.machine import Machine, examine_machine, format_bytes

__all__ = ["Proposal", "balanced_weights", "memory_at_hand", "propose", "propose_here", "training_bytes"]

SLICES_SEEN = 20_000
EPOCHS = (4, 20)
PIXELS_PER_BATCH = 16 * 48 * 64
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
FEWEST_SLICES = 2
SMALLEST_BOTTOM = 3
EXTREME_SHARE = 1e-4
"""A label that is rarer than this among the training voxels is weighted; Dice makes up for less."""

BYTES_PER_NUMBER = 4
MAPS_PER_CONVOLUTION = {"none": 1, "group": 2, "instance": 2, "batch": 2.5}
MAPS_PER_CLASS = 6  # logits, their softmax, its logarithm, the reference, and gradients
WEIGHT_COPIES = 5
FRAMEWORK_BYTES = 700 * 2**20
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


def propose(dataset: PreparedDataset, memory_bytes: int | None = None) -> Proposal:
    """Derive a configuration from a dataset: the same on every machine whose memory holds the batch.

    - depth: as deep as leaves the lowest level at least 3 pixels wide, 4 at most (Ronneberger et al. 2015);
    - batch: about 49,000 pixels a worker, between 2 and 32 slices; fewer only where the memory holds no more. The
      reference batch, and with it what the learning rate means, stays that of the rule;
    - epochs: about 20,000 slices in all, between 4 and 20 passes. That is ten minutes of a small network on two
      slow cores; more passes give more, where there is more time or a faster machine;
    - class weights: none, unless a label is so rare that Dice alone would not see it.

    Args:
        dataset: the prepared dataset.
        memory_bytes: what a worker may use, see ``memory_at_hand``; None leaves memory out of account.

    Returns:
        The configuration with its reasons.
    """
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
    own = {f"preparation.{name}": reason for name, reason in dataset.description.reasons.items()}
    bottom = min(size) / 2**depth
    return Proposal(
        configuration,
        own
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


def propose_here(dataset: PreparedDataset) -> Proposal:
    """Propose settings for this machine's memory, see ``propose``."""
    return propose(dataset, memory_at_hand(examine_machine(dataset.folder)))


def training_bytes(network: UNetSettings, size: Sequence[int], channels: int, outputs: int, slices: int) -> int:
    """Estimate the memory that training a Dist-U-Net takes, in float32.

    Level l has f = base_filters x 2^l filters on 1/4^l of the pixels. There the forward pass keeps for the backward
    pass, in units of f maps: m for each of the two convolutions on the way down (1 without normalisation, 2 with
    group, 2.5 with batch normalisation), on the way up the transposed convolution (1), its join with the map from
    the way down (2) and again two convolutions (2 m); the bottom has two convolutions only.
    To this come six maps a class for logits and loss, each weight five times (itself, gradient, two moments of
    Adam, the buffer in which gradients are summed), and 700 MiB that TensorFlow takes by itself.

    Measured on a CPU (peak resident memory of two steps, 16 base filters, depth 4, 3 classes): 1385 bytes a pixel
    with group normalisation, 928 without, 1690 with batch normalisation; by this formula 1412, 924 and 1656.

    Args:
        network: the network.
        size: (height, width) of a slice in pixels.
        channels: of an image.
        outputs: channels of the logits.
        slices: of a step on one worker.

    Returns:
        Bytes.

    >>> format_bytes(training_bytes(UNetSettings(), (256, 256), 1, 3, 8))  # 1.4 measured
    '1.4 GiB'
    """
    kept = 2 * MAPS_PER_CONVOLUTION[network.normalisation]
    height, width = (-(-edge // to) * to for edge, to in zip(size, network.size_multiples, strict=True))
    maps = float(channels + MAPS_PER_CLASS * max(2, outputs))
    for level in range(network.depth):
        maps += (kept + 3 + kept) * network.base_filters * 2**level / 4**level
    maps += kept * network.base_filters * 2**network.depth / 4**network.depth
    weights = WEIGHT_COPIES * _weights(network)
    return FRAMEWORK_BYTES + round(BYTES_PER_NUMBER * (maps * height * width * slices + weights))


def memory_at_hand(machine: Machine) -> int | None:
    """Return the bytes that a worker may use: half of the machine's memory, the rest being for data and others.

    The memory's size counts, not what happens to be free, so that the proposal is the same tomorrow. Where there
    are GPUs, the smallest one's memory counts, if that is less.
    """
    known = [] if machine.memory_bytes is None else [round(MEMORY_PART * machine.memory_bytes)]
    for line in machine.gpus:  # "NVIDIA A10, 23028 MiB, 550.54"
        for word in line.split(","):
            amount, _, unit = word.strip().partition(" ")
            if unit == "MiB" and amount.isdigit():
                known.append(int(amount) * 2**20)
    return min(known, default=None)


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


def _weights(network: UNetSettings) -> int:
    """Weights of the convolutions, which are nearly all."""
    count = 0
    for level in range(network.depth + 1):
        filters = network.base_filters * 2**level
        count += 9 * filters * filters * 3 // 2  # from half as many, and from as many
        if level < network.depth:
            count += 9 * filters * filters * 3 + 8 * filters * filters  # from twice as many, as many; transposed
    return count
