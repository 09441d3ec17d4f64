"""Names of what is done to intensities, for settings and operations: nothing heavy is loaded."""

from __future__ import annotations

from typing import Literal

__all__ = ["WINDOWS", "Bounds", "NormalisationKind", "WindowName"]

Bounds = tuple[tuple[float, float], ...]
"""(lowest, highest) of each channel."""

WindowName = Literal[
    "brain", "subdural", "stroke", "temporal_bone", "lung", "mediastinum", "abdomen", "liver", "spine", "bone"
]

WINDOWS: dict[WindowName, tuple[float, float]] = {
    "brain": (0.0, 80.0),
    "subdural": (-32.5, 182.5),
    "stroke": (20.0, 60.0),
    "temporal_bone": (-800.0, 2000.0),
    "lung": (-1350.0, 150.0),
    "mediastinum": (-125.0, 225.0),
    "abdomen": (-150.0, 250.0),
    "liver": (-45.0, 105.0),
    "spine": (-75.0, 175.0),
    "bone": (-500.0, 1300.0),
}
"""(lowest, highest) Hounsfield unit of windows that radiologists look through; scanners and hospitals vary.

Source: A. Murphy et al., Windowing (CT), Radiopaedia.org, https://doi.org/10.53347/rID-52108, whose widths and levels
are 80/40, 130-300/50-100 (their middle), 40/40, 2800/600, 1500/-600, 350/50, 400/50 (soft tissues), 150/30, 250/50
(soft tissues) and 1800/400, in this order; a window reaches from level - width / 2 to level + width / 2.
"""

NormalisationKind = Literal["none", "zscore_case", "zscore_nonzero", "zscore_dataset", "min_max"]
