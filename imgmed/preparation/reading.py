"""One case as it is read: its image with the wanted channels, its labels on the image's grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from imgmed.errors import InvalidVolumeError, LabelError, PairMismatchError
from imgmed.formats import SpatialUnits, read_header, read_volume
from imgmed.formats.labels import LabelMap, Segments, read_label
from imgmed.geometry import axis_codes, place_on_grid
from imgmed.labels import combine, compose, keep_labels, remap_labels
from imgmed.scan import channel_array
from imgmed.study import CaseSource, VolumeSource
from imgmed.volume import Volume

__all__ = ["CaseLabel", "ReadingRules", "read_case_image", "read_case_label"]


class ReadingRules(BaseModel):
    """What is taken of a case's files, the same for all cases of a study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    declared_channels: tuple[str, ...] | None = Field(default=None, description="Names that the study declares.")
    channel_indices: tuple[int, ...] | None = Field(default=None, description="Channels to keep, in order; null: all.")
    remap_labels: dict[int, int] | Literal["foreground"] | None = Field(
        default=None, description='{value in the files: wanted value}; "foreground": all above 0 become 1.'
    )
    keep_labels: tuple[int | str, ...] | None = Field(
        default=None, description="Numbers, or names of masks, that are kept; others become background. null: all."
    )
    mask_threshold: float | None = Field(default=None, description="Values from this on are label 1, others 0.")
    ignore_label: int | None = Field(default=None, description="Value of voxels that count nowhere; null: none.")
    spatial_units: SpatialUnits = Field(default="header", description="What sizes in headers count in.")
    labels: dict[str, int] | None = Field(default=None, description="Declared labels; null: whatever is found.")


def read_case_image(source: CaseSource, rules: ReadingRules) -> Volume:
    """Return the image of a case as (i, j, k, channels) float32: its volumes stacked, the wanted channels kept.

    Raises:
        PairMismatchError: the volumes do not lie on the same grid.
        InvalidVolumeError: NaN or infinite voxels, or another number of channels than declared.
    """
    volumes = [read_volume(image, spatial_units=rules.spatial_units) for image in source.images]
    arrays = [channel_array(volumes[0]), *(_on_first(volumes[0], other) for other in volumes[1:])]
    array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=3)
    declared = rules.declared_channels
    if declared is not None and array.shape[3] != len(declared):
        raise InvalidVolumeError(
            f"{source.images[0]}: {array.shape[3]} channels, but the study declares {len(declared)}"
            f" ({', '.join(declared)}); correct one of them"
        )
    kept = rules.channel_indices
    if kept is not None:
        if max(kept) >= array.shape[3]:
            raise InvalidVolumeError(f"{source.images[0]}: {array.shape[3]} channels, none with number {max(kept)}")
        array = np.ascontiguousarray(array[..., list(kept)])
    return Volume(array, volumes[0].affine, volumes[0].path)


def _on_first(first: Volume, other: Volume) -> np.ndarray:
    """A further channel in the voxel order of the first, which may be stored otherwise."""
    try:
        return place_on_grid(channel_array(other), other.affine, first.shape, first.affine, fill=None)
    except PairMismatchError as error:
        raise PairMismatchError(
            f"{other.origin}: a channel must lie on the voxels of the first one, {first.origin}: {error}; resample it"
            " onto that one"
        ) from error


@dataclass(frozen=True, eq=False)
class CaseLabel:
    """The labels of a case on its image's grid.

    Args:
        label_map: (i, j, k) unsigned integers; None where the source names masks.
        masks: {name: (i, j, k) bool}, none empty, which may overlap; None where the source holds integers.
        repaired: sentences on what reading set right.
    """

    label_map: np.ndarray | None
    masks: Mapping[str, np.ndarray] | None
    repaired: tuple[str, ...] = ()

    @property
    def combinations(self) -> dict[frozenset[str], int]:
        """Which masks overlap, with their voxels; {} for integers."""
        if self.masks is None:
            return {}
        numbers, combinations = combine(self.masks)
        counts = np.bincount(numbers.ravel(), minlength=len(combinations)).tolist()
        return {names: count for names, count in zip(combinations, counts, strict=True) if names and count}

    def numbered(self, segments: Mapping[str, tuple[int, ...]]) -> np.ndarray:
        """Return a label map (i, j, k); masks become the composite integers of `segments`."""
        return self.label_map if self.label_map is not None else compose(self.masks or {}, segments)


def read_case_label(source: VolumeSource, image: Volume, rules: ReadingRules) -> CaseLabel:
    """Return the labels of a case on the grid of its image.

    Raises:
        PairMismatchError: image and label do not lie on the same voxels.
        LabelError: not a map of whole numbers, or a value that `rules.remap_labels` does not know.
    """
    label = read_label(source, image, spatial_units=rules.spatial_units, mask_threshold=rules.mask_threshold)
    if isinstance(label, Segments):
        return _named_masks(label, image, rules)
    return CaseLabel(_chosen(label, rules), None, _repairs(source, image, rules))


def _named_masks(label: Segments, image: Volume, rules: ReadingRules) -> CaseLabel:
    """Masks as they are, or all together as 1 where foreground is all that is wanted."""
    masks = label.masks if rules.keep_labels is None else label.masks.only(rules.keep_labels)
    if rules.remap_labels == "foreground":
        return CaseLabel(masks.together().astype(np.uint8), None)
    if rules.remap_labels is not None:
        raise LabelError(
            f"{label.origin}: its labels have names ({', '.join(masks)}), not numbers; remap_labels must be"
            " foreground or null here, labels gives the order of their numbers"
        )
    return CaseLabel(None, masks) if masks else CaseLabel(np.zeros(image.shape, np.uint8), None)


def _chosen(label: LabelMap, rules: ReadingRules) -> np.ndarray:
    """The label map with new numbers, of the wanted labels alone; what counts nowhere stays as it is."""
    label_map = _kept(_remapped(label.array, rules.remap_labels), label, rules)
    if rules.ignore_label is None or label_map is label.array:
        return label_map
    dtype = np.result_type(label_map.dtype, np.min_scalar_type(rules.ignore_label))
    return np.where(label.array == rules.ignore_label, dtype.type(rules.ignore_label), label_map)


def _kept(label_map: np.ndarray, label: LabelMap, rules: ReadingRules) -> np.ndarray:
    if rules.keep_labels is None:
        return label_map
    names = [value for value in rules.keep_labels if isinstance(value, str)]
    if names:
        raise LabelError(
            f"{label.origin}: its labels have numbers, and nothing names them {', '.join(names)}; give keep_labels"
            " numbers"
        )
    return keep_labels(label_map, [value for value in rules.keep_labels if isinstance(value, int)])


def _remapped(label_map: np.ndarray, rule: dict[int, int] | Literal["foreground"] | None) -> np.ndarray:
    if rule is None:
        return label_map
    if rule == "foreground":
        return (label_map > 0).astype(np.uint8)
    return remap_labels(label_map, rule, others="keep")


def _repairs(source: VolumeSource, image: Volume, rules: ReadingRules) -> tuple[str, ...]:
    """What reading an integer label map set right."""
    header = read_header(source, rules.spatial_units)
    repaired = []
    if header.dtype.kind == "f" and rules.mask_threshold is None:
        repaired.append(f"label map stored as {header.dtype}, rounded to whole numbers")
    stored, wanted = axis_codes(header.affine), axis_codes(image.affine)
    if stored != wanted:
        repaired.append(f"label map stored as {stored}, turned to {wanted}")
    return tuple(repaired)
