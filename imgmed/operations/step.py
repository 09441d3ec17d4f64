"""What every operation is: a model of its settings that says what becomes of a scan, and of a scan's geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:  # settings hold these models, and the command line shows settings without NumPy
    from imgmed.operations.scan import Scan
    from imgmed.volume import Volume

__all__ = ["Step"]


class Step(BaseModel):
    """One operation; its `op` is its name in YAML."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def apply(self, scan: Scan) -> Scan:
        """Return what the scan becomes; it is not changed itself."""
        raise NotImplementedError

    def apply_to_own(self, scan: Scan) -> Scan:
        """As `apply`, of a scan whose image nobody else holds: it may be written over."""
        return self.apply(scan)

    def geometry(self, volume: Volume) -> Volume:
        """Return shape and place that `apply` gives to a scan of this shape and place, with voxels of no meaning.

        As it stands for operations that move no voxel, and for those that depend on what the voxels hold: they count
        as if they kept everything, the largest that can come out.
        """
        return volume
