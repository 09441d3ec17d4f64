"""Optimizers by name."""

from __future__ import annotations

from typing import Any

from dist_training.settings import TrainingSettings

__all__ = ["build_optimizer"]


def build_optimizer(settings: TrainingSettings) -> Any:
    """Make the Keras optimizer that the settings name; its learning rate is set before every step.

    Args:
        settings: ``optimizer`` "adam" (Kingma and Ba 2015) or "sgd" with ``momentum``.

    Returns:
        A ``keras.optimizers.Optimizer``.
    """
    import keras

    if settings.optimizer == "sgd":
        return keras.optimizers.SGD(settings.learning_rate, momentum=settings.momentum)
    return keras.optimizers.Adam(settings.learning_rate)
