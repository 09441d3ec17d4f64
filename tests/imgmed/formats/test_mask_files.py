"""Segmentations of 3D Slicer, written by hand as its manual says, and a mask for each structure, by nibabel."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from imgmed import read_volume
from imgmed.errors import LabelError, PairMismatchError
from imgmed.formats.labels import Segments, read_label
from imgmed.study import VolumeSource
from imgmed.volume import Volume

SHAPE = (7, 6, 5)
AFFINE = np.array([[-2.0, 0, 0, -10], [0, -1, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]])  # Slicer's LPS, as RAS


@pytest.fixture
def image(tmp_path: Path) -> Volume:
    array = np.random.default_rng(0).normal(0, 9, SHAPE).astype(np.float32)
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "image.nii")
    return read_volume(tmp_path / "image.nii")


def slicer(path: Path, layers: np.ndarray, start: tuple[int, int, int], keys: str) -> Path:
    """Write (i, j, k, layers) beginning at a voxel of the image, with the header that Slicer writes."""
    i, j, k, count = layers.shape
    origin = np.array([10, 20, 30]) + np.array(start) * [2, 1, 3]
    axes = ("4", f"{count} {i} {j} {k}", "none ", "list ") if count > 1 else ("3", f"{i} {j} {k}", "", "")
    header = (
        f"NRRD0004\ntype: unsigned char\ndimension: {axes[0]}\nspace: left-posterior-superior\nsizes: {axes[1]}\n"
        f"space directions: {axes[2]}(2,0,0) (0,1,0) (0,0,3)\nkinds: {axes[3]}domain domain domain\nencoding: raw\n"
        f"space origin: ({','.join(map(str, origin))})\n{keys}\n"
    )
    path.write_bytes(header.encode() + layers.astype(np.uint8).transpose(2, 1, 0, 3).tobytes())
    return path


def masks_of(path: Path, image: Volume) -> dict[str, np.ndarray]:
    label = read_label(path, image)
    assert isinstance(label, Segments)
    return dict(label.masks)


def test_a_cropped_segmentation_with_names(tmp_path: Path, image: Volume) -> None:
    part = np.random.default_rng(1).integers(0, 2, (3, 2, 2)) * 3
    keys = "Segment0_Name:=liver\nSegment0_LabelValue:=3\nSegment0_Layer:=0\nSegment1_Name:=empty\n"
    keys += "Segment1_LabelValue:=1\nSegment1_Layer:=0\nSegmentation_ContainedRepresentationNames:=Binary labelmap|\n"
    masks = masks_of(slicer(tmp_path / "a.seg.nrrd", part[..., None], (2, 3, 1), keys), image)
    expected = np.zeros(SHAPE, bool)
    expected[2:5, 3:5, 1:3] = part == 3
    assert list(masks) == ["liver"]
    np.testing.assert_array_equal(masks["liver"], expected)


@pytest.mark.parametrize("is_old", [False, True])
def test_layers_hold_segments_that_overlap(tmp_path: Path, image: Volume, is_old: bool) -> None:
    """Old files have neither numbers of layers nor values: each segment is a channel."""
    first, second = np.random.default_rng(2).integers(0, 2, (2, *SHAPE))
    layers = np.stack([first, second] if is_old else [first * 2, second * 2], axis=3)
    new = "Segment{0}_LabelValue:=2\nSegment{0}_Layer:={0}\n"
    keys = "".join(f"Segment{n}_Name:=part {n}\n" + ("" if is_old else new.format(n)) for n in (0, 1))
    masks = masks_of(slicer(tmp_path / "a.seg.nrrd", layers, (0, 0, 0), keys), image)
    np.testing.assert_array_equal(masks["part 0"], first == 1)
    np.testing.assert_array_equal(masks["part 1"], second == 1)


def test_a_segment_outside_of_the_image_is_refused(tmp_path: Path, image: Volume) -> None:
    path = slicer(tmp_path / "a.seg.nrrd", np.ones((3, 2, 2, 1)), (6, 0, 0), "Segment0_Name:=liver\n")
    with pytest.raises(PairMismatchError, match="segment liver: 8 of its voxels lie outside the image"):
        read_label(path, image)


def test_a_mask_for_each_structure(tmp_path: Path, image: Volume) -> None:
    """Of any number type, 0 and 255, mirrored, or cropped; an empty one is none."""
    rng = np.random.default_rng(3)
    whole = rng.integers(0, 2, (2, *SHAPE)).astype(bool)
    mirror = AFFINE @ np.array([[-1.0, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    shifted = AFFINE @ np.array([[1.0, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]])
    files = {
        "liver": nib.Nifti1Image(whole[0].astype(np.uint8) * 255, AFFINE),
        "spleen": nib.Nifti1Image(whole[1][::-1].astype(np.float32), mirror),
        "cut": nib.Nifti1Image(np.ones((2, 2, 1), np.int16), shifted),
        "empty": nib.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE),
    }
    for name, mask in files.items():
        nib.save(mask, tmp_path / f"{name}.nii.gz")
    source = VolumeSource(tuple(tmp_path / f"{name}.nii.gz" for name in files), structures=tuple(files))
    label = read_label(source, image)
    assert isinstance(label, Segments) and list(label.masks) == ["liver", "spleen", "cut"]
    np.testing.assert_array_equal(label.masks["liver"], whole[0])
    np.testing.assert_array_equal(label.masks["spleen"], whole[1])
    assert np.argwhere(label.masks["cut"]).tolist() == [[1, 2, 3], [1, 3, 3], [2, 2, 3], [2, 3, 3]]
    np.testing.assert_array_equal(label.masks.together(), whole[0] | whole[1] | label.masks["cut"])
    assert list(label.masks.only(["cut", "x"])) == ["cut"]


def test_a_threshold_cuts_soft_masks_and_passes_over_segmentations(tmp_path: Path, image: Volume) -> None:
    """Probabilities of two components count by the larger; numbers of 3D Slicer are no probabilities."""
    soft = np.random.default_rng(4).random((*SHAPE, 2)) * 255
    nib.save(nib.Nifti1Image(soft, AFFINE), tmp_path / "soft.nii")
    part = np.random.default_rng(1).integers(0, 2, SHAPE)
    keys = "Segment0_Name:=liver\nSegment0_LabelValue:=1\nSegment0_Layer:=0\n"
    slicer(tmp_path / "liver.seg.nrrd", part[..., None], (0, 0, 0), keys)
    files = (tmp_path / "soft.nii", tmp_path / "liver.seg.nrrd")
    label = read_label(VolumeSource(files, structures=("soft", "liver")), image, mask_threshold=128)
    assert isinstance(label, Segments)
    np.testing.assert_array_equal(label.masks["soft"], (soft >= 128).any(axis=3))
    np.testing.assert_array_equal(label.masks["liver"], part == 1)


def test_a_label_map_among_masks_is_refused(tmp_path: Path, image: Volume) -> None:
    nib.save(nib.Nifti1Image(np.arange(210).reshape(SHAPE).astype(np.uint8) % 4, AFFINE), tmp_path / "a.nii")
    with pytest.raises(LabelError, match="one value beside 0, above it; this one has 1, 2, 3"):
        read_label(VolumeSource((tmp_path / "a.nii",), structures=("a",)), image)
