"""A training run from start, or from its checkpoint, to its final state."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import keras
import numpy as np

from dist_training.architectures import NetworkSettings, build_network
from dist_training.augmentation import DeviceAugmentation, placed
from dist_training.checkpoint import Checkpoint, TrainingProgress, read_latest_checkpoint, write_checkpoint
from dist_training.communicator import Communicator
from dist_training.control import Control
from dist_training.errors import CheckpointError, DistTrainingError, DivergenceError, WorkerLostError
from dist_training.events import EventLog, Listener
from dist_training.feed import SliceFeed, epoch_steps, prefetch
from dist_training.model_card import save_model
from dist_training.optimizer import build_optimizer
from dist_training.outputs import outputs_of
from dist_training.plan import check_checkpoint, check_normalisation, check_workers, run_facts
from dist_training.run_folder import RunFolder
from dist_training.schedules import learning_rate_at, scaled_learning_rate
from dist_training.session import environment, has_gpu, log_to_file
from dist_training.settings import TrainingSettings
from dist_training.step import TrainingStep, build_predict
from dist_training.tensorboard import TensorBoardWriter
from dist_training.validation import ValidationScore, validate
from imgmed import AugmentationSettings, ImgMedError, PreparedDataset
from imgmed.errors import NoSpaceError
from imgmed.storage import NO_SPACE, write_json

__all__ = ["RunResult", "TrainingRun", "train"]

_log = logging.getLogger(__name__)
_NO_AUGMENTATION = AugmentationSettings()


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        state: "completed" or "stopped_early".
        reason: why it stopped early; None where it did not.
        best_dice: the best validation Dice; None where none was computed.
        best_epoch: 1-based epoch of that score.
    """

    state: Literal["completed", "stopped_early"]
    reason: str | None
    best_dice: float | None
    best_epoch: int | None


def train(
    dataset: PreparedDataset,
    network: NetworkSettings,
    settings: TrainingSettings,
    folder: RunFolder,
    communicator: Communicator,
    *,
    augmentation: AugmentationSettings = _NO_AUGMENTATION,
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
        listeners: called on rank 0 with every event.
        is_resumed: go on from the newest checkpoint (from the start where there is none yet).

    Returns:
        The final state, equal on every rank.

    Raises:
        CheckpointError: a checkpoint of another architecture or dataset.
        DivergenceError: the loss is no longer finite.
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
        control = Control(folder.control if is_main else None)
        stack.enter_context(control.signals())
        try:
            if is_main:
                folder.exit.unlink(missing_ok=True)
            run = TrainingRun(dataset, network, settings, folder, communicator, events, augmentation)
            result = run.execute(control, is_resumed=is_resumed)
            _record_end(folder, events, is_main, result.state, result.reason, best_dice=result.best_dice)
            return result
        except BaseException as error:
            cause = _explain(error, communicator, folder)
            _log.error("the run failed: %s", cause, exc_info=error)
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


def _explain(error: BaseException, communicator: Communicator, folder: RunFolder) -> BaseException:
    """Say in our words what TensorFlow, Horovod and the system say in theirs."""
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
    return 2 if isinstance(error, ImgMedError) else getattr(error, "exit_code", 1)


class TrainingRun:
    """The state of a run on one rank: data, network, optimizer and progress."""

    def __init__(
        self,
        dataset: PreparedDataset,
        network: NetworkSettings,
        settings: TrainingSettings,
        folder: RunFolder,
        communicator: Communicator,
        events: EventLog,
        augmentation: AugmentationSettings = _NO_AUGMENTATION,
    ) -> None:
        self.dataset, self.network = dataset, network
        self.augmentation = placed(augmentation, has_gpu=has_gpu())
        self.settings = settings.resolved(communicator.world_size)
        self.folder, self.communicator, self.events = folder, communicator, events
        self.is_main = communicator.rank == 0
        check_workers(dataset, settings, communicator.world_size)
        check_normalisation(network, communicator.world_size)
        keras.config.set_dtype_policy(settings.dtype)
        if self.is_main:
            write_json(folder.environment, environment(communicator))
        self.events.record("state", state="starting", world_size=communicator.world_size)
        training = dataset.splits.train
        self.training_feed = SliceFeed(
            dataset,
            training,
            training,
            settings.dtype,
            slices="training",
            augmentation=self.augmentation,
            seed=settings.seed,
        )
        self.validation_feed = SliceFeed(dataset, dataset.splits.validation, training, settings.dtype)
        self.num_classes = len(dataset.class_values)
        self.outputs = outputs_of(dataset.labels, dataset.description.regions, has_regions=settings.region_outputs)
        self.model = build_network(network, self.training_feed.channels, self.outputs.num_outputs, seed=settings.seed)
        self.optimizer = build_optimizer(settings)
        self.optimizer.build(self.model.trainable_variables)
        feed = self.training_feed
        on_device = (
            DeviceAugmentation(self.augmentation, feed.input_shape, settings.dtype) if feed.sends_draws else None
        )
        self.step = TrainingStep(
            self.model, self.optimizer, settings, communicator, feed.batch_shape, on_device, self.outputs.loss_regions
        )
        self.predict = build_predict(self.model, self.outputs)
        self.progress = TrainingProgress()
        # A step cannot hold more slices than there are, so neither is the learning rate scaled for more.
        self.global_batch_size = min(settings.step_size(communicator.world_size), len(self.training_feed))
        self.steps_per_epoch = math.ceil(len(self.training_feed) / self.global_batch_size)

    def execute(self, control: Control, *, is_resumed: bool) -> RunResult:
        """Train until the last epoch or a request to stop."""
        self._start_from(read_latest_checkpoint(self.folder.checkpoints) if is_resumed and self.is_main else None)
        self.events.record(
            "state",
            state="running",
            epochs=self.settings.epochs,
            steps_per_epoch=self.steps_per_epoch,
            training_slices=len(self.training_feed),
            validation_slices=len(self.validation_feed),
            global_batch_size=self.global_batch_size,
            parameters=self.model.count_params(),
            resumed_at_step=self._global_step(),
        )
        while self.progress.epoch < self.settings.epochs:
            is_stopped = self._run_epoch(control)
            if is_stopped and self.progress.epoch < self.settings.epochs:
                reason = self.communicator.broadcast_object(control.reason) or "another worker was asked to stop"
                self.events.record("state", state="stopping", reason=reason)
                self._checkpoint()
                if not self.folder.model.exists():
                    self._save_model(None)
                return self._result("stopped_early", reason)
        return self._result("completed", None)

    def _result(self, state: Literal["completed", "stopped_early"], reason: str | None) -> RunResult:
        return RunResult(state, reason, self.progress.best_score, self.progress.best_epoch)

    def _global_step(self) -> int:
        return self.progress.epoch * self.steps_per_epoch + self.progress.step_in_epoch

    def _start_from(self, checkpoint: Checkpoint | None) -> None:
        """Give every rank the state of rank 0: a checkpoint's, or the initial weights."""
        failure = None
        if checkpoint is not None:
            try:
                check_checkpoint(checkpoint, self.network, run_facts(self.dataset, self.settings, self.augmentation))
                self.progress = checkpoint.progress
                _assign(self.model.weights, checkpoint.model)
                _assign(self.optimizer.variables, checkpoint.optimizer)
            except DistTrainingError as error:
                failure = error
        failure = self.communicator.broadcast_object(failure)
        if failure is not None:
            raise failure
        variables = (self.model.weights, self.optimizer.variables)
        state = (self.progress, *map(_values, variables)) if self.is_main else None
        self.progress, weights, slots = self.communicator.broadcast_object(state)
        _assign(self.model.weights, weights)
        _assign(self.optimizer.variables, slots)

    def _run_epoch(self, control: Control) -> bool:
        """Run what is left of an epoch; True where a request to stop came, which may have cut it short."""
        epoch, started, trained, is_stopped = self.progress.epoch, time.perf_counter(), 0, False
        steps = epoch_steps(
            self.settings.seed,
            epoch,
            len(self.training_feed),
            global_batch_size=self.global_batch_size,
            rank=self.communicator.rank,
            world_size=self.communicator.world_size,
        )[self.progress.step_in_epoch :]
        step_started = started
        for batch in prefetch(self.training_feed, steps):
            learning_rate = self._learning_rate()
            loss, is_stopped = self.step(
                batch,
                step=self._global_step(),
                learning_rate=learning_rate,
                is_stop_requested=control.is_stop_requested(),
            )
            step_ended = time.perf_counter()  # the wait for data counts: it is part of how fast training is
            self._record_step(loss, batch.global_count, learning_rate, step_ended - step_started)
            step_started = step_ended
            trained += batch.global_count
            if is_stopped:
                break
        if self.progress.step_in_epoch >= self.steps_per_epoch:
            self._end_epoch(trained, started)
        return is_stopped

    def _learning_rate(self) -> float:
        settings = self.settings
        return learning_rate_at(
            self._global_step(),
            peak=scaled_learning_rate(settings.learning_rate, self.global_batch_size, settings.reference_batch_size),
            base=settings.learning_rate,
            warmup_steps=round(settings.warmup_epochs * self.steps_per_epoch),
            total_steps=settings.epochs * self.steps_per_epoch,
            schedule=settings.schedule,
        )

    def _record_step(self, loss: float, count: int, learning_rate: float, seconds: float) -> None:
        if not math.isfinite(loss):
            raise DivergenceError(
                f"the loss became {loss} in epoch {self.progress.epoch + 1}, step {self._global_step() + 1}; "
                f"train again with a smaller learning_rate than {self.settings.learning_rate:g}"
            )
        progress = self.progress
        self.progress = replace(
            progress,
            step_in_epoch=progress.step_in_epoch + 1,
            loss_sum=progress.loss_sum + loss * count,
            sample_count=progress.sample_count + count,
        )
        self.events.record(
            "step",
            step=self._global_step(),
            epoch=progress.epoch + 1,
            loss=loss,
            learning_rate=learning_rate,
            seconds=seconds,
            images_per_second=count / seconds,
        )

    def _end_epoch(self, trained: int, started: float) -> None:
        """Validate, keep the best network, write a checkpoint."""
        seconds, learning_rate, epoch = time.perf_counter() - started, self._learning_rate(), self.progress.epoch + 1
        score = validate(
            self.predict,
            self.validation_feed,
            num_classes=self.num_classes,
            regions=self.outputs.loss_regions,
            batch_size=2 * self.settings.batch_size_per_worker,
            communicator=self.communicator,
        )
        loss = self.progress.loss_sum / max(1, self.progress.sample_count)
        dice = _json_number(score.dice) if score is not None else None
        is_best = dice is None or self.progress.best_score is None or dice > self.progress.best_score
        self.progress = TrainingProgress(
            epoch=epoch,
            best_score=dice if is_best else self.progress.best_score,
            best_epoch=epoch if is_best else self.progress.best_epoch,
        )
        if is_best:
            self._save_model(score)
        self.events.record(
            "epoch",
            epoch=epoch,
            step=self._global_step(),
            loss=loss,
            validation_dice=dice,
            validation_dice_per_label=self._per_label(score),
            learning_rate=learning_rate,
            seconds=seconds,
            validation_seconds=time.perf_counter() - started - seconds,
            images_per_second=trained / seconds,
            is_best=is_best,
        )
        if epoch % self.settings.checkpoint_every_epochs == 0 or epoch == self.settings.epochs:
            self._checkpoint()

    def _per_label(self, score: ValidationScore | None) -> dict[str, float | None]:
        names = self.outputs.scored_names(self.dataset.labels)
        values = score.dice_per_class if score is not None else [math.nan] * len(names)
        return {name: _json_number(dice) for name, dice in zip(names, values, strict=True)}

    def _checkpoint(self) -> None:
        if not self.is_main:
            return
        path = write_checkpoint(
            self.folder.checkpoints,
            step=self._global_step(),
            progress=self.progress,
            network=self.network.model_dump(mode="json"),
            facts=run_facts(self.dataset, self.settings, self.augmentation),
            model=_values(self.model.weights),
            optimizer=_values(self.optimizer.variables),
        )
        self.events.record("checkpoint", step=self._global_step(), file=path.name)

    def _save_model(self, score: ValidationScore | None) -> None:
        if self.is_main:
            save_model(
                self.model,
                self.folder,
                network=self.network,
                dataset=self.dataset,
                epoch=self.progress.epoch,
                validation_dice=_json_number(score.dice) if score is not None else None,
                validation_dice_per_label=self._per_label(score),
                outputs=self.outputs,
            )


def _json_number(value: float) -> float | None:
    """JSON has no NaN: what is undefined is null."""
    return None if math.isnan(value) else float(value)


def _values(variables: Sequence[Any]) -> list[np.ndarray]:
    return [np.asarray(variable.numpy()) for variable in variables]


def _assign(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    if [tuple(v.shape) for v in variables] != [tuple(a.shape) for a in values]:
        raise CheckpointError("the checkpoint's arrays have other shapes than this network; train anew")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
