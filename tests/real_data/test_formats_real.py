"""The formats on real files: whichever way a scan came, the same voxels lie at the same places."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from imgmed.errors import UnsupportedFormatError
from imgmed.formats import read_header, read_volume
from imgmed.formats.dicom import find_series
from imgmed.formats.labels import read_label
from imgmed.volume import Volume

pytestmark = pytest.mark.real_data

LPS_TO_RAS = np.array([-1, -1, 1])
SPLEEN, LIVER = 1, 5


def check_places(volume: Volume, image: SimpleITK.Image) -> None:
    """Voxels and their places against SimpleITK, at corners and at random."""
    rng = np.random.default_rng(0)
    size = image.GetSize()
    for index in [(0, 0, 0), tuple(n - 1 for n in size), *rng.integers(0, size, (20, 3)).tolist()]:
        place = LPS_TO_RAS * image.TransformIndexToPhysicalPoint([int(i) for i in index])
        ours = np.linalg.solve(volume.affine, [*place, 1])[:3]
        np.testing.assert_allclose(ours, np.rint(ours), atol=1e-3)
        assert volume.array[tuple(np.rint(ours).astype(int))] == image.GetPixel([int(i) for i in index])


@pytest.fixture(scope="module")
def abdomen(real_data: Path) -> Volume:
    return read_volume(real_data / "ct_abdomen_totalseg" / "dicom")


def test_a_jpeg_2000_series_agrees_with_gdcm(abdomen: Volume, real_data: Path):
    files = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(real_data / "ct_abdomen_totalseg" / "dicom"))
    check_places(abdomen, SimpleITK.ReadImage(files))
    assert abdomen.array.dtype == np.int16 and abdomen.array.min() == -1024
    header = read_header(real_data / "ct_abdomen_totalseg" / "dicom")
    assert (header.shape, header.dtype) == (abdomen.shape, np.int16)


def test_the_label_map_of_the_series_meets_it_across_opposite_directions(abdomen: Volume, real_data: Path):
    """Its y axis runs the other way; organs are as dense as organs only where it is turned."""
    path = real_data / "ct_abdomen_totalseg" / "example_seg_dicom.nii.gz"
    label = read_label(path, abdomen).array
    stored = np.asarray(nib.load(path).dataobj)
    np.testing.assert_array_equal(label, stored[:, ::-1])
    for organ in (SPLEEN, LIVER):
        assert 40 < abdomen.array[label == organ].mean() < 130 and abdomen.array[label == organ].std() < 40
        assert abdomen.array[stored == organ].std() > 100

    resampled = SimpleITK.Resample(
        SimpleITK.ReadImage(str(path)),
        SimpleITK.ReadImage(
            SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(real_data / "ct_abdomen_totalseg" / "dicom"))
        ),
        SimpleITK.Transform(),
        SimpleITK.sitkNearestNeighbor,
    )
    np.testing.assert_array_equal(label, SimpleITK.GetArrayFromImage(resampled).transpose(2, 1, 0))


def test_the_segmentation_of_the_liver_is_its_label_map(real_data: Path):
    """liver.dcm covers the series that lies beside it; ITK gives 255 in the segment, here it is a mask."""
    folder = real_data / "dicom_ct_seg_dcmqi"
    kinds = {series.kind: series for series in find_series(folder)}
    assert set(kinds) == {"image", "segmentation"} and len(kinds["image"].files) == 3
    assert kinds["segmentation"].referenced_series == (kinds["image"].series_uid,)
    image = read_volume(folder)
    check_places(image, SimpleITK.ReadImage([str(path) for path in kinds["image"].files]))

    segments = read_label(folder / "liver.dcm", image)
    assert list(segments.masks) == ["Liver"]
    reference = read_label(folder / "liver_seg.nrrd", image).array
    np.testing.assert_array_equal(segments.masks["Liver"], reference == 1)
    assert set(np.unique(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / "liver.dcm"))))) == {0, 255}
    with pytest.raises(UnsupportedFormatError, match="DICOM SEG holds labels"):
        read_volume(folder / "liver.dcm")


@pytest.mark.parametrize("case", ["brain1", "breast1"])
def test_nrrd_volumes_agree_with_simpleitk_and_hold_their_lesion(real_data: Path, case):
    folder = real_data / "mr_nrrd_pyradiomics"
    image = read_volume(folder / f"{case}_image.nrrd")
    check_places(image, SimpleITK.ReadImage(str(folder / f"{case}_image.nrrd")))
    label = read_label(folder / f"{case}_label.nrrd", image).array
    expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / f"{case}_label.nrrd")))
    np.testing.assert_array_equal(label, expected.transpose(2, 1, 0))
    assert set(np.unique(label)) == {0, 1}


def test_nifti_scans_are_as_nibabel_reads_them(real_data: Path):
    for path in [
        *sorted((real_data / "hippocampus_msd" / "imagesTr").glob("*.nii.gz"))[:5],
        *sorted((real_data / "hippocampus_msd" / "labelsTr").glob("*.nii.gz"))[:5],
        real_data / "ct_spleen_msd_crop" / "sub-spleen2_ct.nii.gz",
        real_data / "ct_abdomen_totalseg" / "example_seg.nii.gz",
        real_data / "brain_brats2013_2ch" / "imagesTr" / "brats_2013_pat0004_1.nii.gz",
    ]:
        volume, image = read_volume(path), nib.load(path)
        np.testing.assert_array_equal(volume.array, np.asanyarray(image.dataobj))
        np.testing.assert_array_equal(volume.affine, image.affine)
        assert volume.array.dtype == np.asanyarray(image.dataobj).dtype == read_header(path).dtype


def test_microscopy_pictures_and_their_labels(real_data: Path):
    """RGBA with nothing in its alpha channel; label maps are 16-bit numbers of nuclei."""
    for path in sorted((real_data / "nuclei_dsb2018" / "images").glob("*.png"))[::15]:
        picture = np.asarray(Image.open(path))
        image = read_volume(path)
        np.testing.assert_array_equal(image.array[:, :, 0], picture[:, :, :3])
        label = read_label(real_data / "nuclei_dsb2018" / "labels" / path.name, image).array
        np.testing.assert_array_equal(
            label[:, :, 0], np.asarray(Image.open(real_data / "nuclei_dsb2018" / "labels" / path.name))
        )


def test_a_folder_of_pictures_is_a_stack(real_data: Path):
    folder = real_data / "em_isbi2012"
    image = read_volume(folder / "images")
    assert image.array.shape == (512, 512, 24) and image.array.dtype == np.uint8
    np.testing.assert_array_equal(image.array[:, :, 7], np.asarray(Image.open(folder / "images" / "07.png")))
    assert set(np.unique(read_label(folder / "masks", image).array)) == {0, 255}
