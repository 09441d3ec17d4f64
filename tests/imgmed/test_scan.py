import numpy as np
import pytest

from imgmed import ScanPreparation, Volume, prepare_scan
from imgmed.errors import InvalidVolumeError
from imgmed.operations import Clip, Resample


def preparation(spacing_mm=(1.0, 1.0), clip=None, **changes) -> ScanPreparation:
    """In-plane resampling and clipping, as derived plans have them."""
    resampling = () if spacing_mm is None else (Resample(spacing_mm=(*spacing_mm, None)),)
    values = {
        "channels": ("MRI",),
        "slice_axis": 2,
        "operations": (*resampling, clip or Clip(of="source")),
        "slice_size": (32, 32),
    } | changes
    return ScanPreparation(**values)


def scan_of(shape=(20, 30, 5), spacing=(1.0, 1.0, 4.0), seed=0) -> Volume:
    return Volume(np.random.default_rng(seed).normal(0, 100, shape), np.diag([*spacing, 1.0]))


def test_in_plane_spacing_is_brought_to_the_wanted_one_and_slices_are_kept():
    found = prepare_scan(scan_of((20, 30, 5), (2.0, 0.5, 4.0)), preparation())
    assert found.image.shape == (5, 40, 15, 1) and found.image.dtype == np.float32
    assert found.grid.stack_spacing_mm == pytest.approx((4.0, 1.0, 1.0))


@pytest.mark.parametrize(("spacing", "shape"), [(1.009, (20, 30)), (0.991, (20, 30)), (1.03, (21, 31))])
def test_spacings_within_one_percent_are_left_alone(spacing, shape):
    found = prepare_scan(scan_of(spacing=(spacing, spacing, 4.0)), preparation())
    assert found.image.shape[1:3] == shape


def test_no_wanted_spacing_keeps_every_scan_as_it_is():
    assert prepare_scan(scan_of(spacing=(0.3, 7.0, 1.0)), preparation(spacing_mm=None)).image.shape == (
        5,
        20,
        30,
        1,
    )


def test_each_case_is_clipped_at_its_own_percentiles():
    volume = scan_of()
    found = prepare_scan(volume, preparation())
    low, high = np.percentile(volume.array, [0.5, 99.5])
    np.testing.assert_allclose(found.bounds, [(low, high)], rtol=1e-5)
    np.testing.assert_allclose(found.image[..., 0], np.clip(volume.array, low, high).transpose(2, 0, 1), rtol=1e-4)


def test_fixed_bounds_are_the_same_for_every_scan_and_hold_after_cubic_interpolation():
    rule = preparation(clip=Clip(bounds=((-50.0, 40.0),)), spacing_mm=(0.6, 0.6))
    for seed in range(3):
        found = prepare_scan(scan_of(seed=seed), rule)
        assert (found.image.min(), found.image.max()) == (-50, 40)
        assert found.bounds == ((-50.0, 40.0),)


def test_channels_keep_their_order_and_their_own_bounds():
    array = np.stack([np.full((4, 4, 4), 1.0), np.full((4, 4, 4), 100.0)], axis=-1)
    rule = preparation(channels=("a", "b"), clip=Clip(bounds=((0.0, 5.0), (0.0, 50.0))))
    found = prepare_scan(Volume(array, np.eye(4)), rule).image
    assert found[..., 0].max() == 1 and found[..., 1].min() == 50


def test_orientation_does_not_matter():
    volume = scan_of((8, 9, 5))
    flipped = np.diag([-1.0, 1.0, 4.0, 1.0])
    flipped[0, 3] = 7.0
    same = Volume(volume.array[::-1], flipped)
    np.testing.assert_array_equal(prepare_scan(volume, preparation()).image, prepare_scan(same, preparation()).image)


def test_the_scan_is_not_changed():
    volume = Volume(np.random.default_rng(1).normal(0, 100, (6, 7, 5)).astype(np.float32), np.eye(4))
    before = volume.array.copy()
    prepare_scan(volume, preparation(clip=Clip(bounds=((-1.0, 1.0),))))
    np.testing.assert_array_equal(volume.array, before)


def test_other_channels_and_bad_voxels_are_refused(tmp_path):
    volume = Volume(np.zeros((4, 4, 4, 2)), np.eye(4), tmp_path / "scan.nii")
    with pytest.raises(InvalidVolumeError, match=r"scan\.nii: 1 channels \(MRI\) are expected; received 2"):
        prepare_scan(volume, preparation())
    bad = np.zeros((4, 4, 4))
    bad[0, 0, 0] = np.inf
    with pytest.raises(InvalidVolumeError, match="the volume: 1 NaN or infinite voxels"):
        prepare_scan(Volume(bad, np.eye(4)), preparation())
