"""nnU-Net's side of volume_accuracy.py, in the peers' environment: plan, train, predict the test cases.

Its own plan is for a GPU. The small one has its patch and levels with half the filters and two patches a step, so that
a processor takes many steps in the time. An epoch has 20 steps here, as its learning rate falls by epochs.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

DATASET, STEPS = "Dataset004_Scans", 20
SMALL = {"batch_size": 2, "filters": 0.5}


def main() -> None:
    job = json.loads(sys.argv[1])
    folders = {name: Path(job["work"]) / name for name in ("raw", "preprocessed", "results")}
    os.environ.update({f"nnUNet_{name}": str(folder) for name, folder in folders.items()})  # read where it is imported
    if not (folders["preprocessed"] / "ready").exists():
        prepare(job, folders)
    torch.set_num_threads(job["threads"])
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(job["seed"])
    train_and_predict(job, folders)


def prepare(job: dict[str, Any], folders: dict[str, Path]) -> None:
    """Lay the scans out as it wants them, plan and preprocess."""
    scans = Path(job["scans"])
    described = json.loads((scans / "dataset.json").read_text())
    shutil.rmtree(job["work"], ignore_errors=True)
    target = folders["raw"] / DATASET
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        (target / folder).mkdir(parents=True)
    learned = [*job["train"], *job["validation"]]
    for case in learned:
        (target / "imagesTr" / f"{case}_0000.nii.gz").symlink_to(scans / "imagesTr" / f"{case}.nii.gz")
        (target / "labelsTr" / f"{case}.nii.gz").symlink_to(scans / "labelsTr" / f"{case}.nii.gz")
    for case in job["test"]:
        (target / "imagesTs" / f"{case}_0000.nii.gz").symlink_to(scans / "imagesTr" / f"{case}.nii.gz")
    names = described.get("modality", described.get("channel_names"))
    labels = {name: int(value) for value, name in described["labels"].items()}
    text = {"channel_names": names, "labels": labels, "numTraining": len(learned), "file_ending": ".nii.gz"}
    (target / "dataset.json").write_text(json.dumps(text))

    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess

    extract_fingerprints([4], num_processes=2, check_dataset_integrity=False)
    plan_experiments([4])
    preprocess([4], configurations=["3d_fullres"], num_processes=[2])
    done = folders["preprocessed"] / DATASET
    (done / "splits_final.json").write_text(json.dumps([{"train": job["train"], "val": job["validation"]}]))
    (folders["preprocessed"] / "ready").touch()


def train_and_predict(job: dict[str, Any], folders: dict[str, Path]) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    done = folders["preprocessed"] / DATASET
    plans = json.loads((done / "nnUNetPlans.json").read_text())
    described = json.loads((done / "dataset.json").read_text())
    if job["small"]:
        volumes = plans["configurations"]["3d_fullres"]
        volumes["batch_size"] = SMALL["batch_size"]
        network = volumes["architecture"]["arch_kwargs"]
        network["features_per_stage"] = [round(SMALL["filters"] * count) for count in network["features_per_stage"]]
    trainer = nnUNetTrainer(
        {**plans, "continue_training": False}, "3d_fullres", 0, described, device=torch.device("cpu")
    )
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = job["epochs"], STEPS, 1
    trainer.run_training()
    if job["labels"] is None:
        return
    trainer.network.eval()
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        described,
        "Trainer",
        trainer.inference_allowed_mirroring_axes,
    )
    trainer.set_deep_supervision_enabled(False)
    Path(job["labels"]).mkdir(parents=True, exist_ok=True)
    images = folders["raw"] / DATASET / "imagesTs"
    predictor.predict_from_files_sequential(
        [[str(images / f"{case}_0000.nii.gz")] for case in job["test"]],
        [str(Path(job["labels"]) / case) for case in job["test"]],
    )


if __name__ == "__main__":
    main()
