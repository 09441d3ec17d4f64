"""Real scans of two and four channels, and a CT, as pictures."""

from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from r2d2.img import ImgMed

pytestmark = pytest.mark.real_data

TCGA = "brain_tcga_lgg_4ch/TCGA-FG-6692_4ch.nii.gz"
BRATS = "brain_brats2013_2ch/imagesTr/brats_2013_pat0004_1.nii.gz"


def as_seen(path: Path, channel: int, index: int) -> np.ndarray:
    """The axial slice in radiological habit, by nibabel alone."""
    image = nib.as_closest_canonical(nib.load(path))
    plane = np.asarray(image.dataobj)[:, :, index]
    return np.rot90(plane[..., channel] if plane.ndim == 3 else plane)[:, ::-1]


def test_a_scan_of_four_channels_is_kept_exactly(real_data: Path, tmp_path: Path):
    ImgMed.convert_4DNI_to_PNG(real_data / TCGA, tmp_path / "out", 2, offset=136, slices=3, workers=1)
    pictures = sorted((tmp_path / "out").glob("*.png"))
    assert len(pictures) == 3 * 4
    for path in pictures:
        index, channel = path.stem.split("_z")[1].split("_")
        expected = as_seen(real_data / TCGA, int(channel), int(index)).astype(int) + 136
        np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), expected)


def test_four_channels_become_colour_pictures(real_data: Path, tmp_path: Path):
    ImgMed.convert_4DNI_to_RGBJPG(real_data / TCGA, tmp_path / "out", 2, slices=1, window=(0, 600), workers=1)
    with Image.open(tmp_path / "out" / "TCGA-FG-6692_4ch_z077.jpg") as picture:
        found = np.asarray(picture, float)
    planes = [as_seen(real_data / TCGA, channel, 77).astype(float) for channel in range(3)]
    expected = np.clip(np.stack(planes, axis=-1) / 600 * 255, 0, 255)
    assert found.shape == (240, 240, 3)
    assert np.abs(found - expected).mean() < 2 and np.abs(found - expected).max() < 60


def test_two_channels_through_the_papers_four_lines(real_data: Path, tmp_path: Path):
    steps = {"workers": 1}
    ImgMed.convert_4DNI_to_RGBJPG(real_data / BRATS, tmp_path / "rgb", 2, slices=5, **steps)
    ImgMed.reshape_JPG_to2D(tmp_path / "rgb", tmp_path / "grey", **steps)
    ImgMed.convert_JPG_to_PNG(tmp_path / "grey", tmp_path / "png", **steps)
    summary = ImgMed.resize_img(tmp_path / "png", tmp_path / "350", "png", 350, 350, **steps)
    assert summary.pictures == 5
    with Image.open(tmp_path / "350" / "brats_2013_pat0004_1_z077.png") as picture:
        assert (picture.size, picture.mode) == ((350, 350), "L")
        found = np.asarray(picture.resize((240, 240), Image.Resampling.BILINEAR), float)
    # the first channel (FLAIR), whatever black and white are: the picture rises with the intensity
    flair = as_seen(real_data / BRATS, 0, 77)
    assert np.corrcoef(found.ravel(), flair.ravel())[0, 1] > 0.97


def test_a_ct_seen_from_the_front_has_its_liver_at_the_left(real_data: Path, tmp_path: Path):
    """The label map of the same scan says where the liver (5) and the spleen (1) are."""
    folder = real_data / "ct_abdomen_totalseg"
    label = next(path for path in sorted(folder.glob("*.nii.gz")) if "seg" in path.name)
    ImgMed.convert_4DNI_to_PNG(label, tmp_path / "out", 1, labels=True, bits=8, workers=1)
    pictures = np.stack(
        [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted((tmp_path / "out").glob("*.png"))]
    )
    liver, spleen = (np.argwhere(pictures == value)[:, 2].mean() for value in (5, 1))
    assert liver < spleen
    spine_side, belly_side = pictures[: len(pictures) // 2], pictures[len(pictures) // 2 :]
    assert (spine_side == 2).sum() + (spine_side == 3).sum() > (belly_side == 2).sum() + (belly_side == 3).sum()
