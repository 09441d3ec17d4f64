"""DICOM SEG and RTSTRUCT that we write, read back by plain pydicom, dcmjs, rt-utils, and our own readers."""

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless, generate_uid
from rt_utils import RTStructBuilder
from scipy.spatial.transform import Rotation

from imgmed.errors import ImgMedError, LabelError, PairMismatchError, UnsupportedFormatError
from imgmed.formats import read_volume
from imgmed.formats.dicom_codes import coded_name
from imgmed.formats.dicom_labels import dicom_label_values, read_dicom_label_map
from imgmed.formats.dicom_seg_writer import write_segmentation
from imgmed.formats.dicom_source import Producer
from imgmed.formats.labels import read_label
from imgmed.formats.rtstruct_writer import write_structures
from imgmed.volume import Volume
from tests.dicom_files import RAS_TO_LPS, write_series
from tests.hospital import write_seg

SHAPE = (20, 17, 6)
UPRIGHT = np.array([[-0.75, 0, 0, 100], [0, -0.75, 0, 50], [0, 0, 2.5, -300], [0, 0, 0, 1]])
LABELS = {"background": 0, "liver tumour": 300, "left_kidney": 4, "nowhere": 7}
NUMBERS = {4: 1, 7: 2, 300: 3}  # in the order of the values
PRODUCER = Producer("R2D2", "1.2", "ab" * 32)
NODE, NODE_PACKAGES = Path(sys.executable).with_name("node"), Path(sys.prefix, "node")
WRITERS = pytest.mark.parametrize("write", [write_segmentation, write_structures], ids=["seg", "rtstruct"])


def oblique() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix() @ np.diag([0.7, 1.1, 2.3])
    affine[:3, 3] = [10.123, -20.456, 30.789]
    return affine


def labelled(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Blocks, one with a hole and an island in it, and single voxels, also at the edge."""
    array = np.zeros(shape, np.uint16)
    array[2:12, 3:15, 1:5] = 4
    array[4:10, 5:12, 2:4] = 0
    array[6:8, 7:9, 2] = 4
    array[14:17, 10:16, 4] = 300
    array[shape[0] - 1, shape[1] - 1, shape[2] - 1] = array[0, 0, 0] = array[18, 3, 2] = 300
    return array


def scan(folder: Path, affine: np.ndarray = UPRIGHT, **how: object) -> tuple[list[Path], Volume]:
    """A series whose files are named in another order than they lie in, and its volume."""
    array = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
    names = [3, 0, 5, 1, 4, 2]
    files = write_series(folder, array, affine, names=lambda k: f"IM{names[k]}", **how)  # type: ignore[arg-type]
    return sorted(files), read_volume(folder)


def world(volume: Volume, array: np.ndarray) -> dict[int, set[tuple[float, ...]]]:
    """LPS millimetres of the voxels of each label."""
    found = {}
    for value in np.unique(array[array > 0]):
        voxels = np.argwhere(array == value)
        found[int(value)] = placed((np.c_[voxels, np.ones(len(voxels))] @ (RAS_TO_LPS @ volume.affine).T)[:, :3])
    return found


def placed(points: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(point) for point in (np.round(points, 3) + 0.0).tolist()}


def in_frames(frames: list[dict], orientation: list[float], spacing: list[float]) -> dict[int, set[tuple[float, ...]]]:
    """The same of frames, by DICOM PS3.3 C.7.6.2.1.1; `spacing` is between rows, then between columns."""
    row, column = np.array(orientation).reshape(2, 3)
    found: dict[int, set[tuple[float, ...]]] = {}
    for frame in frames:
        pixels = np.array(frame["found"], float).reshape(-1, 2)
        points = (
            frame["position"] + np.outer(pixels[:, 1], row * spacing[1]) + np.outer(pixels[:, 0], column * spacing[0])
        )
        found.setdefault(frame["segment"], set()).update(placed(points))
    return found


def by_pydicom(path: Path) -> tuple[Dataset, list[dict]]:
    dataset = pydicom.dcmread(path)
    arrays = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    groups = zip(dataset.PerFrameFunctionalGroupsSequence, arrays, strict=True)
    return dataset, [
        {
            "segment": group.SegmentIdentificationSequence[0].ReferencedSegmentNumber,
            "position": np.array(group.PlanePositionSequence[0].ImagePositionPatient, float),
            "source": group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID,
            "found": np.argwhere(array),
        }
        for group, array in groups
    ]


def test_a_segmentation_lies_where_its_label_map_does(tmp_path: Path) -> None:
    """Frames by plain pydicom, on a rotated scan of unequal spacings, each beside the file that it refers to."""
    files, volume = scan(tmp_path / "scan", oblique())
    write_segmentation(tmp_path / "seg.dcm", Volume(labelled(), volume.affine), LABELS, files[::-1], PRODUCER)
    dataset, frames = by_pydicom(tmp_path / "seg.dcm")
    shared = dataset.SharedFunctionalGroupsSequence[0]
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    found = in_frames(frames, orientation, shared.PixelMeasuresSequence[0].PixelSpacing)
    assert found == {NUMBERS[value]: points for value, points in world(volume, labelled()).items()}
    headers = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, files)}
    for frame in frames:
        np.testing.assert_allclose(headers[frame["source"]].ImagePositionPatient, frame["position"])
    (series,) = dataset.ReferencedSeriesSequence
    assert {one.ReferencedSOPInstanceUID for one in series.ReferencedInstanceSequence} == set(headers)
    first = next(iter(headers.values()))
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert dataset[keyword].value == first[keyword].value
    assert series.SeriesInstanceUID == first.SeriesInstanceUID != dataset.SeriesInstanceUID
    assert [one.SegmentDescription for one in dataset.SegmentSequence] == ["label 4", "label 7", "label 300"]
    (algorithm,) = dataset.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("R2D2", "1.2")
    assert dataset.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    assert "ab" * 32 in "".join(algorithm.AlgorithmParameters)


def test_dcmjs_finds_the_same_voxels(tmp_path: Path) -> None:
    files, volume = scan(tmp_path / "scan", oblique())
    write_segmentation(tmp_path / "seg.dcm", Volume(labelled(), volume.affine), LABELS, files, PRODUCER)
    script = Path(__file__).parents[2] / "node/read_seg.cjs"
    command = [NODE, script, NODE_PACKAGES, tmp_path / "seg.dcm"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    found = in_frames(said["frames"], said["orientation"], said["spacing"])
    assert found == {NUMBERS[value]: points for value, points in world(volume, labelled()).items()}
    assert said["segments"] == [
        {"number": 1, "label": "left_kidney", "type": "64033007"},
        {"number": 2, "label": "nowhere", "type": "85756007"},
        {"number": 3, "label": "liver tumour", "type": "108369006"},
    ]
    first = pydicom.dcmread(files[0])
    assert said["series"] == first.SeriesInstanceUID and said["patient"] == first.PatientID


def anonymised(_: int, dataset: Dataset) -> None:
    for keyword in (
        "StudyID", "PatientBirthDate", "PatientSex", "AccessionNumber", "SliceThickness", "StudyDate", "StudyTime",
        "PatientName", "PatientID", "ReferringPhysicianName",
    ):  # fmt: skip
        delattr(dataset, keyword)


def odd(k: int, dataset: Dataset) -> None:
    """Values that no scanner writes, a name in Latin letters of Western Europe, slices a little off a regular stack."""
    dataset.PatientSex, dataset.SpecificCharacterSet, dataset.PatientName = "U", "ISO_IR 100", "Müller^Jörg"
    with pytest.warns(UserWarning, match="Invalid value"):
        dataset.PatientBirthDate = "1970"
    x, y, z = map(float, dataset.ImagePositionPatient)
    dataset.ImagePositionPatient = [x + 0.01 * k, y, z + 0.03 * (-1) ** k]


@WRITERS
@pytest.mark.parametrize(
    "how",
    [{"change": anonymised, "compress": JPEGLSLossless}, {"change": odd}, {"affine": oblique()}],
    ids=["anonymised", "odd", "oblique"],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_what_is_written_is_read_back(tmp_path: Path, write: Callable[..., None], how: dict[str, object]) -> None:
    files, volume = scan(tmp_path / "scan", **how)  # type: ignore[arg-type]
    write(tmp_path / "out.dcm", Volume(labelled(), volume.affine), LABELS, files, PRODUCER)
    back = read_dicom_label_map(tmp_path / "out.dcm", volume.shape, volume.affine)
    np.testing.assert_array_equal(back, labelled())
    assert set(dicom_label_values(tmp_path / "out.dcm")) == {4, 7, 300}
    masks = read_label(tmp_path / "out.dcm", volume).masks  # type: ignore[union-attr]
    np.testing.assert_array_equal(masks["liver tumour"], labelled() == 300)
    dataset = pydicom.dcmread(tmp_path / "out.dcm")
    assert all(keyword in dataset for keyword in ("PatientName", "PatientBirthDate", "StudyID", "AccessionNumber"))
    assert how.get("change") is not odd or str(dataset.PatientName) == "Müller^Jörg"


@WRITERS
def test_nothing_found_is_a_file_without_a_voxel(tmp_path: Path, write: Callable[..., None]) -> None:
    files, volume = scan(tmp_path / "scan")
    write(tmp_path / "out.dcm", Volume(np.zeros(SHAPE, np.uint8), volume.affine), LABELS, files, PRODUCER)
    assert not read_dicom_label_map(tmp_path / "out.dcm", volume.shape, volume.affine).any()
    if write is write_segmentation:
        dataset, frames = by_pydicom(tmp_path / "out.dcm")
        assert [len(frame["found"]) for frame in frames] == [0, 0, 0]  # a frame a segment: there must be one
        assert len(dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == SHAPE[2]


@WRITERS
def test_the_same_is_called_the_same(tmp_path: Path, write: Callable[..., None]) -> None:
    """UIDs follow from the content, so that what is sent twice to an archive is there once."""
    files, volume = scan(tmp_path / "scan")
    made = []
    for number, value in enumerate((0, 0, 4)):
        array = labelled()
        array[1, 1, 1] = value
        write(tmp_path / f"{number}.dcm", Volume(array, volume.affine), LABELS, files, PRODUCER)
        dataset = pydicom.dcmread(tmp_path / f"{number}.dcm")
        for keyword in [one for one in dataset.dir() if one.endswith(("Date", "Time", "EquipmentSequence"))]:
            delattr(dataset, keyword)
        made.append(dataset)
    assert made[0] == made[1]
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert made[0][keyword].value != made[2][keyword].value


def as_enhanced(files: list[Path], path: Path) -> Path:
    """One file of all slices, as the enhanced kinds have them, in another order than they lie in."""
    slices = [pydicom.dcmread(file) for file in files]
    whole = pydicom.dcmread(files[0])
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    whole.NumberOfFrames, whole.PixelData = len(slices), b"".join(one.PixelData for one in slices)
    shared, frames = Dataset(), []
    orientation, measures, values = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = whole.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = whole.PixelSpacing, whole.SliceThickness
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, 0, "HU"
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    shared.PixelValueTransformationSequence = [values]
    for one in slices:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = one.ImagePositionPatient
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    whole.SharedFunctionalGroupsSequence, whole.PerFrameFunctionalGroupsSequence = [shared], frames
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(whole, keyword)
    del whole.RescaleSlope, whole.RescaleIntercept
    whole.save_as(path)
    return path


@pytest.mark.parametrize("count", [6, 1])
def test_one_file_of_many_frames_is_referred_to(tmp_path: Path, count: int) -> None:
    files, _ = scan(tmp_path / "scan")
    path = as_enhanced(files[:count] if count == 1 else files, tmp_path / "enhanced.dcm")
    volume = read_volume(path)
    array = np.zeros(volume.shape, np.uint8)
    array[3:9, 2:7, : max(1, count // 2)] = 4
    for name, wanted in (("some", array), ("none", array * 0)):
        write_segmentation(tmp_path / f"{name}.dcm", Volume(wanted, volume.affine), LABELS, [path], PRODUCER)
        back = read_dicom_label_map(tmp_path / f"{name}.dcm", volume.shape, volume.affine)
        np.testing.assert_array_equal(back, wanted)
    dataset, frames = by_pydicom(tmp_path / "some.dcm")
    assert {frame["source"] for frame in frames} == {pydicom.dcmread(path).SOPInstanceUID}
    measures = dataset.SharedFunctionalGroupsSequence[0]
    orientation = measures.PlaneOrientationSequence[0].ImageOrientationPatient
    found = in_frames(frames, orientation, measures.PixelMeasuresSequence[0].PixelSpacing)
    assert found == {1: world(volume, array)[4]}
    with pytest.raises(UnsupportedFormatError, match="files of one slice each"):
        write_structures(tmp_path / "rt.dcm", Volume(array, volume.affine), LABELS, [path], PRODUCER)


def drop(*keywords: str) -> Callable[[int, Dataset], None]:
    def change(_: int, dataset: Dataset) -> None:
        for keyword in keywords:
            setattr(dataset, keyword, "")

    return change


def set_each(keyword: str) -> Callable[[int, Dataset], None]:
    return lambda k, dataset: setattr(dataset, keyword, generate_uid())


@WRITERS
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (drop("FrameOfReferenceUID"), "has no FrameOfReferenceUID"),
        (drop("StudyInstanceUID", "FrameOfReferenceUID"), "has no StudyInstanceUID, no FrameOfReferenceUID"),
        (set_each("SeriesInstanceUID"), "of 6 series"),
        (set_each("FrameOfReferenceUID"), "of 6 frames of reference"),
        (lambda k, dataset: setattr(dataset, "SOPInstanceUID", "1.2.3"), "one SOPInstanceUID"),
    ],
)
def test_what_cannot_be_referred_to_is_said_in_a_line(
    tmp_path: Path, write: Callable[..., None], change: Callable[[int, Dataset], None], said: str
) -> None:
    files, volume = scan(tmp_path / "scan", change=change)
    with pytest.raises(UnsupportedFormatError, match=said) as error:
        write(tmp_path / "out.dcm", Volume(labelled(), volume.affine), LABELS, files, PRODUCER)
    assert "write NIfTI instead" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out.dcm").exists()


def test_another_kind_of_image_and_another_grid_are_said_in_a_line(tmp_path: Path) -> None:
    files, volume = scan(tmp_path / "scan", change=lambda k, dataset: setattr(dataset, "SOPClassUID", "1.2.3.4"))
    with pytest.raises(UnsupportedFormatError, match="cannot be referred to by a DICOM SEG"):
        write_segmentation(tmp_path / "a.dcm", Volume(labelled(), volume.affine), LABELS, files, PRODUCER)
    with pytest.raises(PairMismatchError, match="were they changed"):
        write_structures(tmp_path / "a.dcm", Volume(labelled(), volume.affine), LABELS, files[1:], PRODUCER)
    assert not (tmp_path / "a.dcm").exists()


def test_rt_utils_fills_our_contours_to_the_same_masks(tmp_path: Path) -> None:
    """Of a scan that it reads rightly: square, with square pixels."""
    array = np.zeros((20, 20, 6), np.uint16)
    array[:, :17] = labelled()
    files = write_series(tmp_path / "scan", np.zeros(array.shape, np.int16), UPRIGHT)
    volume = read_volume(tmp_path / "scan")
    write_structures(tmp_path / "rt.dcm", Volume(array, volume.affine), LABELS, files, PRODUCER)
    with contextlib.redirect_stdout(io.StringIO()):
        structures = RTStructBuilder.create_from(str(tmp_path / "scan"), str(tmp_path / "rt.dcm"))
        for name in ("left_kidney", "liver tumour"):
            mask = structures.get_roi_mask_by_name(name)  # (rows, columns, slices)
            np.testing.assert_array_equal(mask.swapaxes(0, 1), array == LABELS[name])


def test_segments_that_overlap_are_no_label_map(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", np.zeros((8, 8, 2), np.int16), UPRIGHT)
    masks = {"liver": np.zeros((8, 8, 2), bool), "tumour": np.zeros((8, 8, 2), bool)}
    masks["liver"][1:5], masks["tumour"][4:6] = True, True
    volume = read_volume(tmp_path / "scan")
    with pytest.raises(LabelError, match="liver and tumour overlap in 16 voxels"):
        read_dicom_label_map(write_seg(tmp_path / "seg.dcm", tmp_path / "scan", masks), volume.shape, volume.affine)
    masks["liver"][4] = False  # another program's: numbers of segments
    seg = write_seg(tmp_path / "apart.dcm", tmp_path / "scan", masks)
    back = read_dicom_label_map(seg, volume.shape, volume.affine)
    np.testing.assert_array_equal(back, masks["liver"] + 2 * masks["tumour"])


def test_a_segmentation_without_a_place_says_so(tmp_path: Path) -> None:
    files, volume = scan(tmp_path / "scan")
    write_segmentation(tmp_path / "seg.dcm", Volume(labelled(), volume.affine), LABELS, files, PRODUCER)
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    dataset.save_as(tmp_path / "seg.dcm")
    with pytest.raises(ImgMedError, match="frames have no place in the patient"):
        read_label(tmp_path / "seg.dcm", volume)


@pytest.mark.parametrize(
    ("name", "codes"),
    [  # DICOM PS3.16, CID 7150, 7153, 7154, 7159 and 244
        ("Liver", ("91723000", "10200004", None, None)),
        ("kidney_right", ("91723000", "64033007", "24028007", None)),
        ("hippocampus", ("91723000", "5366008", None, None)),
        ("left atrium", ("91723000", "82471001", None, None)),
        ("tumour", ("49755003", "108369006", None, None)),
        ("brain lesions", ("49755003", "52988006", None, "12738006")),
        ("Anterior", ("85756007", "85756007", None, None)),
    ],
)
def test_names_are_coded_by_snomed_ct(name: str, codes: tuple[str | None, ...]) -> None:
    coded = coded_name(name)
    found = (coded.category, coded.type, coded.side, coded.region)
    assert tuple(None if code is None else code.value for code in found) == codes
    assert {code.scheme_designator for code in found if code is not None} == {"SCT"}


def test_codes_of_ones_own_count(tmp_path: Path) -> None:
    files, volume = scan(tmp_path / "scan")
    label_map, codes = Volume(labelled(), volume.affine), {"nowhere": "99OURS:1.7:A new structure"}
    write_segmentation(tmp_path / "seg.dcm", label_map, LABELS, files, PRODUCER, codes)
    (code,) = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence[1].SegmentedPropertyTypeCodeSequence
    assert (code.CodingSchemeDesignator, code.CodeValue, code.CodeMeaning) == ("99OURS", "1.7", "A new structure")
    other = pydicom.dcmread(tmp_path / "seg.dcm").SOPInstanceUID
    write_segmentation(tmp_path / "plain.dcm", label_map, LABELS, files, PRODUCER)
    assert pydicom.dcmread(tmp_path / "plain.dcm").SOPInstanceUID != other  # another content
    with pytest.raises(LabelError, match="SCHEME:VALUE:MEANING"):
        coded_name("liver", "10200004")


@pytest.mark.parametrize(
    ("code", "category"),
    [  # DICOM PS3.16, CID 7150; which list has the code: 7192, 7194, 7191, none
        ("SCT:10200004:Liver", "91723000"),
        ("SCT:108369006:Neoplasm", "49755003"),
        ("SCT:55603005:Adipose tissue", "85756007"),
        ("SCT:65818007:Stent", "91723000"),
        ("SCT:65818007:Stent:PhysicalObject", "260787004"),
        ("SCT:10200004:Liver:Tissue", "85756007"),
    ],
)
def test_the_category_of_a_code_is_its_lists_or_its_own(code: str, category: str) -> None:
    coded = coded_name("structure", code)
    assert (coded.category.value, f"SCT:{coded.type.value}") == (category, ":".join(code.split(":")[:2]))
