"""Units of length that headers state, turned into millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from imgmed.errors import InvalidVolumeError

__all__ = ["MILLIMETRES", "SPATIAL_UNITS", "SpatialUnits", "Unit", "in_mm", "unit_of_name"]

SpatialUnits = Literal["header", "mm", "um", "m"]
"""What numbers in headers count in: as each header says, or millimetres, micrometres, metres whatever it says."""

SPATIAL_UNITS: tuple[SpatialUnits, ...] = get_args(SpatialUnits)
SMALLEST_MM, LARGEST_MM = 1e-3, 50.0  # voxels that a unit other than millimetres may lead to
ROUNDING = 1e-6


class Unit(NamedTuple):
    """A unit as a header states it: how messages call it, with its code, and its length in millimetres."""

    name: str
    mm: float


MILLIMETRES = Unit("mm", 1.0)
FORCED = {"mm": MILLIMETRES, "um": Unit("um", 1e-3), "m": Unit("m", 1e3)}
NAMES = {"nm": 1e-6, "um": 1e-3, "micron": 1e-3, "mm": 1.0, "cm": 10.0, "m": 1e3, "metre": 1e3}
ALIASES = {"µm": "um", "μm": "um", "meter": "metre", "micrometer": "um", "micrometre": "um", "millimeter": "mm"}
PLURAL = ("microns", "meters", "metres", "micrometers", "micrometres", "millimeters", "millimetres")


def unit_of_name(name: str, field: str) -> Unit | None:
    """Return the unit of length that a header's `field` names; None: the name is of no length.

    >>> unit_of_name("Microns", "space units"), unit_of_name("pixel", "space units")
    (Unit(name='micron (space units)', mm=0.001), None)
    """
    plain = name.strip().lower()
    plain = plain[:-1] if plain in PLURAL else plain
    plain = ALIASES.get(plain, plain)
    if plain not in NAMES:
        return None
    return MILLIMETRES if plain == "mm" else Unit(f"{plain} ({field})", NAMES[plain])


def in_mm(
    affine: np.ndarray, shape: Sequence[int], stated: Unit, spatial_units: SpatialUnits, origin: object
) -> np.ndarray:
    """Return a (4, 4) affine whose numbers are millimetres.

    Args:
        affine: voxel index -> position, in the unit of the header.
        shape: voxels along i, j, k; an axis of one voxel has no distance that could be judged.
        stated: the header's unit.
        spatial_units: "header" to believe it, or the unit that its numbers are in.
        origin: the file, for messages.

    Raises:
        InvalidVolumeError: the unit, other than millimetres, makes voxels above 50 mm or below 1 micrometre: the code
            is wrong more often than the scan is so large.

    >>> in_mm(np.diag([400.0, 400.0, 1000.0, 1.0]), (9, 9, 9), Unit("micron (xyzt_units 3)", 1e-3), "header", "a.nii")
    array([[0.4, 0. , 0. , 0. ],
           [0. , 0.4, 0. , 0. ],
           [0. , 0. , 1. , 0. ],
           [0. , 0. , 0. , 1. ]])
    """
    unit = stated if spatial_units == "header" else FORCED[spatial_units]
    if unit.mm == 1.0:
        return affine
    scaled = np.array(affine, np.float64)
    scaled[:3] *= unit.mm
    spacing = np.linalg.norm(scaled[:3, :3], axis=0)
    judged = spacing[np.array(shape) > 1] if max(shape) > 1 else spacing
    if judged.min() < SMALLEST_MM * (1 - ROUNDING) or judged.max() > LARGEST_MM * (1 + ROUNDING):
        sizes = " x ".join(f"{value:.4g}" for value in spacing)
        says = f"its header says {stated.name}" if spatial_units == "header" else f"spatial_units says {spatial_units}"
        advice = "if its numbers are millimetres, set spatial_units=mm, or correct the header's unit"
        raise InvalidVolumeError(f"{origin}: {says}, which makes voxels of {sizes} mm; {advice}")
    return scaled
