"""How fast volumes are predicted, from file to file: R2D2 against MONAI and nnU-Net with the same network.

    make peers
    .venv/bin/python benchmarks/prediction_peers.py --out benchmarks/results/prediction_peers.json
    .venv/bin/python benchmarks/prediction_peers.py --threads 2 --jobs "volume of 96 x 96 x 96, flips"
    .venv/bin/python benchmarks/prediction_peers.py --memory      # of 30 scans, one after the other

The Dist-U-Net with the same weights, in PyTorch for the peers (prediction_toolkits.py), the same windows, overlap,
flips and threads: compressed NIfTI in, z-scores of the volume, the network, compressed label map out. Each toolkit
works in a process of its own, which has its network loaded and has predicted two volumes; then they take turns, a
volume each. The figures are medians of processor time. What was measured: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import math
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

HERE = Path(__file__).resolve().parent
FILTERS, DEPTH, OUTPUTS = 16, 4, 3
PIXELS = 2**19  # that networks are given at once
WARMING = 2
JOBS: dict[str, dict[str, Any]] = {
    "36 slices of 48 x 64": {"shape": (48, 64, 36), "window": (48, 64), "flips": False},
    "36 slices of 48 x 64, flips": {"shape": (48, 64, 36), "window": (48, 64), "flips": True},
    "2 slices of 512 x 512, windows of 256 x 256": {"shape": (512, 512, 2), "window": (256, 256), "flips": False},
    "volume of 96 x 96 x 96, windows of 64 x 64 x 64": {"shape": (96, 96, 96), "window": (64, 64, 64), "flips": False},
    "volume of 96 x 96 x 96, flips": {"shape": (96, 96, 96), "window": (64, 64, 64), "flips": True},
}
OF_VOLUMES = {"filters": 8, "depth": 3}
MIRRORED = {f"{axis}_flip_probability": 0.5 for axis in ("slice", "vertical", "horizontal")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--layout", choices=("usual", "channels_last"), default="usual", help="of the peers' networks of volumes"
    )
    parser.add_argument("--jobs", nargs="+", choices=tuple(JOBS), default=list(JOBS))
    parser.add_argument("--peers", type=Path, default=HERE.parent / ".venv-peers/bin/python", help="the peers' Python")
    parser.add_argument("--memory", action="store_true", help="measure the memory of 30 scans instead")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(json.loads(options.worker))
        return
    measured = [memory(options)] if options.memory else [measure(name, options) for name in options.jobs]
    for row in measured:
        print(json.dumps(row))
    if options.out is not None:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, {options.threads} thread(s)"
        options.out.write_text(json.dumps({"machine": machine, "rows": measured}, indent=1) + "\n")


class Toolkit:
    """A toolkit in a process of its own, which predicts a volume when it is told to."""

    def __init__(self, command: list[str], scans: list[Path], threads: int) -> None:
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        limits |= {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads), "PYTHONPATH": str(HERE.parent)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **limits}
        )
        self._scans = iter(scans)

    def predict(self) -> list[float]:
        """Give the seconds of wall and processor, and the resident bytes where the process tells them."""
        print(next(self._scans), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a toolkit ended: {self._process.args}")
        return list(json.loads(line))

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Have the toolkits take turns; give their seconds a volume, and how many labels are those of R2D2."""
    with tempfile.TemporaryDirectory() as folder:
        job, toolkits = begin(name, Path(folder), options, options.rounds + WARMING)
        for _ in range(WARMING):
            for toolkit in toolkits.values():
                toolkit.predict()
        rounds = [{who: toolkit.predict() for who, toolkit in toolkits.items()} for _ in range(options.rounds)]
        for toolkit in toolkits.values():
            toolkit.end()
        alike = {who: agreement(Path(folder), who) for who in toolkits if who != "r2d2"}
    row: dict[str, Any] = {"volumes": name, "window": job["window"], "flips": job["flips"]}
    for who in toolkits:
        row[f"{who}_processor_s"] = round(statistics.median(each[who][1] for each in rounds), 3)
        row[f"{who}_wall_s"] = round(statistics.median(each[who][0] for each in rounds), 3)
        if who != "r2d2":
            ratios = [each[who][1] / each["r2d2"][1] for each in rounds]
            row[f"{who}_over_r2d2"] = round(statistics.median(ratios), 3)
            row[f"{who}_range"] = [round(min(ratios), 3), round(max(ratios), 3)]
            row[f"{who}_same_label"] = round(alike[who], 5)
    return row


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Tell what the process of R2D2 holds after each of 30 scans, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        _, toolkits = begin("36 slices of 48 x 64", Path(folder), options, 30, only="r2d2")
        held = [round(toolkits["r2d2"].predict()[2] / 1e6, 1) for _ in range(30)]
        toolkits["r2d2"].end()
    return {"resident_MB": held, "after_3": held[2], "after_30": held[-1]}


def begin(
    name: str, folder: Path, options: argparse.Namespace, count: int, only: str = ""
) -> tuple[dict[str, Any], dict[str, Toolkit]]:
    import nibabel as nib

    job = {**JOBS[name], "overlap": 0.5, "filters": FILTERS, "depth": DEPTH, "outputs": OUTPUTS}
    job |= {"threads": options.threads, "weights": str(folder / "weights.npz"), "run": str(folder / "run")}
    job |= OF_VOLUMES if len(job["window"]) == 3 else {}
    job |= {"layout": options.layout, "at_a_time": max(1, PIXELS // math.prod(job["window"]))}
    model = [sys.executable, __file__, "--worker", json.dumps({**job, "make": str(folder)})]
    subprocess.run(model, check=True, env={**os.environ, "PYTHONPATH": str(HERE.parent)})
    rng = np.random.default_rng(1)
    (folder / "scans").mkdir()
    scans = [folder / f"scans/scan_{number:03d}.nii.gz" for number in range(count)]
    for path in scans:
        nib.save(nib.Nifti1Image(rng.normal(100, 20, job["shape"]).astype(np.float32), np.diag([1.0, 1, 3, 1])), path)
    toolkits = {}
    for who in ("r2d2", "monai", "nnunet"):
        mine = json.dumps({**job, "toolkit": who, "scans": str(folder / "scans"), "out": str(folder / who)})
        peer = [str(options.peers), str(HERE / "prediction_toolkits.py"), mine]
        if only in ("", who):
            ours = [sys.executable, __file__, "--worker", mine]
            toolkits[who] = Toolkit(ours if who == "r2d2" else peer, scans, options.threads)
    return job, toolkits


def agreement(folder: Path, who: str) -> float:
    """How many voxels have R2D2's label, over all volumes."""
    import nibabel as nib

    pairs = [(path, folder / who / path.name) for path in sorted((folder / "r2d2").glob("*.nii.gz"))]
    return float(np.mean([np.mean(nib.load(a).get_fdata() == nib.load(b).get_fdata()) for a, b in pairs]))


def work(job: dict[str, Any]) -> None:
    """Make the model, or predict the scans as R2D2 does, each when a line is read."""
    import dist_training  # noqa: F401, I001  # tells TensorFlow to use oneDNN, before it is loaded
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(job["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(job["threads"])
    if "make" in job:
        make_model(Path(job["make"]), job)
        return
    from r2d2.prediction.settings import InferenceSettings
    from r2d2.tasks.prediction import PredictSettings, predict
    from r2d2_base.allocation import keep_freed_memory

    keep_freed_memory()
    began: list[float] = []

    def told(stage: str, done: int, total: int) -> None:
        if stage != "predicting":
            return
        if began:
            resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            print(json.dumps([time.perf_counter() - began[0], time.process_time() - began[1], resident]), flush=True)
        # processor time is counted through the wait: what reads ahead then is no gift
        spent = time.process_time()
        if done < total:
            sys.stdin.readline()
        began[:] = time.perf_counter(), spent

    window = tuple(job["window"]) if len(job["window"]) == 2 else None  # volumes are seen by those of the training
    inference = InferenceSettings(window=window, overlap=job["overlap"], flips=job["flips"])
    settings = PredictSettings(model=job["run"], inputs=[job["scans"]], out=job["out"], inference=inference)
    predict(settings, progress=told)


def make_model(folder: Path, job: dict[str, Any]) -> None:
    """A Dist-U-Net with weights as they are drawn, and the same for the peers."""
    import nibabel as nib

    from dist_training.architectures import UNetSettings, build_network
    from dist_training.inference.model_card import save_model
    from dist_training.record.run_folder import RunFolder
    from imgmed import AugmentationSettings, PreparationSettings, prepare_dataset

    rng = np.random.default_rng(0)
    for case in "abc":
        *slices, rows, columns = job["window"]
        image = rng.normal(100, 20, (rows, columns, *(slices or [2]))).astype(np.float32)
        for part, array in (("images", image), ("labels", np.digitize(image, [95.0, 120.0]).astype(np.uint8))):
            (folder / "study" / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([1.0, 1, 3, 1])), folder / "study" / part / f"{case}.nii")
    # no operations: z-scores alone, as the peers make them
    dataset = prepare_dataset(folder / "study", folder / "dataset", PreparationSettings(slice_axis=2, operations=()))
    is_volume = len(job["window"]) == 3
    settings = UNetSettings(dimensions=len(job["window"]), base_filters=job["filters"], depth=job["depth"])
    network = build_network(settings, 1, OUTPUTS, seed=0)
    weights = {f"{layer.name}/{n}": array for layer in network.layers for n, array in enumerate(layer.get_weights())}
    np.savez(job["weights"], **weights)
    run = RunFolder(Path(job["run"]))
    run.create(is_resumed=False)
    save_model(
        network,
        run,
        network=settings,
        dataset=dataset,
        epoch=1,
        validation_dice=None,
        validation_dice_per_label={},
        patch_size=tuple(job["window"]) if is_volume else None,
        augmentation=AugmentationSettings(**MIRRORED),
    )


if __name__ == "__main__":
    main()
