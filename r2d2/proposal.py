"""Settings of network and training that suit a prepared dataset; a user's own come before them."""

from __future__ import annotations

from dist_training.architectures import UNetSettings
from dist_training.settings import TrainingSettings
from imgmed import PreparedDataset
from r2d2.config import Configuration

__all__ = ["propose"]

SLICES_SEEN = 20_000
EPOCHS = (4, 20)
PIXELS_PER_BATCH = 16 * 48 * 64
BATCH_SIZES = (2, 4, 8, 16, 32)
SMALLEST_BOTTOM = 3


def propose(dataset: PreparedDataset) -> Configuration:
    """Derive a configuration from a dataset's sizes alone, so that it is the same on every machine.

    - depth: as deep as leaves the lowest level at least 3 pixels wide, 4 at most (Ronneberger et al. 2015);
    - batch: about 49,000 pixels a worker, between 2 and 32 slices;
    - epochs: about 20,000 slices in all, between 4 and 20 passes. That is ten minutes of a small network on two
      slow cores; more passes give more, where there is more time or a faster machine.

    Args:
        dataset: the prepared dataset.

    Returns:
        A configuration that names the dataset.
    """
    height, width = dataset.scan_preparation.slice_size
    depth = max(d for d in range(1, 5) if d == 1 or min(height, width) / 2**d >= SMALLEST_BOTTOM)
    batch_size = max(
        (size for size in BATCH_SIZES if size * height * width <= PIXELS_PER_BATCH), default=BATCH_SIZES[0]
    )
    slices = sum(dataset.image(case_id).shape[0] for case_id in dataset.splits.train)
    epochs = min(max(round(SLICES_SEEN / max(1, slices)), EPOCHS[0]), EPOCHS[1])
    return Configuration(
        dataset=dataset.folder,
        preparation=dataset.description.settings,
        network=UNetSettings(depth=depth),
        training=TrainingSettings(epochs=epochs, batch_size_per_worker=batch_size, reference_batch_size=batch_size),
    )
