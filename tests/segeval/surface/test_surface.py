import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import segeval
from segeval.surface import border_voxels, image_diagonal_mm
from tests.segeval.naive_metrics import border, directed_distances, surface

pytestmark = pytest.mark.slow

mask_pairs = array_shapes(min_dims=2, max_dims=3, max_side=6).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)
spacings = st.tuples(*[st.sampled_from([0.3, 0.7, 1.0, 2.5, 5.0])] * 3)


def filled(shape, *regions):
    mask = np.zeros(shape, bool)
    for region in regions:
        mask[region] = True
    return mask


def all_metrics(distances, tolerance_mm=1.0):
    return (
        segeval.hausdorff_mm(distances),
        segeval.hd95_mm(distances),
        segeval.assd_mm(distances),
        segeval.nsd(distances, tolerance_mm),
    )


@settings(max_examples=150)
@given(mask_pairs, spacings)
def test_metrics_agree_with_a_naive_border_and_a_kd_tree(masks, spacing):
    spacing_mm = spacing[: masks[0].ndim]
    # a tolerance that no distance on these grids equals, so that rounding cannot decide
    ours = all_metrics(segeval.surface_distances(*masks, spacing_mm), tolerance_mm=1.05)
    np.testing.assert_allclose(ours, surface(*masks, spacing_mm, 1.05), rtol=1e-9, atol=1e-12)


@given(arrays(bool, array_shapes(max_dims=3, max_side=5)))
def test_border_voxels_agree_with_looking_at_each_neighbour(mask):
    np.testing.assert_array_equal(np.argwhere(border_voxels(mask)), border(mask).astype(int))


@settings(max_examples=40)
@given(mask_pairs, spacings)
def test_distances_are_symmetric(masks, spacing):
    spacing_mm = spacing[: masks[0].ndim]
    forward = all_metrics(segeval.surface_distances(*masks, spacing_mm))
    backward = all_metrics(segeval.surface_distances(*masks[::-1], spacing_mm))
    np.testing.assert_allclose(forward, backward, rtol=1e-12)


@settings(max_examples=40)
@given(mask_pairs, spacings)
def test_doubling_the_spacing_doubles_the_millimetres(masks, spacing):
    spacing_mm = spacing[: masks[0].ndim]
    once = all_metrics(segeval.surface_distances(*masks, spacing_mm), 1.0)
    twice = all_metrics(segeval.surface_distances(*masks, [2 * mm for mm in spacing_mm]), 2.0)
    np.testing.assert_allclose(twice, np.multiply(once, [2, 2, 2, 1]), rtol=1e-12)


@settings(max_examples=40)
@given(mask_pairs, spacings, st.randoms(use_true_random=False))
def test_transposing_image_and_spacing_together_changes_nothing(masks, spacing, random):
    axes = list(range(masks[0].ndim))
    random.shuffle(axes)
    spacing_mm = spacing[: len(axes)]
    moved = segeval.surface_distances(*(m.transpose(axes) for m in masks), [spacing_mm[a] for a in axes])
    still = segeval.surface_distances(*masks, spacing_mm)
    np.testing.assert_allclose(all_metrics(moved, 1.05), all_metrics(still, 1.05), rtol=1e-12)


@settings(max_examples=40)
@given(mask_pairs, st.integers(1, 3))
def test_moving_both_structures_within_a_larger_image_changes_nothing(masks, shift):
    assume(all(mask.any() and min(mask.shape) > 1 for mask in masks))
    spacing_mm = (0.7, 1.0, 2.5)[: masks[0].ndim]
    padded = [np.pad(mask, [(shift, 4 - shift)] * mask.ndim) for mask in masks]
    np.testing.assert_allclose(
        all_metrics(segeval.surface_distances(*padded, spacing_mm), 1.05),
        all_metrics(segeval.surface_distances(*masks, spacing_mm), 1.05),
        rtol=1e-12,
    )


@settings(max_examples=40)
@given(mask_pairs)
def test_a_mask_has_no_distance_to_itself(masks):
    mask = masks[0]
    assume(mask.any())
    assert all_metrics(segeval.surface_distances(mask, mask, [1.0] * mask.ndim)) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("reference", "prediction", "expected"),
    [
        (np.zeros((3, 4)), np.zeros((3, 4)), (math.nan,) * 4),
        (np.ones((3, 4)), np.zeros((3, 4)), (10.0, 10.0, 10.0, 0.0)),
        (np.zeros((3, 4)), np.ones((3, 4)), (10.0, 10.0, 10.0, 0.0)),
    ],
    ids=["both_empty", "prediction_empty", "reference_empty"],
)
def test_empty_masks(reference, prediction, expected):
    """One empty: the diagonal, here |(3, 4) × 2 mm| = 10 mm."""
    distances = segeval.surface_distances(reference.astype(bool), prediction.astype(bool), (2.0, 2.0))
    assert all_metrics(distances) == pytest.approx(expected, nan_ok=True)


def test_a_crop_keeps_the_diagonal_of_its_image():
    distances = segeval.surface_distances([True], [False], (2.0,), image_shape=(50,))
    assert segeval.hd95_mm(distances) == 100
    assert image_diagonal_mm((3, 4, 12), (1, 1, 1)) == 13


def test_a_structure_one_voxel_thick_is_all_surface():
    plate = filled((5, 5, 3), np.s_[:, :, 1])
    assert segeval.surface_distances(plate, plate, (1, 1, 1)).reference_elements == 25


SQUARES = [filled((32, 32), np.s_[start : start + 16, 8:24]) for start in (8, 12)]
"""Contours of 60 pixels, one moved by 4: of either, 24 lie at 0 and at 4 from the other one, 4 each at 1, 2 and 3."""


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_of_one_slice_is_a_picture(axis):
    """Its voxels have no neighbours across the slice: they would all be surface, and ASSD 0.625."""
    slices = [np.expand_dims(mask, axis) for mask in SQUARES]
    spacing_mm = np.insert([1.0, 1.0], axis, 5.0)
    distances = segeval.surface_distances(*slices, spacing_mm)
    assert distances.reference_elements == distances.prediction_elements == 60
    assert all_metrics(distances) == (4.0, 4.0, 2.0, pytest.approx(28 / 60))
    assert segeval.masd_mm(distances) == 2.0
    np.testing.assert_array_equal(border_voxels(slices[0]).squeeze(axis), border_voxels(SQUARES[0]))
    thick = [np.concatenate([mask, mask], axis) for mask in slices]  # of two slices every voxel is surface
    assert segeval.assd_mm(segeval.surface_distances(*thick, spacing_mm)) == (1 + 2 + 3 + 4) * 16 / 256


@settings(max_examples=40)
@given(mask_pairs, spacings, st.integers(0, 2), st.sampled_from(["voxel", "area_weighted"]))
def test_axes_of_one_voxel_never_count(masks, spacing, axis, surface):
    """Also where one mask is empty: the diagonal is that of the picture."""
    assume(max(masks[0].shape) > 1 and masks[0].ndim < 3)
    spacing_mm = spacing[: masks[0].ndim]
    axis = min(axis, masks[0].ndim)
    picture = segeval.surface_distances(*masks, spacing_mm, surface=surface)
    slices = segeval.surface_distances(
        *(np.expand_dims(mask, axis) for mask in masks), np.insert(spacing_mm, axis, 9.0), surface=surface
    )
    assert slices == picture


def test_a_crop_of_one_slice_is_no_picture():
    """Its image decides: there the slices beside it are outside."""
    slices = [mask[..., None] for mask in SQUARES]
    distances = segeval.surface_distances(*slices, (1, 1, 1), image_shape=(32, 32, 9))
    assert segeval.assd_mm(distances) == (1 + 2 + 3 + 4) * 16 / 256
    with pytest.raises(segeval.MetricArgumentError, match=r"the masks \(32, 32, 1\) are cut from; received \(32, 32\)"):
        segeval.surface_distances(*slices, (1, 1, 1), image_shape=(32, 32))


def test_a_structure_that_touches_the_image_border_has_a_surface_there():
    """SimpleITK-Notebooks#453: without border voxels at the edge, filled images would have no surface."""
    full = np.ones((4, 4, 4), bool)
    assert segeval.surface_distances(full, full, (1, 1, 1)).reference_elements == 4**3 - 2**3


def test_masks_are_not_changed():
    mask = filled((4, 4), np.s_[1:3, 1:3])
    before = mask.copy()
    segeval.surface_distances(mask, mask, (1, 1))
    np.testing.assert_array_equal(mask, before)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[1, 0]], [1, 0], (1, 1)), segeval.ShapeMismatchError, "same shape"),
        (([0, 2], [0, 1], (1,)), segeval.ArrayTypeError, r"values 0 to 2.*label_map == 2"),
        (([0.0, 0.9], [0, 1], (1,)), segeval.ArrayTypeError, "reference must hold integer labels; 1 voxels do not"),
        (([0, 1], [0, 1], (1, 1)), segeval.MetricArgumentError, "1 positive numbers"),
        (([0, 1], [0, 1], (0,)), segeval.MetricArgumentError, r"received \(0.0,\)"),
        (([0, 1], [0, 1], (math.inf,)), segeval.MetricArgumentError, "inf"),
    ],
)
def test_faults_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        segeval.surface_distances(*arguments)


@pytest.mark.parametrize("tolerance_mm", [-1.0, math.nan, math.inf])
def test_tolerance_must_be_a_distance(tolerance_mm):
    distances = segeval.surface_distances([1], [1], (1,))
    with pytest.raises(segeval.MetricArgumentError, match="tolerance_mm"):
        segeval.nsd(distances, tolerance_mm)


@pytest.mark.parametrize("surface", ["voxel", "area_weighted"])
def test_the_limit_itself_agrees_also_where_it_is_rounded(surface):
    """In float64 7 × 0.1 is more than 0.7, and 1.1 in single precision, as NIfTI holds it, more than 1.1."""
    ways = itertools.product([0.1, 0.3, 0.7, 1.1, 1.2], range(1, 8), [np.float64, np.float32])
    for spacing_mm, steps, precision in ways:
        bars = [filled((12, 3), np.s_[start : start + 2, 1]) for start in (1, 1 + steps)]
        stored = float(precision(spacing_mm))
        distances = segeval.surface_distances(*bars, (stored, 50.0), surface=surface)
        assert segeval.nsd(distances, steps * spacing_mm) == segeval.nsd(distances, round(steps * spacing_mm, 9)) == 1
        assert segeval.nsd(distances, 0.999 * steps * spacing_mm) < 1


# Published vectors ---------------------------------------------------------------------------------


def test_surface_distance_offset_squares():
    """surface_distance_test.py: HD95 2 for a square that is one row of 2 mm longer."""
    distances = segeval.surface_distances(filled((6, 6), np.s_[1:3, 1:3]), filled((6, 6), np.s_[1:4, 1:3]), (2, 1))
    assert segeval.hd95_mm(distances) == 2


def test_metrics_reloaded_square_with_a_cross():
    square = filled((11, 11), np.s_[3:8, 3:8])
    crossed = filled((11, 11), np.s_[3:8, 3:8], np.s_[5, 1:10], np.s_[1:10, 5])
    distances = segeval.surface_distances(square, crossed, (1, 1))
    directed = (distances.reference_to_prediction_mm.mean(), distances.prediction_to_reference_mm.mean())
    assert segeval.assd_mm(distances) == pytest.approx(0.44, abs=5e-3)
    assert np.mean(directed) == pytest.approx(0.425, abs=5e-4)
    assert segeval.nsd(distances, 1) == pytest.approx(0.89, abs=5e-3)
    assert segeval.nsd(distances, 2) == 1
    matrix = segeval.confusion_matrix(square, crossed, 2)
    assert segeval.dice(matrix)[1] == pytest.approx(0.862, abs=5e-4)
    assert segeval.jaccard(matrix)[1] == pytest.approx(0.76, abs=5e-3)


def test_metrics_reloaded_inner_square():
    distances = segeval.surface_distances(filled((14, 14), np.s_[5:9, 5:9]), filled((14, 14), np.s_[6:8, 6:8]), (1, 1))
    directed = (distances.reference_to_prediction_mm.mean(), distances.prediction_to_reference_mm.mean())
    assert segeval.hausdorff_mm(distances) == pytest.approx(1.41, abs=5e-3)
    assert np.mean(directed) == pytest.approx(1.07, abs=5e-3)
    assert segeval.assd_mm(distances) == pytest.approx(1.10, abs=5e-3)
    assert segeval.nsd(distances, 1) == 0.75


def test_medpy_style_vector_with_a_complement():
    """HD 40 and, as the mean of the two directed means, 21 (what medpy and seg-metrics call ASSD)."""
    prediction = np.array([[int(v) for v in row] for row in ("0101", "0101", "0100", "0100")], bool)
    distances = segeval.surface_distances(~prediction, prediction, (20, 20))
    directed = (distances.reference_to_prediction_mm.mean(), distances.prediction_to_reference_mm.mean())
    assert segeval.hausdorff_mm(distances) == 40
    assert np.mean(directed) == pytest.approx(21)


@pytest.mark.parametrize(("tolerance_mm", "expected"), [(5.5, 1 / 3), (6, 2 / 3)])
def test_monai_surface_dice(tolerance_mm, expected):
    distances = segeval.surface_distances(filled((10, 10), np.s_[5:8, 6]), filled((10, 10), np.s_[1:4, 1]), (1, 1))
    assert segeval.nsd(distances, tolerance_mm) == pytest.approx(expected)


@pytest.mark.real_data
def test_real_structures_agree_with_a_kd_tree(real_data):
    import nibabel

    folder = real_data / "hippocampus_msd" / "labelsTr"
    paths = sorted(folder.glob("[!.]*.nii.gz"))[:2]
    masks = [np.asanyarray(nibabel.load(path).dataobj) == 1 for path in paths]
    shape = np.min([mask.shape for mask in masks], axis=0)
    reference, prediction = (mask[tuple(slice(0, n) for n in shape)] for mask in masks)
    spacing_mm = (0.9, 1.1, 3.0)
    distances = segeval.surface_distances(reference, prediction, spacing_mm)
    there, back = directed_distances(reference, prediction, spacing_mm)
    np.testing.assert_allclose(np.sort(distances.reference_to_prediction_mm), np.sort(there), rtol=1e-9)
    np.testing.assert_allclose(np.sort(distances.prediction_to_reference_mm), np.sort(back), rtol=1e-9)


@pytest.mark.parametrize(
    "spacing_mm", [None, 1.0, "111", ("a", 1, 1), (1, 1), (1, 1, 0), (1, 1, -1), (1, math.nan, 1), (1, math.inf, 1)]
)
def test_a_spacing_is_one_positive_number_for_each_axis(spacing_mm):
    with pytest.raises(segeval.MetricArgumentError, match="spacing_mm must be 3 positive numbers"):
        segeval.surface_distances(np.ones((2, 2, 2), bool), np.ones((2, 2, 2), bool), spacing_mm)


def test_distances_are_equal_by_value():
    one, other = ([[0, 1, 1]], [[0, 0, 1]])
    assert segeval.surface_distances(one, other, (1, 2)) == segeval.surface_distances(one, other, (1, 2))
    assert segeval.surface_distances(one, other, (1, 2)) != segeval.surface_distances(one, other, (1, 3))
