"""Errors of training: one line each, which says what is wrong and what would work."""

from __future__ import annotations

from r2d2_base.errors import R2D2Error

__all__ = [
    "CheckpointError",
    "ControlError",
    "DamagedCheckpointError",
    "DistTrainingError",
    "DivergenceError",
    "HorovodMissingError",
    "ModelError",
    "OutOfMemoryError",
    "RanksApartError",
    "RunFolderError",
    "TensorFlowMissingError",
    "TooManyWorkersError",
    "WeightsError",
    "WeightsNotFoundError",
    "WorkerLostError",
    "WorkersDifferError",
]


class DistTrainingError(R2D2Error):
    """Root of this package's errors."""


class WeightsError(DistTrainingError, ValueError):
    """A file of weights that is unreadable or belongs to another network."""


class WeightsNotFoundError(DistTrainingError, FileNotFoundError):
    """A file of weights that does not exist, or cannot be fetched."""


class ModelError(DistTrainingError, ValueError):
    """A trained network that is missing, damaged, or not what its card says."""


class RunFolderError(DistTrainingError, FileExistsError):
    """A run folder that is in use, or one without a run to resume."""


class CheckpointError(DistTrainingError, ValueError):
    """A checkpoint that cannot be read or does not fit."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint that is not what was written: cut short, changed, or never one."""


class TooManyWorkersError(DistTrainingError, ValueError):
    """More workers than training slices.

    Attributes:
        faults: (key, sentence), as of a `ConfigurationError`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.faults = (("workers", message),)


class HorovodMissingError(DistTrainingError, ImportError):
    """Several workers without Horovod."""


class TensorFlowMissingError(DistTrainingError, ImportError):
    """Training or prediction without TensorFlow and Keras."""


class DivergenceError(DistTrainingError, ArithmeticError):
    """A loss that is no longer finite."""

    exit_code = 1


class ControlError(DistTrainingError, ValueError):
    """A request that a running training cannot serve, or that would push another one aside."""


class OutOfMemoryError(DistTrainingError, MemoryError):
    """A step that needs more memory than the device or the host has."""


class RanksApartError(DistTrainingError, RuntimeError):
    """Ranks of one job that no longer train together: one has stopped, or learns at another rate."""


class WorkersDifferError(DistTrainingError, RuntimeError):
    """Workers of one job with different code, configuration or data."""


class WorkerLostError(DistTrainingError, RuntimeError):
    """Another worker of the job died."""

    exit_code = 1
