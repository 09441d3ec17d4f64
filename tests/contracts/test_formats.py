"""Every format of volumes through one contract: voxels, places, headers, damage. Files come from other libraries."""

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from imgmed.errors import ImgMedError, InvalidVolumeError, UnreadableFileError
from imgmed.formats import VolumeHeader, read_header, read_volume, write_volume
from imgmed.volume import Volume
from tests.dicom_files import RAS_TO_LPS, write_series

SHAPE = (7, 6, 5)
MARKED = (5, 1, 3)


def turned(angles: tuple[float, float, float]) -> np.ndarray:
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def affine_of(rotation: np.ndarray) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = rotation * [0.75, 1.25, 3.0]
    affine[:3, 3] = (-20.5, 13.25, 101.0)
    return affine


AFFINES = {
    "RAS": affine_of(np.eye(3)),
    "LPS": affine_of(np.diag([-1.0, -1.0, 1.0])),
    "sagittal": affine_of(np.array([[0.0, 0, -1], [-1, 0, 0], [0, 1, 0]])),
    "oblique": affine_of(turned((0.2, -0.3, 0.1)) @ np.diag([-1.0, 1, -1])),
}


def write_nibabel(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    image = nib.Nifti1Image(array, affine)
    image.set_data_dtype(array.dtype)
    nib.save(image, path)
    return path


def itk_image(array: np.ndarray, affine: np.ndarray) -> SimpleITK.Image:
    spaces = np.ascontiguousarray(np.moveaxis(array, (0, 1, 2), (2, 1, 0)))
    image = SimpleITK.GetImageFromArray(spaces, isVector=array.ndim == 4)
    lps = RAS_TO_LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def itk_writer(compressed: bool) -> Callable:
    def write(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
        SimpleITK.WriteImage(itk_image(array, affine), str(path), compressed)
        return path

    return write


def write_dicom(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    write_series(path, array, affine, names="z{:02d}.dcm".format)
    return path


FORMATS = {
    "nii": ("scan.nii", write_nibabel),
    "nii.gz": ("scan.nii.gz", write_nibabel),
    "mha": ("scan.mha", itk_writer(False)),
    "mha compressed": ("scan.mha", itk_writer(True)),
    "mhd": ("scan.mhd", itk_writer(False)),
    "mhd compressed": ("scan.mhd", itk_writer(True)),
    "nrrd": ("scan.nrrd", itk_writer(False)),
    "nrrd compressed": ("scan.nrrd", itk_writer(True)),
    "nhdr": ("scan.nhdr", itk_writer(True)),
    "dicom": ("series", write_dicom),
}
with_every_format = pytest.mark.parametrize("form", FORMATS)


def sample(seed: int = 0) -> np.ndarray:
    array = np.random.default_rng(seed).integers(-900, 900, SHAPE).astype(np.int16)
    array[MARKED] = 1500
    return array


def written(folder: Path, form: str, array: np.ndarray, affine: np.ndarray) -> Path:
    name, write = FORMATS[form]
    return write(folder / name, array, affine)


def read_by_itk(path: Path) -> SimpleITK.Image:
    if path.is_dir():
        return SimpleITK.ReadImage(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)))
    return SimpleITK.ReadImage(str(path))


def data_file(path: Path) -> Path:
    """The file that holds voxels: the detached one, the middle one of a series, or the file itself."""
    if path.is_dir():
        return path / "z02.dcm"
    detached = [one for one in path.parent.iterdir() if one.name.endswith(("raw", "raw.gz"))]
    return detached[0] if detached else path


@with_every_format
@pytest.mark.parametrize("case", AFFINES)
def test_voxels_lie_where_simpleitk_and_arithmetic_put_them(tmp_path: Path, form, case):
    affine, array = AFFINES[case], sample()
    path = written(tmp_path, form, array, affine)

    volume = read_volume(path)

    place = tuple(int(i) for i in np.argwhere(volume.array == 1500)[0])
    ours = (volume.affine @ [*place, 1])[:3]
    np.testing.assert_allclose(ours, (affine @ [*MARKED, 1])[:3], atol=1e-4)
    image = read_by_itk(path)
    theirs = np.argwhere(SimpleITK.GetArrayFromImage(image) == 1500)[0][::-1]
    physical = image.TransformIndexToPhysicalPoint([int(i) for i in theirs])
    np.testing.assert_allclose(ours, RAS_TO_LPS[:3, :3] @ physical, atol=1e-4)
    assert volume.array.dtype == np.int16


@with_every_format
def test_all_voxels_come_back(tmp_path: Path, form):
    array, affine = sample(1), AFFINES["LPS"]
    volume = read_volume(written(tmp_path, form, array, affine))
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-6)
    np.testing.assert_allclose(volume.spacing_mm, (0.75, 1.25, 3.0), rtol=1e-6)


@with_every_format
def test_the_header_alone_says_the_same(tmp_path: Path, form):
    path = written(tmp_path, form, sample(), AFFINES["oblique"])
    header, volume = read_header(path), read_volume(path)
    assert isinstance(header, VolumeHeader)
    assert (header.shape, header.channels, header.dtype) == (volume.shape, 1, volume.array.dtype)
    np.testing.assert_allclose(header.affine, volume.affine, atol=1e-12)
    assert header.facts["format"] and "Doe" not in repr(header)


@with_every_format
@pytest.mark.parametrize("kept", [0.9, 0.4, 0.01])
def test_a_truncated_file_is_named_in_one_line_and_nothing_is_printed(tmp_path: Path, form, kept, capfd):
    path = written(tmp_path, form, sample(), AFFINES["RAS"])
    broken = data_file(path)
    broken.write_bytes(broken.read_bytes()[: int(kept * broken.stat().st_size)])
    with pytest.raises(UnreadableFileError) as caught:
        read_volume(path)
    named = broken if path.is_dir() else path
    assert named.name in str(caught.value) and "\n" not in str(caught.value)
    assert "/tmp/SimpleITK" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@with_every_format
@pytest.mark.parametrize("content", [b"", b"hello", b"x" * 1000])
def test_other_content_is_named(tmp_path: Path, form, content, capfd):
    path = written(tmp_path, form, sample(), AFFINES["RAS"])
    broken = path / "z02.dcm" if path.is_dir() else path
    broken.write_bytes(content)
    for use in (read_volume, read_header):
        with pytest.raises(UnreadableFileError, match=broken.name.replace(".", r"\.")):
            use(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("form", [name for name in FORMATS if "gz" in name or "compressed" in name or name == "nhdr"])
def test_a_wrong_bit_in_compressed_voxels_is_noticed(tmp_path: Path, form):
    path = written(tmp_path, form, np.tile(sample(), (3, 3, 3)), AFFINES["RAS"])
    broken = data_file(path)
    data = bytearray(broken.read_bytes())
    data[len(data) * 2 // 3] ^= 16
    broken.write_bytes(data)
    with pytest.raises(UnreadableFileError, match=r"truncated or damaged"):
        read_volume(path)


@with_every_format
def test_random_damage_to_a_header_ends_in_one_error_of_ours(tmp_path: Path, form, capfd):
    path = written(tmp_path, form, sample(), AFFINES["oblique"])
    broken = path / "z02.dcm" if path.is_dir() else path
    data, rng = broken.read_bytes(), np.random.default_rng(11)
    for _ in range(40):
        changed = bytearray(data)
        for position in rng.integers(0, min(len(data), 600), rng.integers(1, 5)):
            changed[position] = rng.integers(0, 256)
        broken.write_bytes(changed)
        with contextlib.suppress(ImgMedError):
            read_header(path)
            read_volume(path)
    assert capfd.readouterr() == ("", "")


@with_every_format
def test_more_values_than_allowed_are_refused_before_they_are_read(tmp_path: Path, form):
    path = written(tmp_path, form, sample(), AFFINES["RAS"])
    values = int(np.prod(SHAPE))
    assert read_volume(path, max_values=values).shape == SHAPE
    with pytest.raises(InvalidVolumeError, match=rf"= {values} values .* at most {values - 1} are allowed"):
        read_volume(path, max_values=values - 1)


@pytest.mark.parametrize("form", [name for name in FORMATS if name != "dicom"])
def test_channels_are_the_last_axis(tmp_path: Path, form):
    array = np.random.default_rng(4).normal(size=(*SHAPE, 3)).astype(np.float32)
    path = written(tmp_path, form, array, AFFINES["RAS"])
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, array)
    assert (volume.channels, read_header(path).channels) == (3, 3)
    assert read_header(path).dtype == np.float32


@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz", "out.mha", "out.nrrd"])
@pytest.mark.parametrize("case", AFFINES)
def test_what_is_written_is_read_by_simpleitk_at_the_same_place(tmp_path: Path, name, case):
    label = np.zeros(SHAPE, np.int64)
    label[MARKED] = 7
    write_volume(tmp_path / name, Volume(label, AFFINES[case]))
    image = SimpleITK.ReadImage(str(tmp_path / name))
    assert image.GetPixelIDTypeAsString() == "8-bit unsigned integer"
    place = np.argwhere(SimpleITK.GetArrayFromImage(image) == 7)
    assert len(place) == 1
    physical = image.TransformIndexToPhysicalPoint([int(i) for i in place[0][::-1]])
    np.testing.assert_allclose(RAS_TO_LPS[:3, :3] @ physical, (AFFINES[case] @ [*MARKED, 1])[:3], atol=1e-4)
    np.testing.assert_array_equal(read_volume(tmp_path / name).array, label)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["out.mhd", "out.nhdr", "out.dcm", "out.png", "out.txt"])
def test_what_is_not_written_is_refused(tmp_path: Path, name):
    with pytest.raises(ImgMedError, match=name):
        write_volume(tmp_path / name, Volume(np.zeros((2, 2, 2), np.uint8), np.eye(4)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out.nii.gz", "out.mha", "out.nrrd"])
def test_what_cannot_be_written_whole_leaves_nothing(tmp_path: Path, name):
    """A limit on the size of files stands for a full disk: ITK's writers would not say a word."""
    code = (
        "import resource, sys, numpy as np\n"
        "from imgmed import Volume, write_volume\n"
        "volume = Volume(np.random.default_rng(0).random((40, 40, 40)), np.eye(4))\n"
        "write_volume(sys.argv[1] + '/before_' + sys.argv[2], volume)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try:\n"
        "    write_volume(sys.argv[1] + '/' + sys.argv[2], volume)\n"
        "except OSError as error:\n"
        "    print('refused', error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path, name], capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("refused") and done.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == [f"before_{name}"]
