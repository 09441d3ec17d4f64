"""Optimizers by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import keras

from dist_training.optimizers.lamb import Lamb
from dist_training.optimizers.lars import Lars
from dist_training.optimizers.per_variable import PerVariable
from dist_training.settings import TrainingSettings
from r2d2_base.errors import ConfigurationError

__all__ = ["SGD", "Adam", "AdamW", "build_optimizer"]


@keras.saving.register_keras_serializable(package="dist_training")
class SGD(PerVariable, keras.optimizers.SGD):
    """Keras's SGD with momentum (Sutskever et al. 2013), variable by variable."""


@keras.saving.register_keras_serializable(package="dist_training")
class Adam(PerVariable, keras.optimizers.Adam):
    """Keras's Adam (Kingma and Ba 2015), variable by variable."""


@keras.saving.register_keras_serializable(package="dist_training")
class AdamW(PerVariable, keras.optimizers.AdamW):
    """Keras's AdamW (Loshchilov and Hutter 2019), variable by variable."""


_CLASSES: dict[str, type] = {"adam": Adam, "adamw": AdamW, "sgd": SGD, "lamb": Lamb, "lars": Lars}
# Kernels under LARS see only the product of rate and trust coefficient, while biases see the rate alone. Where the
# paper has 0.001 and rates around 10, at which biases may diverge, 1 and rates around 0.01 move kernels the same.
_TRUST_COEFFICIENT = 1.0


def build_optimizer(
    settings: TrainingSettings, model: Any = None, *, rate_factors: Mapping[str, float] | None = None
) -> Any:
    """Make the optimizer that the settings name, not yet built; its learning rate is set before every step.

    The gradient is clipped by its norm over all variables (``clip_norm``), then the weights decay, then they move,
    then their average follows (``ema_momentum``). LARS has a trust coefficient of 1, so that its learning rate is,
    like LAMB's, the share of its norm by which a kernel moves. Under ``mixed_float16`` the optimizer stands within a
    ``LossScaleOptimizer``, which skips steps whose gradient has overflowed. The precision is that of the Keras
    dtype policy in force.

    Args:
        settings: ``optimizer`` and its settings, ``learning_rate``, ``weight_decay``, ``clip_norm``, ``ema_momentum``,
            ``dtype``.
        model: the network, against whose variables the rate factors are checked.
        rate_factors: factors, at least 0, of the learning rate by variable path; 1 where none is named.

    Returns:
        A ``keras.optimizers.Optimizer``.

    Raises:
        ConfigurationError: a factor for a variable that the network does not have, or a negative one.

    >>> optimizer = build_optimizer(TrainingSettings(optimizer="lars", momentum=0.5, weight_decay=1e-4))
    >>> type(optimizer).__name__, optimizer.momentum, optimizer.weight_decay
    ('Lars', 0.5, 0.0001)
    """
    if rate_factors:
        _check_rate_factors(rate_factors, model)
    own: dict[str, Any] = {}
    if settings.optimizer in ("sgd", "lars"):
        own["momentum"] = settings.momentum
    if settings.optimizer == "lars":
        own["trust_coefficient"] = _TRUST_COEFFICIENT
    if settings.optimizer == "sgd":
        own["nesterov"] = settings.nesterov
    if settings.ema_momentum is not None:
        own |= {"use_ema": True, "ema_momentum": settings.ema_momentum}
    optimizer = _CLASSES[settings.optimizer](
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        global_clipnorm=settings.clip_norm,
        rate_factors=rate_factors,
        **own,
    )
    return keras.optimizers.LossScaleOptimizer(optimizer) if settings.dtype == "mixed_float16" else optimizer


def _check_rate_factors(rate_factors: Mapping[str, float], model: Any) -> None:
    if model is None:
        raise ConfigurationError("rate_factors name variables of a network; received no model; pass it as well")
    paths = [variable.path for variable in model.variables]
    for path, factor in rate_factors.items():
        if path not in paths:
            nearest = difflib.get_close_matches(path, paths, n=1, cutoff=0.0)
            raise ConfigurationError(
                f"rate_factors must name variables of the network; received {path!r}; nearest: {', '.join(nearest)}"
            )
        if not 0 <= factor < float("inf"):
            raise ConfigurationError(
                f"a rate factor must be a finite number, at least 0; received {factor} for {path}; use 0 to freeze"
            )
