"""A run that has been checked and can start: its plan, and the folder that is made from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from dist_training.architectures import ImportedSettings, NetworkSettings
from dist_training.checkpoints import read_latest_checkpoint
from dist_training.errors import HorovodMissingError
from dist_training.inference.model_card import read_model_card, read_start_card
from dist_training.learning.inflation import inflated_settings
from dist_training.ranks.communicator import has_horovod
from dist_training.ranks.launched import check_own_name
from dist_training.record.run_folder import RunFolder
from dist_training.run.plan import (
    check_checkpoint,
    check_class_weights,
    check_dimensions,
    check_epochs,
    check_normalisation,
    check_outputs,
    check_task,
    check_tensorflow,
    check_time,
    check_workers,
    run_facts,
    with_patch_size,
)
from imgmed import PreparedDataset
from r2d2.config import WEIGHT_FILES, Configuration, commented_yaml, configure, read_layer
from r2d2.launching.patches import check_patch_memory, thin_volumes
from r2d2.monitoring.influx.target import read_token, target_of
from r2d2.monitoring.settings import MonitoringSettings
from r2d2.proposal import worker_memory
from r2d2.zoo.registries.names import is_zoo_name
from r2d2.zoo.registries.resolution import resolve
from r2d2_base.errors import ConfigurationError
from r2d2_base.files import write_bytes
from r2d2_base.machine import examine_machine

__all__ = ["RunPlan", "dataset_of", "free_run_folder", "open_run", "plan_of_run", "plan_run", "remarks"]


@dataclass(frozen=True)
class RunPlan:
    """A run that has been checked and can start.

    Attributes:
        configuration: complete: dataset, run folder and global batch are filled in.
        is_resumed: whether it goes on from a checkpoint.
        world_size: the number of workers.
        is_complete: whether the run has all its epochs already, so that nothing is to be done.
    """

    configuration: Configuration
    is_resumed: bool
    world_size: int
    is_complete: bool = False

    @property
    def folder(self) -> RunFolder:
        """The run folder."""
        return RunFolder(Path(self.configuration.run_dir or ""))


def plan_run(configuration: Configuration, *, world_size: int, is_resumed: bool) -> RunPlan:
    """Check everything that can be checked before a run starts; loads no TensorFlow and writes no run folder.

    Args:
        configuration: what was asked for, with a dataset.
        world_size: the number of workers.
        is_resumed: whether to go on from the run folder's checkpoint.

    Returns:
        The plan.

    Raises:
        ImgMedError: no readable dataset.
        DistTrainingError: too many workers, a run folder in use, a checkpoint that does not fit, no Horovod.
        ConfigurationError: settings that do not go together, or a host whose own name does not resolve.
    """
    if world_size > 1 and not has_horovod():
        raise HorovodMissingError(
            f"{world_size} workers need Horovod, which is not installed; run 'make install', or train with --workers 1"
        )
    if world_size > 1 and configuration.hosts is None:
        check_own_name()
    check_tensorflow()
    dataset = dataset_of(configuration)
    configuration = _with_absolute_start(configuration)
    if not is_resumed:  # else the run has the network's settings, and the weights from there, already
        configuration = _with_start(configuration, dataset)
    settings, network = configuration.training.resolved(world_size), _with_absolute_files(configuration.network)
    check_task(dataset)
    check_dimensions(dataset, network, settings, configuration.augmentation)
    settings = with_patch_size(dataset, network, settings)
    if not is_resumed and configuration.hosts is None:
        check_patch_memory(dataset, network, settings, worker_memory(examine_machine(dataset.folder)))
    check_workers(dataset, settings, world_size)
    check_normalisation(network, settings)
    check_class_weights(dataset, settings)
    check_outputs(dataset, settings)
    monitoring = _with_absolute_token(configuration.monitoring)
    target = target_of(monitoring, os.environ)
    read_token(None if target is None else target.token_file)  # whether it may be used
    folder = RunFolder(configuration.run_dir or free_run_folder(dataset))
    is_complete = False
    if is_resumed:
        folder.check_resumable()
        folder.check_unused()
        checkpoint = read_latest_checkpoint(folder.checkpoints)
        if checkpoint is not None:
            facts = run_facts(dataset, settings, configuration.augmentation, configuration.transfer)
            check_checkpoint(checkpoint, network, facts)
            check_epochs(checkpoint, settings)
            is_complete = folder.status().state == "completed" and checkpoint.progress.epoch >= settings.epochs
            if not is_complete:
                check_time(checkpoint, settings)
    else:
        folder.check_free()
    complete = configuration.model_copy(
        update={
            "dataset": dataset.folder.absolute(),
            "run_dir": folder.path.absolute(),
            "workers": world_size,
            "network": network,
            "training": settings,
            "monitoring": monitoring,
        }
    )
    return RunPlan(complete, is_resumed, world_size, is_complete)


def _with_start(configuration: Configuration, dataset: PreparedDataset) -> Configuration:
    """Take the network's settings from the card of the network to start from, as its weights fit no other.

    Where a network of volumes is asked for and that one is of slices, they get a third axis.
    """
    start = configuration.transfer.start_from
    card = None if start is None else read_start_card(start)
    if start is None or card is None:
        return configuration
    if len(card.network.size_multiples) > len(configuration.network.size_multiples):
        raise ConfigurationError(
            f"the network in {start} takes volumes, and the one that is asked for slices: use network.dimensions=3, or "
            "start from a network of slices"
        )
    theirs, ours = card.scan_preparation, dataset.scan_preparation
    is_inflated = len(configuration.network.size_multiples) == 3 and len(card.network.size_multiples) == 2
    if theirs.input_channels != ours.input_channels and not (
        is_inflated and len(theirs.channels) == len(ours.channels)
    ):
        is_alike = len(theirs.channels) == len(ours.channels)
        remedy = f"prepare with preparation.neighbours={theirs.neighbours}" if is_alike else "start from one of as many"
        raise ConfigurationError(
            f"the network in {start} takes {theirs.input_channels} input channels, {dataset.folder} has "
            f"{ours.input_channels}; {remedy}, or start from scratch"
        )
    named = getattr(card.network, "build", None)
    if named is not None and named != getattr(configuration.network, "build", None):
        raise ConfigurationError(
            f"the card of the network in {start} names code that would run, {named}; if you trust it, name it too: "
            f"network.architecture={named}"
        )
    # Its own weights take the place of those that it once started from, whose file need not be here.
    sources = {name: None for name in WEIGHT_FILES if hasattr(card.network, name)}
    network = card.network.model_copy(update=sources)
    if is_inflated:
        network = inflated_settings(network, configuration.network, theirs.neighbours)
    if isinstance(network, ImportedSettings):
        network = network.model_copy(update={"file": str(read_model_card(start)[0].absolute())})
    return configuration.model_copy(update={"network": network})


def _with_absolute_start(configuration: Configuration) -> Configuration:
    """Name the network to start from so that it is told alike from any working folder, and whatever the zoo gets."""
    start, name = configuration.transfer.start_from, configuration.transfer.start_name
    if start is not None and is_zoo_name(start):
        found = resolve(start)
        start, name = found.folder, str(found.name)
    elif start is not None:
        start = start.absolute()
    if name is not None and (start is None or f"{start.parent.name}:{start.name}" != name):
        name = None  # of another network, which a configuration that this one was made from began with
    transfer = configuration.transfer.model_copy(update={"start_from": start, "start_name": name})
    return configuration.model_copy(update={"transfer": transfer})


def _with_absolute_token(monitoring: MonitoringSettings) -> MonitoringSettings:
    file = monitoring.influx_token_file
    return monitoring if file is None else monitoring.model_copy(update={"influx_token_file": file.absolute()})


def _with_absolute_files(network: NetworkSettings) -> NetworkSettings:
    """Name files of weights so that the run's configuration finds them from any working folder."""
    named = {name: getattr(network, name, None) for name in WEIGHT_FILES}
    files = {name: str(Path(file).absolute()) for name, file in named.items() if file not in (None, "imagenet")}
    return network.model_copy(update=files)


def remarks(asked: Configuration, plan: RunPlan) -> list[str]:
    """Say which settings are not what they were asked to be, or not what they seem.

    Args:
        asked: the configuration before it was planned.
        plan: of a run.

    Returns:
        A line for each.
    """
    lines = _remarks_of_resumed(plan) if plan.is_resumed else []
    training, start = asked.training, plan.configuration.transfer.start_from
    theirs, ours = (one.model_dump() for one in (plan.configuration.network, _with_absolute_files(asked.network)))
    if theirs["architecture"] != ours["architecture"]:
        theirs, ours = ({"architecture": one["architecture"]} for one in (theirs, ours))
    changed = [f"{name} {theirs[name]}, not {ours[name]}" for name in ours if theirs[name] != ours[name]]
    if changed:
        lines.append(f"network settings are those of {start}: {'; '.join(changed)}")
    if plan.configuration.training.patch_size is not None:
        thin = thin_volumes(dataset_of(plan.configuration), plan.configuration.training.patch_size)
        lines += [] if thin is None else [thin]
    if training.optimizer == "adamw" and training.weight_decay == 0:
        lines.append("training.optimizer=adamw without weight decay is adam; try training.weight_decay=0.01")
    return lines


def _remarks_of_resumed(plan: RunPlan) -> list[str]:
    training = plan.configuration.training
    lines = []
    if not plan.folder.status().checkpoints:
        lines.append(f"{plan.folder.path} has no checkpoint yet: the run begins at its start")
    begun = configure(read_layer(plan.folder.config)).training
    if training.batch_size_per_worker != begun.batch_size_per_worker and training.global_batch_size is not None:
        lines.append(
            f"training.batch_size_per_worker={training.batch_size_per_worker} does not change the steps: a resumed run "
            f"keeps its {training.global_batch_size} slices in each step"
        )
    return lines


def dataset_of(configuration: Configuration) -> PreparedDataset:
    """Open the dataset of a configuration, with the cases of its fold."""
    return PreparedDataset.read(Path(configuration.dataset or "")).with_fold(configuration.fold)


def free_run_folder(dataset: PreparedDataset) -> Path:
    """Name a run folder that does not exist yet: runs/NAME-1, or the next number."""
    stem = "-".join(dataset.name.lower().split()) or "run"
    return next(path for number in count(1) if not (path := Path("runs") / f"{stem}-{number}").exists())


def open_run(plan: RunPlan) -> None:
    """Make the run folder and write its configuration, which alone recreates the run."""
    plan.folder.create(is_resumed=plan.is_resumed)
    text = commented_yaml(plan.configuration, "The complete configuration of this run, written by R2D2.")
    write_bytes(plan.folder.config, text.encode())


def plan_of_run(run_dir: Path, *, is_resumed: bool, world_size: int) -> RunPlan:
    """Read back the plan of a run folder that ``open_run`` wrote."""
    path = RunFolder(run_dir).config
    return RunPlan(configure(read_layer(path), origin=str(path)), is_resumed, world_size)
