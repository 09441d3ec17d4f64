"""When validation no longer gets better, training ends (Prechelt 1998, "Early stopping: but when?")."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from r2d2_base.errors import ConfigurationError

__all__ = ["EarlyStopping", "check_validation"]


@dataclass(frozen=True)
class EarlyStopping:
    """How long ago validation was better; a value that a checkpoint can hold.

    Attributes:
        best: the validation Dice that counted as better last; None before the first.
        epochs_without: epochs since then.

    >>> state = EarlyStopping()
    >>> for dice in (0.50, 0.60, 0.60, 0.59):
    ...     state = state.after(dice)
    >>> state, state.is_exhausted(patience=2)
    (EarlyStopping(best=0.6, epochs_without=2), True)
    """

    best: float | None = None
    epochs_without: int = 0

    def after(self, dice: float | None, *, min_delta: float = 0.0) -> EarlyStopping:
        """Give the state after an epoch.

        Args:
            dice: the epoch's validation Dice; None or NaN, where it is undefined, leaves everything as it is.
            min_delta: it counts as better when it exceeds the best by more than this; small gains add up, since the
                best moves only then.

        Returns:
            The new state.
        """
        if dice is None or math.isnan(dice):
            return self
        if self.best is None or dice > self.best + min_delta:
            return EarlyStopping(dice, 0)
        return replace(self, epochs_without=self.epochs_without + 1)

    def is_exhausted(self, patience: int | None) -> bool:
        """Whether the run should end.

        Args:
            patience: epochs without a better Dice that are borne; None: any number.
        """
        return patience is not None and self.epochs_without >= patience

    def reason(self, patience: int) -> str:
        """Say why the run ends.

        Args:
            patience: see ``is_exhausted``.
        """
        best = "none" if self.best is None else f"{self.best:.4f}"
        return f"no better validation Dice in {patience} epochs (best {best}; early_stopping_patience={patience})"


def check_validation(patience: int | None, validation_slices: int) -> None:
    """Refuse early stopping without validation cases: it would never stop.

    Args:
        patience: the setting.
        validation_slices: how many there are to validate on.

    Raises:
        ConfigurationError: saying so.

    >>> check_validation(None, 0)
    """
    if patience is not None and validation_slices == 0:
        raise ConfigurationError(
            f"early_stopping_patience={patience} needs validation cases, and the dataset's split has none; "
            "prepare it with some, or set early_stopping_patience to null"
        )
