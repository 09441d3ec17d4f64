"""How fast networks of volumes are trained: against PyTorch, and two workers against two processes apart.

    python benchmarks/volume_training_speed.py --peers .venv-peers --out benchmarks/results/volume_training_speed.json

Everything is compared within one run, in rounds that alternate, each process with one thread. One worker is compared by
processor time, which work beside this does not count in; two workers by the clock. See benchmarks/README.md.
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
from pathlib import Path
from typing import Any

# before NumPy and TensorFlow are loaded
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np

HERE = Path(__file__).resolve().parent
CLASSES = 3
CASES = {
    "40×48×40, batch 4, base 8": {"patch": [40, 48, 40], "batch": 4, "base": 8},
    "64×64×64, batch 2, base 16": {"patch": [64, 64, 64], "batch": 2, "base": 16},
}
DTYPES = ("float32", "mixed_bfloat16")
LAYOUTS = ("contiguous_format", "channels_last_3d")
DEPTH = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--peers", type=Path, help="the environment of make peers; without it PyTorch is not asked")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps a round")
    parser.add_argument("--part", choices=("torch", "workers"), help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=tuple(CASES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "torch":
        against_torch(options)
    elif options.part == "workers":
        against_no_communication(options)
    else:
        compare_all(options)


def compare_all(options: argparse.Namespace) -> None:
    rows = []
    for case in CASES:
        for part in ("workers",) if options.peers is None else ("torch", "workers"):
            rows += [{"case": case, **row} for row in start(part, case, options)]
            print(json.dumps(rows[-1]), file=sys.stderr)
    print(table(rows))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        load = [round(value, 1) for value in os.getloadavg()]
        options.out.write_text(json.dumps({"rounds": options.rounds, "load": load, "results": rows}, indent=1) + "\n")


def start(part: str, case: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run one comparison in processes of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        command = [sys.executable, __file__, "--part", part, "--case", case, "--out", str(out)]
        command += ["--rounds", str(options.rounds), "--steps", str(options.steps)]
        if part == "torch":
            command += ["--peers", str(options.peers)]
        else:
            command = [str(Path(sys.executable).with_name("horovodrun")), "-np", "2", *command]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return json.loads(out.read_text())


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| patches | precision | comparison | ours, s a step | theirs | theirs / ours | range |", "|-" * 7 + "|"]
    return "\n".join(
        lines
        + [
            f"| {row['case']} | {row['dtype']} | {row['comparison']} | {row['ours']:.3f} | {row['theirs']:.3f} "
            f"| {row['ratio']:.3f} | {row['ratios'][0]:.3f} to {row['ratios'][-1]:.3f} |"
            for row in rows
        ]
    )


def figures(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    return {
        "ours": statistics.median(ours),
        "theirs": statistics.median(theirs),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


class Ours:
    """A worker that trains as a run does: order, feed, step."""

    def __init__(self, case: dict[str, Any], dtype: str, communicator: Any, rank: int, world_size: int, folder: Path):
        from dist_training.architectures import UNetSettings
        from dist_training.inference.outputs import NetworkOutputs
        from dist_training.inputs.patch_feed import PatchFeed
        from dist_training.learning.learner import Learner
        from dist_training.learning.transfer import TransferSettings
        from dist_training.settings import TrainingSettings
        from imgmed import AugmentationSettings, PreparedDataset

        dataset = PreparedDataset.read(folder)
        self._feed = PatchFeed(dataset, dataset.splits.train, tuple(case["patch"]))
        network = UNetSettings(dimensions=3, depth=DEPTH, base_filters=case["base"])
        settings = TrainingSettings(batch_size_per_worker=case["batch"], dtype=dtype)
        outputs = NetworkOutputs.of_classes(CLASSES)
        self._learner = Learner(
            network, outputs, settings, communicator, self._feed, AugmentationSettings(), TransferSettings()
        )
        self._learner.begin_epoch(0)
        self._batch, self._rank, self._world_size = case["batch"], rank, world_size

    def train(self, steps: int, epoch: int) -> None:
        from dist_training.inputs.feed import epoch_steps, prefetch
        from dist_training.stopping.control import VOTES

        wanted = epoch_steps(
            0,
            epoch,
            len(self._feed),
            global_batch_size=self._batch * self._world_size,
            rank=self._rank,
            world_size=self._world_size,
        )
        for batch in prefetch(self._feed, wanted[:steps]):
            self._learner.step(batch, learning_rate=1e-4, votes=np.zeros(VOTES))


def write_dataset(folder: Path, patch: list[int], patches: int) -> Path:
    """Prepare a study of noise, three cases of which the training ones hold so many patches together."""
    import nibabel as nib

    from imgmed import PreparationSettings, prepare_dataset

    generator = np.random.default_rng(0)
    shape = (patch[2], patch[1], patch[0] * patches)
    for case in range(3):
        arrays = {
            "images": generator.normal(size=shape).astype(np.float32),
            "labels": generator.integers(0, CLASSES, shape).astype(np.uint8),
        }
        for part, array in arrays.items():
            (folder / "study" / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / "study" / part / f"case{case}.nii.gz")
    prepare_dataset(folder / "study", folder / "dataset", PreparationSettings(slice_axis=2))
    return folder / "dataset"


def against_torch(options: argparse.Namespace) -> None:
    """One worker against the same network, loss and optimizer in PyTorch in both of its layouts."""
    import dist_training  # noqa: F401  # tells TensorFlow to use oneDNN, before it is loaded
    from dist_training.ranks.communicator import SoloCommunicator
    from dist_training.ranks.devices import configure_devices

    configure_devices(SoloCommunicator(), threads=1)
    case = CASES[options.case]
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_dataset(Path(folder), case["patch"], case["batch"] * options.steps)
        ours = {dtype: Ours(case, dtype, SoloCommunicator(), 0, 1, dataset) for dtype in DTYPES}
        theirs = {
            (dtype, layout): Torch(options.peers, {**case, "dtype": dtype, "layout": layout, "steps": options.steps})
            for dtype in DTYPES
            for layout in LAYOUTS
        }
        measured: dict[Any, list[float]] = {name: [] for name in (*ours, *theirs)}
        for number in range(options.rounds + 1):
            for name in measured:
                begin = time.process_time()
                if name in ours:
                    ours[name].train(options.steps, number)
                    seconds = (time.process_time() - begin) / options.steps
                else:
                    seconds = theirs[name].ask()
                if number:  # the first round compiles
                    measured[name].append(seconds)
        for process in theirs.values():
            process.close()
    rows = []
    for dtype in DTYPES:
        layout = min(LAYOUTS, key=lambda one: statistics.median(measured[dtype, one]))
        row = figures(measured[dtype], measured[dtype, layout])
        rows.append({"dtype": dtype, "comparison": f"1 worker / PyTorch, {layout}", **row})
    options.out.write_text(json.dumps(rows))


class Torch:
    """A process that trains with PyTorch when it is asked."""

    def __init__(self, peers: Path, job: dict[str, Any]) -> None:
        command = [str(peers / "bin" / "python"), str(HERE / "volume_training_torch.py"), json.dumps(job)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self) -> float:
        """Give the seconds of processor time for a step."""
        print("more", file=self._process.stdin, flush=True)
        return float(next(iter(self._process.stdout or ())))

    def close(self) -> None:
        self._process.communicate()


def against_no_communication(options: argparse.Namespace) -> None:
    """Two workers with our reduction against the same two processes without any, round about, in float32."""
    from dist_training.ranks.communicator import SoloCommunicator, build_communicator
    from dist_training.ranks.devices import configure_devices

    communicator = build_communicator(2)
    configure_devices(communicator, threads=1)
    case, rank = CASES[options.case], communicator.rank
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_dataset(Path(folder), case["patch"], 2 * case["batch"] * options.steps)
        learners = {
            name: Ours(case, "float32", kind, rank, 2, dataset)
            for name, kind in (("ours", communicator), ("theirs", SoloCommunicator()))
        }
        measured: dict[str, list[float]] = {name: [] for name in learners}
        for number in range(options.rounds + 1):
            for name, learner in learners.items():
                communicator.sum_array(np.zeros(1))  # start together
                begin = time.perf_counter()
                learner.train(options.steps, number)
                mine = (time.perf_counter() - begin) / options.steps
                both = float(communicator.sum_array(np.array([mine]))[0]) / 2
                if number:
                    measured[name].append(both)
    if rank == 0:
        row = figures(measured["ours"], measured["theirs"])
        options.out.write_text(json.dumps([{"dtype": "float32", "comparison": "2 workers / 2 processes apart", **row}]))


if __name__ == "__main__":
    main()
