"""Any Keras 3 optimizer, applied to the gradients of all ranks instead of this one's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from dist_training.ranks.communicator import Communicator, join_job
from dist_training.ranks.gradients import ExchangeClock, sum_over_ranks
from dist_training.settings import Compression
from r2d2_base.errors import ConfigurationError

__all__ = ["DistributedOptimizer", "Reduction", "is_distributed", "load_model", "sums_over_ranks"]

Reduction = Literal["average", "sum"]


def DistributedOptimizer(  # noqa: N802 - the name that people know from horovod.keras
    optimizer: Any,
    *,
    communicator: Communicator | None = None,
    reduction: Reduction = "average",
    compression: Compression = "none",
    backward_passes_per_step: int = 1,
) -> Any:
    """Make an optimizer that reduces gradients over the ranks before it does anything else with them.

    What it returns is an instance of the optimizer's own class: clipping, weight decay, moving averages, loss
    scaling and accumulation all see the reduced gradient. It takes over the optimizer's variables and settings, so
    go on with what is returned and leave the one that was passed. Saved, it is the optimizer that was passed.

    ``LossScaleOptimizer`` and ``MultiOptimizer`` go inside: reduced within them, one rank would wait for others that
    skip the step because their gradients overflowed.

    Args:
        optimizer: any Keras 3 optimizer, built or not.
        communicator: the ranks; None joins the job that this process was started in.
        reduction: "average" over ranks and passes, for a loss that is a mean over this rank's samples; "sum" for
            losses whose sum over the ranks is the loss of the step.
        compression: "none", or "fp16": gradients travel in half precision, see ``gradients.sum_over_ranks``.
        backward_passes_per_step: gradients of so many calls are added up here, then reduced and applied once. What
            has been added up is not saved.

    Returns:
        An optimizer, with ``apply_with_scalars(gradients, variables, scalars)`` besides: as ``apply``, it also gives
        the sums over the ranks of scalars (k,) that travel in the same exchange, and how long that took where asked.

    Raises:
        ConfigurationError: another backend than TensorFlow, an optimizer that is already distributed, an unknown
            reduction or compression, or no pass.

    >>> import keras
    >>> optimizer = DistributedOptimizer(keras.optimizers.SGD(0.5, global_clipnorm=1.0))
    >>> weight = keras.Variable([1.0, 1.0])
    >>> optimizer.apply([keras.ops.array([3.0, 4.0])], [weight])
    >>> print(isinstance(optimizer, keras.optimizers.SGD), weight.numpy())
    True [0.7 0.6]
    """
    _check(optimizer, reduction, compression, backward_passes_per_step)
    base = optimizer.__class__
    made: Any = object.__new__(type(base.__name__, (_Distributed, base), {"__module__": base.__module__}))
    communicator = communicator or join_job()
    # Not by __init__ from its configuration: that lacks variables, callables and what weight decay leaves out.
    vars(made).update(vars(optimizer))
    vars(made)["_exchange"] = _Exchange(communicator, reduction, compression, backward_passes_per_step)
    return made


def is_distributed(optimizer: Any) -> bool:
    """Tell whether an optimizer reduces its gradients over the ranks.

    >>> import keras
    >>> is_distributed(keras.optimizers.SGD()), is_distributed(DistributedOptimizer(keras.optimizers.SGD()))
    (False, True)
    """
    return isinstance(optimizer, _Distributed)


def sums_over_ranks(optimizer: Any) -> bool:
    """Tell whether an optimizer is distributed with ``reduction="sum"``: the ranks' losses add up to that of the step.

    >>> import keras
    >>> sums_over_ranks(DistributedOptimizer(keras.optimizers.SGD(), reduction="sum"))
    True
    """
    return isinstance(optimizer, _Distributed) and optimizer._exchange.reduction == "sum"


def load_model(path: str | Path, *, custom_objects: dict[str, Any] | None = None, **options: Any) -> Any:
    """Load a compiled model to train it further on several ranks.

    A model file holds the plain optimizer, so that it loads without this package; trained as it is, each rank would
    go its own way. This is ``keras.models.load_model`` and ``DistributedOptimizer``.

    Args:
        path: a ``.keras`` file of a compiled model.
        custom_objects: as for ``keras.models.load_model``.
        options: of ``DistributedOptimizer``.

    Returns:
        The model, compiled, its optimizer where it was and distributed.

    Raises:
        ConfigurationError: a model that was saved without an optimizer.
    """
    import keras

    model = keras.models.load_model(path, custom_objects=custom_objects)
    if getattr(model, "optimizer", None) is None:
        raise ConfigurationError(f"{path} holds no optimizer; load it with keras.models.load_model and compile it")
    model.optimizer = DistributedOptimizer(model.optimizer, **options)
    return model


def _check(optimizer: Any, reduction: str, compression: str, passes: int) -> None:
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ConfigurationError(
            f"Horovod reduces TensorFlow's tensors; received Keras on {keras.backend.backend()}; "
            "set KERAS_BACKEND=tensorflow"
        )
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ConfigurationError(
            f"optimizer must be a Keras optimizer; received {optimizer!r}; use keras.optimizers.get(...) for a name"
        )
    if is_distributed(optimizer):
        raise ConfigurationError("the optimizer is already distributed; use it as it is")
    for name, value, choices in (
        ("reduction", reduction, get_args(Reduction)),
        ("compression", compression, get_args(Compression)),
    ):
        if value not in choices:
            raise ConfigurationError(f"{name} must be one of {', '.join(choices)}; received {value!r}")
    if passes < 1:
        raise ConfigurationError(f"backward_passes_per_step must be at least 1; received {passes}")


class _Exchange:
    """How an optimizer's gradients are reduced, and those it has added up since it last did."""

    def __init__(self, communicator: Communicator, reduction: Reduction, compression: Compression, passes: int) -> None:
        self.communicator, self.compression, self.passes = communicator, compression, passes
        self.reduction = reduction
        self.divisor = communicator.world_size * passes if reduction == "average" else 1
        # By the variable, as those that learn may change. Of TensorFlow, so that Keras neither counts them among the
        # optimizer's variables nor saves them.
        self._sums: dict[int, Any] = {}
        self._count: Any = None

    def reduce(
        self, gradients: Sequence[Any], scalars: Any, clock: ExchangeClock | None = None
    ) -> tuple[list[Any], Any]:
        """Sum or average gradients over ranks and passes, and sum scalars."""
        import tensorflow as tf

        summed, scalars = sum_over_ranks(
            self.communicator, gradients, scalars, compression=self.compression, clock=clock
        )
        if self.divisor != 1:
            summed = [None if total is None else total / tf.cast(self.divisor, total.dtype) for total in summed]
        return summed, scalars

    def add(self, gradients: Sequence[Any], variables: Sequence[Any]) -> Any:
        """Add up a pass; whether it was the last one of a step, as a boolean tensor."""
        import tensorflow as tf

        with tf.init_scope():
            if self._count is None:
                self._count = tf.Variable(0, dtype=tf.int64, trainable=False)
            for gradient, variable in zip(gradients, variables, strict=True):
                if gradient is not None and id(variable) not in self._sums:
                    zeros = tf.zeros(gradient.shape, gradient.dtype)
                    self._sums[id(variable)] = tf.Variable(zeros, trainable=False)
        for gradient, variable in zip(gradients, variables, strict=True):
            if gradient is not None:
                self._sums[id(variable)].assign_add(gradient)
        return tf.equal(self._count.assign_add(1) % self.passes, 0)

    def take(self, gradients: Sequence[Any], variables: Sequence[Any]) -> list[Any]:
        """Give what was added up, None where ``gradients`` are, and start again from zero."""
        import tensorflow as tf

        taken = []
        for gradient, variable in zip(gradients, variables, strict=True):
            taken.append(None if gradient is None else tf.identity(self._sums[id(variable)]))
            if gradient is not None:
                self._sums[id(variable)].assign(tf.zeros_like(gradient))
        return taken


class _Distributed:
    """What is put before an optimizer's own class."""

    _exchange: _Exchange
    # of the optimizer's own class
    built: bool
    name: str
    build: Any
    _trainable_variables: list[Any]

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """The optimizer's own class: Keras saves an object as what this says."""
        return type(self).__bases__[1]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "loss_scale_factor":  # what LossScaleOptimizer and MultiOptimizer set on what they are given
            raise ConfigurationError(
                "a distributed optimizer must be the outermost one; received one inside a LossScaleOptimizer or "
                "MultiOptimizer (compile() adds the former under mixed_float16), where a rank with an overflow would "
                "leave the others waiting; use DistributedOptimizer(LossScaleOptimizer(optimizer))"
            )
        super().__setattr__(name, value)

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Reduce gradients over the ranks and apply them, as ``keras.optimizers.Optimizer.apply`` does."""
        import keras
        import tensorflow as tf

        variables = self._targets(trainable_variables)
        gradients = [_dense(gradient, variable) for gradient, variable in zip(grads, variables, strict=True)]
        if not gradients:
            return
        if self._exchange.passes == 1:
            self._reduce_and_apply(gradients, variables)
            return
        if not self.built:
            with keras.name_scope(self.name):
                self.build(variables)  # its variables cannot be made within the branch below

        def step() -> Any:
            self._reduce_and_apply(self._exchange.take(gradients, variables), variables)
            return tf.constant(True)

        tf.cond(self._exchange.add(gradients, variables), step, lambda: tf.constant(False))

    def apply_with_scalars(
        self, gradients: Sequence[Any], variables: Sequence[Any], scalars: Any, *, is_timed: bool = False
    ) -> Any:
        """Apply gradients, and sum scalars over the ranks in the same exchange.

        Args:
            gradients: one for each variable; None where the loss does not depend on it.
            variables: the variables.
            scalars: tensor (k,), float32 or float64.
            is_timed: whether to tell how long this rank waited for the sums once all of its own was ready.

        Returns:
            The sums of the scalars over the ranks (k,); timed (k + 1,), the last one this rank's seconds.

        Raises:
            ConfigurationError: with ``backward_passes_per_step`` above 1, where not every call exchanges anything.
        """
        if self._exchange.passes > 1:
            raise ConfigurationError(
                "scalars travel with every reduction, which backward_passes_per_step="
                f"{self._exchange.passes} does not make in every call; use 1"
            )
        dense = [_dense(gradient, variable) for gradient, variable in zip(gradients, variables, strict=True)]
        return self._reduce_and_apply(dense, list(variables), scalars, is_timed)

    def _reduce_and_apply(
        self, gradients: list[Any], variables: list[Any], scalars: Any = None, is_timed: bool = False
    ) -> Any:
        clock = ExchangeClock() if is_timed else None
        reduced, scalars = self._exchange.reduce(gradients, scalars, clock)
        super().apply(reduced, variables)  # type: ignore[misc]
        return scalars if clock is None else clock.added_to(scalars)

    def _targets(self, variables: Any) -> list[Any]:
        if variables is not None:
            return list(variables)
        if not self.built:
            raise ConfigurationError(
                "an optimizer that is not built needs the variables; received gradients only; "
                "call optimizer.build(variables) before, or apply(gradients, variables)"
            )
        return list(self._trainable_variables)


def _dense(gradient: Any, variable: Any) -> Any:
    """Give a gradient the variable's shape: rows of an embedding, which differ between ranks, become a whole table."""
    import tensorflow as tf

    if getattr(variable, "overwrite_with_gradient", False):
        raise ConfigurationError(
            f"float8 scales are overwritten by their gradients, which cannot be summed over ranks; received variable "
            f"{variable.path}; use another dtype policy"
        )
    if isinstance(gradient, tf.IndexedSlices):
        return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, variable.shape[0])
    return None if gradient is None else tf.convert_to_tensor(gradient)
