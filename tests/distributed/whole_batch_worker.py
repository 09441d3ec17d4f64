"""One rank of a test: its parts of losses, and of their gradients by the weights of a tiny network, in float64."""

from pathlib import Path
from typing import Any

import numpy as np

from dist_training.inputs.feed import rank_share
from dist_training.ranks.communicator import Communicator

SHAPE, CLASSES = (6, 8, 2), 4
REGIONS = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], bool)
LOSSES = {"batch_dice": None, "batch_dice_cross_entropy": REGIONS}
"""Of classes, and of one sigmoid a region."""


def step_data(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Images, and classes of which one is rare and some pixels are ignored."""
    rng = np.random.default_rng(samples)
    classes = rng.choice([-1, 0, 1, 2, 3], (samples, *SHAPE[:2]), p=[0.1, 0.5, 0.2, 0.17, 0.03]).astype(np.int32)
    return rng.normal(size=(samples, *SHAPE)), classes


def start_weights(outputs: int) -> list[np.ndarray]:
    """Of the fine and of the coarse logits."""
    rng = np.random.default_rng(7)
    return [rng.normal(size=(SHAPE[2], outputs)) for _ in range(2)]


def share(samples: int, rank: int, world_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the feed gives a rank: its samples, or one of zeros that counts nowhere."""
    images, classes = (array[rank_share(samples, rank, world_size)] for array in step_data(samples))
    if len(images):
        return images, classes, np.ones(len(images))
    return np.zeros((1, *SHAPE)), np.full((1, *SHAPE[:2]), -1, np.int32), np.zeros(1)


def parts(name: str, communicator: Communicator) -> dict[str, np.ndarray]:
    """Give this rank's loss and gradients of a step of five samples and of one of two."""
    import tensorflow as tf

    from dist_training.losses import build_loss

    regions = LOSSES[name]
    outputs = CLASSES if regions is None else regions.shape[1]
    loss = build_loss(name, outputs, regions=regions, communicator=communicator)
    weights = [tf.Variable(weight) for weight in start_weights(outputs)]

    @tf.function(reduce_retracing=True)
    def step(images: Any, classes: Any, present: Any, inverse_count: Any) -> tuple[Any, list[Any]]:
        with tf.GradientTape() as tape:
            fine, coarse = (tf.einsum("nhwc,ck->nhwk", images, weight) for weight in weights)
            part = loss([fine, coarse[:, ::2, ::2]], classes, present, inverse_count)
        return part, tape.gradient(part, weights)

    found = {}
    for samples in (5, 2):
        given = (*share(samples, communicator.rank, communicator.world_size), np.float64(1 / samples))
        part, (fine, coarse) = step(*map(tf.constant, given))
        values = {"loss": part, "fine": fine, "coarse": coarse}
        found |= {f"{name} {samples} {what}": value.numpy() for what, value in values.items()}
    return found


def main(communicator: Communicator, out: str) -> None:
    found = [parts(name, communicator) for name in LOSSES]
    np.savez(Path(out) / f"rank-{communicator.rank}.npz", **found[0], **found[1])
