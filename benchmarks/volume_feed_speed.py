"""How fast patches of volumes are fed with augmentation, against what training takes, and against other toolkits.

    python benchmarks/volume_feed_speed.py --peers .venv-peers --out benchmarks/results/volume_feed_speed.json

One thread each. Feeds, training steps and toolkits alternate in rounds of one run; the figures are medians over the
rounds of processor time, which work beside this does not count in. Without --peers no toolkit is asked.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
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

HERE = Path(__file__).resolve().parent
SHAPE = (100, 140, 140)
SIZES = {(40, 48, 40): 2, (64, 64, 64): 2, (96, 96, 96): 1}
"""Patches, and how many a step has."""

TURNED = AugmentationSettings(rotation_degrees=30, tilt_degrees=30, zoom=(0.7, 1.4))
AUGMENTATIONS = {
    "none": AugmentationSettings(),
    "nnunet": AugmentationSettings.model_validate("nnunet"),
    "turned": TURNED,
    "everything": AugmentationSettings(
        **TURNED.model_dump(include={"rotation_degrees", "tilt_degrees", "zoom"}),
        elastic_alpha_px=3,
        slice_flip_probability=0.5,
        vertical_flip_probability=0.5,
        horizontal_flip_probability=0.5,
        gamma=(0.7, 1.5),
        inverted_gamma_probability=1,
        contrast=(0.75, 1.25),
        intensity_factor=(0.75, 1.25),
        blur_sigma_px=(0.5, 1),
        low_resolution=(1, 2),
        noise_std=0.3,
    ),
}
TOOLKITS = {"turned": ("batchgenerators", "monai", "torchio"), "nnunet": ("batchgenerators",)}
"""Who is asked to do what; batchgenerators is the second version of it, which nnU-Net 2 augments with."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--peers", type=Path, help="the environment of make peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--patches", type=int, default=8, help="patches a round")
    options = parser.parse_args()
    configure_devices(SoloCommunicator(), threads=1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for channels in (1, 2):
            dataset = write_dataset(Path(folder) / f"channels{channels}", channels)
            for size, batch in SIZES.items():
                rows += compare(dataset, size, batch, channels, options)
                print(table(rows[-len(AUGMENTATIONS) :]), file=sys.stderr)
    print(table(rows))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        load = [round(value, 1) for value in os.getloadavg()]
        options.out.write_text(json.dumps({"rounds": options.rounds, "load": load, "results": rows}, indent=1) + "\n")


def write_dataset(folder: Path, channels: int) -> PreparedDataset:
    """Prepare a study of smooth noise."""
    import nibabel as nib
    from scipy import ndimage

    generator = np.random.default_rng(0)
    for case in range(3):
        noise = ndimage.gaussian_filter(generator.normal(size=(*SHAPE[::-1], channels)), (2, 2, 2, 0)).astype(
            np.float32
        )
        arrays = {
            "images": noise[..., 0] if channels == 1 else noise,
            "labels": (noise[..., 0] > 0.05).astype(np.uint8),
        }
        for part, array in arrays.items():
            (folder / "study" / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / "study" / part / f"case{case}.nii.gz")
    return prepare_dataset(folder / "study", folder / "dataset", PreparationSettings(slice_axis=2))


def compare(
    dataset: PreparedDataset, size: tuple[int, int, int], batch: int, channels: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Measure feeds, steps and toolkits for one size of patches, in turn."""
    from dist_training.inputs.feed import Step
    from dist_training.inputs.patch_feed import PatchFeed
    from dist_training.stopping.control import VOTES

    train = dataset.splits.train
    feeds = {name: PatchFeed(dataset, train, size, augmentation=settings) for name, settings in AUGMENTATIONS.items()}
    learners = {dtype: learner_of(feeds["none"], batch, dtype) for dtype in ("float32", "mixed_bfloat16")}
    given = feeds["none"].batch(Step(np.arange(batch), batch))
    works: dict[str, tuple[Callable[[], Any], int]] = {
        dtype: (partial(learner.step, given, learning_rate=1e-4, votes=np.zeros(VOTES)), batch)
        for dtype, learner in learners.items()
    }
    measured: dict[str, list[float]] = {}
    toolkits = [] if options.peers is None or channels > 1 else start_toolkits(options, dataset, size)
    try:
        for number in range(options.rounds + 1):
            seconds = {name: seconds_of(work) / count for name, (work, count) in works.items()}
            for name, feed in feeds.items():
                steps = [Step(np.array([index % len(feed)]), 1, number) for index in range(options.patches)]
                seconds[name] = seconds_of(partial(list, map(feed.batch, steps))) / options.patches
            seconds |= {f"{toolkit.name}, {toolkit.task}": toolkit.ask() for toolkit in toolkits}
            if number:  # the first round compiles and maps files
                for name, value in seconds.items():
                    measured.setdefault(name, []).append(value)
    finally:
        for toolkit in toolkits:
            toolkit.close()
    return [row_of(name, size, channels, measured) for name in feeds]


def row_of(name: str, size: tuple[int, ...], channels: int, measured: dict[str, list[float]]) -> dict[str, Any]:
    """Give the figures of one augmentation: milliseconds a patch, and how many times as long others take."""
    others = {other: values for other, values in measured.items() if other in works_of(name, measured)}
    ratios = {
        other.removesuffix(f", {name}"): [theirs / ours for theirs, ours in zip(values, measured[name], strict=True)]
        for other, values in others.items()
    }
    return {
        "patch": list(size),
        "channels": channels,
        "augmentation": name,
        "milliseconds": round(1000 * statistics.median(measured[name]), 2),
        "ratios": {other: round(statistics.median(values), 1) for other, values in ratios.items()},
        "lowest": {other: round(min(values), 1) for other, values in ratios.items()},
    }


def works_of(name: str, measured: dict[str, list[float]]) -> list[str]:
    """Name what an augmentation is compared with: steps, and the toolkits that did the same."""
    return [other for other in measured if other in ("float32", "mixed_bfloat16") or other.endswith(f", {name}")]


def seconds_of(work: Callable[[], Any]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


class Toolkit:
    """A process of another environment that makes patches when it is asked."""

    def __init__(self, peers: Path, name: str, task: str, job: dict[str, Any]) -> None:
        self.name, self.task = name, task
        command = [str(peers / "bin" / "python"), str(HERE / "volume_feed_toolkits.py")]
        self._process = subprocess.Popen(
            [*command, json.dumps({**job, "toolkit": name, "task": task})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"},
        )

    def ask(self) -> float:
        """Give the seconds of processor time for a patch."""
        print("more", file=self._process.stdin, flush=True)
        return float(next(iter(self._process.stdout or ())))

    def close(self) -> None:
        self._process.communicate()


def start_toolkits(options: argparse.Namespace, dataset: PreparedDataset, size: tuple[int, ...]) -> list[Toolkit]:
    from imgmed.dataset import array_path

    case_id = dataset.splits.train[0]
    paths = {kind: str(array_path(dataset.folder, case_id, kind)) for kind in ("image", "label")}
    job = {**paths, "patch": size, "patches": options.patches}
    return [Toolkit(options.peers, name, task, job) for task, names in TOOLKITS.items() for name in names]


def learner_of(feed: Any, batch: int, dtype: str) -> Any:
    """A 3D U-Net with 8 base filters and three poolings, as a run trains it."""
    from dist_training.architectures import UNetSettings
    from dist_training.inference.outputs import NetworkOutputs
    from dist_training.learning.learner import Learner
    from dist_training.learning.transfer import TransferSettings
    from dist_training.settings import TrainingSettings

    settings = TrainingSettings(batch_size_per_worker=batch, dtype=dtype)
    network = UNetSettings(dimensions=3, depth=3, base_filters=8)
    outputs = NetworkOutputs.of_classes(2)
    learner = Learner(network, outputs, settings, SoloCommunicator(), feed, AugmentationSettings(), TransferSettings())
    learner.begin_epoch(0)
    return learner


def table(rows: list[dict[str, Any]]) -> str:
    def times(row: dict[str, Any], name: str) -> str:
        return f"{row['ratios'][name]} ({row['lowest'][name]})" if name in row["ratios"] else ""

    columns = ("float32", "mixed_bfloat16", "batchgenerators", "monai", "torchio")
    lines = [f"| patch | channels | augmentation | fed, ms | {' | '.join(columns)} |", "|-" * 9 + "|"]
    lines += [
        f"| {'×'.join(map(str, row['patch']))} | {row['channels']} | {row['augmentation']} | {row['milliseconds']} "
        f"| {' | '.join(times(row, name) for name in columns)} |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
