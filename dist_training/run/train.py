"""A training run from start, or from its checkpoint, to its final state."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any

from dist_training.architectures import NetworkSettings
from dist_training.errors import WorkerLostError
from dist_training.learning.transfer import TransferSettings
from dist_training.ranks.communicator import Communicator
from dist_training.record.events import EventLog, Listener
from dist_training.record.log import log_failure, log_to_file
from dist_training.record.run_folder import RunFolder
from dist_training.record.tensorboard import TensorBoardWriter
from dist_training.run.memory import explain_memory, host_memory_bytes
from dist_training.run.training_run import RunResult, TrainingRun
from dist_training.settings import TrainingSettings
from dist_training.stopping.control import Control, served_requests
from imgmed import AugmentationSettings, PreparedDataset
from r2d2_base.errors import NoSpaceError, R2D2Error
from r2d2_base.files import NO_SPACE

__all__ = ["train"]

_NO_AUGMENTATION = AugmentationSettings()


def train(
    dataset: PreparedDataset,
    network: NetworkSettings,
    settings: TrainingSettings,
    folder: RunFolder,
    communicator: Communicator,
    *,
    augmentation: AugmentationSettings = _NO_AUGMENTATION,
    transfer: TransferSettings | None = None,
    listeners: Sequence[Listener] = (),
    is_resumed: bool = False,
) -> RunResult:
    """Train a network on the dataset's training cases and keep the best by validation Dice.

    Every rank of the job calls this with the same arguments. The result depends on the data, the settings and
    the seed; with ``settings.global_batch_size`` given, not on the number of ranks.

    Args:
        dataset: the prepared dataset.
        network: the architecture.
        settings: the optimisation.
        folder: an existing run folder; rank 0 writes it.
        communicator: the ranks.
        augmentation: how the training slices are varied; validation slices never are.
        transfer: what the network starts from, and which of its layers learn; None: all, from scratch.
        listeners: called on rank 0 with every event.
        is_resumed: go on from the newest checkpoint (from the start where there is none yet).

    Returns:
        The final state, equal on every rank.

    Raises:
        CheckpointError: a checkpoint of another architecture or dataset.
        DivergenceError: the loss is no longer finite, or exploded.
        WorkerLostError: another worker of the job died.
        NoSpaceError: no room for a checkpoint.
    """
    is_main = communicator.rank == 0
    with ExitStack() as stack:
        stack.enter_context(log_to_file(folder.logs / f"rank-{communicator.rank}.log"))
        tensorboard = TensorBoardWriter(folder.tensorboard)
        stack.callback(tensorboard.close)
        events = EventLog(folder.events if is_main else None, (*listeners, tensorboard) if is_main else ())
        stack.callback(events.close)
        control = Control(folder.control, served=served_requests(folder.events)) if is_main else Control(None)
        stack.enter_context(control.signals())
        try:
            if is_main:
                folder.exit.unlink(missing_ok=True)
            run = TrainingRun(dataset, network, settings, folder, communicator, events, augmentation, transfer)
            result = run.execute(control, is_resumed=is_resumed)
            _record_end(folder, events, is_main, result.state, result.reason, best_dice=result.best_dice)
            return result
        except BaseException as error:
            cause = _explain(error, communicator, folder, settings, network)
            log_failure(cause, error)
            state = "cancelled" if isinstance(error, KeyboardInterrupt) else "failed"
            reason = str(cause) or type(cause).__name__
            with suppress(OSError):  # the failure itself is what counts, also where it cannot be recorded
                _record_end(folder, events, is_main, state, reason, exit_code=_exit_code(cause))
            if cause is error:
                raise
            raise cause from error


def _record_end(
    folder: RunFolder, events: EventLog, is_main: bool, state: str, reason: str | None, **details: Any
) -> None:
    events.record("state", state=state, reason=reason)
    if is_main:
        folder.write_exit(state, reason=reason, time=time.time(), **details)


def _explain(
    error: BaseException,
    communicator: Communicator,
    folder: RunFolder,
    settings: TrainingSettings,
    network: NetworkSettings,
) -> BaseException:
    """Say in our words what TensorFlow, Horovod and the system say in theirs."""
    world_size = communicator.world_size
    memory = explain_memory(
        error,
        settings,
        world_size=world_size,
        memory_bytes=host_memory_bytes(),
        normalisation=getattr(network, "normalisation", None),
    )
    if memory is not None:
        return memory
    text = f"{type(error).__name__} {error}"
    if communicator.world_size > 1 and "Horovod" in text:
        return WorkerLostError(
            f"another worker of this job died, so rank {communicator.rank} stopped; logs: {folder.logs}; "
            f"go on from the last checkpoint with: r2d2 train --run-dir {folder.path} --resume"
        )
    if "No space left on device" in text or getattr(error, "errno", None) in NO_SPACE:
        return NoSpaceError(
            f"no room left on the disk for the run in {folder.path}; free some space, then go on "
            f"with: r2d2 train --run-dir {folder.path} --resume"
        )
    return error


def _exit_code(error: BaseException) -> int:
    return error.exit_code if isinstance(error, R2D2Error) else 1
