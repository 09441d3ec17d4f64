import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from imgmed import Volume, read_volume, write_volume
from imgmed.errors import (
    ImgMedError,
    InvalidVolumeError,
    SourceNotFoundError,
    UnreadableFileError,
    UnsupportedFormatError,
)
from imgmed.formats import read_header

AFFINE = np.array([[-0.5, 0, 0, 30], [0, 0.1, -2.9, 4], [0, 0.8, 0.3, -7.25], [0, 0, 0, 1]])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 4, 5, 2)])
def test_what_nibabel_writes_is_read(tmp_path: Path, save_nifti, suffix, dtype, shape):
    array = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    volume = read_volume(save_nifti(tmp_path / f"a{suffix}", array, AFFINE))
    np.testing.assert_array_equal(volume.array, array)
    assert volume.array.dtype == dtype
    np.testing.assert_array_equal(volume.affine, AFFINE.astype(np.float32))
    assert volume.shape == (3, 4, 5) and volume.channels == (shape[3] if len(shape) == 4 else 1)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_what_is_written_nibabel_reads(tmp_path: Path, suffix):
    label = np.random.default_rng(1).integers(0, 4, (3, 4, 5))
    path = tmp_path / f"a{suffix}"
    write_volume(path, Volume(label, AFFINE))
    image = nib.load(path)
    np.testing.assert_array_equal(np.asarray(image.dataobj), label)
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(image.affine, AFFINE.astype(np.float32))
    assert image.header.get_xyzt_units()[0] == "mm"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        ([0, 255], np.uint8),
        ([0, 256], np.uint16),
        ([0, 70000], np.uint32),
        ([-3, 2], np.int16),
        ([0.0, 1.5], np.float32),
        ([True, False], np.uint8),
    ],
)
def test_numbers_are_stored_in_the_smallest_type_that_holds_them(tmp_path: Path, values, stored):
    array = np.array(values, np.int16 if values[0] == -3 else None).reshape(2, 1, 1)
    write_volume(tmp_path / "a.nii", Volume(array, np.eye(4)))
    image = nib.load(tmp_path / "a.nii")
    assert image.get_data_dtype() == stored
    np.testing.assert_array_equal(np.asarray(image.dataobj), array)


def test_an_axis_too_long_for_nifti_1_is_written_as_nifti_2(tmp_path: Path):
    array = np.zeros((33000, 2, 1), np.uint8)
    array[32999, 1] = 5
    write_volume(tmp_path / "a.nii.gz", Volume(array, AFFINE))
    image = nib.load(tmp_path / "a.nii.gz")
    assert isinstance(image, nib.Nifti2Image) and image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(np.asarray(image.dataobj), array)
    np.testing.assert_allclose(image.affine, AFFINE, rtol=1e-12)
    write_volume(tmp_path / "b.nii.gz", Volume(array, AFFINE), like=tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(nib.load(tmp_path / "b.nii.gz").affine, image.affine)


def test_scale_factors_are_applied(tmp_path: Path):
    image = nib.Nifti1Image(np.array([1.0, 2.0, 4.0]).reshape(3, 1, 1), np.eye(4))
    image.set_data_dtype(np.int16)  # nibabel then stores scaled integers
    nib.save(image, tmp_path / "a.nii.gz")
    assert image.header["datatype"] == 4
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii.gz").array.ravel(), [1, 2, 4], atol=1e-3)


def test_the_same_volume_gives_the_same_bytes(tmp_path: Path):
    volume = Volume(np.ones((2, 2, 2), np.uint8), np.eye(4))
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, volume)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_the_header_of_another_file_is_taken_over_without_what_belongs_to_its_voxels(tmp_path: Path):
    source = nib.Nifti1Image(np.linspace(0, 7.5, 60).reshape(3, 4, 5), AFFINE)
    source.set_data_dtype(np.int16)  # nibabel stores scaled integers, whose factor must not be taken over
    source.header.set_xyzt_units("mm", "sec")
    source.set_sform(AFFINE, code=4)
    source.set_qform(AFFINE, code=1)
    source.header["cal_max"] = 1000
    source.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"name of a patient"))
    nib.save(source, tmp_path / "scan.nii.gz")
    scan = read_volume(tmp_path / "scan.nii.gz")

    write_volume(tmp_path / "label.nii.gz", Volume(np.ones((3, 4, 5)) > 0, scan.affine), like=scan.path)

    written = nib.load(tmp_path / "label.nii.gz")
    original = nib.load(tmp_path / "scan.nii.gz")
    np.testing.assert_array_equal(written.affine, original.affine)
    np.testing.assert_array_equal(written.get_qform(), original.get_qform())
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (4, 1)
    assert written.header.get_xyzt_units() == ("mm", "sec")
    assert written.get_data_dtype() == np.uint8 and float(written.header["cal_max"]) == 0
    assert not written.header.extensions
    np.testing.assert_array_equal(np.asarray(written.dataobj), 1)


def test_the_affine_given_wins_over_the_header_taken_over(tmp_path: Path, save_nifti):
    like = save_nifti(tmp_path / "scan.nii", np.zeros((2, 2, 2), np.int16), np.eye(4))
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    write_volume(tmp_path / "a.nii", Volume(np.zeros((2, 2, 2), np.uint8), affine), like=like)
    np.testing.assert_array_equal(nib.load(tmp_path / "a.nii").affine, affine)
    np.testing.assert_allclose(nib.load(tmp_path / "a.nii").get_qform(), affine, atol=1e-6)


@pytest.fixture
def compressed(tmp_path: Path, save_nifti) -> Path:
    array = np.random.default_rng(2).integers(0, 1000, (20, 20, 20)).astype(np.int16)
    return save_nifti(tmp_path / "scan.nii.gz", array, np.eye(4))


@pytest.mark.parametrize("kept", [0.999, 0.9, 0.5, 0.05, 0.001])
def test_a_truncated_file_is_named(compressed: Path, kept):
    data = compressed.read_bytes()
    compressed.write_bytes(data[: max(3, int(kept * len(data)))])
    with pytest.raises(UnreadableFileError, match=r"scan\.nii\.gz: truncated or damaged .*copy or download"):
        read_volume(compressed)


def test_a_truncated_plain_file_is_named(tmp_path: Path, save_nifti):
    path = save_nifti(tmp_path / "scan.nii", np.zeros((20, 20, 20), np.int16), np.eye(4))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UnreadableFileError, match=r"scan\.nii: truncated or damaged"):
        read_volume(path)


def test_one_wrong_bit_is_noticed(compressed: Path):
    data = bytearray(compressed.read_bytes())
    for position in range(len(data) // 4, len(data) - 8, len(data) // 7):
        changed = bytearray(data)
        changed[position] ^= 16
        compressed.write_bytes(changed)
        with pytest.raises(UnreadableFileError, match=r"scan\.nii\.gz"):
            read_volume(compressed)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"x" * 1000, gzip.compress(b"hello"), gzip.compress(b"y" * 1000), b"\x1f\x8b"],
    ids=["empty", "short", "long", "short, compressed", "long, compressed", "two bytes of gzip"],
)
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_what_is_no_nifti_is_named(tmp_path: Path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match=name):
        read_volume(path)


def test_axes_are_sorted_out_or_refused(tmp_path: Path, save_nifti):
    def read(shape):
        return read_volume(save_nifti(tmp_path / "a.nii", np.zeros(shape, np.int16), np.eye(4))).array.shape

    assert read((3, 4)) == (3, 4, 1)
    assert read((3, 4, 5, 1, 2)) == (3, 4, 5, 2)
    with pytest.raises(InvalidVolumeError, match=r"a\.nii.*received shape \(3, 4, 5, 6, 2\)"):
        read((3, 4, 5, 6, 2))


def test_colour_volumes_are_refused(tmp_path: Path):
    rgb = np.zeros((2, 2, 2), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nib.save(nib.Nifti1Image(rgb, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(InvalidVolumeError, match=r"a\.nii: voxels must be real numbers"):
        read_volume(tmp_path / "a.nii")


def test_a_header_that_flattens_space_is_refused(tmp_path: Path):
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), None)
    image.header["sform_code"] = 1
    image.header["srow_x"], image.header["srow_y"], image.header["srow_z"] = (
        [1, 0, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 1, 0],
    )
    (tmp_path / "a.nii").write_bytes(image.header.binaryblock + bytes(4 + 16))
    with pytest.raises(ImgMedError, match=r"a\.nii"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("affine", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.eye(3)])
def test_volumes_check_their_affine(affine):
    with pytest.raises(InvalidVolumeError, match="affine"):
        Volume(np.zeros((2, 2, 2)), affine)


@pytest.mark.parametrize("array", [np.zeros((2, 2)), np.zeros((0, 2, 2)), np.zeros((2, 2, 2), complex)])
def test_volumes_check_their_array(array):
    with pytest.raises(InvalidVolumeError):
        Volume(array, np.eye(4))


@pytest.mark.parametrize(
    ("pixdim", "shape", "is_refused"),
    [
        ((0, 1, 3), (3, 3, 2), True),
        ((1, 1, 0), (3, 3, 2), True),
        ((1, 1, 0), (3, 3, 1), False),
        ((1, 1, 0), (3, 3), False),
    ],
)
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_size_of_0_is_no_size(tmp_path: Path, kind, pixdim, shape, is_refused):
    """As written by hand: nibabel would take it for 1 mm. One slice needs no thickness, and an sform all of it."""
    image = kind(np.zeros(shape, np.uint8), None)
    image.header["pixdim"][1:4] = pixdim
    path, placed = tmp_path / "a.nii", tmp_path / "placed.nii"
    voxels = bytes(image.header.single_vox_offset - len(image.header.binaryblock) + np.prod(shape))
    path.write_bytes(image.header.binaryblock + voxels)
    image.header["sform_code"] = 1
    for row, name in zip(np.eye(4), ("srow_x", "srow_y", "srow_z"), strict=False):
        image.header[name] = row
    placed.write_bytes(image.header.binaryblock + voxels)
    assert read_volume(placed).spacing_mm == (1, 1, 1)
    for read in (read_volume, read_header):
        if is_refused:
            with pytest.raises(InvalidVolumeError, match=r"pixdim 0 along axis [13]\); write the spacing into it"):
                read(path)
        else:
            read(path)


def test_missing_files_and_other_formats_are_named(tmp_path: Path):
    with pytest.raises(SourceNotFoundError, match=r"no such file: .*a\.nii"):
        read_volume(tmp_path / "a.nii")
    for use in (read_volume, lambda path: write_volume(path, Volume(np.zeros((1, 1, 1)), np.eye(4)))):
        with pytest.raises(UnsupportedFormatError, match=r"a\.mhx: .*use \.nii\.gz or "):
            use(tmp_path / "a.mhx")


def test_nifti_2_is_read(tmp_path: Path):
    array = np.arange(8, dtype=np.int16).reshape(2, 2, 2)
    nib.save(nib.Nifti2Image(array, AFFINE), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_array_equal(volume.affine, AFFINE)
