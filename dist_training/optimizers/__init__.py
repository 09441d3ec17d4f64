"""Optimizers by name: Keras's, with weight decay and learning rates variable by variable, and LARS."""

from __future__ import annotations

from dist_training.optimizers.build import SGD, Adam, AdamW, build_optimizer
from dist_training.optimizers.lamb import Lamb
from dist_training.optimizers.lars import Lars
from dist_training.optimizers.slots import averaged_weights, momentum_correction

__all__ = ["SGD", "Adam", "AdamW", "Lamb", "Lars", "averaged_weights", "build_optimizer", "momentum_correction"]
