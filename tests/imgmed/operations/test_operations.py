"""Operations on scans, by what must hold whatever the numbers are."""

import subprocess
import sys
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy.ndimage import affine_transform

from imgmed import Volume
from imgmed.errors import InvalidVolumeError, PairMismatchError
from imgmed.geometry import axis_codes
from imgmed.operations import (
    Centre,
    Clip,
    Crop,
    CropToContent,
    Operation,
    Reorient,
    Resample,
    Rescale,
    Resize,
    Scan,
    apply_operations,
    geometry_after,
    select_channels,
)

ORIENTATIONS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]
LABELS = (0, 3, 200)


def affine_for(order, signs, spacing=(0.7, 1.3, 3.0), tilt=0.0) -> np.ndarray:
    """Voxel -> RAS millimetres; `tilt` turns the patient about the superior axis, in radians."""
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1.0]])
    axes = np.zeros((3, 3))
    for column, (row, sign) in enumerate(zip(order, signs, strict=True)):
        axes[row, column] = sign * spacing[column]
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes
    affine[:3, 3] = [7.0, -20.0, 3.5]
    return affine


def world(shape, affine) -> np.ndarray:
    """World coordinates of every voxel, as three channels."""
    index = np.moveaxis(np.indices(shape), 0, -1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def scan_in_world(shape=(9, 8, 7), affine=None) -> Scan:
    """An image that shows where it is, with random labels."""
    affine = affine_for((0, 1, 2), (1, 1, 1)) if affine is None else affine
    label = np.random.default_rng(0).choice(LABELS, shape).astype(np.uint8)
    return Scan(Volume(world(shape, affine).astype(np.float32), affine), Volume(label, affine))


affines = st.builds(affine_for, st.sampled_from([o for o, _ in ORIENTATIONS]), st.just((1, 1, 1))) | st.builds(
    lambda case, tilt: affine_for(*case, tilt=tilt), st.sampled_from(ORIENTATIONS), st.floats(-0.6, 0.6)
)
shapes = st.tuples(*[st.integers(5, 11)] * 3)
sizes = st.tuples(*[st.none() | st.integers(3, 18)] * 3)
moving = st.one_of(
    st.builds(Reorient, axes=st.sampled_from(["RAS", "LPS", "SRA", "IAL"])),
    st.builds(
        Resample,
        spacing_mm=st.tuples(*[st.none() | st.floats(0.3, 4.0)] * 3),
        order=st.sampled_from([1, 3]),
    ),
    st.builds(Resize, size=sizes, order=st.sampled_from([1, 3])),
    st.builds(Centre, size=sizes, fill=st.just(0.0)),
    st.builds(Crop, voxels=st.tuples(*[st.none() | st.tuples(st.integers(0, 2), st.integers(3, 12))] * 3)),
    st.just(CropToContent()),
)


@settings(max_examples=60)
@given(shape=shapes, affine=affines, operation=moving)
def test_a_linear_field_of_world_coordinates_stays_that(shape, affine, operation):
    """The new affine says where the new voxels are: away from the edges the field is still right."""
    scan = scan_in_world(shape, affine)
    found = operation.apply(scan)
    expected = world(found.image.shape, found.image.affine)
    # What lies at least two input voxels from every face has all its neighbours: test that, and only that.
    to_index = np.linalg.inv(affine[:3, :3]).T
    index = (expected - affine[:3, 3]) @ to_index
    reach = np.abs(np.linalg.inv(affine[:3, :3]) @ found.image.affine[:3, :3]).sum(axis=1)
    inner = ((index > 2 + reach) & (index < np.array(shape) - 3 - reach)).all(axis=-1)
    error = np.abs((found.image.array[inner] - expected[inner]) @ to_index)
    # Voxels are boxes: the part f of one that an average takes in pulls by f (1 - f) / 2, an eighth of a voxel at most.
    assert (error <= np.where(reach > 1.001, 0.125, 0) + 2e-3).all()
    assert found.image.array.shape[3] == 3


@settings(max_examples=50)
@given(shape=shapes, affine=affines, operation=moving)
def test_image_and_label_move_together_and_nothing_is_invented_or_changed(shape, affine, operation):
    scan = scan_in_world(shape, affine)
    image, label = scan.image.array.copy(), scan.label.array.copy()
    found = operation.apply(scan)
    assert found.label.shape == found.image.shape and found.label.array.dtype == np.uint8
    np.testing.assert_array_equal(found.label.affine, found.image.affine)
    assert set(np.unique(found.label.array)) <= set(LABELS)
    np.testing.assert_array_equal(scan.image.array, image)
    np.testing.assert_array_equal(scan.label.array, label)
    if not isinstance(operation, CropToContent):
        shape_after, affine_after = geometry_after(shape, affine, [operation])
        assert shape_after == found.image.shape
        np.testing.assert_allclose(affine_after, found.image.affine, atol=1e-12)


@settings(max_examples=60)
@given(shape=shapes, operation=moving, axes=st.sampled_from(["LPS", "LAS", "SRA", "IAL", "PSR"]))
def test_the_voxel_order_does_not_matter(shape, operation, axes):
    """The same patient stored another way round gives the same voxels at the same places."""
    scan = scan_in_world(shape)
    found, other = (Reorient().apply(operation.apply(stored)) for stored in (scan, Reorient(axes=axes).apply(scan)))
    np.testing.assert_allclose(other.image.affine, found.image.affine, atol=1e-9)
    np.testing.assert_allclose(other.image.array, found.image.array, atol=1e-4)
    np.testing.assert_array_equal(other.label.array, found.label.array)


@given(affine=affines, operation=moving)
def test_a_mask_and_its_picture_stay_aligned(affine, operation):
    """Where a linearly interpolated picture of a mask is clearly above a half, the mask is there."""
    mask = np.zeros((9, 8, 7), np.uint8)
    mask[2:6, 3:7, 1:5] = 9
    operation = operation.model_copy(update={"order": 1}) if hasattr(operation, "order") else operation
    found = operation.apply(Scan(Volume((mask > 0).astype(np.float32), affine), Volume(mask, affine)))
    picture, label = found.image.array, found.label.array
    assert (label[picture > 0.51] == 9).all() and (label[picture < 0.49] == 0).all()


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SRA", "AIL"])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::5])
def test_reorienting_names_the_axes_and_has_an_inverse(axes, order, signs):
    scan = scan_in_world((3, 4, 5), affine_for(order, signs, tilt=0.3))
    turned = Reorient(axes=axes).apply(scan)
    assert axis_codes(turned.image.affine) == axes
    back = Reorient(axes=axis_codes(scan.image.affine)).apply(turned)
    np.testing.assert_array_equal(back.image.array, scan.image.array)
    np.testing.assert_array_equal(back.label.array, scan.label.array)
    np.testing.assert_allclose(back.image.affine, scan.image.affine, atol=1e-12)


@pytest.mark.parametrize(
    "operation",
    [
        Resample(spacing_mm=(None, None, None)),
        Resample(spacing_mm=(0.7035, 1.29, 3.02)),  # within 1 %
        Resize(size=(9, None, 7)),
        Centre(size=(None, 8, None)),
        Crop(voxels=(None, (0, 99), None)),
        CropToContent(),
    ],
)
def test_what_changes_nothing_returns_the_scan_itself(operation):
    scan = scan_in_world()
    assert operation.apply(scan) is scan


def test_spacing_is_met_along_the_patients_axes_whatever_the_voxel_order():
    scan = scan_in_world((20, 10, 30), affine_for((2, 0, 1), (-1, 1, -1), spacing=(3.0, 1.0, 0.5)))
    found = Resample(spacing_mm=(2.0, None, 1.5)).apply(scan)
    # Array axes run inferior (3 mm), right (1 mm) and posterior (0.5 mm).
    assert found.image.spacing_mm == pytest.approx((1.5, 2.0, 0.5))
    assert found.image.shape == (40, 5, 30)


def random_volume(shape=(12, 11, 10), spacing=(1.0, 1.5, 3.0)) -> Volume:
    smooth = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return Volume(smooth, np.diag([*spacing, 1.0]))


def by_simpleitk(volume: Volume, like: Volume) -> np.ndarray:
    """Linear interpolation at the voxel centres of `like` (axes in one direction, so LPS and RAS differ by nothing)."""
    image = sitk.GetImageFromArray(volume.array.transpose(2, 1, 0))
    image.SetSpacing(volume.spacing_mm)
    image.SetOrigin(volume.affine[:3, 3])
    size, spacing = [int(value) for value in like.shape], like.spacing_mm
    found = sitk.Resample(
        image, size, sitk.Transform(), sitk.sitkLinear, like.affine[:3, 3].tolist(), spacing, np.eye(3).ravel(), 0.0
    )
    return sitk.GetArrayFromImage(found).transpose(2, 1, 0)


def test_linear_resampling_is_simpleitks():
    volume = random_volume()
    found = Resample(spacing_mm=(0.6, 1.0, 1.0), order=1).apply(Scan(volume)).image
    inner = (slice(2, -2),) * 3
    np.testing.assert_allclose(found.array[inner], by_simpleitk(volume, found)[inner], atol=1e-5)


def test_linear_resizing_is_scipys_with_repeated_edges():
    volume = random_volume((6, 5, 7), (1.0, 1.0, 1.0))
    found = Resize(size=(9, 11, 14), order=1).apply(Scan(volume)).image
    scale = np.array([6 / 9, 5 / 11, 7 / 14])
    expected = affine_transform(
        volume.array.astype(np.float64), scale, 0.5 * scale - 0.5, (9, 11, 14), order=1, mode="nearest"
    )
    np.testing.assert_allclose(found.array, expected, atol=1e-5)


def test_shrinking_is_the_mean_of_blocks():
    volume = random_volume((12, 10, 6), (1.0, 1.0, 1.0))
    found = Resize(size=(4, 5, 2), order=3).apply(Scan(volume)).image
    expected = volume.array.reshape(4, 3, 5, 2, 2, 3).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(found.array, expected, atol=1e-5)


def test_across_slices_the_majority_of_voxels_decides_a_label():
    label = np.array([1, 1, 2, 2, 2, 3, 3, 0, 3], np.uint8).reshape(1, 1, 9)
    scan = Scan(Volume(np.zeros((1, 1, 9)), np.eye(4)), Volume(label, np.eye(4)))
    assert Resize(size=(None, None, 3)).apply(scan).label.array.ravel().tolist() == [1, 2, 3]


def test_a_tie_goes_to_the_smaller_label():
    label = np.array([0, 5, 5, 3], np.uint16).reshape(1, 1, 4)
    scan = Scan(Volume(np.zeros((1, 1, 4)), np.eye(4)), Volume(label, np.eye(4)))
    assert Resize(size=(None, None, 2)).apply(scan).label.array.ravel().tolist() == [0, 3]


def test_large_label_maps_equal_the_whole_at_once():
    """Blocks of slices and skipped emptiness change nothing: compared with SciPy's interpolation of each mask."""
    label = np.zeros((200, 70, 60), np.uint8)
    label[20:150, 30:50, 10:40] = 1
    label[60:90, 35:60, 20:25] = 7
    size = (91, 100, 90)
    scan = Scan(Volume(np.zeros(label.shape, np.uint8), np.eye(4)), Volume(label, np.eye(4)))
    found = Resize(size=size).apply(scan).label.array
    shares = []
    for value in (0, 1, 7):
        share = (label == value).astype(np.float64)
        edges = np.linspace(0, 200, 92)
        total = np.concatenate([np.zeros((1, 70, 60)), np.cumsum(share, axis=0)])
        whole = np.floor(edges).astype(int)
        at = total[whole] + (edges - whole)[:, None, None] * np.concatenate([share, share[-1:]])[whole]
        share = np.diff(at, axis=0) / (200 / 91)
        scale = np.array([1.0, 70 / 100, 60 / 90])
        shares.append(affine_transform(share, scale, 0.5 * scale - 0.5, size, order=1, mode="nearest"))
    ordered = np.sort(shares, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(found[clear], np.array([0, 1, 7])[np.argmax(shares, axis=0)][clear])


def test_a_crop_in_millimetres_keeps_the_centres_within():
    scan = scan_in_world((9, 8, 7), affine_for((1, 0, 2), (-1, 1, -1), spacing=(1.0, 2.0, 3.0)))
    box = ((9.0, 15.0), (-26.0, -22.5), None)
    found = Crop(mm=box).apply(scan).image.array
    every = scan.image.array.reshape(-1, 3)
    within = every[(every[:, 0] >= 9) & (every[:, 0] <= 15) & (every[:, 1] >= -26) & (every[:, 1] <= -22.5)]
    assert sorted(map(tuple, found.reshape(-1, 3).tolist())) == sorted(map(tuple, within.tolist()))


@pytest.mark.parametrize("operation", [Crop(voxels=((20, 30), None, None)), Crop(mm=(None, None, (900.0, 901.0)))])
def test_a_crop_beyond_the_scan_is_refused(operation):
    with pytest.raises(InvalidVolumeError, match="holds no voxel"):
        operation.apply(scan_in_world())


@given(low=st.tuples(*[st.integers(0, 3)] * 3), high=st.tuples(*[st.integers(4, 8)] * 3), margin=st.integers(0, 3))
def test_the_content_and_its_margin_are_kept(low, high, margin):
    array = np.full((9, 9, 9), -1000.0, np.float32)
    array[low] = array[tuple(value for value in high)] = 50.0
    scan = Scan(Volume(array, np.diag([2.0, -2.0, 2.0, 1.0])))
    found = CropToContent(above=-500.0, margin_mm=2.0 * margin).apply(scan).image
    expected = [min(8, last + margin) - max(0, first - margin) + 1 for first, last in zip(low, high, strict=True)]
    assert found.shape == tuple(expected)
    assert np.count_nonzero(found.array > 0) == 2


def test_content_of_any_channel_counts_and_emptiness_is_kept_whole():
    array = np.zeros((4, 4, 4, 2))
    array[1, 1, 1, 0] = array[2, 2, 2, 1] = -3.0
    assert CropToContent().apply(Scan(Volume(array, np.eye(4)))).image.shape == (2, 2, 2)
    assert CropToContent(above=0.0).apply(Scan(Volume(array, np.eye(4)))).image.shape == (4, 4, 4)


@given(size=st.tuples(*[st.integers(1, 14)] * 3), case=st.sampled_from(ORIENTATIONS))
def test_padding_is_taken_off_again(size, case):
    scan = scan_in_world((6, 7, 8), affine_for(*case))
    shape_by_patient = geometry_after((6, 7, 8), scan.image.affine, [Reorient()])[0]
    larger = tuple(max(pair) for pair in zip(size, shape_by_patient, strict=True))
    padded = Centre(size=larger).apply(scan)
    back = Centre(size=shape_by_patient).apply(padded)
    np.testing.assert_array_equal(back.image.array, scan.image.array)
    np.testing.assert_array_equal(back.label.array, scan.label.array)
    np.testing.assert_allclose(back.image.affine, scan.image.affine, atol=1e-12)


def test_padding_is_the_lowest_intensity_of_each_channel_or_what_is_given():
    image = np.stack([np.full((2, 2, 2), 5.0), np.full((2, 2, 2), -7.0)], axis=-1)
    scan = Scan(Volume(image, np.eye(4)), Volume(np.ones((2, 2, 2), np.uint8), np.eye(4)))
    found = Centre(size=(4, None, None)).apply(scan)
    assert found.image.array[0, 0, 0].tolist() == [5.0, -7.0] and found.label.array[0, 0, 0] == 0
    assert Centre(size=(4, None, None), fill=-1).apply(scan).image.array[3, 0, 0].tolist() == [-1.0, -1.0]


def test_windows_are_cut_per_channel_or_for_all():
    image = np.stack([np.linspace(-1000, 1000, 8), np.linspace(0, 70, 8)], axis=-1).reshape(2, 2, 2, 2)
    one = Clip(bounds=((-200, 50),)).apply(Scan(Volume(image, np.eye(4))))
    np.testing.assert_allclose(one.image.array, np.clip(image, -200, 50), rtol=1e-6)
    assert one.bounds == ((-200, 50),) * 2 and one.image.array.dtype == np.float32
    each = Clip(bounds=((-200, 50), (10, 20))).apply(Scan(Volume(image, np.eye(4))))
    np.testing.assert_allclose(each.image.array[..., 1], np.clip(image[..., 1], 10, 20), rtol=1e-6)
    with pytest.raises(InvalidVolumeError, match="bounds for 3 channels were given, the scan has 2"):
        Clip(bounds=((0, 1),) * 3).apply(Scan(Volume(image, np.eye(4))))


def test_percentiles_are_those_of_the_scan_or_of_its_source():
    array = np.arange(1001.0, dtype=np.float32).reshape(7, 11, 13)
    scan = Scan(Volume(array, np.eye(4)))
    upper_half = Crop(voxels=((4, 7), None, None))
    cropped = apply_operations(scan, [upper_half, Clip(percentiles=(10, 90))])
    np.testing.assert_allclose(cropped.bounds, [np.percentile(array[4:], (10, 90))], rtol=1e-6)
    whole = apply_operations(scan, [upper_half, Clip(percentiles=(10, 90), of="source")])
    np.testing.assert_allclose(whole.bounds, [(100.0, 900.0)], rtol=1e-6)


def test_rescaling_maps_the_window_onto_the_wanted_range_and_has_an_inverse():
    array = np.random.default_rng(2).normal(0, 300, (5, 6, 7)).astype(np.float32)
    clipped = Clip(bounds=((-200, 250),)).apply(Scan(Volume(array, np.eye(4))))
    found = Rescale(low=-1, high=1).apply(clipped)
    np.testing.assert_allclose(found.image.array, (np.clip(array, -200, 250) + 200) / 450 * 2 - 1, atol=1e-6)
    assert (found.image.array.min(), found.image.array.max(), found.bounds) == (-1, 1, ((-1.0, 1.0),))
    back = Rescale(low=-200, high=250).apply(found)
    np.testing.assert_allclose(back.image.array, clipped.image.array, atol=1e-4)


def test_rescaling_takes_the_scans_own_range_where_nothing_limits_it():
    array = np.array([2.0, 4.0, 6.0, 10.0, 0.0, 1.0, 2.0, 3.0]).reshape(2, 2, 2)
    assert Rescale().apply(Scan(Volume(array, np.eye(4)))).image.array.max() == 1
    constant = Rescale(low=-1).apply(Scan(Volume(np.full((2, 2, 2), 5.0), np.eye(4))))
    np.testing.assert_array_equal(constant.image.array, -1)
    beyond = Rescale(bounds=((0.0, 5.0),)).apply(Scan(Volume(array, np.eye(4))))
    np.testing.assert_allclose(beyond.image.array, array / 5)


def test_cubic_interpolation_stays_within_what_the_scan_was_clipped_to():
    array = np.random.default_rng(3).normal(0, 100, (8, 8, 8)).astype(np.float32)
    steps = [Clip(bounds=((-20.0, 30.0),)), Resize(size=(20, 20, 20))]
    found = apply_operations(Scan(Volume(array, np.eye(4))), steps).image.array
    assert found.min() == -20 and found.max() == 30


def test_channels_are_chosen_in_order():
    volume = Volume(np.arange(24.0).reshape(1, 2, 3, 4), np.eye(4))
    np.testing.assert_array_equal(select_channels(volume, (3, 1)).array, volume.array[..., [3, 1]])
    np.testing.assert_array_equal(select_channels(volume, (1,)).array, volume.array[..., 1:2])
    with pytest.raises(InvalidVolumeError, match=r"channels \[4\] are asked for; the volume has 4"):
        select_channels(volume, [4])


def test_a_recipe_in_yaml_is_a_list_of_operations():
    given_ = [
        {"op": "reorient"},
        {"op": "resample", "spacing_mm": [1, None, 1]},
        {"op": "crop", "mm": [[0, 5], None, None]},
        {"op": "crop_to_content", "margin_mm": 5},
        {"op": "centre", "size": [4, 4, None]},
        {"op": "resize", "size": [8, 8, None], "order": 1},
        {"op": "clip", "bounds": [[-200, 250]]},
        {"op": "rescale", "low": -1},
    ]
    adapter = TypeAdapter(tuple[Operation, ...])
    found = adapter.validate_python(given_)
    assert [type(operation).__name__ for operation in found] == [
        "Reorient", "Resample", "Crop", "CropToContent", "Centre", "Resize", "Clip", "Rescale"
    ]  # fmt: skip
    assert adapter.validate_json(adapter.dump_json(found)) == found


@pytest.mark.parametrize(
    "wrong",
    [
        {"op": "blur"},
        {"op": "reorient", "axes": "RAR"},
        {"op": "reorient", "axes": "xyz"},
        {"op": "resample", "spacing_mm": [1, 0, 1]},
        {"op": "resample", "spacing_mm": [1, 1, 1], "order": 2},
        {"op": "resize", "size": [0, None, None]},
        {"op": "crop"},
        {"op": "crop", "voxels": [[5, 5], None, None]},
        {"op": "crop", "mm": [[5, 4], None, None]},
        {"op": "crop", "mm": [None, None, None], "voxels": [None, None, None]},
        {"op": "crop_to_content", "margin_mm": -1},
        {"op": "clip", "percentiles": [99, 1]},
        {"op": "clip", "percentiles": [-1, 50]},
        {"op": "clip", "bounds": [[2, 1]]},
        {"op": "clip", "bounds": []},
        {"op": "rescale", "low": 1, "high": 1},
        {"op": "resize", "size": [4, 4, 4], "colour": "red"},
    ],
)
def test_operations_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        TypeAdapter(Operation).validate_python(wrong)


def test_image_and_label_of_different_shapes_make_no_scan():
    with pytest.raises(PairMismatchError, match="same voxel grid"):
        Scan(Volume(np.zeros((2, 2, 2)), np.eye(4)), Volume(np.zeros((2, 2, 3)), np.eye(4)))


@pytest.mark.parametrize("beside", [{"percentiles": (1, 99)}, {"of": "source"}])
def test_a_clip_takes_bounds_or_percentiles_not_both(beside) -> None:
    with pytest.raises(ValidationError, match="either bounds, or percentiles"):
        Clip(bounds=((0.0, 1.0),), **beside)
    assert Clip.model_validate(Clip(bounds=((0.0, 1.0),)).model_dump()) == Clip(bounds=((0.0, 1.0),))


@pytest.mark.parametrize(("name", "width", "level"), [("lung", 1500, -600), ("bone", 1800, 400), ("liver", 150, 30)])
def test_windows_have_names(name, width, level):
    """Widths and levels as Radiopaedia gives them."""
    clip = TypeAdapter(Operation).validate_python({"op": "clip", "window": name})
    assert clip.bounds == ((level - width / 2, level + width / 2),)
    assert TypeAdapter(Operation).validate_python(clip.model_dump()) == clip
    for wrong in ({"window": name, "bounds": [[0, 1]]}, {"window": "knee"}, {"window": name, "percentiles": [1, 9]}):
        with pytest.raises(ValidationError, match=r"takes either bounds|window"):
            Clip.model_validate(wrong)


@pytest.mark.parametrize(
    ("shape", "spacing", "operation", "said"),
    [
        ((4, 4, 2), 1000.0, Resample(spacing_mm=(1, 1, None)), "4000 x 4000 x 2 voxels of 1 x 1 x 1000 mm .*too far"),
        ((9, 9, 9), 0.001, Resample(spacing_mm=(1, 1, 1)), "1 x 1 x 1 voxels of .* mm .*spacings are too far apart"),
        ((4, 4, 4), 90.0, Resample(spacing_mm=(1, 1, 1)), None),
        ((7, 7, 7), 0.001, Resample(spacing_mm=(1, 1, 1)), None),
        ((4, 4, 4), 1.0, Resize(size=(2000, 2000, 2000)), "2000 x 2000 x 2000 voxels .*at most 2147483648 values"),
        ((4, 4, 4), 1.0, Centre(size=(2000, 2000, 2000)), "2000 x 2000 x 2000 voxels .*at most 2147483648 values"),
    ],
)
def test_absurd_sizes_are_refused_by_shape_and_spacing_alone(shape, spacing, operation, said):
    affine = np.diag([spacing, spacing, spacing, 1])
    volume = Volume(np.zeros(shape, np.int16), affine, Path("case_3.nii.gz"))
    if said is None:
        assert operation.apply(Scan(volume)).image.shape == geometry_after(shape, affine, [operation])[0]
        return
    for use in (
        lambda: geometry_after(shape, affine, [operation], volume.path),
        lambda: apply_operations(Scan(volume), [operation]),
    ):
        with pytest.raises(InvalidVolumeError, match=rf"case_3\.nii\.gz: .* would become {said}"):
            use()


def test_too_little_memory_is_said_of_the_scan():
    """A limit on the process's memory stands for a small machine."""
    code = (
        "import resource, numpy as np\n"
        "from pathlib import Path\n"
        "from imgmed import Volume\n"
        "from imgmed.operations import Resize, Scan\n"
        "scan = Scan(Volume(np.zeros((4, 4, 4)), np.eye(4), Path('a.nii')))\n"
        "Resize(size=(5, 4, 4)).apply(scan)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))\n"
        "try:\n"
        "    Resize(size=(1200, 1200, 1200)).apply(scan)\n"
        "except ValueError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert "a.nii: 4 x 4 x 4 voxels of 1 x 1 x 1 mm would become 1200 x 1200 x 1200 voxels" in done.stdout
    assert "not enough memory" in done.stdout


@pytest.mark.parametrize(
    "first", [Resample(spacing_mm=(0.5, None, 2.0)), Crop(voxels=((1, 5), None, None)), Reorient()]
)
def test_a_list_of_operations_is_one_after_the_other_and_changes_no_scan(first):
    """Only an image that an operation before has made is written over."""
    array = np.random.default_rng(4).normal(0, 100, (6, 7, 8, 2)).astype(np.float32)
    scan = Scan(Volume(array.copy(), np.eye(4)))
    steps = [first, Clip(bounds=((-50.0, 60.0),)), Clip(percentiles=(5, 95)), Rescale(low=-1)]
    found = apply_operations(scan, steps)
    expected = scan
    for step in steps:
        expected = step.apply(expected)
    assert found.image.array.tobytes() == expected.image.array.tobytes() and found.bounds == expected.bounds
    np.testing.assert_array_equal(scan.image.array, array)
