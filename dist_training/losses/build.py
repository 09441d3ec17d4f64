"""Which terms each name of a loss stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, get_args

import numpy as np

from dist_training.losses.loss import Loss, Term
from dist_training.losses.overlap import area_loss
from dist_training.losses.own import OwnLoss, build_own_loss
from dist_training.losses.pixelwise import pixelwise_loss
from dist_training.own_code import is_own_name
from dist_training.ranks.communicator import Communicator
from dist_training.settings import LossName
from r2d2_base.errors import ConfigurationError

__all__ = ["build_loss"]

DICE = (0.5, 0.5)
"""Weights of false positives and false negatives that make Tversky's index the Dice."""


def build_loss(
    name: str,
    num_outputs: int,
    *,
    class_weights: Sequence[float] | None = None,
    focal_gamma: float = 2.0,
    tversky_alpha: float = 0.3,
    tversky_beta: float = 0.7,
    regions: np.ndarray | None = None,
    communicator: Communicator | None = None,
    options: Mapping[str, Any] | None = None,
) -> Loss | OwnLoss:
    """Build a loss by name.

    Without ``regions``, one output is a binary task (the logit of a sigmoid for class 1), several are a softmax over
    classes of which 0 is the background. With them, each output is the logit of a sigmoid for one region.

    Args:
        name: one of ``LossName``; a name of two terms is their sum, each with weight 1. Or module:function, see
            ``build_own_loss``; of what follows only ``regions`` and ``options`` matter to it.
        num_outputs: channels of the logits, at least 1.
        class_weights: a positive weight for each class, background included, of the pixels in the cross-entropy
            (for the focal loss the paper's alpha); None: all 1.
        focal_gamma: at least 0; 0 makes the focal loss the cross-entropy.
        tversky_alpha: weight of false positives, at least 0.
        tversky_beta: weight of false negatives, at least 0; alpha = beta = 1/2 makes Tversky's index the Dice.
        regions: bool (classes, num_outputs), which regions each class belongs to, background first; None: none.
        communicator: the ranks, over which a whole-batch loss sums; None: there is one.
        options: further arguments of a loss of the user's own.

    Returns:
        The loss.

    Raises:
        ConfigurationError: no loss has this name, or the numbers do not belong together.

    >>> from keras import ops
    >>> loss = build_loss("cross_entropy", num_outputs=2)
    >>> print(f"{float(loss(ops.zeros((1, 1, 2, 2)), ops.array([[[0, 1]]]), ops.ones(1), 1.0)):.4f}")  # ln 2
    0.6931
    """
    if is_own_name(name):
        return build_own_loss(name, options or {}, num_outputs, regions)
    if name not in get_args(LossName):
        raise ConfigurationError(f"loss must be one of {', '.join(get_args(LossName))}; received {name!r}")
    if num_outputs < 1:
        raise ConfigurationError(f"num_outputs must be at least 1; received {num_outputs}")
    _check_numbers(name, focal_gamma, tversky_alpha, tversky_beta)
    _check_regions(regions, num_outputs)
    num_classes = max(2, num_outputs) if regions is None else len(regions)
    if class_weights is not None and len(class_weights) != num_classes:
        raise ConfigurationError(
            f"class_weights must be one number for each of {num_classes} classes, background included; "
            f"received {len(class_weights)}"
        )
    terms, batch_overlap = _parts(name, focal_gamma, (tversky_alpha, tversky_beta))
    return Loss(
        num_outputs=num_outputs,
        terms=terms,
        batch_overlap=batch_overlap,
        class_weights=None if class_weights is None else tuple(class_weights),
        regions=regions,
        communicator=communicator,
    )


def _parts(
    name: str, gamma: float, tversky_weights: tuple[float, float]
) -> tuple[tuple[Term, ...], tuple[float, float] | None]:
    """Give what each name stands for: terms of a sample, and the weights of one of the whole batch."""
    cross_entropy, focal = (partial(pixelwise_loss, gamma=power) for power in (0.0, gamma))
    dice, tversky = (partial(area_loss, alpha=a, beta=b) for a, b in (DICE, tversky_weights))
    return {
        "dice_cross_entropy": ((cross_entropy, dice), None),
        "cross_entropy": ((cross_entropy,), None),
        "dice": ((dice,), None),
        "batch_dice": ((), DICE),
        "batch_dice_cross_entropy": ((cross_entropy,), DICE),
        "focal": ((focal,), None),
        "dice_focal": ((focal, dice), None),
        "tversky": ((tversky,), None),
        "tversky_cross_entropy": ((cross_entropy, tversky), None),
    }[name]


def _check_numbers(name: str, gamma: float, alpha: float, beta: float) -> None:
    numbers = {"focal_gamma": gamma, "tversky_alpha": alpha, "tversky_beta": beta}
    for what, number in numbers.items():
        if not number >= 0:
            raise ConfigurationError(f"{what} must be at least 0; received {number}")
    if "tversky" in name and alpha == beta == 0:
        raise ConfigurationError(
            "tversky_alpha and tversky_beta must not both be 0: no mistake would cost anything; use 0.3 and 0.7"
        )


def _check_regions(regions: np.ndarray | None, num_outputs: int) -> None:
    if regions is not None and (regions.ndim != 2 or regions.shape[1] != num_outputs or len(regions) < 2):
        raise ConfigurationError(
            f"regions must have shape (classes, num_outputs) with at least 2 classes and num_outputs={num_outputs}; "
            f"received {regions.shape}"
        )
