"""From a configuration to a run: what is checked before anything starts, and the run on one rank."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dist_training.architectures import CustomSettings, NetworkSettings
from dist_training.checkpoints import read_latest_checkpoint
from dist_training.errors import HorovodMissingError, WorkersDifferError
from dist_training.inference.model_card import read_start_card
from dist_training.ranks.communicator import has_horovod
from dist_training.record.run_folder import RunFolder
from dist_training.run.plan import (
    check_checkpoint,
    check_class_weights,
    check_epochs,
    check_normalisation,
    check_outputs,
    check_task,
    check_tensorflow,
    check_workers,
    run_facts,
)
from imgmed import PreparedDataset
from r2d2.config import FILE_NAME, WEIGHT_FILES, Configuration, commented_yaml, configure, read_layer
from r2d2.proposal import propose_here
from r2d2.tasks.preparation import PHANTOM_FOLDER, phantom_dataset
from r2d2_base.errors import ConfigurationError
from r2d2_base.files import write_bytes
from r2d2_base.progress import Progress

if TYPE_CHECKING:
    from dist_training.ranks.communicator import Communicator
    from dist_training.record.events import Listener
    from dist_training.run.train import RunResult

__all__ = [
    "Resolved",
    "RunPlan",
    "agree_on_plan",
    "dataset_of",
    "find_layer",
    "free_run_folder",
    "open_run",
    "plan_of_run",
    "plan_run",
    "remarks",
    "resolve",
    "run_training",
]


@dataclass(frozen=True)
class RunPlan:
    """A run that has been checked and can start.

    Attributes:
        configuration: complete: dataset, run folder and global batch are filled in.
        is_resumed: whether it goes on from a checkpoint.
        world_size: the number of workers.
    """

    configuration: Configuration
    is_resumed: bool
    world_size: int

    @property
    def folder(self) -> RunFolder:
        """The run folder."""
        return RunFolder(Path(self.configuration.run_dir or ""))


@dataclass(frozen=True)
class Resolved:
    """A configuration and where it comes from.

    Attributes:
        configuration: with a dataset.
        origin: what the settings come from, for the user.
        is_phantom: whether no dataset was named, so that it is the generated phantom.
    """

    configuration: Configuration
    origin: str
    is_phantom: bool


def find_layer(config: Path | None) -> tuple[Path | None, dict[str, Any]]:
    """Read ``--config``, else r2d2.yaml of the working folder, else nothing.

    Returns:
        The file, if any, and its content.
    """
    here = Path(FILE_NAME)
    path = config or (here if here.exists() else None)
    return path, read_layer(path) if path else {}


def resolve(
    *,
    config: Path | None,
    options: Mapping[str, Any],
    assignments: Sequence[str],
    progress: Progress | None = None,
) -> Resolved:
    """Find the settings: ``--config``, else r2d2.yaml of the working folder, else the one of the dataset.

    Without any dataset the phantom study is generated in ``r2d2-phantom/`` of the working folder.

    Args:
        config: a configuration file; None looks for one.
        options: dotted keys with values, which override the file.
        assignments: ``key=value`` words, which override both.
        progress: told how the phantom comes along.

    Returns:
        A configuration with a dataset, and where it comes from.

    Raises:
        ConfigurationError: faults of the file, the options or the words, all listed.
        ImgMedError: no readable dataset.
    """
    refused = [word for word in assignments if word.startswith("preparation.")]
    if refused:
        raise ConfigurationError(
            f"{', '.join(refused)}: the dataset is prepared already; 'r2d2 prepare SOURCE --out FOLDER {refused[0]}' "
            "prepares it in another way"
        )
    path, layer = find_layer(config)
    naming = [word for word in assignments if word.partition("=")[0].strip() == "dataset"]
    named = configure(
        {"dataset": layer.get("dataset")}, options={"dataset": options.get("dataset")}, assignments=naming
    )
    if path is not None or named.dataset is None:  # no settings of a dataset's own are to come
        configure(layer, options=options, assignments=assignments, origin=str(path or ""))
    if named.dataset is None:
        dataset = phantom_dataset(PHANTOM_FOLDER, progress)
    else:
        dataset = PreparedDataset.read(named.dataset)
    origin = str(path)
    if path is None:
        own = dataset.folder / FILE_NAME
        origin = str(own) if own.exists() else f"what suits {dataset.folder}"
        layer = read_layer(own) if own.exists() else propose_here(dataset).configuration.model_dump(mode="json")
    options = {**options, "dataset": str(dataset.folder)}
    configuration = configure(layer, options=options, assignments=assignments, origin=origin)
    configuration = configuration.model_copy(update={"preparation": dataset.description.settings})
    return Resolved(configuration, origin, named.dataset is None)


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
    """
    if world_size > 1 and not has_horovod():
        raise HorovodMissingError(
            f"{world_size} workers need Horovod, which is not installed; run 'make install', or train with --workers 1"
        )
    check_tensorflow()
    dataset = dataset_of(configuration)
    configuration = _with_absolute_start(configuration)
    if not is_resumed:  # else the run has the network's settings, and the weights from there, already
        configuration = _with_start(configuration, dataset)
    settings, network = configuration.training.resolved(world_size), _with_absolute_files(configuration.network)
    check_task(dataset)
    check_workers(dataset, settings, world_size)
    check_normalisation(network, settings)
    check_class_weights(dataset, settings)
    check_outputs(dataset, settings)
    folder = RunFolder(configuration.run_dir or free_run_folder(dataset))
    if is_resumed:
        folder.check_resumable()
        folder.check_unused()
        checkpoint = read_latest_checkpoint(folder.checkpoints)
        if checkpoint is not None:
            facts = run_facts(dataset, settings, configuration.augmentation, configuration.transfer)
            check_checkpoint(checkpoint, network, facts)
            check_epochs(checkpoint, settings)
    else:
        folder.check_free()
    complete = configuration.model_copy(
        update={
            "dataset": dataset.folder.absolute(),
            "run_dir": folder.path.absolute(),
            "workers": world_size,
            "network": network,
            "training": settings,
        }
    )
    return RunPlan(complete, is_resumed, world_size)


def _with_start(configuration: Configuration, dataset: PreparedDataset) -> Configuration:
    """Take the network's settings from the card of the network to start from, as its weights fit no other."""
    start = configuration.transfer.start_from
    card = None if start is None else read_start_card(start)
    if card is None:
        return configuration
    theirs, ours = (one.input_channels for one in (card.scan_preparation, dataset.scan_preparation))
    if theirs != ours:
        raise ConfigurationError(
            f"the network in {start} takes {theirs} input channels, {dataset.folder} has {ours}; start from a network "
            "of as many, or from scratch"
        )
    # Its own weights take the place of those that it once started from, whose file need not be here.
    sources = {name: None for name in WEIGHT_FILES if hasattr(card.network, name)}
    network = card.network.model_copy(update=sources)
    return configuration.model_copy(update={"network": network})


def _with_absolute_start(configuration: Configuration) -> Configuration:
    """Name the network to start from so that it is told alike from any working folder."""
    start = configuration.transfer.start_from
    transfer = configuration.transfer.model_copy(update={"start_from": start and start.absolute()})
    return configuration.model_copy(update={"transfer": transfer})


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
    lines = []
    training, start = asked.training, plan.configuration.transfer.start_from
    theirs, ours = (one.model_dump() for one in (plan.configuration.network, _with_absolute_files(asked.network)))
    if theirs["architecture"] != ours["architecture"]:
        theirs, ours = ({"architecture": one["architecture"]} for one in (theirs, ours))
    changed = [f"{name} {theirs[name]}, not {ours[name]}" for name in ours if theirs[name] != ours[name]]
    if changed:
        lines.append(f"network settings are those of {start}: {'; '.join(changed)}")
    if training.optimizer == "adamw" and training.weight_decay == 0:
        lines.append("training.optimizer=adamw without weight decay is adam; try training.weight_decay=0.01")
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
    plan.folder.create()
    text = commented_yaml(plan.configuration, "The complete configuration of this run, written by R2D2.")
    write_bytes(plan.folder.config, text.encode())


def plan_of_run(run_dir: Path, *, is_resumed: bool, world_size: int) -> RunPlan:
    """Read back the plan of a run folder that ``open_run`` wrote."""
    path = RunFolder(run_dir).config
    return RunPlan(configure(read_layer(path), origin=str(path)), is_resumed, world_size)


def agree_on_plan(communicator: Communicator, read_plan: Callable[[], RunPlan]) -> RunPlan:
    """Read the plan on every rank of a job and refuse workers that differ in code, configuration or data.

    Args:
        communicator: the ranks; all must call this.
        read_plan: gives this rank's plan; what it raises is told to all ranks.

    Returns:
        This rank's plan.

    Raises:
        WorkersDifferError: on every rank, naming who lacks what or differs where; rank 0 records it in exit.json.
    """
    from dist_training.architectures.custom import search_working_folder
    from dist_training.run.handshake import check_workers_agree, worker_facts

    if communicator.world_size == 1:
        return read_plan()
    plans: list[RunPlan] = []

    def read() -> tuple[dict[str, Any], Path, str | None]:
        plans.append(read_plan())
        configuration = plans[0].configuration
        own_module = None
        if isinstance(configuration.network, CustomSettings):
            search_working_folder()
            own_module = configuration.network.function[0].partition(".")[0]
        return configuration.model_dump(mode="json"), Path(configuration.dataset or ""), own_module

    try:
        check_workers_agree(communicator, worker_facts(read))
    except WorkersDifferError as error:
        if communicator.rank == 0 and plans:
            with suppress(OSError):
                plans[0].folder.write_exit("failed", reason=str(error), time=time.time(), exit_code=error.exit_code)
        raise
    return plans[0]


def run_training(plan: RunPlan, communicator: Communicator, listeners: Sequence[Listener] = ()) -> RunResult:
    """Train on this rank; every rank of the job calls it with the same plan.

    Args:
        plan: an opened run.
        communicator: the ranks.
        listeners: called on rank 0 with every event.

    Returns:
        The final state.
    """
    from dist_training.run.train import train

    configuration = plan.configuration
    return train(
        dataset_of(configuration),
        configuration.network,
        configuration.training,
        plan.folder,
        communicator,
        augmentation=configuration.augmentation,
        transfer=configuration.transfer,
        listeners=listeners,
        is_resumed=plan.is_resumed,
    )
