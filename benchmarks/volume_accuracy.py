"""What slices with neighbours, volumes and nnU-Net's volumes reach in the same minutes, on cases never seen.

    make peers
    .venv/bin/python benchmarks/volume_accuracy.py SCANS --work WORK --out benchmarks/results/volume_accuracy.json

SCANS is a folder that `r2d2 prepare` reads, in the Decathlon's layout. Every contestant trains for the processor time
of --minutes on two cores: two short trainings tell what an epoch of it costs, and so how many that time holds. Work
beside this then changes only how long it all takes. Interrupted, the same command goes on. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segeval import ScoreTable, compare
from segeval.files.scores import read_scores

HERE = Path(__file__).resolve().parent
CORES = 2
CALIBRATION = (1, 3)
"""Epochs of the two short trainings, whose difference is what two epochs cost."""
AUGMENTATION = (
    "augmentation.rotation_degrees=15",
    "augmentation.zoom=[0.85,1.15]",
    "augmentation.gamma=[0.7,1.4]",
    "augmentation.elastic_alpha_px=1.5",
)
ALIKE = ("training.dtype=mixed_bfloat16", "training.ema_momentum=0.99", *AUGMENTATION)
OURS: dict[str, dict[str, Sequence[str]]] = {
    "2.5d": {"prepare": ("preparation.neighbours=1",), "train": ALIKE},
    "3d": {
        "prepare": ("preparation.kind=volumes",),
        "train": (
            *ALIKE,
            "augmentation.tilt_degrees=15",
            "training.batch_size_per_worker=1",
            "training.reference_batch_size=2",
        ),
    },
}
THEIRS = ("nnunet", "nnunet_small")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for datasets, trainings and label maps")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--contestants", nargs="+", choices=(*OURS, *THEIRS), default=[*OURS, *THEIRS])
    parser.add_argument("--peers", type=Path, default=HERE.parent / ".venv-peers/bin/python", help="the peers' Python")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for name, contestant in OURS.items():
        if not (options.work / name).exists():
            r2d2("prepare", options.scans, "--out", options.work / name, *contestant["prepare"])
    for seed in range(options.seeds):
        for name in options.contestants:
            scores_of(name, seed, options)
            summary = summarise(options)
            print(json.dumps(summary["means"]), file=sys.stderr)
            if options.out is not None:
                options.out.write_text(json.dumps(summary, indent=1) + "\n")


def scores_of(name: str, seed: int, options: argparse.Namespace) -> Path:
    """Train, predict the test cases and score them; what is there already stays."""
    folder = options.work / f"{name}-seed{seed}"
    if not (folder / "scores" / "summary.json").exists():
        if name in OURS:
            ours(name, seed, folder, options)
        else:
            theirs(name, seed, folder, options)
        r2d2("evaluate", "--prediction", folder / "labels", "--dataset", options.work / "2.5d", "--out",
             folder / "scores", "--no-report")  # fmt: skip
    return folder / "scores"


def ours(name: str, seed: int, folder: Path, options: argparse.Namespace) -> None:
    dataset = options.work / name
    words = [*OURS[name]["train"], f"training.seed={seed}"]

    def train(where: Path, epochs: int) -> float:
        return r2d2(
            "train", "--dataset", dataset, "--run-dir", where, "--workers", CORES, "--threads", 1,
            *(["--resume"] if (where / "checkpoints").exists() else []), *words, f"training.epochs={epochs}",
        )  # fmt: skip

    train(folder / "run", epochs_for(name, options, train))
    shutil.rmtree(folder / "labels", ignore_errors=True)
    r2d2("predict", "--model", folder / "run", "--dataset", dataset, "--out", folder / "labels")


def theirs(name: str, seed: int, folder: Path, options: argparse.Namespace) -> None:
    splits = json.loads((options.work / "2.5d" / "splits.json").read_text())
    job = {
        "scans": str(options.scans.resolve()),
        "work": str((options.work / "nnunet").resolve()),
        "train": splits["train"],
        "validation": splits["validation"],
        "test": splits["test"],
        "small": name == "nnunet_small",
        "seed": seed,
        "threads": CORES,
    }

    def train(where: Path, epochs: int) -> float:
        labels = str((where / "labels").resolve()) if where == folder else None
        told = json.dumps({**job, "epochs": epochs, "labels": labels})
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(CORES))
        peer = [str(options.peers), str(HERE / "volume_accuracy_nnunet.py"), told]
        return spent(peer, {**os.environ, **limits, "nnUNet_n_proc_DA": "1"})

    train(folder, epochs_for(name, options, train))


def epochs_for(name: str, options: argparse.Namespace, train: Any) -> int:
    """As many epochs as the processor time holds, its start counted; what was found is kept."""
    kept = options.work / f"{name}-epochs.json"
    if not kept.exists():
        few, more = (train(options.work / f"{name}-{count}", count) for count in CALIBRATION)
        each = (more - few) / (CALIBRATION[1] - CALIBRATION[0])
        start = few - CALIBRATION[0] * each
        epochs = int((60 * CORES * options.minutes - start) / each)
        kept.write_text(json.dumps({"epochs": epochs, "seconds_each": each, "seconds_start": start}))
    return int(json.loads(kept.read_text())["epochs"])


def summarise(options: argparse.Namespace) -> dict[str, Any]:
    """Mean Dice of each contestant over seeds, and paired differences over patients."""
    tables, means = {}, {}
    for name in (*OURS, *THEIRS):
        done = sorted(options.work.glob(f"{name}-seed*/scores/summary.json"))
        if done:
            tables[name] = over_seeds([read_scores(path.parent) for path in done])
            dice = tables[name].metrics["dice"].mean(axis=0).round(4).tolist()
            means[name] = {"seeds": len(done), **dict(zip(tables[name].labels, dice, strict=True))}
    rows = [
        (first, second, row)
        for first, second in itertools.combinations(tables, 2)
        for row in compare(tables[first], tables[second], metrics=["dice"]).rows
    ]
    differences = [
        {
            "pair": f"{second} - {first}",
            "label": row.label_name,
            "mean": round(row.difference.mean, 4),
            "interval": [round(row.difference.low, 4), round(row.difference.high, 4)],
            "p_holm": float(f"{row.p_holm:.2g}"),
            "patients": row.patients,
        }
        for first, second, row in rows
    ]
    found = {
        path.name.removesuffix("-epochs.json"): json.loads(path.read_text())
        for path in options.work.glob("*-epochs.json")
    }
    return {"minutes": options.minutes, "means": means, "differences": differences, "epochs": found}


def over_seeds(tables: Sequence[ScoreTable]) -> ScoreTable:
    """Average the scores of the same cases."""
    first = tables[0]
    mean = np.mean([table.metrics["dice"] for table in tables], axis=0)
    return ScoreTable(first.case_ids, first.patient_ids, first.labels, {"dice": mean})


def r2d2(*words: Any) -> float:
    return spent([sys.executable, "-m", "r2d2", *map(str, words)], {**os.environ, "PYTHONPATH": str(HERE.parent)})


def spent(command: list[str], environment: dict[str, str]) -> float:
    """Run a command; give the processor seconds of it and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, env=environment, stdout=sys.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
