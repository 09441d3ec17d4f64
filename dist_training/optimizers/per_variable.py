"""What our optimizers add to Keras's: decay and learning rates variable by variable, and true double precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

__all__ = ["PerVariable", "is_decayed"]

if TYPE_CHECKING:
    from keras.optimizers import Optimizer as _Base
else:
    _Base = object  # which optimizer it is, the class that mixes this in says

_UNDECAYED_NAMES = frozenset({"bias", "gamma", "beta"})
_DECIMAL_FRACTIONS = ("momentum", "beta_1", "beta_2")


def is_decayed(variable: Any) -> bool:
    """Say whether weight decay, and the trust ratios of LARS and LAMB, apply to a variable.

    Biases and the scales and shifts of normalisation are left alone (He et al. 2019, arXiv 1812.01187, "no bias
    decay"): whatever has less than two axes, or bears their name.

    Args:
        variable: a network's variable.

    >>> import keras
    >>> [is_decayed(keras.Variable([[1.0]], name=name)) for name in ("kernel", "bias")]
    [True, False]
    """
    return len(variable.shape) > 1 and _path(variable).rsplit("/", 1)[-1] not in _UNDECAYED_NAMES


def _path(variable: Any) -> str:
    return str(getattr(variable, "path", variable.name))


class PerVariable(_Base):
    """What comes before a ``keras.optimizers.Optimizer`` among a class's bases.

    - Weight decay is decoupled, ``w - learning_rate * weight_decay * w`` (Loshchilov and Hutter 2019, arXiv
      1711.05101), and leaves alone what ``is_decayed`` says.
    - ``rate_factors`` multiply the learning rate of single variables, for the update and the decay alike; 0 freezes.
    - The learning rate and the decay rates of the moments have the precision of the network's variables. Keras keeps
      the former in ``floatx`` and casts the latter through float32: 0.9 becomes 0.8999999762.

    Args:
        rate_factors: factors of the learning rate by variable path; 1 where none is named.
        **settings: those of the Keras optimizer.
    """

    def __init__(self, *, rate_factors: Mapping[str, float] | None = None, **settings: Any) -> None:
        dtype = keras.config.dtype_policy().variable_dtype
        with _floatx(dtype):
            super().__init__(**settings)
        self.rate_factors = {path: float(factor) for path, factor in (rate_factors or {}).items()}
        if dtype == "float64":
            for name in _DECIMAL_FRACTIONS:
                if hasattr(self, name):
                    setattr(self, name, np.float64(getattr(self, name)))

    def build(self, variables: Sequence[Any]) -> None:
        """Make the slots of the variables.

        Args:
            variables: the network's trainable variables, in order.
        """
        if self.built:
            return
        self._factors = tuple(self.rate_factors.get(_path(variable), 1.0) for variable in variables)
        undecayed = [variable for variable in variables if not is_decayed(variable)]
        self.exclude_from_weight_decay(var_list=undecayed)
        super().build(variables)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable by Keras's rule, at its own learning rate."""
        super().update_step(gradient, variable, self.rate_of(variable, learning_rate))

    def rate_of(self, variable: Any, learning_rate: Any) -> Any:
        """Give a variable's own learning rate.

        Args:
            variable: one that the optimizer was built with.
            learning_rate: scalar, the rate of the step.
        """
        factor = self._factors[self._get_variable_index(variable)]
        return learning_rate if factor == 1.0 else keras.ops.multiply(learning_rate, factor)

    def decay_of(self, variable: Any) -> float:
        """Give a variable's own weight decay: 0 where it is left alone."""
        return (self.weight_decay or 0.0) if self._use_weight_decay(variable) else 0.0

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Keras calls this with clipped gradients at hand, before it updates the variables."""
        for variable in variables:
            decay = self.decay_of(variable)
            if decay > 0:
                rate = keras.ops.cast(self.rate_of(variable, self.learning_rate), variable.dtype)
                self.assign_sub(variable, variable * (rate * decay))

    def get_config(self) -> dict[str, Any]:
        """Give what recreates the optimizer, without its state."""
        config = super().get_config() | {"rate_factors": dict(self.rate_factors)}
        return {name: float(value) if isinstance(value, np.floating) else value for name, value in config.items()}


@contextmanager
def _floatx(dtype: str) -> Iterator[None]:
    before = keras.config.floatx()
    keras.config.set_floatx(dtype)
    try:
        yield
    finally:
        keras.config.set_floatx(before)
