"""Slices that two forms of a network are compared on: of a dataset, or generated, always the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from dist_training.inference.model_card import ModelCard
from imgmed import PreparedDataset
from imgmed.network_input import NetworkInput
from r2d2.errors import ZooError

__all__ = ["check_slices"]

PIXELS = 3 * 2**17
MOST_SLICES = 32
ODD = (5, 3)  # pixels more than the training slices have, so that the size is no multiple of anything
SEED = 20241


def check_slices(card: ModelCard, network: Any, dataset: PreparedDataset | None = None) -> list[np.ndarray]:
    """Give images as the network sees them: some of the size of the training slices, one larger by a few pixels.

    Args:
        card: of the model, whose channels and normalisation count.
        network: told by its input whether any size is taken.
        dataset: prepared, whose slices they are, spread over its cases; None: smooth noise, the same at each call.

    Returns:
        Batches (n, height, width, channels) of float32.

    Raises:
        ZooError: the dataset has other channels.
    """
    preparation = card.scan_preparation
    height, width = preparation.slice_size
    count = int(np.clip(PIXELS // (height * width), 1, MOST_SLICES))
    if dataset is None:
        rng = np.random.default_rng(SEED)
        batches = [_noise(rng, (count, height, width, preparation.input_channels))]
    else:
        batches = _slices_of(dataset, card, count)
    if any(size is not None for size in network.input_shape[1:3]):
        return batches
    larger = np.pad(batches[0][:1], ((0, 0), (0, ODD[0]), (0, ODD[1]), (0, 0)))
    return [*batches, larger]


def _noise(rng: np.random.Generator, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Smooth structures of mean 0 and standard deviation 1 with finer noise upon them, as normalised scans have."""
    from scipy import ndimage

    coarse = ndimage.gaussian_filter(rng.normal(size=shape), (0, 4, 4, 0))
    image = coarse / max(float(coarse.std()), 1e-6) + rng.normal(scale=0.3, size=shape)
    return image.astype(np.float32)


def _slices_of(dataset: PreparedDataset, card: ModelCard, count: int) -> list[np.ndarray]:
    """Give slices from the middle of cases spread over the dataset, each case in a batch."""
    if dataset.channels != card.channels:
        raise ZooError(
            f"{dataset.folder} has the channels {', '.join(dataset.channels)}, and the model takes "
            f"{', '.join(card.channels)}; give a dataset prepared like the model's own"
        )
    preparation = card.scan_preparation
    rule = NetworkInput(card.normalisation, preparation.neighbours, preparation.slice_size)
    case_ids = list(dataset.cases)
    chosen = [case_ids[index] for index in np.linspace(0, len(case_ids) - 1, min(4, len(case_ids))).astype(int)]
    batches = []
    for case_id in dict.fromkeys(chosen):
        stack = np.asarray(dataset.image(case_id), np.float32)
        few = min(max(1, count // len(chosen)), len(stack))
        first = (len(stack) - few) // 2
        canvas = rule.canvas_of([stack.shape[1:3]])
        statistics = card.normalisation.statistics(stack)
        batches.append(rule.centred(stack, np.arange(first, first + few), statistics, canvas))
    return batches
