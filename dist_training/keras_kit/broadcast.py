"""All ranks begin with the weights and the optimizer state of rank 0, and with what can work on all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dist_training.keras_kit.lockstep import RankCallback
from dist_training.keras_kit.model_state import (
    NO_WEIGHTS,
    assign,
    is_trained_by_keras,
    optimizers_of,
    state_variables,
    values,
)
from dist_training.ranks.communicator import Communicator
from dist_training.ranks.distributed_optimizer import is_distributed
from r2d2_base.errors import ConfigurationError

__all__ = ["BroadcastCallback"]


class BroadcastCallback(RankCallback):
    """Gives every rank the weights and the state of all optimizers of rank 0, before the first step.

    It also refuses, on all ranks at once, what could only go wrong later: an optimizer that reduces nothing, models
    that differ in their shapes, epochs of different lengths, XLA, which cannot compile Horovod's operations. From then
    on it keeps the ranks at the same step: where one stops, all do.

    Args:
        communicator: the ranks; None joins the job that this process was started in.
    """

    def __init__(self, communicator: Communicator | None = None) -> None:
        super().__init__(communicator)
        self._local: dict[str, Any] = {}
        self._taken: dict[str, int] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        """Check the model and broadcast it.

        Raises:
            ConfigurationError: see above; the message names the ranks concerned.
        """
        super().on_train_begin(logs)
        is_alone = self._communicator.world_size == 1
        fault = None if is_alone else _fault(self.model)
        variables = [] if fault else state_variables(self.model)
        layout = [(tuple(variable.shape), str(variable.dtype)) for variable in variables]
        ranks = self._communicator.gather_objects((fault, layout, self.params.get("steps")))
        faults = [f"rank {rank}: {other}" for rank, (other, _, _) in enumerate(ranks) if other]
        if faults:
            raise ConfigurationError("; ".join(faults))
        for rank, (_, other, _) in enumerate(ranks):
            if other != ranks[0][1]:
                difference = _difference(other, ranks[0][1])
                raise ConfigurationError(
                    f"all ranks must train the same model and optimizers; rank {rank} has {difference}"
                )
        _check_lengths([steps for _, _, steps in ranks])
        is_main = self._communicator.rank == 0
        assign(variables, self._communicator.broadcast_object(values(variables) if is_main else None))
        found = {} if is_alone else optimizers_of(self.model)
        self._local = {name: optimizer for name, optimizer in found.items() if not is_distributed(optimizer)}
        self._taken = {name: int(optimizer.iterations) for name, optimizer in self._local.items()}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Refuse an optimizer of a training step of the user's own that turns out to be applied, and reduces nothing.

        Raises:
            ConfigurationError: naming it, on every rank after the same step.
        """
        super().on_train_batch_end(batch, logs)
        for name, optimizer in self._local.items():
            if int(optimizer.iterations) > self._taken[name]:
                raise ConfigurationError(_left_local(name, optimizer))


def _fault(model: Any) -> str | None:
    """Say what is wrong with a model that several ranks are to train; None: nothing."""
    if is_trained_by_keras(model) and not is_distributed(model.optimizer):
        return _left_local("optimizer", model.optimizer)
    if not any(is_distributed(optimizer) for optimizer in optimizers_of(model).values()):
        return "no optimizer of the model is distributed; use DistributedOptimizer(...) for each that it applies"
    if not model.built:
        return NO_WEIGHTS
    if model.jit_compile:
        return "XLA cannot compile Horovod's operations; use compile(jit_compile=False)"
    return None


def _left_local(name: str, optimizer: Any) -> str:
    advice = (
        "compile it with DistributedOptimizer(...), or load it with dist_training.load_model"
        if name == "optimizer"
        else "make it a DistributedOptimizer(...)"
    )
    return f"the model's {name} is {type(optimizer).__name__}, which leaves the gradients local; {advice}"


def _check_lengths(steps: Sequence[int | None]) -> None:
    """Refuse epochs of different lengths: the ranks with more steps would wait for the gradients of the others."""
    known = {count for count in steps if count is not None}
    if len(known) > 1:
        listed = ", ".join(f"rank {rank} {count}" for rank, count in enumerate(steps))
        raise ConfigurationError(
            f"all ranks must take the same number of steps an epoch; received {listed}; give every rank as many "
            f"batches, or pass fit steps_per_epoch={min(known)}"
        )


def _difference(layout: Sequence[Any], expected: Sequence[Any]) -> str:
    """Say in what a rank's variables differ from those of rank 0."""
    if len(layout) != len(expected):
        return f"{len(layout)} variables, rank 0 has {len(expected)}"
    position, one, other = next(
        (i, a, b) for i, (a, b) in enumerate(zip(layout, expected, strict=True)) if tuple(a) != tuple(b)
    )
    return f"variable {position} of shape {one[0]} and dtype {one[1]}, rank 0 {other[0]} and {other[1]}"
