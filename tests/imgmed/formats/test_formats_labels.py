"""Labels on the grid of their scan: label maps of any orientation, DICOM SEG from highdicom, RTSTRUCT from rt-utils."""

import contextlib
import io
import warnings
from copy import deepcopy
from pathlib import Path

import cv2
import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid
from rt_utils import RTStructBuilder

from imgmed.errors import LabelError, PairMismatchError, UnreadableFileError, UnsupportedFormatError
from imgmed.formats import read_volume, rtstruct
from imgmed.formats.labels import LabelMap, Segments, read_label
from imgmed.volume import Volume
from tests.dicom_files import write_series

AFFINE = np.array([[-0.75, 0, 0, 100], [0, -0.75, 0, 50], [0, 0, 2.5, -300], [0, 0, 0, 1]])
SHAPE = (20, 20, 6)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    write_series(tmp_path / "series", np.zeros(SHAPE, np.int16), AFFINE, names="{}.dcm".format)
    return tmp_path / "series"


def boxes() -> dict[str, np.ndarray]:
    """Two masks (columns, rows, slices) that overlap, not symmetric in any direction."""
    liver = np.zeros(SHAPE, bool)
    liver[3:9, 2:13, 1:4] = True
    tumour = np.zeros(SHAPE, bool)
    tumour[5:12, 4:8, 2:3] = True
    return {"liver": liver, "tumour": tumour}


def description(number: int, name: str) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        number, name, codes.SCT.Tissue, codes.SCT.Tissue, hd.seg.SegmentAlgorithmTypeValues.MANUAL
    )


def write_seg(
    path: Path, series: Path, masks: dict[str, np.ndarray], kind: str = "BINARY", slices: slice = slice(None)
) -> Path:
    """highdicom wants (slices, rows, columns, segments) in the order of its source images."""
    sources = sorted((pydicom.dcmread(one) for one in series.iterdir()), key=lambda one: one.ImagePositionPatient[2])
    pixels = np.stack([mask.transpose(2, 1, 0) for mask in masks.values()], axis=-1)[slices]
    pixels = pixels.astype(np.float32 if kind == "FRACTIONAL" else np.uint8)
    segmentation = hd.seg.Segmentation(
        source_images=sources[slices], pixel_array=pixels, segmentation_type=kind,
        segment_descriptions=[description(n, name) for n, name in enumerate(masks, start=1)],
        series_instance_uid=generate_uid(), series_number=2, sop_instance_uid=generate_uid(), instance_number=1,
        manufacturer="m", manufacturer_model_name="m", software_versions="1", device_serial_number="1",
    )  # fmt: skip
    segmentation.save_as(path)
    return path


def check(found: LabelMap | Segments, masks: dict[str, np.ndarray]) -> None:
    assert isinstance(found, Segments) and list(found.masks) == list(masks)
    for name, mask in masks.items():
        assert found.masks[name].dtype == bool
        np.testing.assert_array_equal(found.masks[name], mask)


def test_overlapping_segments_are_all_kept(series: Path, tmp_path: Path):
    check(read_label(write_seg(tmp_path / "seg.dcm", series, boxes()), read_volume(series)), boxes())


def test_segments_meet_an_image_of_another_orientation(series: Path, tmp_path: Path):
    """The same scan as NIfTI with its axes exchanged and turned: masks follow it."""
    path = write_seg(tmp_path / "seg.dcm", series, boxes())
    turned = nib.Nifti1Image(np.zeros(SHAPE, np.int16), AFFINE).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    expected = {
        name: np.asarray(
            nib.Nifti1Image(mask.astype(np.uint8), AFFINE).as_reoriented(np.array([[2, -1], [0, 1], [1, -1]])).dataobj
        ).astype(bool)
        for name, mask in boxes().items()
    }
    check(read_label(path, Volume(np.asarray(turned.dataobj), turned.affine)), expected)


def test_segments_without_the_usual_beginning_of_a_dicom_file(series: Path, tmp_path: Path):
    path = write_seg(tmp_path / "seg.dcm", series, boxes())
    path.write_bytes(path.read_bytes()[132:])
    check(read_label(path, read_volume(series)), boxes())


def test_slices_without_a_frame_are_background(series: Path, tmp_path: Path):
    path = write_seg(tmp_path / "seg.dcm", series, boxes(), slices=slice(1, 4))
    assert pydicom.dcmread(path).NumberOfFrames < 6
    check(read_label(path, read_volume(series)), boxes())


def test_frames_on_every_second_slice_only(series: Path, tmp_path: Path):
    mask = np.zeros(SHAPE, bool)
    mask[2:7, 3:5, [0, 2, 4]] = True
    path = write_seg(tmp_path / "seg.dcm", series, {"stripes": mask}, slices=slice(0, 5, 2))
    check(read_label(path, read_volume(series)), {"stripes": mask})


def test_one_frame_alone(series: Path, tmp_path: Path):
    mask = np.zeros(SHAPE, bool)
    mask[2:7, 3:5, 3] = True
    path = write_seg(tmp_path / "seg.dcm", series, {"spot": mask}, slices=slice(3, 4))
    check(read_label(path, read_volume(series)), {"spot": mask})


def test_fractions_count_from_one_half_on(series: Path, tmp_path: Path):
    fractions = boxes()["liver"].astype(float)
    fractions[3:9] *= np.linspace(0.2, 0.8, 6)[:, np.newaxis, np.newaxis]
    path = write_seg(tmp_path / "seg.dcm", series, {"liver": fractions}, kind="FRACTIONAL")
    found = read_label(path, read_volume(series)).masks["liver"]
    np.testing.assert_array_equal(found, fractions > 0.5)
    assert found.sum() == 3 * 11 * 3


def test_a_segmentation_stored_as_a_label_map(series: Path, tmp_path: Path):
    masks = {"liver": boxes()["liver"] & ~boxes()["tumour"], "tumour": boxes()["tumour"]}
    path = write_seg(tmp_path / "seg.dcm", series, masks, kind="LABELMAP")
    check(read_label(path, read_volume(series)), masks)


def test_equal_names_are_numbered(series: Path, tmp_path: Path):
    masks = boxes()
    path = write_seg(tmp_path / "seg.dcm", series, masks)
    dataset = pydicom.dcmread(path)
    for item in dataset.SegmentSequence:
        item.SegmentLabel = "lesion"
    dataset.save_as(path)
    check(
        read_label(path, read_volume(series)),
        {"lesion": masks["liver"], "lesion (2)": masks["tumour"]},
    )


def without_spacing(measures: Dataset) -> None:
    del measures.SliceThickness
    if "SpacingBetweenSlices" in measures:
        del measures.SpacingBetweenSlices


def with_thickness_for_spacing(measures: Dataset) -> None:
    measures.SliceThickness = measures.SpacingBetweenSlices = 5


@pytest.mark.parametrize("change", [without_spacing, with_thickness_for_spacing])
@pytest.mark.parametrize("slices", [[0, 5], [0, 3, 4]])
def test_frames_are_placed_by_position_whatever_their_spacing_says(series: Path, tmp_path: Path, change, slices):
    masks = {"liver": boxes()["liver"], "spots": np.zeros(SHAPE, bool)}
    masks["spots"][4, 2:7, slices] = True
    path = write_seg(tmp_path / "seg.dcm", series, masks)
    dataset = pydicom.dcmread(path)
    change(dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0])
    dataset.save_as(path)
    check(read_label(path, read_volume(series)), masks)


def test_segments_without_a_name_are_called_by_their_numbers(series: Path, tmp_path: Path):
    path = write_seg(tmp_path / "seg.dcm", series, boxes())
    dataset = pydicom.dcmread(path)
    for item in dataset.SegmentSequence:
        item.SegmentLabel = ""
    dataset.save_as(path)
    assert list(read_label(path, read_volume(series)).masks) == ["segment 1", "segment 2"]


def test_segments_on_other_slices_than_the_scan_are_refused(series: Path, tmp_path: Path):
    path = write_seg(tmp_path / "seg.dcm", series, boxes())
    scan = read_volume(series)
    with pytest.raises(UnsupportedFormatError, match="do not lie on slices of the scan"):
        read_label(path, Volume(scan.array, scan.affine @ np.diag([1, 1, 0.8, 1])))


def test_segments_outside_the_image_or_off_its_grid_are_refused(series: Path, tmp_path: Path):
    path = write_seg(tmp_path / "seg.dcm", series, boxes())
    part = read_volume(series)
    with pytest.raises(PairMismatchError, match=r"segment liver: 66 of its voxels lie outside the image"):
        read_label(path, Volume(part.array[:, :, :3], part.affine))
    half = part.affine.copy()
    half[0, 3] += 0.375
    with pytest.raises(PairMismatchError, match=r"shifted by \(-?0\.5, 0, 0\) voxels"):
        read_label(path, Volume(part.array, half))
    coarse = part.affine @ np.diag([2.0, 2, 1, 1])
    with pytest.raises(PairMismatchError, match=r"voxels of \(0\.75, 0\.75, 2\.5\) mm against \(1\.5, 1\.5, 2\.5\) mm"):
        read_label(path, Volume(part.array, coarse))


@pytest.mark.parametrize("kept", [0.95, 0.5, 0.1])
def test_truncated_segmentations_are_named(series: Path, tmp_path: Path, kept):
    path = write_seg(tmp_path / "seg.dcm", series, boxes())
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises((UnreadableFileError, UnsupportedFormatError), match=r"seg\.dcm") as caught:
        read_label(path, read_volume(series))
    assert "Doe" not in str(caught.value)


# ---- structure sets ------------------------------------------------------------------------------------


def write_structures(path: Path, series: Path, masks: dict[str, np.ndarray]) -> Path:
    """rt-utils wants (rows, columns, slices), slices ascending; it prints, and uses what pydicom 4 drops."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        builder = RTStructBuilder.create_new(dicom_series_path=str(series))
        for name, mask in masks.items():
            builder.add_roi(mask=mask.transpose(1, 0, 2), name=name)
        builder.save(str(path))
    return path


def test_structures_come_back_as_masks(series: Path, tmp_path: Path):
    path = write_structures(tmp_path / "rt.dcm", series, boxes())
    check(read_label(path, read_volume(series)), boxes())


def test_contours_of_a_roi_may_stand_in_two_items_and_be_empty(series: Path, tmp_path: Path):
    path = write_structures(tmp_path / "rt.dcm", series, boxes())
    dataset = pydicom.dcmread(path)
    liver = dataset.ROIContourSequence[0]
    rest = deepcopy(liver)
    liver.ContourSequence, rest.ContourSequence = liver.ContourSequence[:1], rest.ContourSequence[1:]
    rest.ContourSequence.append(contour(np.empty((0, 3))))
    dataset.ROIContourSequence.append(rest)
    dataset.save_as(path)
    check(read_label(path, read_volume(series)), boxes())


def test_structures_without_a_name_are_called_by_their_numbers(series: Path, tmp_path: Path):
    path = write_structures(tmp_path / "rt.dcm", series, boxes())
    dataset = pydicom.dcmread(path)
    dataset.StructureSetROISequence[0].ROIName = ""
    del dataset.StructureSetROISequence[1]
    dataset.save_as(path)
    assert list(read_label(path, read_volume(series)).masks) == ["ROI 1", "ROI 2"]


def test_a_structure_set_may_hold_nothing(series: Path, tmp_path: Path):
    path = write_structures(tmp_path / "rt.dcm", series, boxes())
    dataset = pydicom.dcmread(path)
    dataset.ROIContourSequence = []
    dataset.save_as(path)
    assert not read_label(path, read_volume(series)).masks


def contour(points_mm: np.ndarray) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(points_mm)
    item.ContourData = [float(value) for value in points_mm.ravel()]
    return item


def write_contours(path: Path, series: Path, contours: list[np.ndarray]) -> Path:
    """A structure set of one ROI whose contours, LPS millimetres, refer to no image, as the standard allows."""
    dummy = np.zeros(SHAPE, bool)
    dummy[3:6, 3:6, 1] = True
    write_structures(path, series, {"organ": dummy})
    dataset = pydicom.dcmread(path)
    dataset.ROIContourSequence[0].ContourSequence = [contour(points) for points in contours]
    dataset.save_as(path)
    return path


def ring(volume: Volume, corners: np.ndarray, k: int) -> np.ndarray:
    voxels = np.column_stack([corners, np.full(len(corners), k), np.ones(len(corners))])
    return (voxels @ volume.affine.T)[:, :3] * [-1, -1, 1]


OUTER = np.array([[3.0, 2], [15, 2], [15, 9], [3, 9]])
INNER = np.array([[6.0, 4], [12, 4], [12, 7], [6, 7]])


@pytest.fixture
def oblong(tmp_path: Path, series: Path) -> Volume:
    """Neither square nor of square pixels, and oblique: what rt-utils itself would place wrongly."""
    c, s = np.cos(0.3), np.sin(0.3)
    turn = np.array([[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1]])
    return Volume(np.zeros((24, 11, 4)), turn @ np.diag([-0.5, -1.5, 2, 1]))


def test_contours_fill_pictures_that_are_not_square(tmp_path: Path, series: Path, oblong: Volume):
    path = write_contours(tmp_path / "rt.dcm", series, [ring(oblong, OUTER, 2)])
    found = read_label(path, oblong).masks["organ"]
    expected = np.zeros(oblong.shape, bool)
    expected[3:16, 2:10, 2] = True
    np.testing.assert_array_equal(found, expected)


def test_an_inner_contour_is_a_hole_and_small_ones_are_kept(tmp_path: Path, series: Path, oblong: Volume):
    contours = [ring(oblong, OUTER, 1), ring(oblong, INNER, 1), ring(oblong, OUTER[:1], 3)]
    path = write_contours(tmp_path / "rt.dcm", series, contours)
    found = read_label(path, oblong).masks["organ"]
    assert found[4, 3, 1] and not found[8:11, 5:6, 1].any() and found[13, 8, 1]
    assert np.argwhere(found[:, :, 3]).tolist() == [[3, 2]]
    reference = np.zeros((11, 24), np.uint8)  # OpenCV's even-odd rule, in (row, column)
    cv2.fillPoly(reference, [OUTER.astype(np.int32), INNER.astype(np.int32)], 1)
    np.testing.assert_array_equal(found[:, :, 1].T, reference.astype(bool))


def test_contours_meet_an_image_with_its_axes_exchanged(tmp_path: Path, series: Path, oblong: Volume):
    path = write_contours(tmp_path / "rt.dcm", series, [ring(oblong, OUTER, 2)])
    turned = Volume(oblong.array.transpose(2, 0, 1), oblong.affine[:, [2, 0, 1, 3]])
    expected = read_label(path, oblong).masks["organ"].transpose(2, 0, 1)
    np.testing.assert_array_equal(read_label(path, turned).masks["organ"], expected)


def test_contours_between_slices_or_outside_are_refused(tmp_path: Path, series: Path, oblong: Volume):
    path = write_contours(tmp_path / "between.dcm", series, [ring(oblong, OUTER, 2), ring(oblong, OUTER, 2.5)])
    with pytest.raises(PairMismatchError, match=r"organ: contours lie up to 1 mm off the slices"):
        read_label(path, oblong)
    path = write_contours(tmp_path / "out.dcm", series, [ring(oblong, OUTER, 2), ring(oblong, OUTER + 10, 1)])
    with pytest.raises(PairMismatchError, match=r"organ: 1 of its 2 contours reach outside"):
        read_label(path, oblong)
    path = write_contours(tmp_path / "above.dcm", series, [ring(oblong, OUTER, 4)])
    with pytest.raises(PairMismatchError, match=r"1 of its 1 contours reach outside"):
        read_label(path, oblong)


def test_a_missing_rt_utils_is_named_with_the_command(monkeypatch, series: Path, tmp_path: Path):
    path = write_structures(tmp_path / "rt.dcm", series, boxes())
    monkeypatch.setitem(__import__("sys").modules, "rt_utils", None)
    with pytest.raises(UnsupportedFormatError, match="pip install --no-deps rt-utils"):
        read_label(path, read_volume(series))
    assert rtstruct.INSTALL.startswith("pip install")


# ---- label maps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [[[0, 1], [1, -1], [2, 1]], [[1, -1], [2, 1], [0, -1]], [[0, 1], [1, 1], [2, 1]]])
def test_label_maps_follow_the_image_whatever_their_axes(tmp_path: Path, order):
    label = np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.uint8)
    image = Volume(np.zeros(SHAPE), AFFINE)
    nib.save(nib.Nifti1Image(label, AFFINE).as_reoriented(np.array(order)), tmp_path / "label.nii.gz")
    found = read_label(tmp_path / "label.nii.gz", image)
    assert isinstance(found, LabelMap) and found.array.dtype == np.uint8
    np.testing.assert_array_equal(found.array, label)


def test_label_maps_elsewhere_or_of_other_values_are_refused(tmp_path: Path):
    image = Volume(np.zeros(SHAPE), AFFINE)
    cases = {
        "cut": (np.zeros((20, 20, 5)), AFFINE),
        "moved": (np.zeros(SHAPE), AFFINE + np.eye(4)[:, [3, 3, 3, 2]] * 2.5),
    }
    for name, (array, affine) in cases.items():
        nib.save(nib.Nifti1Image(array.astype(np.uint8), affine), tmp_path / f"{name}.nii")
        with pytest.raises(PairMismatchError, match=rf"{name}\.nii must lie on the same voxel grid: they cover other"):
            read_label(tmp_path / f"{name}.nii", image)
    nib.save(nib.Nifti1Image(np.full(SHAPE, 0.5), AFFINE), tmp_path / "half.nii")
    with pytest.raises(LabelError, match=r"half\.nii: labels must be whole numbers"):
        read_label(tmp_path / "half.nii", image)


def test_a_dicom_series_can_be_a_label_map(series: Path, tmp_path: Path):
    label = np.random.default_rng(1).integers(0, 3, SHAPE).astype(np.int16)
    write_series(tmp_path / "label", label, AFFINE)
    np.testing.assert_array_equal(read_label(tmp_path / "label", read_volume(series)).array, label)
