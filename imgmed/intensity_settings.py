"""Names of what is done to intensities, for settings and operations: nothing heavy is loaded."""

from __future__ import annotations

from typing import Literal

__all__ = ["Bounds", "NormalisationKind"]

Bounds = tuple[tuple[float, float], ...]
"""(lowest, highest) of each channel."""

NormalisationKind = Literal["none", "zscore_case", "zscore_nonzero", "zscore_dataset", "min_max"]
