"""Operations on scans: small, pure, and composable from Python or from a list in a YAML file.

The models of operations load nothing heavy; what works on voxels is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from imgmed.operations.geometric import Centre, Crop, CropToContent, Reorient, Resample, Resize
from imgmed.operations.intensity import Clip, Rescale

if TYPE_CHECKING:
    from imgmed.operations.channels import select_channels
    from imgmed.operations.scan import Scan, apply_operations, geometry_after

__all__ = [
    "Centre",
    "Clip",
    "Crop",
    "CropToContent",
    "Operation",
    "Reorient",
    "Resample",
    "Rescale",
    "Resize",
    "Scan",
    "apply_operations",
    "geometry_after",
    "select_channels",
]

Operation = Annotated[
    Reorient | Resample | Crop | CropToContent | Centre | Resize | Clip | Rescale, Field(discriminator="op")
]
"""Any operation; in YAML `{op: resample, spacing_mm: [1, 1, 1]}`."""

_HOMES = {"Scan": "scan", "apply_operations": "scan", "geometry_after": "scan", "select_channels": "channels"}


def __getattr__(name: str) -> Any:
    """Import what works on voxels on first use."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'imgmed.operations' has no attribute {name!r}")
    value = getattr(import_module(f"imgmed.operations.{home}"), name)
    globals()[name] = value
    return value
