"""How much memory the prediction of a large volume takes, beyond what the libraries and the network hold.

    .venv/bin/python benchmarks/prediction_memory.py --out benchmarks/results/prediction_memory.json

A network of volumes of one layer, for five labels and the background, so that what it computes itself counts for
nothing; a scan of 512 x 512 x 600 voxels of 16 bits, file to file as `r2d2 predict` does it. The process has predicted
a small scan before: what it holds then is the libraries and the network. The figure is the highest resident memory
from there on (VmHWM in /proc/self/status, Linux). What was measured: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

GIB = 2**30
LABELS = 5
SMALL = (80, 80, 80)
MIRRORED = {f"{axis}_flip_probability": 0.5 for axis in ("slice", "vertical", "horizontal")}
JOBS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "two scans, the next being read meanwhile": {"scans": 2},
    "network of 1.5 mm, voxels of 1 mm": {"spacing": 1.5},
    "mirrored along three axes": {"flips": True},
    "with uncertainty": {"uncertainty": "entropy"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 600))
    parser.add_argument("--patch", type=int, nargs=3, default=(64, 64, 64), help="slices, rows, columns of a window")
    parser.add_argument("--jobs", nargs="+", choices=tuple(JOBS), default=list(JOBS))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(json.loads(options.worker))
        return
    rows = []
    for name in options.jobs:
        job = {"name": name, "shape": options.shape, "patch": options.patch, **JOBS[name]}
        rows.append(measure(job))
        print(json.dumps(rows[-1]), flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Give the memory of one prediction, in a process of its own, in GiB."""
    with tempfile.TemporaryDirectory() as folder:
        make_scans(Path(folder), job)
        for stage in ("make", "predict"):
            command = [sys.executable, __file__, "--worker", json.dumps({**job, "stage": stage, "folder": folder})]
            environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
            said = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True).stdout
    return {"volumes": job["name"], "shape": list(job["shape"]), "patch": list(job["patch"]), **json.loads(said)}


def make_scans(folder: Path, job: dict[str, Any]) -> None:
    import nibabel as nib

    rng = np.random.default_rng(0)
    for part, shapes in (("small", [SMALL]), ("large", [job["shape"]] * job.get("scans", 1))):
        (folder / part).mkdir()
        for number, shape in enumerate(shapes):
            array = rng.integers(-1000, 1000, shape, dtype=np.int16)
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / part / f"{number}.nii")


def work(job: dict[str, Any]) -> None:
    """Make the model, or predict a small scan and then the large ones."""
    import dist_training  # noqa: F401  # tells TensorFlow to use oneDNN, before it is loaded

    folder = Path(job["folder"])
    if job["stage"] == "make":
        make_model(folder, job)
        return
    from r2d2.prediction.settings import InferenceSettings
    from r2d2.tasks.prediction import PredictSettings, predict
    from r2d2_base.allocation import keep_freed_memory

    keep_freed_memory()
    inference = InferenceSettings(flips=job.get("flips"), uncertainty=job.get("uncertainty", "none"))
    settings = PredictSettings(model=folder / "run", inference=inference)
    predict(settings.model_copy(update={"inputs": (folder / "small",), "out": folder / "of-small"}))
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest resident memory starts anew
    began = time.process_time()
    predict(settings.model_copy(update={"inputs": (folder / "large",), "out": folder / "of-large"}))
    row = {"libraries_GiB": before / GIB, "beyond_GiB": (memory("VmHWM") - before) / GIB}
    print(
        json.dumps({name: round(value, 2) for name, value in row.items()} | {"s": round(time.process_time() - began)})
    )


def memory(name: str) -> int:
    """Bytes of this process, by the name that the system gives them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def make_model(folder: Path, job: dict[str, Any]) -> None:
    """A network of one layer, whose classes all win somewhere."""
    import keras
    import nibabel as nib

    from dist_training.architectures.settings import CustomSettings
    from dist_training.inference.model_card import save_model
    from dist_training.record.run_folder import RunFolder
    from imgmed import AugmentationSettings, PreparationSettings, prepare_dataset

    rng = np.random.default_rng(0)
    for case in "abc":
        image = rng.integers(-1000, 1000, (20, 20, 20), dtype=np.int16)
        for part, array in (("images", image), ("labels", rng.integers(0, LABELS + 1, image.shape, dtype=np.uint8))):
            (folder / "study" / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), folder / "study" / part / f"{case}.nii")
    resampled = [{"op": "resample", "spacing_mm": [job["spacing"]] * 3}] if "spacing" in job else []
    clipped = {"op": "clip", "bounds": [[-500, 500]]}
    settings = PreparationSettings(slice_axis=2, operations=(*resampled, clipped))
    dataset = prepare_dataset(folder / "study", folder / "dataset", settings)
    inputs = keras.Input((None, None, None, 1))
    network = keras.Model(inputs, keras.layers.Conv3D(LABELS + 1, 1, name="logits")(inputs))
    weights = rng.normal(size=(1, 1, 1, 1, LABELS + 1)), rng.normal(size=LABELS + 1)
    network.set_weights(weights)
    run = RunFolder(folder / "run")
    run.create(is_resumed=False)
    save_model(
        network,
        run,
        network=CustomSettings(build="one_layer:build"),
        dataset=dataset,
        epoch=1,
        validation_dice=None,
        validation_dice_per_label={},
        patch_size=tuple(job["patch"]),
        augmentation=AugmentationSettings(**MIRRORED),
    )


if __name__ == "__main__":
    main()
