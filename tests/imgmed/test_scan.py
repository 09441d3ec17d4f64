import numpy as np
import pytest

from imgmed import ScanPreparation, Volume, prepare_case, prepare_scan
from imgmed.errors import InvalidVolumeError
from imgmed.operations import Centre, Clip, Crop, CropToContent, Reorient, Resample, Rescale
from imgmed.scan import grid_for


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
    with pytest.raises(InvalidVolumeError, match=r"scan\.nii: 2 channels; needed: 1 \(MRI\)"):
        prepare_scan(volume, preparation())
    bad = np.zeros((4, 4, 4))
    bad[0, 0, 0] = np.inf
    with pytest.raises(InvalidVolumeError, match="the volume: 1 NaN or infinite voxels"):
        prepare_scan(Volume(bad, np.eye(4)), preparation())


ISOTROPIC = (Resample(spacing_mm=(1, 1, 1)), Clip(bounds=((-200, 250),)), Rescale(low=-1))
OBLIQUE = np.array([[0.1, 0, 2.9, 5], [-0.9, 0.2, 0.3, 7], [0.1, -1.1, 0.1, 9], [0, 0, 0, 1]])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    ("operations", "shape"),
    [
        ((), (14, 15, 5)),
        ((Crop(voxels=((2, 9), None, (1, 4))), Clip(of="source")), (14, 15, 5)),
        ((Reorient(axes="SPL"), Centre(size=(20, 9, None))), (14, 15, 5)),
        ((CropToContent(above=60.0, margin_mm=1),), (14, 15, 5)),
    ],
)
def test_labels_come_back_exactly_where_no_voxel_is_resampled(operations, shape, axis):
    """In any voxel order, oblique ones too; what was cropped away is background."""
    rng = np.random.default_rng(4)
    image = Volume(rng.normal(0, 30, shape), OBLIQUE)
    label = Volume(rng.integers(1, 5, shape).astype(np.uint8), OBLIQUE)
    found = prepare_case(image, label, preparation(operations=operations, slice_axis=axis))
    assert found.label.shape == found.image.shape[:3] == found.grid.stack_shape
    restored = found.grid.restore(found.label, order=0)
    inside = found.grid.restore(np.ones(found.grid.stack_shape, np.uint8), order=0) > 0
    np.testing.assert_array_equal(restored[inside], label.array[inside])
    assert not restored[~inside].any() and inside.any()
    assert inside.all() or any(isinstance(operation, Crop | CropToContent | Centre) for operation in operations)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_isotropic_recipe_and_its_way_back(axis):
    index = np.moveaxis(np.indices((24, 20, 12)), 0, -1)
    place = index @ np.diag([0.7, 0.8, 3.0])
    ball = ((place - [8, 8, 18]) ** 2).sum(axis=-1) < 36
    affine = np.diag([0.7, 0.8, 3.0, 1.0])
    rule = preparation(operations=ISOTROPIC, slice_axis=axis)
    found = prepare_case(Volume(ball * 100.0, affine), Volume(ball.astype(np.uint8), affine), rule)
    assert found.grid.stack_spacing_mm == pytest.approx((1, 1, 1), rel=0.02)
    assert sorted(found.image.shape) == [1, 16, 17, 36] and found.bounds == ((-1.0, 1.0),)
    assert grid_for(Volume(ball, affine), rule) == found.grid
    back = found.grid.restore(found.label, order=0) > 0
    assert 2 * (back & ball).sum() / (back.sum() + ball.sum()) > 0.95
    middle = np.argwhere(found.label).mean(axis=0)
    world = found.grid.stack_affine @ [*middle, 1]
    np.testing.assert_allclose(world[:3], np.argwhere(ball).mean(axis=0) * [0.7, 0.8, 3.0], atol=0.3)


def test_channels_are_chosen_from_a_scan_that_has_all_of_the_sources():
    array = np.random.default_rng(0).normal(size=(4, 4, 4, 4)).astype(np.float32)
    every = Volume(array, np.eye(4))
    some = {"channels": ("T2", "T1"), "channel_indices": (3, 1), "operations": ()}
    rule = preparation(**some, source_channels=("FLAIR", "T1", "T1c", "T2"))
    stacks = array.transpose(3, 2, 0, 1)
    np.testing.assert_array_equal(prepare_scan(every, rule).image, stacks[[3, 1]].transpose(1, 2, 3, 0))
    np.testing.assert_array_equal(prepare_scan(every, preparation(**some)).image, prepare_scan(every, rule).image)
    pair = Volume(array[..., [1, 3]], np.eye(4))
    np.testing.assert_array_equal(prepare_scan(pair, rule, ("t1", "t2")).image, prepare_scan(every, rule).image)
    for part, said in ((array[..., :3], "3 channels"), (array[..., [3, 1]], "2 channels")):
        with pytest.raises(
            InvalidVolumeError, match=rf"{said}; needed: all 4 \(FLAIR, T1, T1c, T2\), of which T2 is number 3, T1"
        ):
            prepare_scan(Volume(part, np.eye(4)), rule)
    with pytest.raises(InvalidVolumeError, match="no channel T2 among T1, FLAIR"):
        prepare_scan(pair, rule, ("T1", "FLAIR"))
    with pytest.raises(InvalidVolumeError, match=r"2 channels, but names for 1 \(T1\)"):
        prepare_scan(pair, rule, ("T1",))


def test_both_channels_turned_round_are_turned_round_in_a_new_scan():
    """The order asked for counts, however many there are."""
    array = np.random.default_rng(0).normal(size=(4, 4, 4, 2)).astype(np.float32)
    rule = preparation(channels=("b", "a"), channel_indices=(1, 0), source_channels=("a", "b"), operations=())
    np.testing.assert_array_equal(
        prepare_scan(Volume(array, np.eye(4)), rule).image, array[..., ::-1].transpose(2, 0, 1, 3)
    )


def test_channels_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="channel_indices need one number"):
        preparation(channel_indices=(1, 2))
    with pytest.raises(ValueError, match="source_channels need channel_indices below their number, 1"):
        preparation(channel_indices=(1,), source_channels=("MRI",))


def test_integers_and_floats_are_prepared_alike():
    array = np.random.default_rng(0).integers(-900, 900, (9, 8, 7))
    rule = preparation(operations=(Resample(spacing_mm=(0.8, 1.3, None)), Clip(of="source")))
    wanted = prepare_scan(Volume(array.astype(np.float32), np.eye(4)), rule)
    for dtype in (np.int16, np.float64, np.int64):
        found = prepare_scan(Volume(array.astype(dtype), np.eye(4)), rule)
        np.testing.assert_array_equal(found.image, wanted.image)
        assert found.bounds == wanted.bounds and found.image.dtype == np.float32


def test_preparations_survive_json():
    rule = preparation(operations=(Reorient(), *ISOTROPIC), channel_indices=(2,), neighbours=1)
    assert ScanPreparation.model_validate_json(rule.model_dump_json()) == rule
    assert rule.input_channels == 3
