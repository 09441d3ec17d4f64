"""Errors of the toolkit's own layer: one line each, which says what is wrong and what would work."""

from __future__ import annotations

from r2d2_base.errors import R2D2Error

__all__ = [
    "FetchError",
    "LaunchError",
    "NamesFoundError",
    "PredictionError",
    "R2D2Error",
    "ZooError",
]


class PredictionError(R2D2Error, ValueError):
    """Scans that a model cannot be applied to."""


class ZooError(R2D2Error, ValueError):
    """Models of the zoo that are not there, cannot be had, or are not what they should be."""


class FetchError(ZooError):
    """A server that cannot be reached, or breaks off: nobody's mistake, and the same command may do tomorrow."""

    exit_code = 1


class NamesFoundError(ZooError):
    """A model that is not published, among other reasons because its texts name a patient, or may.

    Args:
        message: every reason; says in which text a name stands, and where, and does not repeat it: it may go into logs.
        for_terminal: the same with the names, for the publisher's own eyes.
    """

    def __init__(self, message: str, for_terminal: str) -> None:
        super().__init__(message)
        self.for_terminal = for_terminal


class LaunchError(R2D2Error, RuntimeError):
    """A job of several workers that cannot be started, or that ended badly.

    Args:
        message: what happened and what to do.
        exit_code: what the command line exits with.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
