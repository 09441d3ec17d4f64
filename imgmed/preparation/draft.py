"""What a preparation would choose, as far as headers tell: a draft of its plan, before a voxel is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imgmed.geometry import CODES
from imgmed.inspection import InspectedCase, Inspection
from imgmed.preparation.plan import Plan, derive_plan
from imgmed.settings import PreparationSettings
from imgmed.volume import Volume

__all__ = ["draft_plan"]

_PICTURE = np.array([[0.0, -1.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


@dataclass(frozen=True, eq=False)
class _HeaderCase:
    """A case of which only the header is known."""

    shape: tuple[int, int, int]
    affine: np.ndarray
    is_picture: bool
    lowest: tuple[float, ...] = (0.0,)  # not known: no CT unless it is declared
    foreground: np.ndarray | None = None

    @property
    def placeholder(self) -> Volume:
        """A volume of the case's shape and place that takes no memory."""
        return Volume(np.broadcast_to(np.float32(0), self.shape), self.affine)


def draft_plan(inspection: Inspection, settings: PreparationSettings | None = None) -> Plan | None:
    """Derive a plan from what was inspected. `prepare` decides by the training cases, and by their voxels too.

    Args:
        inspection: of the source.
        settings: choices made already; None: none.

    Returns:
        The plan with its reasons; None where no case has a header that can be read.

    Raises:
        InvalidVolumeError: the steps cannot be applied to any of the cases.
    """
    cases = [_of_header(case) for case in inspection.cases if case.shape is not None]
    if not cases:
        return None
    count = next((case.channels for case in inspection.cases if case.channels), 1)
    channels = inspection.channels or tuple(f"channel_{number}" for number in range(count))
    return derive_plan(cases, cases, channels, settings or PreparationSettings())


def _of_header(case: InspectedCase) -> _HeaderCase:
    if case.shape is None or case.spacing_mm is None or case.orientation is None:
        return _HeaderCase(case.shape or (1, 1, 1), _PICTURE, is_picture=True)
    return _HeaderCase(case.shape, _affine(case.orientation, case.spacing_mm), is_picture=False)


def _affine(orientation: str, spacing_mm: Sequence[float]) -> np.ndarray:
    """Give an affine whose axes point where an orientation such as "LPS" says."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for axis, (code, spacing) in enumerate(zip(orientation, spacing_mm, strict=True)):
        canonical = next(number for number, codes in enumerate(CODES) if code in codes)
        affine[canonical, axis] = spacing if code == CODES[canonical][1] else -spacing
    return affine
