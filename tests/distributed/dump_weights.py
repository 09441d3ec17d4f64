"""One rank of a test job: train each job of jobs.json and write the weights this rank begins and ends with, its losses
and scores, and the sample predictions of the run.

A job that names a run goes on with it, if it was begun.
"""

import json
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from dist_training.architectures import NetworkSettings
from dist_training.learning.transfer import TransferSettings
from dist_training.ranks.communicator import Communicator
from dist_training.record.events import EventLog
from dist_training.record.run_folder import RunFolder
from dist_training.record.samples import SampleFolder
from dist_training.run.training_run import TrainingRun
from dist_training.settings import TrainingSettings
from dist_training.stopping.control import Control
from imgmed import AugmentationSettings, PreparedDataset


def main(communicator: Communicator, folder: str) -> None:
    out = Path(folder)
    for number, job in enumerate(json.loads((out / "jobs.json").read_text())):
        dataset = PreparedDataset.read(Path(job["dataset"]))
        network = TypeAdapter(NetworkSettings).validate_python(job["network"])
        training = TrainingSettings(**job["training"])
        run_folder = RunFolder(Path(job.get("run", out / f"run-{number}")))
        if communicator.rank == 0:
            run_folder.create(is_resumed="run" in job)
        communicator.gather_objects(None)  # nobody goes on before it is there
        events: list[dict] = []
        log = EventLog(None, (events.append,))
        augmentation = AugmentationSettings.model_validate(job.get("augmentation", "none"))
        settings = training.resolved(communicator.world_size)
        transfer = TransferSettings.model_validate(job.get("transfer", {}))
        run = TrainingRun(dataset, network, settings, run_folder, communicator, log, augmentation, transfer)
        starts = {f"start {i:04d}": w.numpy() for i, w in enumerate(run.learner.model.weights)}
        run.execute(Control(None), is_resumed="run" in job)
        weights = {f"{i:04d} {w.path}": w.numpy() for i, w in enumerate(run.learner.model.weights)}
        slots = {f"slot {i:04d}": v.numpy() for i, v in enumerate(run.learner.optimizer.variables)}
        losses = np.array([event.loss for event in events if event.event == "step"])
        scores = np.array([event.validation_dice for event in events if event.event == "epoch"], float)
        communicator.gather_objects(None)  # rank 0 has written all
        path = out / f"job-{number}-rank-{communicator.rank}.npz"
        np.savez(path, **starts, **weights, **slots, losses=losses, scores=scores, samples=_samples(run_folder))


def _samples(run_folder: RunFolder) -> np.ndarray:
    """The pixels of all label maps that were kept, epoch after epoch; none of a run that has ended no epoch."""
    folder = SampleFolder(run_folder.samples)
    label_maps = [label_map.ravel() for epoch in folder.epochs() for label_map in folder.read_epoch(epoch)]
    return np.concatenate([np.empty(0, np.uint8), *label_maps])
