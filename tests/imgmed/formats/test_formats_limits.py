"""Headers that ask for more than their files can hold, bombs, and pictures within an .npz."""

import contextlib
import gzip
import struct
import tracemalloc
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from imgmed import inspect_source
from imgmed.errors import ImgMedError, InvalidVolumeError, SourceNotFoundError, UnreadableFileError
from imgmed.formats import read_header, read_volume
from imgmed.study import VolumeSource

MEGABYTE = 2**20


def nifti_header(shape: tuple[int, ...], dtype: type = np.float64) -> bytearray:
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return bytearray(header.binaryblock + bytes(4))


def peak_of(action) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(30000, 30000, 30000), (20000, 20000, 4), (3000, 1000, 100)])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_absurd_nifti_headers_are_refused_before_memory_is_taken(tmp_path: Path, shape, name):
    content = bytes(nifti_header(shape)) + bytes(1000)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)

    def read() -> None:
        with pytest.raises(ImgMedError, match=rf"{name}: .*asks for {' x '.join(map(str, shape))}"):
            read_volume(tmp_path / name)

    assert peak_of(read) < MEGABYTE


def test_nifti_2_can_ask_for_more_than_any_number_and_for_less_than_nothing(tmp_path: Path):
    for size in (2**60, -5, 0):
        header = nib.Nifti2Header()
        header["dim"][:4] = (3, size, 2, 2)
        header["vox_offset"], header["magic"] = 544, b"n+2\0\r\n\x1a\n"
        (tmp_path / "a.nii").write_bytes(header.binaryblock + bytes(100))
        with pytest.raises(InvalidVolumeError, match=r"a\.nii"):
            read_volume(tmp_path / "a.nii")


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path):
    """64 MB of zeros in 64 kB, behind the header of a small volume."""
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(nifti_header((4, 4, 4))) + bytes(64 * MEGABYTE)))

    def read() -> None:
        with pytest.raises(
            UnreadableFileError, match=r"a\.nii\.gz: .*goes on for more than 1048576 bytes after the 512"
        ):
            read_volume(tmp_path / "a.nii.gz")

    assert peak_of(read) < 8 * MEGABYTE


def test_a_few_bytes_after_the_voxels_do_not_matter(tmp_path: Path):
    content = bytes(nifti_header((4, 4, 4))) + np.arange(64.0).tobytes() + bytes(500)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content))
    assert read_volume(tmp_path / "a.nii.gz").array[3, 3, 3] == 63


def test_the_header_of_a_compressed_file_is_read_without_the_rest(tmp_path: Path):
    path = tmp_path / "a.nii.gz"
    volume = np.random.default_rng(0).integers(0, 1000, (128, 128, 64)).astype(np.int16)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), path)
    assert peak_of(lambda: read_header(path)) < MEGABYTE  # the volume takes two
    path.write_bytes(path.read_bytes()[:40000])
    assert read_header(path).shape == (128, 128, 64)  # the rest is missing and was not looked at


def test_voxels_after_a_long_extension_are_read_from_their_offset(tmp_path: Path):
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    image = nib.Nifti1Image(array, np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 12800))
    for name in ("a.nii", "a.nii.gz"):
        nib.save(image, tmp_path / name)
        np.testing.assert_array_equal(read_volume(tmp_path / name).array, array)


def test_the_number_type_of_scaled_voxels_is_foretold(tmp_path: Path):
    image = nib.Nifti1Image(np.linspace(0, 9, 60).reshape(3, 4, 5), np.eye(4))
    image.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "a.nii")
    expected = np.asanyarray(nib.load(tmp_path / "a.nii").dataobj)
    found = read_volume(tmp_path / "a.nii").array
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype == read_header(tmp_path / "a.nii").dtype


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd", "a.mhd", "a.nhdr"])
@pytest.mark.parametrize("is_compressed", [True, False])
def test_absurd_itk_headers_are_refused(tmp_path: Path, name, is_compressed):
    image = SimpleITK.GetImageFromArray(np.zeros((4, 5, 6), np.int16))
    SimpleITK.WriteImage(image, str(tmp_path / name), is_compressed)
    content = (tmp_path / name).read_bytes()
    for size in (b"9000 9000 9", b"90000 90000 90000"):
        changed = content.replace(b"6 5 4", size)
        assert changed != content
        (tmp_path / name).write_bytes(changed)
        with pytest.raises(ImgMedError, match=rf"{name}: .*asks for {size.decode().replace(' ', ' x ')}"):
            read_volume(tmp_path / name)


def test_pictures_within_an_npz(tmp_path: Path):
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    colour = np.random.default_rng(1).integers(0, 256, (2, 4, 3, 3), dtype=np.uint8)
    np.savez_compressed(tmp_path / "a.npz", train_images=images, colour=colour, labels=np.arange(5))

    def read(entry: str):
        return read_volume(VolumeSource((tmp_path / "a.npz",), entry))

    np.testing.assert_array_equal(read("train_images/3").array, images[3][:, :, np.newaxis])
    np.testing.assert_array_equal(read("colour/1").array[:, :, 0], colour[1])
    assert read_header(VolumeSource((tmp_path / "a.npz",), "colour/1")).channels == 3
    for entry in ("train_images/5", "labels/0", "train_images/x"):
        with pytest.raises(SourceNotFoundError, match=f"no entry {entry}"):
            read(entry)
    with pytest.raises(SourceNotFoundError, match="no array other; it holds train_images, colour, labels"):
        read("other/0")


def test_an_npz_never_runs_code_and_asks_for_no_more_than_it_holds(tmp_path: Path):
    np.savez(tmp_path / "objects.npz", a=np.array([{}, {}], object))
    (tmp_path / "broken.npz").write_bytes(b"PK" + bytes(100))
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (90000, 900, 9), }".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "absurd.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    for name in ("objects", "broken", "absurd"):
        with pytest.raises(UnreadableFileError, match=rf"{name}\.npz: truncated or damaged"):
            read_volume(VolumeSource((tmp_path / f"{name}.npz",), "a/0"))


@pytest.mark.parametrize("change", [lambda byte: byte ^ 1, lambda byte: 255])
def test_a_changed_byte_anywhere_in_an_npz_never_gives_another_error_than_ours(tmp_path: Path, change):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=np.arange(36, dtype=np.uint8).reshape(4, 3, 3))
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([change(data[place])]) + data[place + 1 :])
        with contextlib.suppress(ImgMedError):
            read_volume(VolumeSource((path,), "images/1"))
        with contextlib.suppress(ImgMedError):
            inspect_source(path)
