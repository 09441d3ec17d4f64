"""Losses by name, whose parts on the ranks add up to the loss of the step; see ``build_loss``.

All are made of two terms: one that compares pixels (cross-entropy, focal) and one that compares areas (Dice, Tversky),
the latter sample by sample or over the whole batch. Or they are a function of the user's own.
"""

from dist_training.losses.build import build_loss
from dist_training.losses.loss import Loss
from dist_training.losses.overlap import DICE_SMOOTHING_PIXELS
from dist_training.losses.own import OwnLoss
from dist_training.losses.penalised import PenalisedLoss

__all__ = ["DICE_SMOOTHING_PIXELS", "Loss", "OwnLoss", "PenalisedLoss", "build_loss"]
