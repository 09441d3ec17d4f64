"""DICOM series: found, put in order, rescaled, decompressed, or refused with the reason. Files are pydicom's."""

import locale
import pickle
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from imgmed.errors import (
    InvalidVolumeError,
    SourceLayoutError,
    SourceNotFoundError,
    UnreadableFileError,
    UnsupportedFormatError,
)
from imgmed.formats import read_header, read_volume
from imgmed.formats.dicom import find_series
from imgmed.study import VolumeSource
from tests.dicom_files import RAS_TO_LPS, save, write_series

AFFINE = np.array([[-0.75, 0, 0, 100], [0, -0.5, 0, 50], [0, 0, 2.5, -300], [0, 0, 0, 1]])


def stored(slices: int = 6, dtype: type = np.int16) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 2000, (9, 8, slices)).astype(dtype)


def test_files_in_any_order_without_suffix_are_put_in_place(tmp_path: Path):
    order = random.Random(0).sample(range(6), 6)
    numbers = random.Random(1).sample(range(6), 6)

    def misnumber(k: int, dataset: Dataset) -> None:
        dataset.InstanceNumber = numbers[k]

    write_series(tmp_path / "a b é", stored(), AFFINE, names=lambda k: f"{order[k]}", change=misnumber)
    volume = read_volume(tmp_path / "a b é")
    np.testing.assert_array_equal(volume.array, stored())
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-9)


@pytest.mark.parametrize("kept", ["no meta", "meta"])
@pytest.mark.parametrize("implicit", [False, True])
def test_files_without_the_preamble_are_read(tmp_path: Path, kept, implicit):
    """As old archives write them: the data set alone, or after the file meta group."""
    write_series(tmp_path / "series", stored(), AFFINE, names="{}".format)
    for path in (tmp_path / "series").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        data, length = path.read_bytes(), pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength
        path.write_bytes(data[132 + 12 + length if kept == "no meta" else 132 :])
    volume = read_volume(tmp_path / "series")
    np.testing.assert_array_equal(volume.array, stored())
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-9)
    lone = next((tmp_path / "series").iterdir())
    assert read_header(lone).shape == (9, 8, 1), "found by its content, without a suffix"


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x00", b"\x08\x00\x05\x00CS" + b"x" * 500, b"\x02\x00" * 300])
def test_what_only_begins_like_dicom_is_named(tmp_path: Path, content):
    (tmp_path / "a.dcm").write_bytes(content)
    for use in (read_volume, find_series):
        with pytest.raises((UnreadableFileError, UnsupportedFormatError), match=r"a\.dcm") as caught:
            use(tmp_path / "a.dcm")
        assert "\n" not in str(caught.value)


def test_oblique_series_agree_with_simpleitk(tmp_path: Path):
    c, s = np.cos(0.4), np.sin(0.4)
    affine = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ AFFINE
    affine[:3, :3] = affine[:3, [2, 0, 1]]
    write_series(tmp_path, stored(), affine)
    volume = read_volume(tmp_path)
    image = SimpleITK.ReadImage(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path)))
    for index in [(0, 0, 0), (8, 0, 0), (0, 7, 5), (4, 3, 2)]:
        place = RAS_TO_LPS[:3, :3] @ image.TransformIndexToPhysicalPoint(index)
        ours = np.linalg.inv(volume.affine) @ [*place, 1]
        np.testing.assert_allclose(ours[:3], np.rint(ours[:3]), atol=1e-6)
        i, j, k = np.rint(ours[:3]).astype(int)
        assert volume.array[i, j, k] == image.GetPixel(*index)


def test_slope_and_intercept_belong_to_each_slice(tmp_path: Path):
    slopes = [1, 2, 1, 3, 1, 1]
    write_series(tmp_path, stored(), AFFINE, slope=slopes, intercept=-1024)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, stored().astype(int) * slopes - 1024)
    assert volume.array.dtype == np.int32  # 3 x 32767 - 1024 does not fit 16 bits

    write_series(tmp_path / "pet", stored(), AFFINE, slope=[0.25 * k + 0.25 for k in range(6)], intercept=0.5)
    volume = read_volume(tmp_path / "pet")
    np.testing.assert_allclose(volume.array, stored() * (0.25 * np.arange(6) + 0.25) + 0.5)
    assert volume.array.dtype == read_header(tmp_path / "pet").dtype == np.float32


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8])
def test_number_types_hold_what_is_stored(tmp_path: Path, dtype):
    array = stored(dtype=dtype)
    write_series(tmp_path, array, AFFINE)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == dtype


@pytest.mark.parametrize("syntax", [JPEGLSLossless, RLELossless, JPEG2000Lossless], ids=["JPEG-LS", "RLE", "JPEG 2000"])
def test_compressed_pixels_are_read(tmp_path: Path, syntax):
    array = np.random.default_rng(2).integers(0, 3000, (48, 40, 3)).astype(np.uint16)
    write_series(tmp_path, array, AFFINE, compress=syntax, intercept=-1000)
    np.testing.assert_array_equal(read_volume(tmp_path).array, array.astype(int) - 1000)
    assert read_header(tmp_path).facts["transfer_syntax"] == syntax.name


def test_the_header_names_the_part_of_the_body(tmp_path: Path) -> None:
    def of_the_heart(_: int, dataset: Dataset) -> None:
        dataset.BodyPartExamined = "HEART"

    write_series(tmp_path / "told", stored(), AFFINE, change=of_the_heart)
    write_series(tmp_path / "untold", stored(), AFFINE)
    assert read_header(tmp_path / "told").facts["body_part"] == "HEART"
    assert "body_part" not in read_header(tmp_path / "untold").facts


@pytest.fixture
def same_locale() -> Iterator[None]:
    """GDCM's JPEG writer sets the locale of the process to C, in which other tests could not read UTF-8."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.mark.usefixtures("same_locale")
def test_lossless_jpeg_is_read_as_gdcm_wrote_it(tmp_path: Path):
    pixels = stored(1)[:, :, 0].T.astype(np.int16) - 1000
    image = SimpleITK.GetImageFromArray(pixels[np.newaxis])
    for tag, value in (("0028|1052", "-1000"), ("0028|1053", "1"), ("0020|0032", "1\\2\\3"), ("0008|0060", "CT")):
        image.SetMetaData(tag, value)
    writer = SimpleITK.ImageFileWriter()
    writer.SetFileName(str(tmp_path / "a.dcm"))
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.Execute(image)
    assert read_header(tmp_path / "a.dcm").facts["transfer_syntax"].startswith("JPEG Lossless")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.dcm").array[:, :, 0].T, pixels)


def test_several_series_and_studies_in_one_folder_are_told_apart(tmp_path: Path):
    study = generate_uid()
    uids = [generate_uid() for _ in range(3)]
    names = [lambda k, n=n: f"{k}_{n}" for n in range(3)]  # all in one folder, interleaved by name
    write_series(tmp_path, stored(4), AFFINE, names=names[0], series_uid=uids[0], study_uid=study, description="a")
    write_series(tmp_path, stored(3), AFFINE, names=names[1], series_uid=uids[1], study_uid=study, description="b")
    write_series(tmp_path / "deep", stored(5), AFFINE, names=names[2], series_uid=uids[2], description="c")
    (tmp_path / "notes.txt").write_text("no DICOM")
    (tmp_path / ".hidden").write_bytes(b"\0" * 128 + b"DICM")

    found = {series.series_uid: series for series in find_series(tmp_path)}

    assert {uid: len(found[uid].files) for uid in uids} == dict(zip(uids, (4, 3, 5), strict=True))
    assert [found[uid].description for uid in uids] == ["a", "b", "c"]
    assert found[uids[0]].study_uid == found[uids[1]].study_uid == study != found[uids[2]].study_uid
    assert {series.kind for series in found.values()} == {"image"} and len(found) == 3
    np.testing.assert_array_equal(read_volume(found[uids[1]].source).array, stored(3))
    with pytest.raises(
        SourceLayoutError, match=r"exactly one DICOM series.*CT series of 4 files.*CT series of 3 files"
    ):
        read_volume(tmp_path)
    mixed = VolumeSource((*found[uids[0]].files, *found[uids[1]].files))
    with pytest.raises(SourceLayoutError, match="belong to 2 series"):
        read_volume(mixed)


def test_files_are_sorted_geometrically(tmp_path: Path):
    order = [3, 0, 4, 1, 2]
    paths = write_series(tmp_path, stored(5), AFFINE, names=lambda k: f"{order[k]}.dcm")
    assert list(find_series(tmp_path)[0].files) == paths
    assert find_series(list(reversed(paths)))[0].files == tuple(paths)


def test_linked_folders_are_followed_once(tmp_path: Path):
    write_series(tmp_path / "elsewhere", stored(3), AFFINE)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "study" / "circle").symlink_to(tmp_path / "study")
    (tmp_path / "study" / "dangling").symlink_to(tmp_path / "nowhere")
    (series,) = find_series(tmp_path / "study")
    assert len(series.files) == 3
    np.testing.assert_array_equal(read_volume(tmp_path / "study").array, stored(3))


def test_other_objects_are_told_apart(tmp_path: Path):
    write_series(tmp_path, stored(2), AFFINE)
    for name, sop_class, modality in [
        ("report", "1.2.840.10008.5.1.4.1.1.88.11", "SR"),
        ("directory", "1.2.840.10008.1.3.10", ""),
        ("structures", "1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT"),
    ]:
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, generate_uid()
        dataset.Modality, dataset.SeriesInstanceUID = modality, generate_uid()
        save(dataset, tmp_path / name)
    kinds = sorted(series.kind for series in find_series(tmp_path))
    assert kinds == ["image", "other", "structures"]
    assert read_volume(tmp_path).shape == (9, 8, 2)
    for name, what in (("report", "without an image"), ("structures", "a RTSTRUCT holds labels")):
        with pytest.raises(UnsupportedFormatError, match=rf"{name}: a.*{what.removeprefix('a ')}"):
            read_volume(tmp_path / name)


def test_the_patient_is_kept_and_never_shown(tmp_path: Path):
    write_series(tmp_path, stored(2), AFFINE)
    (series,) = find_series(tmp_path)
    assert (series.identity.name, series.identity.patient_id, series.identity.birth_date) == (
        "Doe^Jane",
        "4711",
        "19700101",
    )
    for text in (repr(series), str(series.identity), repr(series.identity), f"{series.identity}"):
        assert not any(secret in text for secret in ("Doe", "4711", "1970"))
    assert pickle.loads(pickle.dumps(series.identity)) == series.identity
    assert not any(secret in str(read_header(tmp_path)) for secret in ("Doe", "4711", "1970"))


def test_a_broken_header_is_reported_without_its_values(tmp_path: Path, recwarn):
    paths = write_series(tmp_path, stored(2), AFFINE, names="{}.dcm".format)
    data = paths[0].read_bytes()
    paths[0].write_bytes(data.replace(b"19700101", b"Jane Doe"))
    read_volume(tmp_path)  # a birth date that is none: pydicom would warn, quoting it
    assert not recwarn.list
    paths[1].write_bytes(data[:300])
    with pytest.raises(UnreadableFileError, match=r"1\.dcm: truncated or damaged") as caught:
        find_series(tmp_path)
    assert "Doe" not in str(caught.value)


def drop(folder: Path, *numbers: int) -> None:
    for path in (folder / f"IM{number:04d}" for number in numbers):
        path.unlink()


def test_missing_slices_are_refused(tmp_path: Path):
    write_series(tmp_path, stored(), AFFINE)
    drop(tmp_path, 2, 3)
    with pytest.raises(InvalidVolumeError, match=r"2 slices are missing between IM0001 and IM0004 .*7\.5 mm.*2\.5 mm"):
        read_volume(tmp_path)


def test_a_gap_among_three_slices_is_refused(tmp_path: Path):
    write_series(tmp_path, stored(4), AFFINE)
    drop(tmp_path, 1)
    with pytest.raises(InvalidVolumeError, match="1 slice is missing between IM0000 and IM0002"):
        read_header(tmp_path)


def moved(by_mm: dict[int, tuple[float, float, float]]):
    def change(k: int, dataset: Dataset) -> None:
        shift = by_mm.get(k, (0, 0, 0))
        dataset.ImagePositionPatient = [float(a) + b for a, b in zip(dataset.ImagePositionPatient, shift, strict=True)]

    return change


def test_uneven_slices_are_refused_and_rounded_positions_are_not(tmp_path: Path):
    write_series(tmp_path / "uneven", stored(), AFFINE, change=moved({3: (0, 0, 0.8)}))
    with pytest.raises(InvalidVolumeError, match=r"unevenly spaced, 1\.7 to 3\.3 mm"):
        read_volume(tmp_path / "uneven")
    write_series(tmp_path / "rounded", stored(), AFFINE, change=moved({1: (0, 0, 0.04), 4: (0, 0, -0.04)}))
    np.testing.assert_array_equal(read_volume(tmp_path / "rounded").array, stored())


def test_duplicate_positions_are_refused(tmp_path: Path):
    write_series(tmp_path, stored(), AFFINE, change=moved({3: (0, 0, -2.5)}))
    with pytest.raises(InvalidVolumeError, match=r"IM0003: lies at the same position as IM0002"):
        read_volume(tmp_path)


def test_several_time_points_in_a_series_are_refused(tmp_path: Path):
    uid = generate_uid()
    for time in range(3):
        write_series(tmp_path, stored(4), AFFINE, series_uid=uid, names=lambda k, t=time: f"{t}_{k}")
    with pytest.raises(InvalidVolumeError, match=r"12 slices at 4 positions, 3 at each: several volumes"):
        read_volume(tmp_path)


def test_copies_of_files_are_passed_over(tmp_path: Path):
    """The same bytes, or a header that another program changed: the image is the same."""
    paths = write_series(tmp_path / "ct", stored(), AFFINE)
    for path in paths:
        shutil.copy(path, path.with_name(f"{path.name} (1)"))
    changed = pydicom.dcmread(paths[2])
    changed.InstitutionName = "elsewhere"
    changed.save_as(tmp_path / "ct" / "copy of IM0002")
    (series,) = find_series(tmp_path)
    assert [path.name for path in series.files] == [path.name for path in paths]
    np.testing.assert_array_equal(read_volume(tmp_path / "ct").array, stored())
    changed.PixelData = bytes(len(changed.PixelData))
    changed.save_as(tmp_path / "ct" / "copy of IM0002")
    with pytest.raises(InvalidVolumeError, match="lies at the same position as"):
        read_volume(tmp_path / "ct")


def test_slices_that_have_a_series_each_are_one(tmp_path: Path):
    def own_series(k: int, dataset: Dataset) -> None:
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID = generate_uid(), generate_uid()

    def turned(k: int, dataset: Dataset) -> None:
        own_series(k, dataset)
        dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]

    write_series(tmp_path / "ct", stored(), AFFINE, change=own_series, names="{}.dcm".format)
    write_series(tmp_path / "ct", stored(1), AFFINE, change=turned, names="scout{}.dcm".format)
    write_series(tmp_path / "ct", stored(4), AFFINE, change=own_series, names="b{}.dcm".format, description="other")
    series = find_series(tmp_path)
    assert [len(one.files) for one in series] == [6, 4, 1]
    for one, array in zip(series, (stored(), stored(4)), strict=False):
        volume = read_volume(one.source)
        np.testing.assert_array_equal(volume.array, array)
        np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-9)


def test_a_tilted_gantry_is_refused_with_its_angle(tmp_path: Path):
    shift = 2.5 * np.tan(np.radians(12))
    write_series(tmp_path, stored(), AFFINE, change=moved({k: (0, k * shift, 0) for k in range(6)}))
    with pytest.raises(InvalidVolumeError, match=r"gantry tilt of 12 degrees"):
        read_volume(tmp_path)


def test_a_scout_view_of_another_orientation_is_refused(tmp_path: Path):
    def scout(k: int, dataset: Dataset) -> None:
        if k == 0:
            dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]

    write_series(tmp_path, stored(), AFFINE, change=scout)
    with pytest.raises(InvalidVolumeError, match="its orientation differs"):
        read_volume(tmp_path)


def test_slices_of_other_sizes_and_spacings_are_refused(tmp_path: Path):
    uid = generate_uid()
    write_series(tmp_path, stored(), AFFINE, series_uid=uid)
    further = AFFINE.copy()
    further[2, 3] += 6 * 2.5
    write_series(tmp_path, stored(1)[:5], further, series_uid=uid, names=lambda k: "other")
    with pytest.raises(InvalidVolumeError, match=r"other: a slice of 8 x 5 among slices of 8 x 9"):
        read_volume(tmp_path)
    further[0, 0] = -0.8
    write_series(tmp_path, stored(1), further, series_uid=uid, names=lambda k: "other")
    with pytest.raises(InvalidVolumeError, match=r"other: pixel spacing \(0\.5, 0\.8\) mm among"):
        read_volume(tmp_path)


def test_look_up_tables_and_palettes_are_refused(tmp_path: Path):
    def table(k: int, dataset: Dataset) -> None:
        dataset.ModalityLUTSequence = [Dataset()]

    def palette(k: int, dataset: Dataset) -> None:
        dataset.PhotometricInterpretation = "PALETTE COLOR"

    for name, change, reason in (("a", table, "Modality LUT"), ("b", palette, "palette-colour")):
        write_series(tmp_path / name, stored(2), AFFINE, change=change)
        with pytest.raises(UnsupportedFormatError, match=reason):
            read_volume(tmp_path / name)


def test_a_radiograph_without_place_is_rows_and_columns(tmp_path: Path):
    def unplaced(k: int, dataset: Dataset) -> None:
        del dataset.ImagePositionPatient, dataset.ImageOrientationPatient
        dataset.Modality = "DX"

    (path, *_) = write_series(tmp_path, stored(2), AFFINE, change=unplaced)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, stored(2)[:, :, :1].transpose(1, 0, 2))
    assert volume.spacing_mm == (0.5, 0.75, 1.0)
    assert read_header(path).shape == volume.shape
    with pytest.raises(UnsupportedFormatError, match="2 pictures without position"):
        read_volume(tmp_path)


def test_colour_is_channels(tmp_path: Path):
    rgb = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)

    def colour(k: int, dataset: Dataset) -> None:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.PixelRepresentation, dataset.PixelData = 7, 0, rgb.tobytes()

    (path,) = write_series(tmp_path, stored(1), AFFINE, change=colour)
    np.testing.assert_array_equal(read_volume(path).array, rgb.transpose(1, 0, 2)[:, :, np.newaxis])


def test_a_header_that_asks_for_more_than_its_file_holds_is_refused(tmp_path: Path):
    def absurd(k: int, dataset: Dataset) -> None:
        dataset.Rows = dataset.Columns = 30000

    (path,) = write_series(tmp_path, stored(1), AFFINE, change=absurd)
    with pytest.raises(UnreadableFileError, match=r"asks for 30000 x 30000 x 1 x 1 values, 1800000000 bytes"):
        read_volume(path)


def test_missing_files_are_named(tmp_path: Path):
    with pytest.raises(SourceNotFoundError, match="nothing"):
        find_series(tmp_path / "nothing")
    with pytest.raises(SourceNotFoundError, match=r"gone\.dcm"):
        read_volume(VolumeSource((tmp_path / "gone.dcm",)))


def test_multi_frame_images_agree_with_the_series_they_came_from(tmp_path: Path):
    """A parametric map is the multi-frame image that highdicom itself writes."""
    paths = write_series(tmp_path / "series", stored(), AFFINE)
    sources = [pydicom.dcmread(path) for path in paths]
    values = np.stack([source.pixel_array for source in sources]).astype(np.float32) / 4
    mapping = hd.pm.RealWorldValueMapping("a", "a", hd.sr.CodedConcept("1", "UCUM", "1"), (0, 1000.0), 1.0, 0.0)
    image = hd.pm.ParametricMap(
        sources, values, generate_uid(), 5, generate_uid(), 1, "maker", "model", "1", "serial", False,
        [mapping], voi_lut_transformations=[hd.VOILUTTransformation(0.0, 500.0)], content_label="VALUES",
    )  # fmt: skip
    image.save_as(tmp_path / "map.dcm")
    (kind,) = (series.kind for series in find_series(tmp_path / "map.dcm"))
    assert kind == "image"

    volume, header = read_volume(tmp_path / "map.dcm"), read_header(tmp_path / "map.dcm")

    series = read_volume(tmp_path / "series")
    turn = np.linalg.inv(volume.affine) @ series.affine
    for index in [(0, 0, 0), (8, 7, 5), (3, 2, 1)]:
        i, j, k = np.rint(turn @ [*index, 1])[:3].astype(int)
        assert volume.array[i, j, k] == series.array[index] / 4
    assert header.shape == volume.shape and header.facts["frames"] == "6"
    np.testing.assert_allclose(header.affine, volume.affine)
    (tmp_path / "bare.dcm").write_bytes((tmp_path / "map.dcm").read_bytes()[132:])
    np.testing.assert_array_equal(read_volume(tmp_path / "bare.dcm").array, volume.array)


def test_an_enhanced_file_of_one_frame_keeps_its_place(tmp_path: Path):
    def as_enhanced(k: int, dataset: Dataset) -> None:
        """Position and spacing within the functional groups, as the enhanced kinds have them."""
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
        shared, frame, position, orientation, measures = (Dataset() for _ in range(5))
        position.ImagePositionPatient = dataset.ImagePositionPatient
        orientation.ImageOrientationPatient = dataset.ImageOrientationPatient
        measures.PixelSpacing, measures.SliceThickness = dataset.PixelSpacing, dataset.SliceThickness
        measures.SpacingBetweenSlices = dataset.SliceThickness
        values = Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 2, -1000, "HU"
        shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
        shared.PixelValueTransformationSequence = [values]
        frame.PlanePositionSequence = [position]
        dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], [frame]
        dataset.NumberOfFrames = 1
        del dataset.ImagePositionPatient, dataset.ImageOrientationPatient, dataset.PixelSpacing
        del dataset.SliceThickness, dataset.RescaleSlope, dataset.RescaleIntercept

    paths = write_series(tmp_path, stored(2), AFFINE, change=as_enhanced)
    volume = read_volume(paths[0])
    i, j, k = np.rint(np.linalg.solve(volume.affine, AFFINE @ [3, 2, 0, 1])[:3]).astype(int)
    assert volume.array[i, j, k] == 2.0 * stored(2)[3, 2, 0] - 1000
    np.testing.assert_allclose(volume.spacing_mm, (0.75, 0.5, 2.5))
    with pytest.raises(UnsupportedFormatError):
        read_volume(tmp_path)


def test_films_are_refused(tmp_path: Path):
    def film(k: int, dataset: Dataset) -> None:
        dataset.NumberOfFrames = 4
        dataset.PixelData = dataset.PixelData * 4
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
        dataset.Modality = "US"

    (path,) = write_series(tmp_path, stored(1), AFFINE, change=film)
    for use in (read_volume, read_header):
        with pytest.raises(UnsupportedFormatError, match="multi-frame DICOM file that is not one regular volume"):
            use(path)
