"""What headers alone show to be wrong with a case: what `prepare` would refuse after reading all voxels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from imgmed.errors import ImgMedError, InvalidVolumeError, PairMismatchError
from imgmed.formats import SpatialUnits, VolumeHeader, read_header
from imgmed.formats.mask_files import is_slicer_segmentation
from imgmed.formats.pictures import SUFFIXES as PICTURES
from imgmed.geometry import check_same_voxels, place_on_grid
from imgmed.operations.maps import LARGEST_GROWTH
from imgmed.recipes.tree import is_dicom
from imgmed.study import CaseSource, VolumeSource
from imgmed.volume import check_number_type

__all__ = ["channel_faults", "image_faults", "label_faults", "spacing_faults"]


def image_faults(source: CaseSource, headers: Sequence[VolumeHeader], channels: Sequence[str] | None) -> list[str]:
    """Return what is wrong with the images of a case: number types, channels that lie elsewhere, or are too many."""
    faults = []
    for image, header in zip(source.images, headers, strict=True):
        try:
            check_number_type(header.dtype, str(image))
            check_same_voxels(header.shape, header.affine, headers[0].shape, headers[0].affine)
        except InvalidVolumeError as error:
            faults.append(str(error))
        except PairMismatchError as error:
            faults.append(f"{image}: a channel must lie on the voxels of the first one, {source.images[0]}: {error}")
    count = sum(header.channels for header in headers)
    if channels is not None and count != len(channels):
        faults.append(
            f"{source.images[0]}: {count} channels, but the study has {len(channels)} ({', '.join(channels)})"
        )
    return faults


def label_faults(source: CaseSource, image: VolumeHeader, spatial_units: SpatialUnits = "header") -> list[str]:
    """Return what the header of the label map tells; labels of DICOM and in .npz are left for when they are read."""
    label = source.label
    if label is None or label.entry is not None or is_dicom(label.path):
        return []
    parts = [VolumeSource((path,)) for path in label.files] if label.structures else [label]
    faults = []
    for part in parts:
        try:
            header = read_header(part, spatial_units)
            faults += _faults_of_label(part, header, image, source)
        except ImgMedError as error:
            faults.append(str(error))
    return faults


def _faults_of_label(label: VolumeSource, header: VolumeHeader, image: VolumeHeader, source: CaseSource) -> list[str]:
    has_names = source.label is not None and bool(source.label.structures)
    may_be_part = has_names or is_slicer_segmentation(label.files)
    is_picture = label.path.name.lower().endswith(PICTURES)  # a palette's numbers count, not its colours
    if header.channels > 1 and not may_be_part and not is_picture:
        return [f"{label}: a label map has 3 axes; its header has a fourth of {header.channels}"]
    if not is_picture:
        check_number_type(header.dtype, str(label))
    try:
        if may_be_part:
            nothing = np.broadcast_to(np.uint8(0), header.shape)
            place_on_grid(nothing, header.affine, image.shape, image.affine, fill=0)
        else:
            check_same_voxels(header.shape, header.affine, image.shape, image.affine)
    except PairMismatchError as error:
        return [f"{label}: a label map must lie on the voxels of its image {source.images[0]}: {error}"]
    return []


def channel_faults(counts: Mapping[str, int]) -> list[str]:
    """Return a sentence for each image with another number of channels than most.

    Args:
        counts: {image: number of channels}, of cases whose study declares no channels.
    """
    usual, frequency = (Counter(counts.values()).most_common(1) or [(0, 0)])[0]
    return [
        f"{image}: {count} channels, but {frequency} other cases have {usual}; all cases need the same channels"
        for image, count in counts.items()
        if count != usual
    ]


def spacing_faults(spacings_mm: Mapping[str, Sequence[float]]) -> list[str]:
    """Return a sentence for each image whose voxels are another size than all that could be resampled to one.

    Args:
        spacings_mm: {image: spacing along its axes}.
    """
    sizes = {image: float(np.prod(spacing)) ** (1 / 3) for image, spacing in spacings_mm.items()}
    usual = float(np.median(list(sizes.values()))) if sizes else 1.0
    return [
        f"{image}: voxels of {' x '.join(f'{value:.4g}' for value in spacings_mm[image])} mm,"
        f" {_factor(size / usual)} the usual size; correct the spacing in its header"
        for image, size in sizes.items()
        if not 1 / LARGEST_GROWTH <= size / usual <= LARGEST_GROWTH
    ]


def _factor(ratio: float) -> str:
    return f"{ratio:.3g} times" if ratio > 1 else f"1/{1 / ratio:.3g} of"
