"""How fast slices are fed with augmentation, against what training takes: one core, one thread each.

    .venv/bin/python benchmarks/feed_speed.py DATA --out benchmarks/results/feed_speed.json

DATA holds hippocampus_msd and heart_la_msd. Feed and training step alternate in rounds of one run; the figures are
medians over the rounds of processor time, which work beside this does not count in. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

# before NumPy and TensorFlow are loaded
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np

from dist_training.ranks.communicator import SoloCommunicator
from dist_training.ranks.devices import configure_devices
from imgmed import AugmentationSettings, PreparationSettings, PreparedDataset, prepare_dataset

AUGMENTATIONS = {
    "none": AugmentationSettings(),
    "table1": AugmentationSettings.model_validate("table1"),
    "everything": AugmentationSettings(
        rotation_degrees=45,
        zoom=(0.8, 1.2),
        translation_px=25.6,
        vertical_flip_probability=0.5,
        horizontal_flip_probability=0.5,
        elastic_alpha_px=4,
        gamma=(0.7, 1.5),
        contrast=(0.75, 1.25),
        brightness=0.1,
        noise_std=0.1,
    ),
}
BATCHES = {"hippocampus_msd": 16, "heart_la_msd": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with hippocampus_msd and heart_la_msd")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    configure_devices(SoloCommunicator(), threads=1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for study, batch in BATCHES.items():
            dataset = prepare_dataset(options.data / study, Path(folder) / study, PreparationSettings())
            rows += compare(dataset, batch, options.rounds)
    print(table(rows))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"rounds": options.rounds, "results": rows}, indent=1) + "\n")


def compare(dataset: PreparedDataset, batch: int, rounds: int) -> list[dict[str, Any]]:
    from dist_training.inputs.feed import SliceFeed, epoch_steps
    from dist_training.stopping.control import VOTES

    train = dataset.splits.train
    feeds = {
        name: SliceFeed(dataset, train, train, slices="training", augmentation=settings)
        for name, settings in AUGMENTATIONS.items()
    }
    plain = feeds["none"]
    learner, votes = learner_of(dataset, plain, batch), np.zeros(VOTES)
    measured: dict[str, list[float]] = {name: [] for name in ("training", *feeds)}
    for epoch in range(rounds + 1):
        steps = epoch_steps(0, epoch, len(plain), global_batch_size=batch, rank=0, world_size=1)[:20]
        steps = [one for one in steps if one.indices.size == batch]
        given = plain.batch(steps[0])
        step = partial(learner.step, given, learning_rate=1e-4, votes=votes)
        seconds = {"training": seconds_of(step) / batch}
        for name, feed in feeds.items():
            seconds[name] = seconds_of(partial(list, map(feed.batch, steps))) / (batch * len(steps))
        if epoch:  # the first round compiles and maps files
            for name, value in seconds.items():
                measured[name].append(value)
    median = {name: statistics.median(values) for name, values in measured.items()}
    ratios = {name: [t / f for t, f in zip(measured["training"], measured[name], strict=True)] for name in feeds}
    return [
        {
            "dataset": dataset.name,
            "slices": list(plain.slice_size),
            "augmentation": name,
            "fed_per_second": round(1 / median[name], 1),
            "trained_per_second": round(1 / median["training"], 2),
            "ratio": round(statistics.median(ratios[name]), 1),
            "lowest_ratio": round(min(ratios[name]), 1),
        }
        for name in feeds
    ]


def seconds_of(work: Callable[[], Any]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def learner_of(dataset: PreparedDataset, feed: Any, batch: int) -> Any:
    """The U-Net with 16 base filters, as a run trains it."""
    from dist_training.architectures import UNetSettings
    from dist_training.inference.outputs import NetworkOutputs
    from dist_training.learning.learner import Learner
    from dist_training.learning.transfer import TransferSettings
    from dist_training.settings import TrainingSettings

    outputs, settings = (
        NetworkOutputs.of_classes(len(dataset.class_values)),
        TrainingSettings(batch_size_per_worker=batch),
    )
    learner = Learner(
        UNetSettings(base_filters=16),
        outputs,
        settings,
        SoloCommunicator(),
        feed,
        AugmentationSettings(),
        TransferSettings(),
    )
    learner.begin_epoch(0)
    return learner


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| slices | augmentation | fed, slices/s | trained, slices/s | ratio | lowest | goal |", "|-|-|-|-|-|-|-|"]
    lines += [
        f"| {row['dataset']} {row['slices'][0]}×{row['slices'][1]} | {row['augmentation']} "
        f"| {row['fed_per_second']:.0f} | {row['trained_per_second']:.1f} | {row['ratio']:.0f} "
        f"| {row['lowest_ratio']:.0f} | 10 |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
