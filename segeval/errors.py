"""Everything SegEval raises on purpose: one root, and leaves that are also the built-in they resemble."""

from __future__ import annotations

from collections.abc import Sequence

from r2d2_base.errors import R2D2Error

__all__ = [
    "ArrayTypeError",
    "ComparisonError",
    "CountingNotBuiltError",
    "EvaluationFormatError",
    "EvaluationInputError",
    "EvaluationNotFoundError",
    "LabelRangeError",
    "MetricArgumentError",
    "OutputFolderError",
    "SegEvalError",
    "ShapeMismatchError",
    "UnreadableLabelMapError",
]

_FAULTS_SHOWN = 100


class SegEvalError(R2D2Error):
    """Root of all errors raised by SegEval."""


class CountingNotBuiltError(SegEvalError, ImportError):
    """The compiled part of SegEval is not there, or is not the one that belongs to this version."""


class ShapeMismatchError(SegEvalError, ValueError):
    """Two arrays that must cover the same voxels do not."""


class ArrayTypeError(SegEvalError, TypeError):
    """An array of labels or a mask has a type that cannot hold labels or a mask."""


class LabelRangeError(SegEvalError, ValueError):
    """An array holds a label that was not declared."""


class MetricArgumentError(SegEvalError, ValueError):
    """An argument such as a spacing, a tolerance or a set of labels breaks its rule."""


class UnreadableLabelMapError(SegEvalError, ValueError):
    """A file is not a readable label map."""


class EvaluationInputError(SegEvalError, ValueError):
    """The files to be evaluated have faults; `faults` has all of them, the message at most 100.

    Args:
        faults: one sentence for each fault, naming the case and the file.

    Example:
        >>> print(EvaluationInputError(["case a: no prediction", "case b: no prediction"]))
        2 faults; nothing was evaluated:
          - case a: no prediction
          - case b: no prediction
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        if len(self.faults) == 1:
            message = self.faults[0]
        else:
            lines = "".join(f"\n  - {fault}" for fault in self.faults[:_FAULTS_SHOWN])
            if len(self.faults) > _FAULTS_SHOWN:
                lines += f"\n  and {len(self.faults) - _FAULTS_SHOWN} more"
            message = f"{len(self.faults)} faults; nothing was evaluated:{lines}"
        super().__init__(message)


class ComparisonError(SegEvalError, ValueError):
    """Evaluations that cannot be compared; every reason is listed.

    Args:
        faults: one sentence for each reason.

    Example:
        >>> print(ComparisonError(["A and B have no case in common"]))
        A and B have no case in common
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        listed = "".join(f"\n  - {fault}" for fault in self.faults)
        super().__init__(faults[0] if len(faults) == 1 else f"{len(faults)} faults; nothing was compared:{listed}")


class EvaluationNotFoundError(SegEvalError, FileNotFoundError):
    """A folder holds no evaluation."""


class EvaluationFormatError(SegEvalError, ValueError):
    """The files of an evaluation cannot be understood by this version."""


class OutputFolderError(SegEvalError, OSError):
    """A folder whose files an evaluation would replace, and that are of another program."""
