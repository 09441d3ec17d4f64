"""How fast training is: against a plain Keras fit, and two workers against two processes that do not communicate.

    .venv/bin/python benchmarks/training_speed.py --out benchmarks/results/training_speed.json

Every comparison is made within one run, on the same machine, in rounds that alternate; the figures are medians over
the rounds, each process has one thread. See benchmarks/README.md for what was measured and where the rest goes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

SIZE, CLASSES = (48, 64), 3
NETWORKS: dict[str, dict[str, Any]] = {
    "unet": {"architecture": "unet", "base_filters": 16},
    "fcn": {"architecture": "fcn"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=6, help="steps a round")
    parser.add_argument("--batch", type=int, default=32, help="slices per step and worker")
    parser.add_argument("--part", choices=("keras", "workers"), help=argparse.SUPPRESS)
    parser.add_argument("--architecture", choices=tuple(NETWORKS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "keras":
        against_keras(options)
    elif options.part == "workers":
        against_no_communication(options)
    else:
        compare_all(options)


def compare_all(options: argparse.Namespace) -> None:
    rows = []
    for network in NETWORKS:
        for part in ("keras", "workers"):
            rows.append({"network": network, "comparison": part, **start(part, network, options)})
            print(json.dumps(rows[-1]), file=sys.stderr)
    print(table(rows))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        report = {
            "machine": describe_machine(),
            "batch_size_per_worker": options.batch,
            "slice_size": SIZE,
            "rows": rows,
        }
        options.out.write_text(json.dumps(report, indent=1) + "\n")


def start(part: str, network: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one comparison in processes of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        command = [sys.executable, __file__, "--part", part, "--architecture", network, "--out", str(out)]
        for name in ("rounds", "steps", "batch"):
            command += [f"--{name}", str(getattr(options, name))]
        if part == "workers":
            command = [str(Path(sys.executable).with_name("horovodrun")), "-np", "2", *command]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return json.loads(out.read_text())


def describe_machine() -> dict[str, Any]:
    from importlib import metadata

    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ":?")
    versions = {name: metadata.version(name) for name in ("tensorflow-cpu", "keras", "horovod", "numpy")}
    cores = len(os.sched_getaffinity(0))
    return {"processor": model.split(":")[1].strip(), "cores": cores, "python": platform.python_version(), **versions}


def table(rows: list[dict[str, Any]]) -> str:
    words = {"keras": "1 worker / Keras fit", "workers": "2 workers / 2 processes apart"}
    lines = ["| network | comparison | ours, images/s | theirs, images/s | ratio | range of rounds |", "|-|-|-|-|-|-|"]
    lines += [
        f"| {row['network']} | {words[row['comparison']]} | {row['ours']:.1f} | {row['theirs']:.1f} "
        f"| {row['ratio']:.3f} | {row['ratios'][0]:.3f} to {row['ratios'][-1]:.3f} |"
        for row in rows
    ]
    for row in rows:
        if "parts" in row:
            parts = ", ".join(f"{name} alone {ratio:.3f}" for name, ratio in row["parts"].items())
            lines.append(f"{row['network']}, two workers, of which: {parts}")
    return "\n".join(lines)


def figures(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    return {
        "ours": statistics.median(ours),
        "theirs": statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def build(network: str) -> Any:
    import keras
    from pydantic import TypeAdapter

    from dist_training.architectures import NetworkSettings, build_network

    keras.config.set_dtype_policy("float32")
    settings = TypeAdapter(NetworkSettings).validate_python(NETWORKS[network])
    return build_network(settings, input_channels=1, num_outputs=CLASSES, seed=0)


def learner_of(network: str, communicator: Any, settings: Any, feed: Any) -> Any:
    """Build what a run trains: network, loss, optimizer and the exchange of gradients."""
    from pydantic import TypeAdapter

    from dist_training.architectures import NetworkSettings
    from dist_training.inference.outputs import NetworkOutputs
    from dist_training.learning.learner import Learner
    from dist_training.learning.transfer import TransferSettings
    from imgmed import AugmentationSettings

    architecture = TypeAdapter(NetworkSettings).validate_python(NETWORKS[network])
    outputs = NetworkOutputs.of_classes(CLASSES)
    learner = Learner(architecture, outputs, settings, communicator, feed, AugmentationSettings(), TransferSettings())
    learner.begin_epoch(0)
    return learner


def write_dataset(folder: Path, slices: int, size: tuple[int, int] = SIZE) -> Any:
    """Prepare a study of noise whose training cases have at least so many slices of a size."""
    import nibabel as nib

    from imgmed import PreparationSettings, prepare_dataset

    generator = np.random.default_rng(0)
    for case in range(3):
        for part in ("images", "labels"):
            (folder / "study" / part).mkdir(parents=True, exist_ok=True)
            shape = (*size, slices)
            array = (
                generator.normal(size=shape).astype(np.float32)
                if part == "images"
                else generator.integers(0, CLASSES, shape).astype(np.uint8)
            )
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / "study" / part / f"case{case}.nii.gz")
    return prepare_dataset(folder / "study", folder / "dataset", PreparationSettings(slice_axis=2))


def run_ours(
    learner: Any, feed: Any, options: argparse.Namespace, epoch: int, rank: int = 0, world_size: int = 1
) -> float:
    """Train for a round as the training run does: permutation, feed, step; give images per second of this rank."""
    from dist_training.inputs.feed import epoch_steps, prefetch
    from dist_training.stopping.control import VOTES

    steps = epoch_steps(
        0, epoch, len(feed), global_batch_size=options.batch * world_size, rank=rank, world_size=world_size
    )[: options.steps]
    begin = time.perf_counter()
    for batch in prefetch(feed, steps):
        learner.step(batch, learning_rate=1e-4, votes=np.zeros(VOTES))
    return options.steps * options.batch / (time.perf_counter() - begin)


def against_keras(options: argparse.Namespace) -> None:
    """One worker of ours against compile() and fit() on arrays in memory: network, loss, optimizer, batch are equal."""
    import dist_training  # noqa: F401, I001  # tells TensorFlow to use oneDNN, before it is loaded
    import keras
    import tensorflow as tf

    from dist_training.inputs.feed import SliceFeed, Step
    from dist_training.losses import build_loss
    from dist_training.ranks.communicator import SoloCommunicator
    from dist_training.ranks.devices import configure_devices
    from dist_training.settings import TrainingSettings

    configure_devices(SoloCommunicator(), threads=1)
    settings = TrainingSettings(batch_size_per_worker=options.batch)
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_dataset(Path(folder), options.batch * options.steps)
        feed = SliceFeed(dataset, dataset.splits.train, dataset.splits.train)
        learner = learner_of(options.architecture, SoloCommunicator(), settings, feed)
        everything = feed.batch(Step(np.arange(options.batch * options.steps), 1))
        peer, loss = build(options.architecture), build_loss(settings.loss, CLASSES)
        peer.compile(
            keras.optimizers.Adam(1e-4),
            loss=lambda y, logits: loss(
                logits, tf.cast(y, tf.int32), tf.ones(tf.shape(y)[0]), 1 / tf.cast(tf.shape(y)[0], tf.float32)
            ),
            jit_compile=False,
        )

        def run_theirs() -> float:
            begin = time.perf_counter()
            peer.fit(everything.images, everything.classes, batch_size=options.batch, epochs=1, verbose=0)
            return options.steps * options.batch / (time.perf_counter() - begin)

        run_ours(learner, feed, options, 0), run_theirs()
        pairs = [(run_ours(learner, feed, options, epoch), run_theirs()) for epoch in range(1, options.rounds + 1)]
    options.out.write_text(json.dumps(figures(*map(list, zip(*pairs, strict=True)))))


class Copying:
    """Pretends to be two workers: gradients are laid into buffers and taken out again, nothing is exchanged."""

    def __init__(self, communicator: Any) -> None:
        self.communicator, self.rank, self.world_size = communicator, communicator.rank, communicator.world_size

    def sum_tensor(self, tensor: Any) -> Any:
        import tensorflow as tf

        return tf.identity(tensor)


class Waiting(Copying):
    """The same, and one number of each buffer is exchanged: what it costs that the workers wait for each other."""

    def sum_tensor(self, tensor: Any) -> Any:
        import tensorflow as tf

        return tf.concat([tensor[:-1], self.communicator.sum_tensor(tensor[-1:])], axis=0)


def against_no_communication(options: argparse.Namespace) -> None:
    """Two workers with our reduction against the same two processes without any, round about; and parts of it."""
    from dist_training.inputs.feed import SliceFeed
    from dist_training.ranks.communicator import SoloCommunicator, build_communicator
    from dist_training.ranks.devices import configure_devices
    from dist_training.settings import TrainingSettings

    communicator = build_communicator(2)
    configure_devices(communicator, threads=1)
    settings = TrainingSettings(batch_size_per_worker=options.batch)
    kinds = {
        "ours": communicator,
        "theirs": SoloCommunicator(),
        "copying": Copying(communicator),
        "waiting": Waiting(communicator),
    }
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_dataset(Path(folder), options.batch * options.steps * 2)
        feed = SliceFeed(dataset, dataset.splits.train, dataset.splits.train)
        learners = {name: learner_of(options.architecture, kind, settings, feed) for name, kind in kinds.items()}

        def measure(name: str, epoch: int) -> float:
            communicator.sum_array(np.zeros(1))  # start together
            mine = run_ours(learners[name], feed, options, epoch, communicator.rank, 2)
            return float(communicator.sum_array(np.array([mine]))[0])

        for name in learners:
            measure(name, 0)
        rounds = [{name: measure(name, epoch) for name in learners} for epoch in range(1, options.rounds + 1)]
    if communicator.rank == 0:
        columns = {name: [one[name] for one in rounds] for name in learners}
        parts = {name: figures(columns[name], columns["theirs"])["ratio"] for name in ("copying", "waiting")}
        result = {**figures(columns["ours"], columns["theirs"]), "parts": parts}
        options.out.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
