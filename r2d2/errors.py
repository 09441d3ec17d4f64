"""Errors of the toolkit's own layer: one line each, which says what is wrong and what would work."""

from __future__ import annotations

__all__ = [
    "ConfigurationError",
    "LaunchError",
    "OutputExistsError",
    "PredictionError",
    "R2D2Error",
]


class R2D2Error(Exception):
    """Root of this package's errors.

    Attributes:
        exit_code: what the command line exits with; 2 is a user's mistake.
    """

    exit_code = 2


class ConfigurationError(R2D2Error, ValueError):
    """A configuration with faults; the message lists them all."""


class OutputExistsError(R2D2Error, FileExistsError):
    """An output folder that already holds something."""


class PredictionError(R2D2Error, ValueError):
    """Scans that a model cannot be applied to."""


class LaunchError(R2D2Error, RuntimeError):
    """A job of several workers that cannot be started, or that ended badly.

    Args:
        message: what happened and what to do.
        exit_code: what the command line exits with.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
