"""Keras callbacks for ``model.fit`` on several ranks, under the names that people know from horovod.keras."""

from __future__ import annotations

import logging
import math
import signal
import threading
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from types import FrameType
from typing import Any

import keras
import numpy as np

from dist_training.checkpoints import TrainingProgress, read_checkpoint
from dist_training.checkpoints.archive import Snapshot
from dist_training.checkpoints.folder import write_alone
from dist_training.errors import CheckpointError, DamagedCheckpointError
from dist_training.ranks.communicator import Communicator, join_job
from dist_training.ranks.distributed_optimizer import is_distributed
from dist_training.schedules import learning_rate_at
from r2d2_base.errors import ConfigurationError

__all__ = [
    "BroadcastCallback",
    "CheckpointCallback",
    "LearningRateWarmupCallback",
    "MetricReductionCallback",
    "StopCallback",
    "weighted_means",
]

_NO_WEIGHTS = "the model has no weights yet; start it with keras.Input, or call model.build(input_shape)"
_log = logging.getLogger(__name__)


class BroadcastCallback(keras.callbacks.Callback):
    """Gives every rank the weights and the optimizer state of rank 0, before the first step.

    It also refuses, on all ranks at once, what could only go wrong later: an optimizer that reduces nothing, models
    that differ in their shapes, XLA, which cannot compile Horovod's operations.

    Args:
        communicator: the ranks; None joins the job that this process was started in.
    """

    def __init__(self, communicator: Communicator | None = None) -> None:
        super().__init__()
        self._communicator = communicator or join_job()

    def on_train_begin(self, logs: Any = None) -> None:
        """Check the model and broadcast it.

        Raises:
            ConfigurationError: see above; the message names the ranks concerned.
        """
        fault = _fault(self.model) if self._communicator.world_size > 1 else None
        variables = [] if fault else _state(self.model)
        layout = [(tuple(variable.shape), variable.dtype) for variable in variables]
        ranks = self._communicator.gather_objects((fault, layout))
        faults = [f"rank {rank}: {other}" for rank, (other, _) in enumerate(ranks) if other]
        if faults:
            raise ConfigurationError("; ".join(faults))
        for rank, (_, other) in enumerate(ranks):
            if other != ranks[0][1]:
                difference = _difference(other, ranks[0][1])
                raise ConfigurationError(
                    f"all ranks must train the same model and optimizer; rank {rank} has {difference}"
                )
        is_main = self._communicator.rank == 0
        _assign(variables, self._communicator.broadcast_object(_values(variables) if is_main else None))


class MetricReductionCallback(keras.callbacks.Callback):
    """Replaces an epoch's logs by their means over the ranks, weighted by the samples that each rank saw.

    Put it before callbacks that act on the logs (``ModelCheckpoint``, ``EarlyStopping``, ``ReduceLROnPlateau``), which
    then decide alike on all ranks. Exact for the loss and for metrics that are means over samples; others, as AUC,
    are averaged all the same.

    Args:
        communicator: the ranks; None joins the job that this process was started in.
    """

    def __init__(self, communicator: Communicator | None = None) -> None:
        super().__init__()
        self._communicator = communicator or join_job()
        self._samples = {"training": 0.0, "validation": 0.0}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Forget the counts of the epoch before."""
        self._samples = {"training": 0.0, "validation": 0.0}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Note how many samples this rank has trained on: validation resets the metric that knows."""
        self._samples["training"] = _sample_count(self.model)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Note how many samples this rank has validated on."""
        self._samples["validation"] = _sample_count(self.model)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the means into the logs, which Keras hands to the callbacks that follow."""
        if logs is None:
            return
        numbers = {name: float(value) for name, value in logs.items() if isinstance(value, Real)}
        reports = self._communicator.gather_objects((numbers, self._samples))
        logs.update(weighted_means([one for one, _ in reports], [samples for _, samples in reports]))


def weighted_means(logs: Sequence[Mapping[str, float]], samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average what the ranks report, weighted by their numbers of samples.

    Args:
        logs: of each rank; a name that starts with ``val_`` is of validation.
        samples: of each rank, the numbers of "training" and "validation" samples.

    Returns:
        The mean over the ranks that report a name and have samples; the plain one where no rank has any.

    >>> weighted_means([{"loss": 1.0}, {"loss": 4.0}], [{"training": 2}, {"training": 1}])
    {'loss': 2.0}
    """
    means = {}
    for name in {name: None for one in logs for name in one}:
        kind = "validation" if name.startswith("val_") else "training"
        pairs = [(one[name], count[kind]) for one, count in zip(logs, samples, strict=True) if name in one]
        total = sum(weight for _, weight in pairs)
        counted = [(value, weight) for value, weight in pairs if weight] or [(value, 1) for value, _ in pairs]
        means[name] = math.fsum(value * weight for value, weight in counted) / (total or len(counted))
    return means


class LearningRateWarmupCallback(keras.callbacks.Callback):
    """Raises the learning rate linearly, step by step, to its full value (Goyal et al. 2017, section 2.2).

    With ``steps_per_execution`` all steps of an execution have the rate of its first.

    Args:
        learning_rate: the full value, as scaled for all ranks.
        base: the rate to start from; None: ``learning_rate`` divided by the number of ranks. A tenth of
            ``learning_rate`` where that is less.
        warmup_epochs: epochs until the full value is reached; need not be whole.
        steps_per_epoch: steps of an epoch; None: as Keras counts them.
        communicator: the ranks; None joins the job that this process was started in.
    """

    def __init__(
        self,
        learning_rate: float,
        *,
        base: float | None = None,
        warmup_epochs: float = 5,
        steps_per_epoch: int | None = None,
        communicator: Communicator | None = None,
    ) -> None:
        super().__init__()
        if not (learning_rate > 0 and warmup_epochs >= 0):
            raise ConfigurationError(
                "learning_rate must be above 0 and warmup_epochs at least 0; "
                f"received {learning_rate!r} and {warmup_epochs!r}"
            )
        self._peak, self._warmup_epochs, self._steps_per_epoch = learning_rate, warmup_epochs, steps_per_epoch
        self._base = base if base is not None else learning_rate / (communicator or join_job()).world_size
        self._epoch, self._is_rising = 0, False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note the epoch."""
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the rate of the step; after the warm-up, it is left to others."""
        steps = self._steps_per_epoch or self.params.get("steps")
        if not steps:
            raise ConfigurationError("Keras does not know the length of an epoch of this data; pass steps_per_epoch")
        step, warmup_steps = self._epoch * steps + batch, round(self._warmup_epochs * steps)
        if step <= warmup_steps or self._is_rising:  # an execution of several steps may pass over the last one
            self.model.optimizer.learning_rate = learning_rate_at(
                step,
                peak=self._peak,
                base=self._base,
                warmup_steps=warmup_steps,
                total_steps=warmup_steps + 1,
                schedule="constant",
            )
        self._is_rising = step < warmup_steps


class CheckpointCallback(keras.callbacks.Callback):
    """Rank 0 writes the weights and the optimizer state after every epoch, whole or not at all, with their SHA-256.

    An epoch that was cut short is not written (where Keras does not know its length: none in which training was told
    to stop): started again from the last whole one, it gives what it would have. The order of the data is the
    caller's: derive it from the number of the epoch. So are the seeds of dropout: set them, as by
    ``keras.utils.set_random_seed``, before the model is built; how much has been drawn by them is in the checkpoint.

    Args:
        path: the file (``.npz``), replaced each time.
        every_epochs: epochs between two checkpoints.
        communicator: the ranks; None joins the job that this process was started in.
    """

    def __init__(self, path: str | Path, *, every_epochs: int = 1, communicator: Communicator | None = None) -> None:
        super().__init__()
        _check_interval("every_epochs", every_epochs)
        self._path, self._every = Path(path), every_epochs
        self._communicator = communicator or join_job()
        self._batches = 0

    def restore(self, model: Any) -> int:
        """Put a compiled model in the state of the checkpoint, on all ranks; call before ``fit``.

        Args:
            model: as it was when the checkpoint was written.

        Returns:
            ``initial_epoch`` for ``fit``: 0, and the model as it was, where there is no checkpoint.

        Raises:
            ConfigurationError: the model has no weights yet.
            CheckpointError: where the file is damaged or of another model.
        """
        variables, generators = _state(model), _generators(model)
        found: Any = None
        if self._communicator.rank == 0 and self._path.exists():
            try:
                found = _read_checkpoint(self._path, variables, generators)
            except CheckpointError as error:
                found = error
        found = self._communicator.broadcast_object(found)
        if isinstance(found, CheckpointError):
            raise found
        if found is None:
            return 0
        epoch, values, draws = found
        _assign(variables, values)
        for generator, count in zip(generators, draws, strict=True):
            generator.assign([int(generator[0]), count])  # the seed stays this rank's own
        return epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Count the steps of the epoch from 0."""
        self._batches = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count the steps of the epoch."""
        self._batches = batch + 1

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the checkpoint, where it is due."""
        steps = self.params.get("steps")
        is_whole = self._batches >= steps if steps else not self.model.stop_training
        if self._communicator.rank == 0 and is_whole and (epoch + 1) % self._every == 0:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draws = [int(generator[1]) for generator in _generators(self.model)]
            arrays, weights = list(map(_plain, _values(_state(self.model)))), len(self.model.weights)
            progress, facts = TrainingProgress(epoch + 1), {"draws": draws}
            write_alone(self._path, Snapshot(progress, {}, facts, arrays[:weights], arrays[weights:]))


class StopCallback(keras.callbacks.Callback):
    """Ends training on all ranks after the same step, when any of them is asked to stop.

    Asked by a signal, or by ``request``. Ranks ask each other after every step: one number a step. A second Ctrl-C
    interrupts at once.

    Args:
        signals: handled while training; others' handlers are put back afterwards.
        every_steps: steps between two questions.
        communicator: the ranks; None joins the job that this process was started in.

    Attributes:
        reason: why training was stopped, on every rank; None while it was not.
    """

    def __init__(
        self,
        signals: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1),
        *,
        every_steps: int = 1,
        communicator: Communicator | None = None,
    ) -> None:
        super().__init__()
        _check_interval("every_steps", every_steps)
        self.reason: str | None = None
        self._requested: str | None = None
        self._signals, self._every = tuple(signals), every_steps
        self._communicator = communicator or join_job()
        self._step = 0
        self._handlers: dict[signal.Signals, Any] = {}

    def request(self, reason: str) -> None:
        """Ask for the end of training, from any thread."""
        self._requested = reason

    def on_train_begin(self, logs: Any = None) -> None:
        """Listen to the signals; only the main thread can."""
        self.reason, self._step = None, 0
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._on_signal) for number in self._signals}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Agree with the other ranks on whether to go on."""
        self._step += 1
        if self._step % self._every:
            return
        asked = self._communicator.sum_array(np.array([self._requested is not None], np.float32))
        if asked[0] > 0:
            reasons = self._communicator.gather_objects(self._requested)
            self.reason = next(f"rank {rank}: {reason}" for rank, reason in enumerate(reasons) if reason is not None)
            self._requested = None
            self.model.stop_training = True
            _log.info("training stops: %s", self.reason)

    def on_train_end(self, logs: Any = None) -> None:
        """Put the signals' handlers back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGINT and name == self._requested:
            raise KeyboardInterrupt
        self.request(name)


def _fault(model: Any) -> str | None:
    """Say what is wrong with a model that several ranks are to train; None: nothing."""
    if not is_distributed(model.optimizer):
        return (
            f"the model is compiled with {type(model.optimizer).__name__}, which would leave the gradients local; "
            "compile it with DistributedOptimizer(...), or load it with dist_training.load_model"
        )
    if not model.built:
        return _NO_WEIGHTS
    if model.jit_compile:
        return "XLA cannot compile Horovod's operations; use compile(jit_compile=False)"
    return None


def _state(model: Any) -> list[Any]:
    """Give the variables that a model's training goes on from; builds its optimizer."""
    if not model.built:  # an optimizer that is built for no variables takes none later
        raise ConfigurationError(_NO_WEIGHTS)
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return [*model.weights, *model.optimizer.variables]


def _generators(model: Any) -> list[Any]:
    """Give the states, each a seed and the number of draws by it, of what draws at random in a model: its dropout."""
    layers = model._flatten_layers()
    return [generator.state for layer in layers for generator in layer._seed_generators]


def _check_interval(name: str, value: int) -> None:
    if value < 1:
        raise ConfigurationError(f"{name} must be at least 1; received {value!r}")


def _plain(array: np.ndarray) -> np.ndarray:
    """Give numbers that NumPy reads back: bfloat16, which it does not know, as the same ones in float32."""
    return array if array.dtype.kind in "biufc" else array.astype(np.float32)


def _values(variables: Sequence[Any]) -> list[np.ndarray]:
    return [np.asarray(variable.numpy()) for variable in variables]


def _assign(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _sample_count(model: Any) -> float:
    """Give the samples since the metrics were reset: the weight of Keras's mean of the loss."""
    means = (metric for metric in model.metrics if metric.name == "loss" and isinstance(metric, keras.metrics.Mean))
    return next((float(metric.count.numpy()) for metric in means), 0.0)


def _difference(layout: Sequence[Any], expected: Sequence[Any]) -> str:
    """Say in what a rank's variables differ from those of rank 0."""
    if len(layout) != len(expected):
        return f"{len(layout)} variables, rank 0 has {len(expected)}"
    position, one, other = next(
        (i, a, b) for i, (a, b) in enumerate(zip(layout, expected, strict=True)) if tuple(a) != tuple(b)
    )
    return f"variable {position} of shape {one[0]} and dtype {one[1]}, rank 0 {other[0]} and {other[1]}"


def _read_checkpoint(
    path: Path, variables: Sequence[Any], generators: Sequence[Any]
) -> tuple[int, list[np.ndarray], list[int]]:
    try:
        checkpoint = read_checkpoint(path)
    except (DamagedCheckpointError, OSError) as error:
        raise CheckpointError(
            f"checkpoint {path} is damaged or cannot be read ({error}); remove it to start anew"
        ) from error
    values, draws = [*checkpoint.model, *checkpoint.optimizer], checkpoint.facts.get("draws", [])
    shapes = [tuple(variable.shape) for variable in variables]
    if [array.shape for array in values] != shapes or len(draws) != len(generators):
        raise CheckpointError(f"checkpoint {path} is of another model or optimizer; remove it to start anew")
    return checkpoint.progress.epoch, values, draws
