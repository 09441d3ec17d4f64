"""Units of length in headers: sizes are millimetres after reading, and what is written lies where its scan lies."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from imgmed import Volume, read_header, read_label, read_volume, write_volume
from imgmed.errors import InvalidVolumeError

ARRAY = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
TURN = np.array([[-1.0, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])
IN_MM = np.vstack([np.column_stack([TURN * [0.4, 0.5, 1.0], [3.0, -7.5, 20.25]]), [0, 0, 0, 1]])
KINDS = {"NIfTI-1": nib.Nifti1Image, "NIfTI-2": nib.Nifti2Image}
MM_OF = {"micron": 1e-3, "meter": 1e3, "mm": 1.0, "unknown": 1.0}


def scaled(affine: np.ndarray, factor: float) -> np.ndarray:
    return np.vstack([affine[:3] * factor, [0, 0, 0, 1]])


def write_nifti(path: Path, unit: str, affine_mm: np.ndarray = IN_MM, kind: str = "NIfTI-1", array=ARRAY) -> Path:
    """The same place whatever the unit: numbers in the header are millimetres divided by the unit's length."""
    image = KINDS[kind](array, scaled(affine_mm, 1 / MM_OF[unit]))
    image.header.set_xyzt_units(unit, "sec")
    nib.save(image, path)
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", MM_OF)
def test_niftis_unit_codes_are_followed(tmp_path: Path, unit, kind):
    path = write_nifti(tmp_path / "a.nii.gz", unit, kind=kind)
    np.testing.assert_allclose(read_volume(path).affine, IN_MM, rtol=1e-6)
    np.testing.assert_allclose(read_header(path).affine, IN_MM, rtol=1e-6)
    if kind == "NIfTI-1":  # ITK 5.4 reads no NIfTI-2
        image = SimpleITK.ReadImage(str(path))
        np.testing.assert_allclose(read_volume(path).spacing_mm, image.GetSpacing(), rtol=1e-6)
        np.testing.assert_allclose(IN_MM[:3, 3] * [-1, -1, 1], image.GetOrigin(), rtol=1e-6)


def test_without_sform_and_qform_the_unit_counts_as_well(tmp_path: Path):
    image = nib.Nifti1Image(ARRAY, None)
    image.header.set_zooms((400, 500, 1000))
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").spacing_mm, (0.4, 0.5, 1.0), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "line", "spacing_mm"),
    [
        ("a.nrrd", 'space units: "um" "um" "um"', (0.4, 0.5, 1.0)),
        ("a.nrrd", 'space units: "microns" "microns" "microns"', (0.4, 0.5, 1.0)),
        ("a.nrrd", 'space units: "cm" "cm" "cm"', (4000, 5000, 10000)),
        ("a.nrrd", 'space units: "" "" ""', (400, 500, 1000)),
        ("a.mha", "DistanceUnits = um", (0.4, 0.5, 1.0)),
        ("a.mha", "DistanceUnits = mm", (400, 500, 1000)),
    ],
)
def test_nrrd_and_metaimage_name_their_units(tmp_path: Path, name, line, spacing_mm):
    image = SimpleITK.GetImageFromArray(ARRAY.T)
    image.SetSpacing((400, 500, 1000))
    SimpleITK.WriteImage(image, str(tmp_path / name))
    data = (tmp_path / name).read_bytes()
    first, rest = data.split(b"\n", 1)
    lines = [first, line.encode(), rest] if name.endswith("mha") else [first, *_nrrd_with(rest, line)]
    (tmp_path / name).write_bytes(b"\n".join(lines))
    if max(spacing_mm) > 2000:
        with pytest.raises(InvalidVolumeError, match=r"says cm \(space units\), which makes voxels of 4000 x 5000 x"):
            read_volume(tmp_path / name)
        return
    volume = read_volume(tmp_path / name)
    np.testing.assert_allclose(volume.spacing_mm, spacing_mm, rtol=1e-9)
    np.testing.assert_array_equal(volume.array, ARRAY)


def _nrrd_with(rest: bytes, line: str) -> list[bytes]:
    head, voxels = rest.split(b"\n\n", 1)
    return [head, line.encode(), b"", voxels]


@pytest.mark.parametrize(
    ("unit", "stored", "said"),
    [
        ("meter", (0.7, 0.7, 3.0), r"metre \(xyzt_units 1\), which makes voxels of 700 x 700 x 3000 mm"),
        ("micron", (0.7, 0.7, 3.0), r"micron \(xyzt_units 3\), which makes voxels of 0.0007 x 0.0007 x 0.003 mm"),
        ("micron", (51e3, 400.0, 400.0), r"micron \(xyzt_units 3\), which makes voxels of 51 x 0.4 x 0.4 mm"),
    ],
)
def test_absurd_units_are_refused_and_can_be_overridden(tmp_path: Path, unit, stored, said):
    path = tmp_path / "a.nii"
    image = nib.Nifti1Image(ARRAY, np.diag([*stored, 1.0]))
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    for use in (read_volume, read_header):
        with pytest.raises(InvalidVolumeError, match=rf"a\.nii: its header says {said}; .*spatial_units=mm"):
            use(path)
    for reading in (read_volume, read_header):
        np.testing.assert_allclose(reading(path, spatial_units="mm").affine, image.affine, rtol=1e-6)


def test_the_limits_of_50_mm_and_a_micrometre_are_allowed_and_a_lone_slice_has_no_distance(tmp_path: Path):
    for unit, sizes_mm in (("micron", (0.001, 0.001, 0.001)), ("meter", (50, 50, 50)), ("meter", (0.5, 0.5, 1000))):
        array = ARRAY[..., :1] if sizes_mm[2] == 1000 else ARRAY
        path = write_nifti(tmp_path / "a.nii", unit, np.diag([*sizes_mm, 1.0]), array=array)
        np.testing.assert_allclose(read_volume(path).spacing_mm, sizes_mm, rtol=1e-6)


def test_an_unknown_size_in_millimetres_is_left_alone(tmp_path: Path):
    path = write_nifti(tmp_path / "a.nii", "mm", np.diag([1000.0, 1000.0, 3000.0, 1.0]))
    assert read_volume(path).spacing_mm == (1000, 1000, 3000)
    np.testing.assert_allclose(read_volume(path, spatial_units="um").spacing_mm, (1, 1, 3), rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("unit", "spatial_units"), [("micron", "header"), ("meter", "header"), ("meter", "mm")])
def test_a_label_map_is_written_in_its_scans_own_unit(tmp_path: Path, unit, spatial_units, kind):
    affine_mm = scaled(IN_MM, 1e3) if spatial_units == "mm" else IN_MM  # numbers like millimetres under a metre code
    scan = write_nifti(tmp_path / "scan.nii.gz", unit, affine_mm, kind)
    volume = read_volume(scan, spatial_units=spatial_units)
    write_volume(tmp_path / "label.nii.gz", Volume(np.ones((3, 4, 5), np.uint8), volume.affine), like=scan)
    original, written = nib.load(scan), nib.load(tmp_path / "label.nii.gz")
    assert written.header.get_xyzt_units() == original.header.get_xyzt_units() == (unit, "sec")
    np.testing.assert_allclose(written.affine, original.affine, rtol=1e-6)
    np.testing.assert_allclose(written.header.get_zooms(), original.header.get_zooms(), rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(written.dataobj), 1)


def test_another_place_is_written_in_the_unit_of_the_header_taken_over(tmp_path: Path):
    scan = write_nifti(tmp_path / "scan.nii", "micron")
    write_volume(tmp_path / "a.nii", Volume(ARRAY, np.diag([2.0, 3.0, 4.0, 1.0])), like=scan)
    np.testing.assert_allclose(nib.load(tmp_path / "a.nii").affine, np.diag([2000, 3000, 4000, 1]), rtol=1e-6)
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").spacing_mm, (2, 3, 4), rtol=1e-6)


@pytest.mark.parametrize("unit", ["micron", "mm", "unknown"])
def test_a_label_map_meets_its_scan_in_another_unit_and_without_the_scans_code(tmp_path: Path, unit):
    scan = read_volume(write_nifti(tmp_path / "scan.nii", "micron"))
    label = write_nifti(tmp_path / "label.nii", unit, IN_MM if unit != "unknown" else scaled(IN_MM, 1e3))
    np.testing.assert_array_equal(read_label(label, scan).array, ARRAY)
