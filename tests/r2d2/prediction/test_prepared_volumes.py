"""Scans that are cropped and resampled along all axes for a network of volumes: the way back to their own voxels.

The network is made by hand: it says of every voxel alone whether it is bright.
"""

from pathlib import Path

import keras
import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from dist_training.architectures import UNetSettings
from dist_training.inference.model_card import save_model
from dist_training.record.run_folder import RunFolder
from imgmed import PreparationSettings, PreparedDataset, prepare_dataset
from tests.r2d2.prediction.studies import predict_scans

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]
SPACING = (1.0, 1.0, 2.0)
BRIGHT = 0.5  # standard deviations above the mean
PATCH = (8, 16, 16)


def anatomy(shape: tuple[int, int, int], spacing: tuple[float, float, float], seed: int) -> np.ndarray:
    """A body of 26 x 22 x 24 mm from (6, 6, 8) mm on in emptiness, in which a bright ball of 8 mm lies."""
    places = (np.indices(shape) + 0.5) * np.reshape(spacing, (3, 1, 1, 1))
    first, edges = np.reshape([6, 6, 8], (3, 1, 1, 1)), np.reshape([26, 22, 24], (3, 1, 1, 1))
    is_body = ((places > first) & (places < first + edges)).all(axis=0)
    is_ball = ((places - first - edges / 2) ** 2).sum(axis=0) < 8**2
    noise = np.random.default_rng(seed).normal(0, 3, shape)
    return np.where(is_body, 100 + 80 * is_ball + noise, 0).astype(np.float32)


def affine_of(spacing: tuple[float, float, float]) -> np.ndarray:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-11.0, 7.5, 40.0)
    return affine


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreparedDataset, Path]:
    """A dataset of volumes of 2 mm across slices, and the network for it."""
    folder = tmp_path_factory.mktemp("prepared-volumes")
    for seed, name in enumerate("abc"):
        image = anatomy((40, 36, 20), SPACING, seed)
        for part, array in (("images", image), ("labels", (image > 140).astype(np.uint8))):
            (folder / "study" / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, affine_of(SPACING)), folder / "study" / part / f"{name}.nii.gz")
    settings = PreparationSettings(kind="volumes", slice_axis=2)
    dataset = prepare_dataset(folder / "study", folder / "dataset", settings)
    images = keras.Input((None, None, None, 1))
    convolution = keras.layers.Conv3D(1, 1)
    model = keras.Model(images, convolution(images))
    convolution.set_weights([np.full((1, 1, 1, 1, 1), 20.0), np.array([-20.0 * BRIGHT])])
    run = RunFolder(folder / "run")
    run.create()
    save_model(
        model,
        run,
        network=UNetSettings(dimensions=3, depth=1),
        dataset=dataset,
        epoch=1,
        validation_dice=None,
        validation_dice_per_label={},
        patch_size=PATCH,
    )
    return dataset, run.path


def turned(image: nib.Nifti1Image, axes: str) -> nib.Nifti1Image:
    """The same patient, stored in another order."""
    change = ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(axes))
    found = nib.orientations.apply_orientation(np.asarray(image.dataobj), change)
    return nib.Nifti1Image(found, image.affine @ inv_ornt_aff(change, image.shape))


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SRA", "IPL"])
def test_what_is_cropped_alone_comes_back_exactly(trained: tuple[PreparedDataset, Path], tmp_path: Path, axes) -> None:
    """At the spacing of the training scans nothing is resampled: every voxel is decided as by hand."""
    dataset, model = trained
    assert [step.op for step in dataset.scan_preparation.operations] == ["crop_to_content", "resample", "clip"]
    array = anatomy((44, 38, 22), SPACING, seed=7)
    scan = turned(nib.Nifti1Image(array, affine_of(SPACING)), axes)
    nib.save(scan, tmp_path / "scan.nii.gz")
    predict_scans(model, [tmp_path / "scan.nii.gz"], tmp_path / "out")
    found = nib.load(tmp_path / "out" / "scan.nii.gz")
    np.testing.assert_array_equal(found.affine, scan.affine)
    filled = [np.flatnonzero((array != 0).any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    box = tuple(slice(places[0], places[-1] + 1) for places in filled)
    inside = np.clip(array.astype(np.float64), *np.percentile(array, [0.5, 99.5]))[box]
    z = (inside - inside.mean()) / inside.std() - BRIGHT
    assert np.abs(z).min() > 1e-3 and 0.05 < (z > 0).mean() < 0.6
    expected = np.zeros(array.shape, np.uint8)
    expected[box] = z > 0
    expected = turned(nib.Nifti1Image(expected, affine_of(SPACING)), axes)
    np.testing.assert_array_equal(np.asarray(found.dataobj), np.asarray(expected.dataobj))


@pytest.mark.parametrize(("shape", "spacing"), [((40, 36, 10), (1, 1, 4)), ((20, 18, 40), (2, 2, 1))])
def test_a_scan_of_another_spacing_gets_a_label_map_on_its_own_voxels(
    trained: tuple[PreparedDataset, Path], tmp_path: Path, shape: tuple[int, int, int], spacing
) -> None:
    array = anatomy(shape, spacing, seed=8)
    scan = turned(nib.Nifti1Image(array, affine_of(spacing)), "LSA")
    nib.save(scan, tmp_path / "scan.nii.gz")
    predict_scans(trained[1], [tmp_path / "scan.nii.gz"], tmp_path / "out")
    found = nib.load(tmp_path / "out" / "scan.nii.gz")
    assert found.shape == scan.shape
    np.testing.assert_array_equal(found.affine, scan.affine)
    said = np.asarray(found.dataobj) > 0
    is_ball = np.asarray(scan.dataobj) > 140
    assert 2 * (said & is_ball).sum() / (said.sum() + is_ball.sum()) > 0.9
    centres = [np.argwhere(mask).mean(axis=0) for mask in (said, is_ball)]
    np.testing.assert_allclose(*centres, atol=0.1)  # voxels
    assert not said[np.asarray(scan.dataobj) == 0].any()
