"""The ways to the nearest point lead to the same distance, whatever the shape, the layout in memory and the axes."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

import segeval
from segeval.masks import union_box
from segeval.surface import border_voxels, masd_mm
from segeval.surface.box_transform import box_mm2, fits_box_transform
from segeval.surface.crop import pad_ends
from segeval.surface.nearest import (
    distance_columns,
    points_for_box,
    query_tree,
    search_columns,
    search_window,
    transform_box,
)
from tests.segeval.naive_metrics import border, directed_distances

pytestmark = pytest.mark.slow

mask_pairs = array_shapes(min_dims=1, max_dims=3, max_side=9).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)
sparse_pairs = array_shapes(min_dims=1, max_dims=3, max_side=12).flatmap(
    lambda shape: st.tuples(*[arrays(bool, shape, elements=st.just(True), fill=st.just(False))] * 2)
)
spacings = st.tuples(*[st.sampled_from([0.3, 0.7, 1.0, 2.5, 5.0])] * 3)


def transform(reference, prediction, spacing_mm):
    """Both directions from SciPy's distance transform, sorted."""
    borders = [border_voxels(mask) for mask in (reference, prediction)]
    maps = [ndimage.distance_transform_edt(~mask, sampling=spacing_mm) for mask in borders]
    return np.sort(maps[1][borders[0]]), np.sort(maps[0][borders[1]])


def check(reference, prediction, spacing_mm):
    distances = segeval.surface_distances(reference, prediction, spacing_mm)
    there, back = transform(reference, prediction, spacing_mm)
    np.testing.assert_allclose(np.sort(distances.reference_to_prediction_mm), there, rtol=1e-12)
    np.testing.assert_allclose(np.sort(distances.prediction_to_reference_mm), back, rtol=1e-12)


def ball(shape, centre, radius):
    places = np.moveaxis(np.indices(shape), 0, -1)
    return np.linalg.norm(places - np.array(centre), axis=-1) <= radius


@settings(max_examples=200)
@given(st.one_of(mask_pairs, sparse_pairs), spacings, st.sampled_from([1, 3, 9, 30, 640]))
def test_columns_and_tree_agree_with_a_distance_transform(masks, spacing, columns):
    assume(all(mask.any() for mask in masks))
    points, targets = masks
    spacing_mm = spacing[: targets.ndim]
    window = search_window(targets.shape, spacing_mm, columns)
    grids = [pad_ends(mask, np.add(mask.shape, window.margins)) for mask in (points, targets)]
    here, there = (np.flatnonzero(grid) for grid in grids)
    expected = ndimage.distance_transform_edt(grids[1] == 0, sampling=spacing_mm).ravel()[here]
    tree = np.sqrt(query_tree(here, there, grids[1].shape, window))
    np.testing.assert_allclose(tree, expected, rtol=1e-12)
    squared_mm2, unresolved = search_columns(here, distance_columns(there, grids[1].shape, window), window)
    certain = np.delete(np.arange(here.size), unresolved)
    np.testing.assert_allclose(np.sqrt(squared_mm2[certain]), expected[certain], rtol=1e-12)
    assert (np.sqrt(squared_mm2) >= expected * (1 - 1e-12)).all()


same_spacings = st.tuples(st.sampled_from([0.3, 0.7, 1.0, 2.5]), st.sampled_from([0.3, 0.7, 1.0, 5.0])).flatmap(
    lambda pair: st.permutations([pair[0], pair[0], pair[1]])
)


@settings(max_examples=120)
@given(st.one_of(mask_pairs, sparse_pairs), same_spacings, st.sampled_from([1, 9, 640]), st.sampled_from([0, 3]))
def test_transform_of_the_box_agrees_with_the_tree(masks, spacing, columns, most_open):
    """It takes up where the search of columns gave up, or starts from nothing."""
    assume(all(mask.any() for mask in masks))
    spacing_mm = tuple(spacing[: masks[0].ndim])
    window = search_window(masks[0].shape, spacing_mm, columns)
    shape = tuple(np.add(masks[0].shape, window.margins))
    here, there = (np.flatnonzero(pad_ends(mask, shape)) for mask in masks)
    assume(np.isfinite(points_for_box(shape, window)))
    expected = query_tree(here, there, shape, window)
    whole = transform_box(here, there, shape, window, np.full(here.size, np.inf))
    np.testing.assert_allclose(whole, expected, rtol=1e-12)
    known, still_open = search_columns(here, distance_columns(there, shape, window), window, most_open)
    rest = transform_box(here[still_open], there, shape, window, known[still_open]) if still_open.size else []
    np.testing.assert_array_equal(rest, whole[still_open])


@pytest.mark.parametrize("spacing_mm", [(0.7, 0.7, 0.7), (0.7, 3.0, 0.7), (3.0, 0.7, 0.7)])
def test_whole_steps_are_the_same_to_the_last_bit_by_every_way(spacing_mm):
    """A distance that equals the tolerance of nsd must not depend on the way: 3 × 0.7 is 2.0999999999999996."""
    window = search_window((8, 8, 8), spacing_mm)
    shape, corner = tuple(np.add((8, 8, 8), window.margins)), np.array([0])
    places = np.array([[n * (axis == along) for along in range(3)] for axis in range(3) for n in range(8)])
    here = np.ravel_multi_index(places.T, shape)
    expected = (places * spacing_mm).max(axis=1)
    columns, open_ = search_columns(here, distance_columns(corner, shape, window), window)
    columns[open_] = expected[open_] ** 2
    ways = (
        columns,
        query_tree(here, corner, shape, window),
        transform_box(here, corner, shape, window, np.full(here.size, np.inf)),
    )
    for squared_mm2 in ways:
        np.testing.assert_array_equal(np.sqrt(squared_mm2), expected)


@pytest.mark.parametrize("spacing_mm", [0.7, 0.3])
def test_a_bound_that_is_the_distance_itself_is_reached(spacing_mm):
    """(3 × 0.7)² / 0.7² is 8.999999999999998: looking two steps far, the box would hold no target at all."""
    steps = np.arange(1, 40)
    columns = np.full((40, 2), 255, np.uint8)
    columns[0, 0] = 0  # the target
    for step, bound_mm2 in zip(steps, (steps * spacing_mm) ** 2, strict=True):
        found_mm2 = box_mm2(columns, (np.array([step]), np.array([0])), (spacing_mm,) * 2, 1, np.array([bound_mm2]))
        assert found_mm2.tolist() == [bound_mm2]


def test_squares_of_the_largest_box_fit():
    """Targets in one corner of 105 × 105 × 105: nothing overflows, and columns without a target are far from all."""
    shape = (105, 105, 105)
    assert fits_box_transform(shape)
    assert not fits_box_transform((106, 106, 106))
    columns = np.full(shape, 255, np.uint8)
    columns[:, 0, 0] = np.arange(105)
    corners = np.array([[0, 0, 0], [104, 104, 104], [0, 104, 0], [104, 0, 1]]).T
    found = box_mm2(columns, tuple(corners), (1.0, 1.0, 1.0), 0, np.full(4, np.inf))
    assert found.tolist() == [0, 3 * 104**2, 104**2, 104**2 + 1]


@pytest.mark.parametrize("surface", ["voxel", "area_weighted"])
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.7, 0.7, 3.0), (3.0, 0.7, 0.7), (0.7, 3.0, 2.0)])
def test_large_surfaces_far_apart_in_a_small_box(surface, spacing_mm):
    first, second = ball((40, 36, 30), (10, 10, 10), 9), ~ball((40, 36, 30), (12, 18, 15), 16)
    second[30:] = False
    if surface == "voxel":
        check(first, second, spacing_mm)
    distances = segeval.surface_distances(first, second, spacing_mm, surface=surface)
    swapped = segeval.surface_distances(second, first, spacing_mm, surface=surface)
    np.testing.assert_array_equal(distances.reference_to_prediction_mm, swapped.prediction_to_reference_mm)


@given(mask_pairs, spacings)
def test_distances_agree_with_a_kd_tree_over_naive_borders(masks, spacing):
    assume(all(mask.any() for mask in masks))
    spacing_mm = spacing[: masks[0].ndim]
    distances = segeval.surface_distances(*masks, spacing_mm)
    there, back = directed_distances(*masks, spacing_mm)
    np.testing.assert_allclose(np.sort(distances.reference_to_prediction_mm), np.sort(there), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.sort(distances.prediction_to_reference_mm), np.sort(back), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.7, 0.8, 5.0), (5.0, 0.7, 0.8), (1.0, 0.1, 3.0)])
@pytest.mark.parametrize(
    ("centre", "radius"),
    [((20, 20, 20), 12), ((22, 20, 19), 11), ((20, 25, 28), 9), ((60, 60, 12), 8), ((60, 20, 20), 0), ((1, 0, 2), 7)],
    ids=["same", "near", "beside", "far", "one_voxel", "in_the_corner"],
)
def test_balls(centre, radius, spacing_mm):
    shape = (70, 70, 40)
    check(ball(shape, (20, 20, 20), 12), ball(shape, centre, radius), spacing_mm)


def test_two_voxels_at_opposite_corners():
    first, second = np.zeros((2, 60, 50, 40), bool)
    first[0, 0, 0] = second[-1, -1, -1] = True
    distances = segeval.surface_distances(first, second, (1.0, 2.0, 0.5))
    expected = np.linalg.norm([59 * 1.0, 49 * 2.0, 39 * 0.5])
    assert distances.reference_to_prediction_mm == pytest.approx([expected])
    assert segeval.hausdorff_mm(distances) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(400,), (400, 1), (1, 400), (1, 1, 400), (400, 3), (2, 3, 300)])
def test_structures_further_apart_than_a_window(shape):
    first, second = np.zeros((2, *shape), bool)
    first.ravel()[:2] = True
    second.ravel()[-3:] = True
    check(first, second, (1.0, 2.0, 0.5)[: len(shape)])


def test_one_outlier_far_from_a_good_prediction():
    reference = ball((80, 60, 60), (20, 20, 20), 10)
    prediction = ball((80, 60, 60), (20, 21, 20), 10)
    prediction[79, 59, 59] = True
    check(reference, prediction, (1.0, 1.0, 1.0))


def test_dense_noise():
    masks = np.random.default_rng(0).random((2, 40, 30, 20)) < 0.5
    check(*masks, (1.0, 0.7, 2.0))


LAYOUTS = {
    "fortran": np.asfortranarray,
    "reversed": lambda mask: np.ascontiguousarray(mask[::-1, :, ::-1])[::-1, :, ::-1],
    "strided": lambda mask: np.repeat(mask, 2, axis=1)[:, ::2],
    "middle_axis_first": lambda mask: np.ascontiguousarray(mask.transpose(1, 0, 2)).transpose(1, 0, 2),
    "read_only": lambda mask: np.frombuffer(mask.tobytes(), bool).reshape(mask.shape),
    "uint8": lambda mask: mask.astype(np.uint8),
    "int64": lambda mask: mask.astype(np.int64),
}


@pytest.mark.parametrize("surface", ["voxel", "area_weighted"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("both", [True, False])
def test_layout_in_memory_changes_nothing(layout, surface, both):
    masks = [np.ascontiguousarray(ball((14, 12, 10), centre, 4)) for centre in ((5, 5, 5), (7, 6, 5))]
    spacing_mm = (2.0, 0.5, 1.0)
    expected = segeval.surface_distances(*masks, spacing_mm, surface=surface)
    laid_out = [LAYOUTS[layout](masks[0]), LAYOUTS[layout](masks[1]) if both else masks[1]]
    found = segeval.surface_distances(*laid_out, spacing_mm, surface=surface)
    for name in ("reference_to_prediction_mm", "prediction_to_reference_mm"):
        np.testing.assert_allclose(np.sort(getattr(found, name)), np.sort(getattr(expected, name)), rtol=1e-12)
    assert segeval.nsd(found, 1.0) == pytest.approx(segeval.nsd(expected, 1.0))


@given(arrays(bool, array_shapes(max_dims=3, max_side=5)))
def test_border_of_a_mask_in_fortran_order(mask):
    np.testing.assert_array_equal(np.argwhere(border_voxels(np.asfortranarray(mask))), border(mask).astype(int))


@given(mask_pairs)
def test_union_box_is_the_extent_of_all_voxels(masks):
    indices = np.argwhere(masks[0] | masks[1])
    box = union_box(*(mask.view(np.uint8) for mask in masks))
    if len(indices):
        assert [(along.start, along.stop) for along in box] == [
            (low, high + 1) for low, high in zip(indices.min(axis=0), indices.max(axis=0), strict=True)
        ]
    else:
        assert all(along.stop == along.start for along in box)


@given(mask_pairs, spacings)
def test_percentiles_and_means_of_border_voxels(masks, spacing):
    """`pooled` is medpy's HD95: NumPy's percentile of both directions together."""
    assume(all(mask.any() for mask in masks))
    distances = segeval.surface_distances(*masks, spacing[: masks[0].ndim])
    there, back = distances.reference_to_prediction_mm, distances.prediction_to_reference_mm
    assert segeval.hd95_mm(distances, "pooled") == pytest.approx(np.percentile([*there, *back], 95), abs=1e-12)
    assert segeval.hd95_mm(distances) == pytest.approx(
        max(np.percentile(there, 95), np.percentile(back, 95)), abs=1e-12
    )
    assert masd_mm(distances) == pytest.approx((there.mean() + back.mean()) / 2, abs=1e-12)
    assert distances.reference_areas is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: segeval.surface_distances([1], [1], (1,), surface="mesh"), "voxel, area_weighted; received 'mesh'"),
        (lambda: segeval.surface_distances(1, 1, ()), r"1 to 3 axes; received shape \(\)"),
        (lambda: segeval.surface_distances([[[[1]]]], [[[[1]]]], (1, 1, 1, 1)), "1 to 3 axes"),
        (
            lambda: segeval.hd95_mm(segeval.surface_distances([1], [1], (1,)), "mean"),
            "max_of_directed, pooled; received 'mean'",
        ),
    ],
)
def test_faults_name_the_choices(call, message):
    with pytest.raises(segeval.MetricArgumentError, match=message):
        call()
