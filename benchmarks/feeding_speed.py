"""How many images a second one core can feed, against how many a Dist-U-Net of 16 base filters takes from it.

    .venv/bin/python benchmarks/feeding_speed.py --out benchmarks/results/feeding_speed.json

Both in one process with one thread, in rounds that alternate; the figures are medians. The feed is timed alone, as the
training run uses it: permutation, slices from the mapped arrays, normalised, augmented, padded. The network trains on
one batch that is there already. See benchmarks/README.md for what was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from training_speed import describe_machine, training_step, write_dataset

SIZES = {(48, 64): 32, (256, 256): 8}
"""Slice sizes, and the batch that the network trains on."""
AUGMENTATIONS = ("none",)
"""What is measured; names of presets of the feed's augmentation."""


def build_feed(dataset: Any, augmentation: str) -> Any:
    """Build the feed of a training run."""
    from dist_training.feed import SliceFeed

    if augmentation != "none":
        raise SystemExit(f"the feed has no augmentation yet; received {augmentation!r}; use none")
    return SliceFeed(dataset, dataset.splits.train, dataset.splits.train)


def time_feed(feed: Any, batch_size: int, epoch: int, seconds: float) -> float:
    """Make batches for about so many seconds; give images per second of the processor."""
    from dist_training.feed import epoch_steps

    images, begin = 0, time.process_time()
    steps = epoch_steps(0, epoch, len(feed), global_batch_size=batch_size, rank=0, world_size=1)
    while time.process_time() - begin < seconds:
        for step in steps:
            images += feed.batch(step).images.shape[0]
    return images / (time.process_time() - begin)


def time_training(step: Any, batch: Any, seconds: float) -> float:
    """Train for about so many seconds; give images per second of the processor."""
    count, begin = 0, time.process_time()
    while time.process_time() - begin < seconds:
        step(batch, step=count, learning_rate=1e-4, is_stop_requested=False)
        count += 1
    return count * batch.images.shape[0] / (time.process_time() - begin)


def compare(size: tuple[int, int], batch_size: int, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the feed with each augmentation, and training, round about."""
    import numpy as np

    from dist_training.communicator import SoloCommunicator
    from dist_training.feed import Step
    from dist_training.settings import TrainingSettings

    step = training_step("unet", SoloCommunicator(), TrainingSettings(batch_size_per_worker=batch_size), size)
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_dataset(Path(folder), 2 * batch_size, size)
        feeds = {name: build_feed(dataset, name) for name in AUGMENTATIONS}
        batch = feeds["none"].batch(Step(np.arange(batch_size), batch_size))
        fed: dict[str, list[float]] = {name: [] for name in feeds}
        trained: list[float] = []
        for epoch in range(options.rounds + 1):
            for name, feed in feeds.items():
                fed[name].append(time_feed(feed, batch_size, epoch, options.seconds))
            trained.append(time_training(step, batch, options.seconds))
    return [
        {"slice_size": size, "batch_size": batch_size, "augmentation": name, **figures(fed[name][1:], trained[1:])}
        for name in feeds
    ]


def figures(fed: list[float], trained: list[float]) -> dict[str, Any]:
    ratios = sorted(a / b for a, b in zip(fed, trained, strict=True))
    return {
        "feed": statistics.median(fed),
        "training": statistics.median(trained),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| slices | augmentation | feed, images/s | training, images/s | ratio | range of rounds |",
        "|-|-|-|-|-|-|",
    ]
    lines += [
        f"| {row['slice_size'][0]}×{row['slice_size'][1]} | {row['augmentation']} | {row['feed']:.0f} "
        f"| {row['training']:.1f} | {row['ratio']:.0f} | {row['ratios'][0]:.0f} to {row['ratios'][-1]:.0f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    options = parser.parse_args()

    from dist_training.communicator import SoloCommunicator
    from dist_training.session import configure_devices

    configure_devices(SoloCommunicator(), threads=1)
    rows = []
    for size, batch_size in SIZES.items():
        rows += compare(size, batch_size, options)
        print(json.dumps(rows[-1]), file=sys.stderr)
    print(table(rows))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        report = {"machine": describe_machine(), "rounds": options.rounds, "rows": rows}
        options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
