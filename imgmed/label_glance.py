"""The labels of a study that declares none, from a glance at some of its smaller label maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from imgmed.errors import ImgMedError
from imgmed.formats import SpatialUnits, read_header
from imgmed.formats.labels import read_numbers
from imgmed.formats.mask_files import is_slicer_segmentation
from imgmed.labels import count_labels, to_label_map
from imgmed.mask_values import edge_hint, mask_fault
from imgmed.recipes.tree import is_dicom
from imgmed.study import CaseSource

__all__ = ["Glance", "labels_at_a_glance"]

MOST_VALUES = 2**22  # voxels that are looked at in all: a fraction of a second
MOST_CASES = 50
MOST_LISTED = 12


class Glance(NamedTuple):
    """What was seen: a sentence on the values, and what is wrong with label maps or with their values."""

    found: str | None = None
    faults: tuple[str, ...] = ()


def labels_at_a_glance(sources: Sequence[CaseSource], spatial_units: SpatialUnits = "header") -> Glance:
    """Look at the values of label maps, of as many cases as can be read quickly.

    Args:
        sources: the cases of a study that declares no labels, in whose headers nothing is wrong; label maps that name
            their structures are passed over.
        spatial_units: what sizes in headers count in, see `read_volume`.
    """
    found: list[Mapping[int, int]] = []
    faults: list[str] = []
    left = MOST_VALUES
    for source in sources:
        if source.label is None or source.label.entry is not None or is_dicom(source.label.path):
            continue
        try:
            if source.label.structures or is_slicer_segmentation(source.label.files):
                continue
            left -= read_header(source.label, spatial_units).values
            if left < 0 or len(found) + len(faults) >= MOST_CASES:
                break
            volume = read_numbers(source.label, spatial_units=spatial_units)
            found.append(count_labels(to_label_map(volume.array, volume.origin)))
        except ImgMedError as error:
            faults.append(str(error))
    if not found:
        return Glance(None, tuple(faults))
    values = sorted({value for counts in found for value in counts if value})
    listed = ", ".join(map(str, values[:MOST_LISTED])) or "none"
    more = f" and {len(values) - MOST_LISTED} more" if len(values) > MOST_LISTED else ""
    count = "the label map" if len(found) == 1 else f"the {len(found)} label maps"
    fault, hint = mask_fault(found), edge_hint(found)
    more += "" if fault is not None or hint is None else f"; {hint}"
    faults += [] if fault is None else [fault]
    return Glance(f"no labels are declared; in {count} looked at: {listed}{more}", tuple(faults))
