"""LAMB as its paper has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from dist_training.optimizers.per_variable import PerVariable
from dist_training.optimizers.trust_ratio import norm, trust_ratio

__all__ = ["Lamb"]


@keras.saving.register_keras_serializable(package="dist_training")
class Lamb(PerVariable, keras.optimizers.Lamb):
    """Layer-wise adaptive moments (You et al. 2020, arXiv 1904.00962, algorithm 2), on Keras's slots and settings.

    With Adam's direction r (both moments corrected for their start), weights w, learning rate η, weight decay λ::

        u = r + λ w
        w = w - η |w| / |u| u

    Keras 3.15 differs in two ways that are put right here. It decays outside the ratio. And it applies the ratio to
    biases too, which start at zero: after a first step of η the ratio of a bias is η, so that it grows by the factor
    1 + η a step, however far it has to go. Here biases and normalisation (``is_decayed``) take Adam's steps, as
    implementations of LAMB commonly have it.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable."""
        index = self._get_variable_index(variable)
        mean, square = self._momentums[index], self._velocities[index]
        gradient = ops.cast(gradient, variable.dtype)
        self.assign_add(mean, (gradient - mean) * (1 - self.beta_1))
        self.assign_add(square, (ops.square(gradient) - square) * (1 - self.beta_2))
        step = ops.cast(self.iterations + 1, variable.dtype)
        mean_share = 1 - ops.power(ops.cast(self.beta_1, variable.dtype), step)
        square_share = 1 - ops.power(ops.cast(self.beta_2, variable.dtype), step)
        update = (mean / mean_share) / (ops.sqrt(square / square_share) + self.epsilon)
        rate = ops.cast(self.rate_of(variable, learning_rate), variable.dtype)
        if self._use_weight_decay(variable):
            update = update + self.decay_of(variable) * variable
            rate = rate * trust_ratio(norm(variable), norm(update))
        self.assign_sub(variable, rate * update)

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Decay is part of the update."""
