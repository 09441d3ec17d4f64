"""The course of a run on one rank: epochs, steps, requests, validation and checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from dist_training.architectures import NetworkSettings, check_sizes
from dist_training.checkpoints import Checkpoint, TrainingProgress
from dist_training.errors import DivergenceError
from dist_training.inference.model_card import UsedCase, read_seen_before, save_model
from dist_training.inference.outputs import outputs_of
from dist_training.inputs.augmentation import placed
from dist_training.inputs.feed import Batch, Feed, SliceFeed, epoch_steps, prefetch
from dist_training.inputs.patch_feed import PatchFeed
from dist_training.learning.learner import Learner
from dist_training.learning.start import take_weights
from dist_training.learning.transfer import TransferSettings
from dist_training.learning.validation import ValidationScore, validate, validate_volumes
from dist_training.ranks.communicator import Communicator
from dist_training.ranks.devices import has_gpu, is_slow_here
from dist_training.record.environment import environment
from dist_training.record.events import EpochEnded, EventLog, Running, Starting, StepTaken, Stopping
from dist_training.record.run_folder import RunFolder
from dist_training.record.samples import SampleFolder
from dist_training.record.states import Stop, StoppedBy
from dist_training.record.step_profile import StepProfile
from dist_training.record.work_times import WorkTimes
from dist_training.run.plan import check_checkpoint, check_dimensions, check_workers, run_facts, with_patch_size
from dist_training.run.run_checkpoints import RunCheckpoints
from dist_training.run.run_samples import RunSamples
from dist_training.settings import TrainingSettings
from dist_training.stopping.control import Agreement, Control, agreed, replayed_requests
from dist_training.stopping.divergence import LossWatch, diverged, has_only_finite
from dist_training.stopping.early_stopping import check_validation
from dist_training.stopping.time_budget import TimeBudget
from imgmed import AugmentationSettings, PreparedDataset
from r2d2_base.errors import R2D2Error
from r2d2_base.files import write_json

__all__ = ["RunResult", "TrainingRun"]


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        state: "completed" or "stopped_early".
        reason: why it stopped early; None where it did not.
        stopped_by: who stopped it; None likewise.
        best_dice: the best validation Dice; None where none was computed.
        best_epoch: 1-based epoch of that score.
    """

    state: Literal["completed", "stopped_early"]
    reason: str | None
    stopped_by: StoppedBy | None
    best_dice: float | None
    best_epoch: int | None


class TrainingRun:
    """The state of a run on one rank.

    Args:
        dataset: the prepared dataset.
        network: the architecture.
        settings: the optimisation.
        folder: the run folder.
        communicator: the ranks.
        events: where rank 0 records what happens.
        augmentation: how the training slices are varied.
        transfer: what the network starts from, and what learns.
        times: told what this rank spends its time on.
    """

    def __init__(
        self,
        dataset: PreparedDataset,
        network: NetworkSettings,
        settings: TrainingSettings,
        folder: RunFolder,
        communicator: Communicator,
        events: EventLog,
        augmentation: AugmentationSettings,
        transfer: TransferSettings | None = None,
        times: WorkTimes | None = None,
    ) -> None:
        self.dataset, self.network, self.transfer = dataset, network, transfer or TransferSettings()
        self.augmentation = placed(augmentation, has_gpu=has_gpu())
        check_dimensions(dataset, network, settings, augmentation)
        settings = with_patch_size(dataset, network, settings)
        self.settings = settings.resolved(communicator.world_size)
        self.folder, self.communicator, self.events = folder, communicator, events
        self.is_main = communicator.rank == 0
        self.times = times or WorkTimes()
        check_workers(dataset, settings, communicator.world_size)
        if self.is_main:
            write_json(folder.environment, environment(communicator))
        self.events.record(Starting(world_size=communicator.world_size))
        self._build_feeds()
        check_validation(settings.early_stopping_patience, len(self.validation_feed))
        self.outputs = outputs_of(dataset.labels, dataset.description.regions, has_regions=settings.region_outputs)
        self.learner = Learner(
            network, self.outputs, self.settings, communicator, self.training_feed, self.augmentation, self.transfer
        )
        if network.architecture == "custom":
            trained_on = self.training_feed.input_shape[:-1]
            whole = {self.validation_feed.slice_size} if settings.patch_size is None else set()
            check_sizes(self.learner.model, {trained_on, *whole})
        self.progress = TrainingProgress()
        self.checkpoints = RunCheckpoints(folder, settings, events, is_main=self.is_main)
        self.samples = RunSamples(
            SampleFolder(folder.samples), dataset, self.validation_feed, settings.sample_predictions, communicator
        )
        self.profile = StepProfile(folder.tensorboard, events.record)
        self._replays: dict[int, float] = {}
        self._last_rate: float | None = None
        self._seen_before: tuple[UsedCase, ...] = ()
        # A step cannot hold more slices than there are, so neither is the learning rate scaled for more.
        self.global_batch_size = min(settings.step_size(communicator.world_size), len(self.training_feed))
        self.steps_per_epoch = math.ceil(len(self.training_feed) / self.global_batch_size)

    def _build_feeds(self) -> None:
        dataset, settings = self.dataset, self.settings
        training = dataset.splits.train
        self.training_feed: Feed
        if settings.patch_size is not None:
            self.training_feed = PatchFeed(
                dataset,
                training,
                settings.patch_size,
                settings.array_dtype,
                foreground_share=settings.foreground_share,
                augmentation=self.augmentation,
                seed=settings.seed,
            )
        else:
            self.training_feed = SliceFeed(
                dataset,
                training,
                training,
                settings.array_dtype,
                slices="training",
                augmentation=self.augmentation,
                seed=settings.seed,
            )
        self.validation_feed = SliceFeed(dataset, dataset.splits.validation, training, settings.array_dtype)

    def execute(self, control: Control, *, is_resumed: bool) -> RunResult:
        """Train until the last epoch or a request to stop.

        Args:
            control: what this rank is asked for.
            is_resumed: go on from the newest checkpoint, if there is one.
        """
        patience = self.settings.early_stopping_patience
        with self.checkpoints, self.profile:
            self._begin(control, is_resumed=is_resumed)
            while self.progress.epoch < self.settings.epochs:
                if patience is not None and self.progress.early_stopping.is_exhausted(patience):
                    return self._stop(Stop("early_stopping", self.progress.early_stopping.reason(patience)))
                is_stopped = self._run_epoch(control)
                if is_stopped and self.progress.epoch < self.settings.epochs:
                    return self._stop(control.shared_stop(self.communicator))
            return self._result("completed", None)

    def _begin(self, control: Control, *, is_resumed: bool) -> None:
        """Find the state to start from, and give every rank that of rank 0."""
        self._start_from(self.checkpoints.read_latest() if is_resumed else None)
        clock = TimeBudget(self.settings.max_minutes, trained_minutes=self.progress.minutes)
        control.watch(clock if self.is_main else None)
        self.checkpoints.begin(self._global_step(), clock)
        self.samples.begin(self.progress.epoch)
        self.events.record(
            Running(
                epochs=self.settings.epochs,
                steps_per_epoch=self.steps_per_epoch,
                training_slices=len(self.training_feed),
                validation_slices=len(self.validation_feed),
                samples="slices" if self.settings.patch_size is None else "patches",
                global_batch_size=self.global_batch_size,
                parameters=self.learner.network.count_params(),
                resumed_at_step=self._global_step(),
                extended_from_epochs=self._extended_from(),
                learning_rate=self._learning_rate(),
                learning_rate_setting=self.settings.learning_rate,
                slow_dtype=self.settings.dtype if is_slow_here(self.settings.dtype) else None,
            )
        )
        changes = replayed_requests(self.folder.events, self._global_step()) if is_resumed and self.is_main else ()
        self._replays = {change.step: change.learning_rate for change in self.communicator.broadcast_object(changes)}
        self._replay()

    def _extended_from(self) -> int | None:
        """Give the number of epochs that the run was to have before, where that was another."""
        before = self.progress.epochs
        return before if before not in (0, self.settings.epochs) else None

    def _start_from(self, checkpoint: Checkpoint | None) -> None:
        failure = None
        try:
            if checkpoint is not None:
                check_checkpoint(checkpoint, self.network, self._facts())
                self.progress = checkpoint.progress
                self.learner.restore(checkpoint.model, checkpoint.optimizer)
            elif self.is_main:
                taken = take_weights(self.learner, self.transfer.start_from, self.dataset, self.folder)
                if taken is not None:
                    self.events.record(taken)
            if self.is_main:
                self._seen_before = read_seen_before(self.folder)
        except R2D2Error as error:
            failure = error
        failure = self.communicator.broadcast_object(failure)
        if failure is not None:
            raise failure
        state = (self.progress, *map(list, (self.learner.weights(), self.learner.slots()))) if self.is_main else None
        self.progress, weights, slots = self.communicator.broadcast_object(state)
        self.learner.restore(weights, slots)

    def _facts(self) -> dict[str, Any]:
        return run_facts(self.dataset, self.settings, self.augmentation, self.transfer)

    def _stop(self, stop: Stop) -> RunResult:
        self.events.record(Stopping(reason=stop.reason, stopped_by=stop.by))
        self._checkpoint()
        if not self.folder.model.exists():
            with self.learner.averaged():
                self._save_model(None)
        return self._result("stopped_early", stop)

    def _result(self, state: Literal["completed", "stopped_early"], stop: Stop | None) -> RunResult:
        reason, by = (None, None) if stop is None else (stop.reason, stop.by)
        return RunResult(state, reason, by, self.progress.best_score, self.progress.best_epoch)

    def _global_step(self) -> int:
        return self.progress.epoch * self.steps_per_epoch + self.progress.step_in_epoch

    # ---- steps ----------------------------------------------------------------------------------------------

    def _run_epoch(self, control: Control) -> bool:
        """Run what is left of an epoch; True where a request to stop came, which may have cut it short."""
        epoch, started, trained = self.progress.epoch, time.perf_counter(), 0
        agreement = Agreement(is_stop=False, is_checkpoint=False, learning_rate=None)
        self.learner.begin_epoch(epoch)
        steps = epoch_steps(
            self.settings.seed,
            epoch,
            len(self.training_feed),
            global_batch_size=self.global_batch_size,
            rank=self.communicator.rank,
            world_size=self.communicator.world_size,
        )[self.progress.step_in_epoch :]
        step_started = started
        self.times.lap("other", step=self._global_step())
        for batch in prefetch(self.training_feed, steps):
            self.times.lap("input")
            agreement = self._take_step(batch, control, step_started)
            self.times.lap("other", step=self._global_step())
            step_started = time.perf_counter()  # the wait for data counts: it is part of how fast training is
            trained += batch.global_count
            if agreement.is_stop:
                break
        if self.progress.step_in_epoch >= self.steps_per_epoch:
            self.profile.end()
            self._end_epoch(trained, started, is_checkpoint=agreement.is_checkpoint)
        return agreement.is_stop

    def _take_step(self, batch: Batch, control: Control, started: float) -> Agreement:
        rate = self._learning_rate()
        with self.profile.of_step(self._global_step() + 1):
            outcome = self.learner.step(batch, learning_rate=rate, votes=control.votes())
        self.times.lap("compute", exchanged_s=outcome.exchanged_s, images=int(np.count_nonzero(batch.weights)))
        self._record_step(outcome.loss, batch.global_count, rate, time.perf_counter() - started)
        agreement = agreed(outcome.votes)
        for served in control.served(agreement, self._global_step()):
            self.events.record(served)
            self.profile.ask(served.steps or 0)
        if agreement.learning_rate is not None:
            self._set_learning_rate(agreement.learning_rate)
        self._replay()
        is_last = self.progress.step_in_epoch >= self.steps_per_epoch
        if (agreement.is_checkpoint or self._is_checkpoint_due(is_epoch_end=False)) and not is_last:
            self._checkpoint()
        return agreement

    def _scheduled_rate(self) -> float:
        """Give the rate that the schedule has for the next step."""
        return self.settings.scheduled_rate(
            self._global_step(), global_batch_size=self.global_batch_size, steps_per_epoch=self.steps_per_epoch
        )

    def _learning_rate(self) -> float:
        return self._scheduled_rate() * self.progress.learning_rate_factor

    def _set_learning_rate(self, rate: float) -> None:
        """From the next step on, scale the schedule so that this step has the rate."""
        scheduled = self._scheduled_rate()
        if scheduled > 0:
            self.progress = replace(self.progress, learning_rate_factor=rate / scheduled)

    def _replay(self) -> None:
        """Set the rate that was asked for after this very step before the run was interrupted."""
        rate = self._replays.pop(self._global_step(), None)
        if rate is not None:
            self._set_learning_rate(rate)

    def _record_step(self, loss: float, count: int, learning_rate: float, seconds: float) -> None:
        progress, step = self.progress, self._global_step() + 1
        watch = progress.loss_watch.after(loss, factor=self.settings.divergence_factor)
        if watch.is_diverged:
            raise self._diverged(f"the loss became {loss:.4g}", watch, step)
        self.progress = replace(
            progress,
            step_in_epoch=progress.step_in_epoch + 1,
            loss_sum=progress.loss_sum + loss * count,
            sample_count=progress.sample_count + count,
            loss_watch=watch,
        )
        self._last_rate = learning_rate
        self.events.record(
            StepTaken(
                step=step,
                epoch=progress.epoch + 1,
                loss=loss,
                learning_rate=learning_rate,
                seconds=seconds,
                images_per_second=count / seconds,
            )
        )

    def _diverged(self, what: str, watch: LossWatch, step: int) -> DivergenceError:
        """Describe a divergence that all ranks have seen."""
        return diverged(
            what,
            watch,
            step=step,
            epoch=self.progress.epoch + 1,
            learning_rate=self.settings.learning_rate,
            run_dir=self.folder.path,
            checkpoint=self.communicator.broadcast_object(self.checkpoints.last_written()),
        )

    # ---- ends of epochs, checkpoints --------------------------------------------------------------------------

    def _end_epoch(self, trained: int, started: float, *, is_checkpoint: bool) -> None:
        """Validate, keep the best network, write a checkpoint where one is due or was asked for."""
        seconds, epoch = time.perf_counter() - started, self.progress.epoch + 1
        broken = np.array([not has_only_finite(self.learner.weights())], np.float32)
        if self.communicator.sum_array(broken)[0] > 0:  # by its last step: no loss after it has told yet
            raise self._diverged("weights became infinite or NaN", self.progress.loss_watch, self._global_step())
        self.times.lap("other")
        with self.learner.averaged():
            score = self._validate()
            self.times.lap("validation")
            dice = _json_number(score.dice) if score is not None else None
            best = self.progress.best_score
            is_best = best is None or (dice is not None and dice > best)
            loss = self.progress.loss_sum / max(1, self.progress.sample_count)
            self.progress = replace(
                self.progress,
                epoch=epoch,
                step_in_epoch=0,
                loss_sum=0.0,
                sample_count=0,
                best_score=dice if is_best else best,
                best_epoch=epoch if is_best else self.progress.best_epoch,
                early_stopping=self.progress.early_stopping.after(
                    dice, min_delta=self.settings.early_stopping_min_delta
                ),
            )
            if is_best:
                self._save_model(score)
                self.times.lap("checkpoint")
        self.samples.write(epoch, self.progress.best_epoch)
        self.events.record(
            EpochEnded(
                epoch=epoch,
                step=self._global_step(),
                loss=loss,
                validation_dice=dice,
                validation_dice_per_label=self._per_label(score),
                learning_rate=self._last_rate,
                seconds=seconds,
                validation_seconds=time.perf_counter() - started - seconds,
                images_per_second=trained / seconds,
                is_best=is_best,
            )
        )
        # of a best epoch too: no network that is newer than every checkpoint
        is_wanted = is_best or is_checkpoint or epoch == self.settings.epochs
        if is_wanted or self._is_checkpoint_due(is_epoch_end=True):
            self._checkpoint()

    def _validate(self) -> ValidationScore | None:
        if self.settings.patch_size is not None:
            return validate_volumes(
                self.learner.probabilities,
                self.validation_feed,
                self.settings.patch_size,
                self.outputs,
                batch_size=self.settings.batch_size_per_worker,
                communicator=self.communicator,
                on_predicted=self.samples.catch,
            )
        return validate(
            self.learner.predict,
            self.validation_feed,
            num_classes=self.outputs.num_classes,
            regions=self.outputs.loss_regions,
            batch_size=2 * self.settings.batch_size_per_worker,
            communicator=self.communicator,
            on_predicted=self.samples.catch,
        )

    def _per_label(self, score: ValidationScore | None) -> Mapping[str, float | None]:
        names = self.outputs.scored_names(self.dataset.labels)
        values = score.dice_per_class if score is not None else np.full(len(names), np.nan)
        return {name: _json_number(dice) for name, dice in zip(names, values, strict=True)}

    def _is_checkpoint_due(self, *, is_epoch_end: bool) -> bool:
        return self.checkpoints.is_due(step=self._global_step(), epoch=self.progress.epoch, is_epoch_end=is_epoch_end)

    def _checkpoint(self) -> None:
        self.times.lap("other")
        self.checkpoints.write(
            self._global_step(),
            self.progress,
            self.learner,
            network=self.network.model_dump(mode="json"),
            facts=self._facts(),
        )
        self.times.lap("checkpoint")

    def _save_model(self, score: ValidationScore | None) -> None:
        if self.is_main:
            save_model(
                self.learner.network,
                self.folder,
                network=self.network,
                dataset=self.dataset,
                epoch=self.progress.epoch,
                validation_dice=_json_number(score.dice) if score is not None else None,
                validation_dice_per_label=dict(self._per_label(score)),
                outputs=self.outputs,
                augmentation=self.augmentation,
                patch_size=self.settings.patch_size,
                seen_before=self._seen_before,
            )


def _json_number(value: float) -> float | None:
    """JSON has no NaN: what is undefined is null."""
    return None if math.isnan(value) else float(value)
