"""Label maps in files: one array, affine and spacing, whatever the format."""

import gzip
import struct
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from segeval import MetricArgumentError, UnreadableLabelMapError, evaluate
from segeval.files.label_map import case_id_of, label_map_suffixes, read_label_map

ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")


def random_labels(shape, top=4, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, top, shape).astype(dtype)


def write_with_itk(path, array, spacing=(1.0, 2.0, 3.0), compress=True):
    """Write an (i, j, k) array through SimpleITK, which takes (k, j, i); an oblique direction, an odd origin."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.transpose()))
    image.SetSpacing(spacing[: array.ndim])
    image.SetOrigin((10.0, -20.0, 5.5)[: array.ndim])
    turn, tip = np.deg2rad(20), np.deg2rad(-10)
    direction = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    if array.ndim == 3:
        direction = direction @ [[1, 0, 0], [0, np.cos(tip), -np.sin(tip)], [0, np.sin(tip), np.cos(tip)]]
    image.SetDirection(direction[: array.ndim, : array.ndim].ravel().tolist())
    SimpleITK.WriteImage(image, str(path), compress)
    return path


def write_png(path, height, width, bit_depth, colour_type, rows, palette=b""):
    """Write a PNG by its specification (ISO/IEC 15948), for bit depths that Pillow does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"PLTE", palette) if palette else b"")
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )
    return path


def same(first, second):
    assert first.array.dtype == second.array.dtype
    np.testing.assert_array_equal(first.array, second.array)
    np.testing.assert_allclose(first.affine, second.affine, atol=1e-4)
    np.testing.assert_allclose(first.spacing_mm, second.spacing_mm, rtol=1e-6)
    assert first.has_spacing
    assert second.has_spacing


# Volumes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ITK_SUFFIXES)
@pytest.mark.parametrize("shape", [(4, 5, 6), (7, 3)], ids=["volume", "plane"])
def test_every_format_gives_what_nifti_gives(tmp_path, suffix, shape):
    """ITK writes one image as NIfTI and in the other format; nibabel reads the NIfTI."""
    labels = random_labels(shape)
    nifti = read_label_map(write_with_itk(tmp_path / "a.nii.gz", labels))
    other = read_label_map(write_with_itk(tmp_path / f"a{suffix}", labels))
    np.testing.assert_array_equal(other.array, labels)
    same(nifti, other)


@given(
    labels=arrays.arrays(
        st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float32]),
        arrays.array_shapes(min_dims=3, max_dims=3, max_side=5),
        elements=st.integers(0, 300).map(lambda value: value % 120),
    ),
    suffix=st.sampled_from([".nrrd", ".mha"]),
    compress=st.booleans(),
)
@settings(max_examples=40)
def test_any_array_comes_back_from_any_format(tmp_path, labels, suffix, compress):
    read = read_label_map(write_with_itk(tmp_path / f"a{suffix}", labels, compress=compress))
    assert read.array.dtype == np.uint8
    np.testing.assert_array_equal(read.array, labels)
    np.testing.assert_allclose(read.spacing_mm, (1, 2, 3))


def test_lps_becomes_ras(tmp_path):
    """In LPS the first two axes point the other way: an ITK origin of (10, -20, 5.5) is (-10, 20, 5.5) in RAS."""
    affine = read_label_map(write_with_itk(tmp_path / "a.nrrd", random_labels((3, 3, 3)))).affine
    np.testing.assert_allclose(affine[:3, 3], (-10, 20, 5.5))
    turn = np.deg2rad(20)
    np.testing.assert_allclose(affine[:3, 0], (-np.cos(turn), -np.sin(turn), 0), atol=1e-12)


def test_a_tolerance_of_one_step_is_the_same_in_every_format(tmp_path):
    """NIfTI holds the directions of a tilted volume in single precision: its steps of 1 mm are 1.00000001 mm."""
    reference = np.zeros((9, 9, 9), np.uint8)
    reference[2:5, 2:5, 2:5] = 1
    for axis in range(3):
        maps = {"reference": reference, "prediction": np.roll(reference, 1, axis)}
        for suffix in (".nii.gz", ".nrrd"):
            paths = [write_with_itk(tmp_path / f"{name}{suffix}", maps[name], (1.0, 1.0, 1.0)) for name in maps]
            first, second = (read_label_map(path) for path in paths)
            case = evaluate(first.array, second.array, {"a": 1}, first.spacing_mm, tolerance_mm=1.0)
            assert case.scores[0]["nsd"] == 1.0


@pytest.mark.parametrize("top", [256, 40_000], ids=["8 bits", "16 bits"])
def test_labels_keep_their_numbers_in_the_narrowest_type(tmp_path, top, write_label_map):
    labels = random_labels((6, 5, 4), top, np.int32)
    labels[0, 0, 0] = top - 1
    for path in (write_label_map(tmp_path / "a.nii", labels), write_with_itk(tmp_path / "a.mha", labels)):
        read = read_label_map(path)
        np.testing.assert_array_equal(read.array, labels)
        assert read.array.dtype == (np.uint8 if top == 256 else np.uint16)


def test_a_fourth_axis_of_one_is_dropped(tmp_path):
    labels = random_labels((4, 3, 2))
    image = SimpleITK.JoinSeries(SimpleITK.GetImageFromArray(labels.transpose()))
    SimpleITK.WriteImage(image, str(tmp_path / "a.nrrd"))
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.nrrd").array, labels)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_2(tmp_path, name):
    labels = random_labels((4, 3, 2))
    nibabel.save(nibabel.Nifti2Image(labels, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / name)
    read = read_label_map(tmp_path / name)
    np.testing.assert_array_equal(read.array, labels)
    assert read.spacing_mm == (1.0, 2.0, 3.0)


def test_several_numbers_per_voxel_are_no_label_map(tmp_path):
    """Slicer stores overlapping segments as vectors."""
    image = SimpleITK.GetImageFromArray(np.zeros((4, 3, 2, 2), np.uint8), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "a.nrrd"))
    with pytest.raises(UnreadableLabelMapError, match=r"one integer for each voxel; received 2"):
        read_label_map(tmp_path / "a.nrrd")


@pytest.mark.parametrize("suffix", ITK_SUFFIXES)
def test_files_cut_short_are_refused(tmp_path, suffix):
    """ITK itself reads a compressed NRRD without its last eight bytes, its checksum, and says nothing."""
    for folder, compress in ((tmp_path / "raw", False), (tmp_path / "compressed", True)):
        folder.mkdir()
        write_with_itk(folder / f"a{suffix}", random_labels((16, 16, 16)), compress=compress)
        data = max(folder.iterdir(), key=lambda path: path.stat().st_size)
        whole = data.read_bytes()
        for cut in (1, 9, 300):
            data.write_bytes(whole[:-cut])
            with pytest.raises(UnreadableLabelMapError, match="truncated or damaged") as caught:
                read_label_map(folder / f"a{suffix}")
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_damaged_compressed_voxels_are_refused(tmp_path, suffix):
    """Neither ITK nor nibabel looks at the checksum."""
    path = write_with_itk(tmp_path / f"a{suffix}", random_labels((16, 16, 16)))
    whole = bytearray(path.read_bytes())
    whole[-200] ^= 0xFF
    path.write_bytes(bytes(whole))
    with pytest.raises(UnreadableLabelMapError, match="truncated or damaged"):
        read_label_map(path)


@pytest.mark.parametrize("suffix", label_map_suffixes())
def test_what_is_no_label_map_is_refused_with_its_name(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    for content in (b"", b"label,value\n" * 100, gzip.compress(b"not a scan")):
        path.write_bytes(content)
        with pytest.raises(UnreadableLabelMapError) as caught:
            read_label_map(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [
        (np.float32, 0.5, "1 voxels do not, such as 0.5"),
        (np.float32, np.nan, "NaN or infinite"),
        (np.float64, np.inf, "NaN or infinite"),
        (np.int16, -1, "from 0 to 65535; received -1 to 0"),
        (np.float32, -2.0, "from 0 to 65535; received -2 to 0"),
        (np.int32, 65536, "from 0 to 65535; received 0 to 65536"),
        (np.float32, 1e20, "integer labels; received 0 to 1e\\+20"),
    ],
)
def test_what_is_no_label_is_refused(tmp_path, dtype, value, message, write_label_map):
    array = np.zeros((3, 4, 5), dtype)
    array[1, 2, 3] = value
    for path in (write_label_map(tmp_path / "a.nii.gz", array), write_with_itk(tmp_path / "a.nrrd", array)):
        with pytest.raises(UnreadableLabelMapError, match=message):
            read_label_map(path)


@pytest.mark.parametrize("name", ["a.npy", "a.jpg", "a"])
def test_other_suffixes_are_refused(tmp_path, name):
    (tmp_path / name).touch()
    assert case_id_of(tmp_path / name) is None
    with pytest.raises(UnreadableLabelMapError, match=r"must end with one of \.nii\.gz, \.nhdr, \.nrrd"):
        read_label_map(tmp_path / name)


def test_a_missing_file(tmp_path):
    with pytest.raises(UnreadableLabelMapError, match="no such file"):
        read_label_map(tmp_path / "a.nrrd")


# Pictures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 256), (np.uint16, 65536)])
def test_grey_levels_are_labels(tmp_path, suffix, dtype, top):
    labels = random_labels((5, 7), top, dtype)
    labels[0, 0] = top - 1
    Image.fromarray(labels).save(tmp_path / f"a{suffix}")
    read = read_label_map(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read.array, labels)
    assert read.array.dtype == dtype
    assert (read.spacing_mm, read.has_spacing) == ((1.0, 1.0), False)


def test_a_mask_of_255_keeps_255(tmp_path):
    Image.fromarray(random_labels((5, 7), 2) * 255).save(tmp_path / "a.png")
    assert np.unique(read_label_map(tmp_path / "a.png").array).tolist() == [0, 255]


def test_black_and_white_is_0_and_1(tmp_path):
    labels = random_labels((5, 7), 2)
    Image.fromarray(labels.astype(bool)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png").array, labels)


def test_a_palette_gives_its_indices(tmp_path):
    """As Pascal VOC and Cityscapes store labels: the colours are for the eye."""
    labels = random_labels((5, 7), 3)
    image = Image.fromarray(labels)
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png").array, labels)


@pytest.mark.parametrize("colour_type", [0, 3], ids=["grey", "palette"])
@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits_are_not_stretched(tmp_path, bits, colour_type):
    """Pillow multiplies grey levels of 4 bits by 17, so that 1 would become label 17."""
    packed = [0b00_01_10_11] if bits == 2 else [0x01, 0x2F]
    expected = [0, 1, 2, 3] if bits == 2 else [0, 1, 2, 15]
    palette = bytes(range(48)) if colour_type == 3 else b""
    palette = palette[: 3 * 2**bits]
    path = write_png(tmp_path / "a.png", 2, 4, bits, colour_type, [packed, packed], palette)
    np.testing.assert_array_equal(read_label_map(path).array, [expected, expected])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_grey_written_as_colour_is_grey(tmp_path, mode):
    labels = random_labels((5, 7), 4)
    Image.fromarray(labels).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.png").array, labels)


def test_colours_are_refused_with_an_example(tmp_path):
    pixels = np.zeros((5, 7, 3), np.uint8)
    pixels[1, 2] = (128, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(UnreadableLabelMapError, match=r"one integer for each voxel; received 3, such as \(128, 0, 0\)"):
        read_label_map(tmp_path / "a.png")


def test_transparency_is_refused_with_an_example(tmp_path):
    pixels = np.zeros((5, 7, 4), np.uint8)
    pixels[1, 2, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    with pytest.raises(UnreadableLabelMapError, match=r"received 4, such as \(0, 0, 0, 255\)"):
        read_label_map(tmp_path / "a.png")


def test_sixteen_bit_grey_written_as_colour_keeps_its_numbers(tmp_path):
    """Pillow cuts it to 8 bits without a word: 0x0100 would become label 1."""
    path = write_png(tmp_path / "a.png", 1, 2, 16, 2, [[1, 0] * 6])
    assert read_label_map(path).array.tolist() == [[256, 256]]


def test_pages_are_refused(tmp_path):
    page = Image.fromarray(random_labels((5, 7)))
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page, page])
    with pytest.raises(UnreadableLabelMapError, match="one page; received 3"):
        read_label_map(tmp_path / "a.tif")


def test_a_picture_cut_short_or_damaged_is_refused(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(random_labels((64, 64))).save(path)
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[-60] ^= 0xFF
    for content in (whole[:-100], whole[:-16], bytes(damaged)):
        path.write_bytes(content)
        with pytest.raises(UnreadableLabelMapError, match="truncated or damaged"):
            read_label_map(path)


def test_a_picture_can_be_given_its_spacing(tmp_path):
    Image.fromarray(random_labels((5, 7))).save(tmp_path / "a.png")
    read = read_label_map(tmp_path / "a.png", spacing_mm=(0.5, 0.25))
    assert (read.spacing_mm, read.has_spacing) == ((0.5, 0.25), True)
    row, column = read.affine @ [1, 0, 0, 1], read.affine @ [0, 1, 0, 1]
    np.testing.assert_array_equal(row[:3], (0, -0.5, 0))  # a row further down is more posterior
    np.testing.assert_array_equal(column[:3], (-0.25, 0, 0))  # a column further right is more to the left
    for spacing in ((1.0,), (1.0, 0.0), (1.0, np.nan), (1.0, 1.0, 1.0)):
        with pytest.raises(MetricArgumentError, match="2 positive numbers"):
            read_label_map(tmp_path / "a.png", spacing_mm=spacing)


# Real files ----------------------------------------------------------------------------------------


@pytest.mark.real_data
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_real_hippocampi_in_other_formats(real_data, tmp_path, suffix):
    for path in sorted((real_data / "hippocampus_msd" / "labelsTr").glob("[!.]*.nii.gz"))[:5]:
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(tmp_path / f"a{suffix}"), True)
        same(read_label_map(path), read_label_map(tmp_path / f"a{suffix}"))


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name",
    [
        *("mr_nrrd_pyradiomics/brain1_label.nrrd", "mr_nrrd_pyradiomics/breast1_label.nrrd"),
        *("dicom_ct_seg_dcmqi/liver_seg.nrrd", "dicom_ct_seg_dcmqi/spine_seg.nrrd"),
    ],
)
def test_real_nrrd_lies_where_its_nifti_does(real_data, tmp_path, name):
    """SimpleITK's own NIfTI of the same image, read by nibabel, is the witness."""
    path = real_data / Path(name)
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(tmp_path / "a.nii.gz"))
    label_map = read_label_map(path)
    same(label_map, read_label_map(tmp_path / "a.nii.gz"))
    image = nibabel.load(tmp_path / "a.nii.gz")
    assert int(label_map.array.astype(bool).sum()) == int((np.asanyarray(image.dataobj) > 0).sum()) > 0
