"""Being one rank of a job: joining it, agreeing with the others, training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dist_training.architectures import CustomSettings
from dist_training.errors import WorkersDifferError
from dist_training.own_code import is_own_name, module_of, search_working_folder
from dist_training.record.run_folder import RunEnd
from r2d2.launching.plan import RunPlan, dataset_of

if TYPE_CHECKING:
    from dist_training.ranks.communicator import Communicator
    from dist_training.record.events import Listener
    from dist_training.run.training_run import RunResult
    from r2d2.config import Configuration
    from r2d2_base.progress import StopRequest

__all__ = ["agree_on_plan", "join", "run_training"]


def join(world_size: int, threads: int | None) -> Communicator:
    """Join the job, with this worker's device and threads set before anything is exchanged.

    Args:
        world_size: workers of the job.
        threads: CPU threads of this one; None shares the host's cores among its workers.
    """
    from dist_training.ranks.communicator import build_communicator
    from dist_training.ranks.devices import configure_devices

    communicator = build_communicator(world_size)
    configure_devices(communicator, threads)
    return communicator


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
    from dist_training.run.handshake import check_workers_agree, worker_facts

    if communicator.world_size == 1:
        return read_plan()
    plans: list[RunPlan] = []

    def read() -> tuple[dict[str, Any], Path, list[str]]:
        plans.append(read_plan())
        configuration = plans[0].configuration
        return configuration.model_dump(mode="json"), Path(configuration.dataset or ""), _own_modules(configuration)

    try:
        check_workers_agree(communicator, worker_facts(read))
    except WorkersDifferError as error:
        if communicator.rank == 0 and plans:
            with suppress(OSError):
                plans[0].folder.write_exit(RunEnd(state="failed", reason=str(error), exit_code=error.exit_code))
        raise
    return plans[0]


def _own_modules(configuration: Configuration) -> list[str]:
    """Name the modules, or packages, that a network and a loss of the user's own are from; they can be found then."""
    network, loss = configuration.network, configuration.training.loss
    names = [network.build] if isinstance(network, CustomSettings) else []
    names += [loss] if is_own_name(loss) else []
    if names:
        search_working_folder()
    return [module_of(name).partition(".")[0] for name in names]


def run_training(
    plan: RunPlan, communicator: Communicator, listeners: Sequence[Listener] = (), stop: StopRequest | None = None
) -> RunResult:
    """Train on this rank; every rank of the job calls it with the same plan.

    Args:
        plan: an opened run.
        communicator: the ranks.
        listeners: called on rank 0 with every event.
        stop: ends the run after its step, with a checkpoint.

    Returns:
        The final state.
    """
    from dist_training.run.train import train
    from r2d2.monitoring.recording import monitored

    configuration = plan.configuration
    with monitored(plan.folder, configuration.monitoring, communicator) as times:
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
            stop=stop,
            times=times,
        )
