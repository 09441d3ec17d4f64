"""The states of a run, and who ended it early: the same words on disk, in the terminal and in every page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["ACTIVE", "ENDED", "State", "Stop", "StoppedBy", "stopper_of"]

State = Literal[
    "queued", "starting", "running", "stopping", "completed", "stopped_early", "cancelled", "failed", "lost"
]
"""``lost``: it ended without saying how, as after a power cut."""

StoppedBy = Literal["request", "signal", "early_stopping", "time_budget"]
"""``request``: someone asked for it; ``signal``: Ctrl-C, or the system, which interrupted a run that is to go on."""

ACTIVE: tuple[State, ...] = ("starting", "running", "stopping")
ENDED: tuple[State, ...] = ("completed", "stopped_early", "cancelled", "failed")
"""What a run says of its own end."""

_OLD_REASONS: tuple[tuple[str, StoppedBy], ...] = (
    (r"signal SIG[A-Z0-9]+", "signal"),
    (r"no better validation Dice in .*", "early_stopping"),
    (r"max_minutes=.* of training are over.*", "time_budget"),
)


@dataclass(frozen=True)
class Stop:
    """Why a run ends before its last epoch.

    Attributes:
        by: who wants it.
        reason: in words.
    """

    by: StoppedBy
    reason: str


def stopper_of(reason: str | None) -> StoppedBy:
    """Tell who stopped a run whose record does not say so, as before version 0.2.

    Args:
        reason: of the end, as written then.

    >>> stopper_of("signal SIGTERM"), stopper_of("signal lost on the way")
    ('signal', 'request')
    """
    matching = (by for pattern, by in _OLD_REASONS if re.fullmatch(pattern, reason or ""))
    return next(matching, get_args(StoppedBy)[0])
