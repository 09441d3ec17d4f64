"""A checkpoint after every epoch, that training goes on from exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from dist_training.checkpoints import TrainingProgress, read_checkpoint
from dist_training.checkpoints.archive import Snapshot
from dist_training.checkpoints.folder import write_alone
from dist_training.errors import CheckpointError, DamagedCheckpointError
from dist_training.keras_kit.model_state import NO_WEIGHTS, assign, optimizers_of, seed_states, values
from dist_training.ranks.communicator import Communicator, join_job
from r2d2_base.errors import ConfigurationError
from r2d2_base.files import make_folder

__all__ = ["CheckpointCallback"]

_COMPILED = "optimizer"


class CheckpointCallback(keras.callbacks.Callback):
    """Rank 0 writes the weights and the state of all optimizers after every epoch, whole or not at all, with SHA-256.

    All optimizers: those among the attributes of the model and of the models in it, as a GAN has two.

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
        if every_epochs < 1:
            raise ConfigurationError(f"every_epochs must be at least 1; received {every_epochs!r}")
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
        if not model.built:
            raise ConfigurationError(NO_WEIGHTS)
        found: Any = None
        if self._communicator.rank == 0 and self._path.exists():
            try:
                found = _read(self._path, model)
            except CheckpointError as error:
                found = error
        found = self._communicator.broadcast_object(found)
        if isinstance(found, CheckpointError):
            raise found
        if found is None:
            return 0
        found.put_into(model)
        return found.epoch

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
            make_folder(self._path.parent)
            optimizers = {name: one for name, one in optimizers_of(self.model).items() if one.built}
            facts = {
                "draws": [int(state[1]) for state in seed_states(self.model)],
                "optimizers": {name: _learned_by(one, self.model) for name, one in optimizers.items()},
            }
            slots = [variable for one in optimizers.values() for variable in one.variables]
            weights, slots = (list(map(_plain, values(part))) for part in (self.model.weights, slots))
            write_alone(self._path, Snapshot(TrainingProgress(epoch + 1), {}, facts, weights, slots))


@dataclass(frozen=True)
class _State:
    """What a checkpoint holds of a model.

    Attributes:
        epoch: epochs done.
        weights: of the model.
        slots: of the optimizers, one after the other.
        optimizers: {name: positions of the weights that it learns}.
        draws: by each seed.
    """

    epoch: int
    weights: Sequence[np.ndarray]
    slots: Sequence[np.ndarray]
    optimizers: Mapping[str, Sequence[int] | None]
    draws: Sequence[int]

    def fault(self, model: Any) -> str | None:
        """Say why it is not of this model, whose optimizers it builds; None where it is."""
        optimizers, generators = optimizers_of(model), seed_states(model)
        lacking = [name for name in self.optimizers if name not in optimizers]
        lacking += [name for name, one in optimizers.items() if one.built and name not in self.optimizers]
        if lacking:
            return f"of another set of optimizers ({', '.join(lacking)})"
        if [array.shape for array in self.weights] != [tuple(weight.shape) for weight in model.weights]:
            return "of another model"
        unbuilt = self._build(model, optimizers)
        if unbuilt:
            return f"of an optimizer that learns other weights than the model's ({unbuilt}): build it before"
        if [array.shape for array in self.slots] != [tuple(slot.shape) for slot in self._slots_of(optimizers)]:
            return "of another optimizer"
        return None if len(self.draws) == len(generators) else "of another model"

    def put_into(self, model: Any) -> None:
        """Bring a model that fits into this state."""
        optimizers = optimizers_of(model)
        self._build(model, optimizers)
        assign(model.weights, self.weights)
        assign(self._slots_of(optimizers), self.slots)
        for state, count in zip(seed_states(model), self.draws, strict=True):
            state.assign([int(state[0]), count])  # the seed stays this rank's own

    def _build(self, model: Any, optimizers: Mapping[str, Any]) -> str | None:
        """Build the optimizers that are not, for what they learned; gives the name of one that cannot be."""
        for name, positions in self.optimizers.items():
            if optimizers[name].built:
                continue
            if positions is None or max(positions, default=0) >= len(model.weights):
                return name
            optimizers[name].build([model.weights[position] for position in positions])
        return None

    def _slots_of(self, optimizers: Mapping[str, Any]) -> list[Any]:
        return [variable for name in self.optimizers for variable in optimizers[name].variables]


def _read(path: Path, model: Any) -> _State:
    """Read a checkpoint of this model."""
    try:
        checkpoint = read_checkpoint(path)
    except (DamagedCheckpointError, OSError) as error:
        raise CheckpointError(
            f"checkpoint {path} is damaged or cannot be read ({error}); remove it to start anew"
        ) from error
    facts = checkpoint.facts
    # Older checkpoints hold the compiled optimizer alone, and do not say what it learns.
    learned = facts.get("optimizers", {_COMPILED: _positions(model.trainable_variables, model)})
    state = _State(checkpoint.progress.epoch, checkpoint.model, checkpoint.optimizer, learned, facts.get("draws", []))
    others = [name for name in optimizers_of(model) if name != _COMPILED]
    fault = state.fault(model)
    if "optimizers" not in facts and others:
        fault = f"of the compiled optimizer alone, without {', '.join(others)}"
    if fault is not None:
        raise CheckpointError(f"checkpoint {path} is {fault}; remove it to start anew")
    return state


def _learned_by(optimizer: Any, model: Any) -> list[int] | None:
    return _positions(optimizer._trainable_variables, model)


def _positions(variables: Sequence[Any], model: Any) -> list[int] | None:
    """Give the positions of variables among a model's weights; None where they are not all among them."""
    places = {id(weight): position for position, weight in enumerate(model.weights)}
    found = [places.get(id(variable)) for variable in variables]
    return None if None in found else [place for place in found if place is not None]


def _plain(array: np.ndarray) -> np.ndarray:
    """Give numbers that NumPy reads back: bfloat16, which it does not know, as the same ones in float32."""
    return array if array.dtype.kind in "biufc" else array.astype(np.float32)
