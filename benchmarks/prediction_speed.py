"""How fast prediction is: against a plain Keras `predict` loop with the same network on the same slices.

    .venv/bin/python benchmarks/prediction_speed.py --out benchmarks/results/prediction_speed.json

Both get prepared volumes in memory and give label maps: Keras's loop normalises a volume, predicts its slices in
batches of 32 and takes the likeliest class. Rounds alternate within one run; the figures are medians of processor time,
one thread. See benchmarks/README.md for what was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import numpy as np

BATCH = 32
SHAPES = {"36 slices of 48 x 64": (48, 64, 36), "8 slices of 512 x 512": (512, 512, 8)}
NETWORKS: dict[str, dict[str, Any]] = {
    "unet": {"architecture": "unet", "base_filters": 16},
    "fcn": {"architecture": "fcn"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--volumes", type=int, default=4, help="volumes a round")
    options = parser.parse_args()
    import dist_training  # noqa: F401, I001  # tells TensorFlow to use oneDNN, before it is loaded
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    rows = [measure(network, name, shape, options) for network in NETWORKS for name, shape in SHAPES.items()]
    for row in rows:
        print(json.dumps(row))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        report = {"machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread", "rows": rows}
        options.out.write_text(json.dumps(report, indent=1) + "\n")


def measure(network: str, name: str, shape: tuple[int, int, int], options: argparse.Namespace) -> dict[str, Any]:
    """Alternate both ways; give slices a second of each, and their ratio."""
    from r2d2.prediction.predictor import Predictor

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        predictor = Predictor(write_model(Path(folder), NETWORKS[network], shape, rng))
        stacks = [rng.normal(100, 20, (shape[2], *shape[:2], 1)).astype(np.float32) for _ in range(options.volumes)]
        grid = grid_of(shape)
        ways: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "r2d2": lambda stack: np.moveaxis(predictor.predict([(stack, grid)]).label_map, 2, 0),
            "keras": plain_keras(Path(folder) / "run"),
        }
        results = {way: apply(stacks[0]) for way, apply in ways.items()}  # also traces
        agreement = float((results["r2d2"] == results["keras"]).mean())
        rounds = []
        for _ in range(options.rounds):
            seconds = {}
            for way, apply in ways.items():
                began = time.process_time()
                for stack in stacks:
                    apply(stack)
                seconds[way] = time.process_time() - began
            rounds.append(seconds)
    slices = shape[2] * options.volumes
    return {
        "network": network,
        "volumes": name,
        **{f"{way}_slices_per_second": round(slices / statistics.median(r[way] for r in rounds), 2) for way in ways},
        "ratio": round(statistics.median(r["keras"] / r["r2d2"] for r in rounds), 3),
        "r2d2_ms_per_slice": round(1000 * statistics.median(r["r2d2"] for r in rounds) / slices, 1),
        "same_label": round(agreement, 6),
    }


def write_model(folder: Path, network: dict[str, Any], shape: tuple[int, int, int], rng: np.random.Generator) -> Path:
    """A model with weights as they are drawn, for scans of this shape."""
    import nibabel as nib
    from pydantic import TypeAdapter

    from dist_training.architectures import NetworkSettings, build_network
    from dist_training.inference.model_card import save_model
    from dist_training.record.run_folder import RunFolder
    from imgmed import PreparationSettings, prepare_dataset

    for case in "abc":
        image = rng.normal(100, 20, (*shape[:2], 2)).astype(np.float32)
        for part, array in (("images", image), ("labels", np.digitize(image, [95.0, 120.0]).astype(np.uint8))):
            (folder / "study" / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([1.0, 1, 3, 1])), folder / "study" / part / f"{case}.nii")
    dataset = prepare_dataset(folder / "study", folder / "dataset", PreparationSettings(slice_axis=2))
    settings = TypeAdapter(NetworkSettings).validate_python(network)
    run = RunFolder(folder / "run")
    run.create(is_resumed=False)
    save_model(
        build_network(settings, 1, 3, seed=0),
        run,
        network=settings,
        dataset=dataset,
        epoch=1,
        validation_dice=None,
        validation_dice_per_label={},
    )
    return run.path


def grid_of(shape: tuple[int, int, int]) -> Any:
    from imgmed import SliceGrid

    return SliceGrid.of(shape, np.diag([1.0, 1, 3, 1]), slice_axis=2)


def plain_keras(run: Path) -> Callable[[np.ndarray], np.ndarray]:
    """What one writes by hand; the slices are as large as the network wants them."""
    import keras

    network = keras.saving.load_model(run / "model.keras", compile=False)

    def apply(stack: np.ndarray) -> np.ndarray:
        normalised = (stack - stack.mean()) / stack.std()
        return network.predict(normalised, batch_size=BATCH, verbose=0).argmax(axis=-1).astype(np.uint8)

    return apply


if __name__ == "__main__":
    main()
