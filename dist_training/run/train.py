"""A training run from start, or from its checkpoint, to its final state."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from shlex import quote

from dist_training.architectures import NetworkSettings
from dist_training.errors import DivergenceError, WorkerLostError
from dist_training.learning.transfer import TransferSettings
from dist_training.ranks.communicator import Communicator
from dist_training.record.events import Ended, EventLog, Listener
from dist_training.record.log import log_failure, log_to_file
from dist_training.record.run_folder import RunEnd, RunFolder
from dist_training.record.samples import SampleFolder
from dist_training.record.tensorboard import TensorBoardWriter
from dist_training.record.work_times import WorkTimes
from dist_training.run.memory import explain_memory
from dist_training.run.training_run import RunResult, TrainingRun
from dist_training.settings import TrainingSettings
from dist_training.stopping.control import Control, served_requests
from imgmed import AugmentationSettings, PreparedDataset
from r2d2_base.errors import NoSpaceError, R2D2Error
from r2d2_base.files import NO_SPACE
from r2d2_base.machine import usable_memory
from r2d2_base.progress import StopRequest

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
    stop: StopRequest | None = None,
    times: WorkTimes | None = None,
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
        stop: asks this rank, and so all, to end the run after a step, with a checkpoint.
        times: told what this rank spends its time on.

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
        tensorboard = TensorBoardWriter(folder.tensorboard, SampleFolder(folder.samples))
        stack.callback(tensorboard.close)
        events = EventLog(folder.events if is_main else None, (*listeners, tensorboard) if is_main else ())
        stack.callback(events.close)
        served = served_requests(folder.events) if is_main else ()
        control = Control(folder.control if is_main else None, served=served, asked=stop)
        stack.enter_context(control.signals())
        try:
            if is_main:
                folder.exit.unlink(missing_ok=True)
            run = TrainingRun(dataset, network, settings, folder, communicator, events, augmentation, transfer, times)
            if is_main:
                tensorboard.write_graph(run.learner.network)
            result = run.execute(control, is_resumed=is_resumed)
            _record_end(folder, events, control, is_main, _end_of(result))
            return result
        except BaseException as error:
            cause = _explain(error, communicator, folder, settings, network)
            log_failure(cause, error)
            end = RunEnd(
                state="cancelled" if isinstance(error, KeyboardInterrupt) else "failed",
                reason=str(cause) or type(cause).__name__,
                exit_code=cause.exit_code if isinstance(cause, R2D2Error) else 1,
                diverged=isinstance(cause, DivergenceError) or None,
            )
            with suppress(OSError):  # the failure itself is what counts, also where it cannot be recorded
                _record_end(folder, events, control, is_main, end)
            if cause is error:
                raise
            raise cause from error


def _end_of(result: RunResult) -> RunEnd:
    return RunEnd(
        state=result.state,
        reason=result.reason,
        stopped_by=result.stopped_by,
        best_dice=result.best_dice,
        best_epoch=result.best_epoch,
    )


def _record_end(folder: RunFolder, events: EventLog, control: Control, is_main: bool, end: RunEnd) -> None:
    for missed in control.missed():
        events.record(missed)
    events.record(Ended(state=end.state, reason=end.reason, stopped_by=end.stopped_by))
    if is_main:
        folder.write_exit(end)


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
        memory_bytes=usable_memory()[0],
        normalisation=getattr(network, "normalisation", None),
    )
    if memory is not None:
        return memory
    text = f"{type(error).__name__} {error}"
    if communicator.world_size > 1 and "Horovod" in text:
        return WorkerLostError(
            f"another worker of this job died, so rank {communicator.rank} stopped; logs: {folder.logs}; "
            f"go on from the last checkpoint with: r2d2 train --run-dir {quote(str(folder.path))} --resume"
        )
    if "No space left on device" in text or getattr(error, "errno", None) in NO_SPACE:
        return NoSpaceError(
            f"no room left on the disk for the run in {folder.path}; free some space, then go on "
            f"with: r2d2 train --run-dir {quote(str(folder.path))} --resume"
        )
    return error
