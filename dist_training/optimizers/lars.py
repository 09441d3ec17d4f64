"""LARS: momentum descent whose step in each layer is proportional to the norm of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from dist_training.optimizers.per_variable import PerVariable
from dist_training.optimizers.trust_ratio import norm, trust_ratio

__all__ = ["Lars"]


@keras.saving.register_keras_serializable(package="dist_training")
class Lars(PerVariable, keras.optimizers.Optimizer):
    """Layer-wise adaptive rate scaling (You, Gitman and Ginsburg 2017, arXiv 1708.03888, equation 6, algorithm 1).

    With weights w, gradient g, learning rate γ, momentum m, weight decay β and trust coefficient η::

        λ = η |w| / (|g| + β |w|)
        v = m v + γ λ (g + β w)
        w = w - v

    λ is 1 for a layer whose weights are all zero. Biases and normalisation (``is_decayed``) take plain steps of
    momentum descent, λ = 1 and β = 0, as implementations commonly have it; the paper does not speak of them.

    Args:
        learning_rate: γ; as λ is small, rates of 1 to 10 are usual for large batches.
        momentum: m, in [0, 1).
        trust_coefficient: η.
        weight_decay: β.
        **settings: what every Keras optimizer takes, and ``rate_factors``.

    >>> import keras
    >>> weights = keras.Variable([[3.0, 4.0]], name="kernel")
    >>> optimizer = Lars(learning_rate=1.0, momentum=0.0, trust_coefficient=0.1)
    >>> optimizer.apply([keras.ops.convert_to_tensor([[0.0, 2.0]])], [weights])  # |w| = 5, |g| = 2: λ = 0.25
    >>> weights.numpy().tolist()
    [[3.0, 3.5]]
    """

    def __init__(
        self,
        learning_rate: Any = 1.0,
        momentum: float = 0.9,
        trust_coefficient: float = 0.001,
        weight_decay: float = 0.0,
        **settings: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, **settings)
        self.momentum = momentum
        self.trust_coefficient = trust_coefficient

    def build(self, variables: Sequence[Any]) -> None:
        """Make the velocities of the variables."""
        if self.built:
            return
        super().build(variables)
        self.momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable."""
        velocity = self.momentums[self._get_variable_index(variable)]
        rate = ops.cast(self.rate_of(variable, learning_rate), variable.dtype)
        step = ops.cast(gradient, variable.dtype)
        if self._use_weight_decay(variable):
            weight_norm, decay = norm(variable), self.decay_of(variable)
            rate = rate * trust_ratio(self.trust_coefficient * weight_norm, norm(step) + decay * weight_norm)
            step = step + decay * variable
        self.assign(velocity, self.momentum * velocity + rate * step)
        self.assign_sub(variable, velocity)

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Decay is part of the update."""

    def get_config(self) -> dict[str, Any]:
        """Give what recreates the optimizer, without its state."""
        return super().get_config() | {"momentum": self.momentum, "trust_coefficient": self.trust_coefficient}
