"""Surface elements: their areas, and the metrics weighted by them."""

import collections
import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import segeval
from segeval.surface import element_areas, masd_mm

pytestmark = pytest.mark.slow

mask_pairs = array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=5).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)
spacings = st.tuples(*[st.sampled_from([0.3, 0.7, 1.0, 2.5, 5.0])] * 3)


def measure(reference, prediction, spacing_mm):
    return segeval.surface_distances(reference, prediction, spacing_mm, surface="area_weighted")


def all_metrics(distances, tolerance_mm=1.05):
    return (
        segeval.hausdorff_mm(distances),
        segeval.hd95_mm(distances),
        segeval.assd_mm(distances),
        masd_mm(distances),
        segeval.nsd(distances, tolerance_mm),
    )


def size_of_surface(mask, spacing_mm):
    return measure(mask, mask, spacing_mm).reference_areas.sum()


def naive_elements(mask, spacing_mm):
    """Positions in mm of the cells with corners on both sides, and their codes, by looking at each."""
    padded = np.pad(mask, 1)
    places, codes = [], []
    for index in itertools.product(*(range(length - 1) for length in padded.shape)):
        corners = [padded[tuple(np.add(index, step))] for step in itertools.product((0, 1), repeat=mask.ndim)]
        if any(corners) and not all(corners):
            places.append(np.multiply(index, spacing_mm))
            codes.append(int("".join(str(int(corner)) for corner in corners), 2))
    return np.array(places), codes


# Areas ---------------------------------------------------------------------------------------------


def test_areas_in_a_cubic_cell_are_those_of_surface_distance():
    """How often each area occurs among the 256 codes in surface-distance 0.1, spacing 1 mm."""
    figures = {0: 2, 0.216506: 16, 0.433013: 32, 0.649519: 16, 0.707107: 24, 0.866025: 2, 0.923613: 48, 1: 6}
    figures |= {1.149519: 48, 1.299038: 8, 1.366025: 24, 1.414214: 6, 1.573132: 24}
    assert collections.Counter(np.round(element_areas((1.0, 1.0, 1.0)), 6).tolist()) == figures


@pytest.mark.parametrize(
    ("spacing_mm", "total", "some"),
    [
        (
            (1.0, 2.0, 3.0),
            950.489589509,
            [
                0.875,
                3.354101966,
                5.625,
                2.625,
                5.25,
                2.677775638,
                5.982526649,
                6.5,
                4.229101966,
                3.5,
                1.75,
                5.982526649,
            ],
        ),
        (
            (0.7, 0.7, 5.0),
            674.334151487,
            [
                0.621742762,
                2.474873734,
                3.615228287,
                1.865228287,
                3.730456574,
                2.388809541,
                4.254037828,
                4.236971049,
                3.096616496,
                2.486971049,
                1.243485525,
                4.254037828,
            ],
        ),
        (
            (2.5, 1.1, 0.3),
            373.264929158,
            [
                0.358684663,
                0.409695009,
                1.241053989,
                1.076053989,
                2.152107978,
                1.783903944,
                2.8397806,
                1.599738652,
                0.768379672,
                1.434738652,
                0.717369326,
                2.8397806,
            ],
        ),
    ],
)
def test_areas_in_other_cells_are_those_of_surface_distance(spacing_mm, total, some):
    """Figures of surface-distance 0.1's `create_table_neighbour_code_to_surface_area`."""
    areas = element_areas(spacing_mm)
    assert areas.sum() == pytest.approx(total, rel=1e-9)
    assert [areas[code] for code in (1, 3, 7, 22, 23, 25, 27, 30, 61, 105, 126, 228)] == pytest.approx(some, abs=2e-9)


@given(spacings)
def test_inside_and_outside_have_the_same_surface(spacing_mm):
    areas = element_areas(spacing_mm)
    np.testing.assert_array_equal(areas, areas[::-1])


def test_areas_cannot_be_changed_by_a_user():
    with pytest.raises(ValueError, match="read-only"):
        element_areas((1.0, 1.0))[0] = 1


@given(st.tuples(*[st.integers(1, 4)] * 3), spacings)
def test_a_box_has_flat_faces_bevelled_edges_and_cut_corners(size, mm):
    faces = sum(2 * (size[i] - 1) * (size[j] - 1) * mm[i] * mm[j] for i, j in ((0, 1), (0, 2), (1, 2)))
    edges = sum(
        4 * (size[i] - 1) * mm[i] * math.hypot(mm[j], mm[k]) / 2 for i, j, k in ((0, 1, 2), (1, 0, 2), (2, 0, 1))
    )
    corners = 8 * math.hypot(mm[0] * mm[1], mm[0] * mm[2], mm[1] * mm[2]) / 8
    box = np.ones(size, bool)
    if min(size) > 1:  # a thinner box has both faces in one cell
        assert size_of_surface(box, mm) == pytest.approx(faces + edges + corners)


@given(st.integers(2, 6), st.integers(2, 6), spacings)
def test_a_rectangle_has_straight_sides_and_cut_corners(height, width, mm):
    expected = 2 * (height - 1) * mm[0] + 2 * (width - 1) * mm[1] + 4 * math.hypot(mm[0], mm[1]) / 2
    assert size_of_surface(np.ones((height, width), bool), mm[:2]) == pytest.approx(expected)


def test_a_single_voxel_is_an_octahedron():
    """Edge √½ mm, area 2√3 a² = √3 mm²."""
    voxel = np.pad(np.ones((1, 1, 1), bool), 1)
    assert size_of_surface(voxel, (1.0, 1.0, 1.0)) == pytest.approx(math.sqrt(3))


def test_a_ball_has_nearly_its_own_surface():
    """Elements cut at half way zigzag, so that 4 π r² is exceeded, by less than a tenth."""
    ball = np.linalg.norm(np.mgrid[-14:15, -14:15, -14:15], axis=0) < 12
    assert 1 < size_of_surface(ball, (1.0, 1.0, 1.0)) / (4 * math.pi * 12**2) < 1.1


def test_in_one_dimension_each_end_counts_one():
    distances = measure([0, 1, 1, 0, 0], [0, 1, 1, 1, 1], (2.0,))
    assert distances.reference_areas.tolist() == [1, 1]
    assert sorted(distances.prediction_to_reference_mm) == [0, 4]


# Distances and metrics -----------------------------------------------------------------------------


@given(mask_pairs, spacings)
def test_elements_agree_with_looking_at_each_cell(masks, spacing):
    assume(all(mask.any() for mask in masks))
    spacing_mm = spacing[: masks[0].ndim]
    (here, codes), (there, _) = (naive_elements(mask, spacing_mm) for mask in masks)
    nearest = np.linalg.norm(here[:, np.newaxis] - there[np.newaxis], axis=2).min(axis=1)
    found = measure(*masks, spacing_mm)
    expected = sorted(zip(nearest.round(9), element_areas(spacing_mm)[codes], strict=True))
    received = sorted(zip(found.reference_to_prediction_mm.round(9), found.reference_areas, strict=True))
    np.testing.assert_allclose(received, expected, rtol=1e-12)


@given(mask_pairs, spacings)
def test_metrics_weigh_by_area(masks, spacing):
    """As in surface-distance's robust Hausdorff, average distance and surface Dice, with loops."""
    assume(all(mask.any() for mask in masks))
    distances = measure(*masks, spacing[: masks[0].ndim])
    directed = [
        sorted(zip(distances.reference_to_prediction_mm.tolist(), distances.reference_areas.tolist(), strict=True)),
        sorted(zip(distances.prediction_to_reference_mm.tolist(), distances.prediction_areas.tolist(), strict=True)),
    ]
    totals = [math.fsum(area for _, area in pairs) for pairs in directed]
    sums = [math.fsum(mm * area for mm, area in pairs) for pairs in directed]
    within = math.fsum(area for pairs in directed for mm, area in pairs if mm <= 1.05)
    assert segeval.assd_mm(distances) == pytest.approx(sum(sums) / sum(totals))
    assert masd_mm(distances) == pytest.approx(np.mean(np.divide(sums, totals)))
    assert segeval.nsd(distances, 1.05) == pytest.approx(within / sum(totals))
    assert segeval.hausdorff_mm(distances) == max(pairs[-1][0] for pairs in directed)

    def is_percentile(candidate_mm, pairs, total):
        up_to = math.fsum(area for mm, area in pairs if mm <= candidate_mm)
        below = math.fsum(area for mm, area in pairs if mm < candidate_mm)
        return up_to >= (0.95 - 1e-12) * total and below < (0.95 + 1e-12) * total

    hd95 = segeval.hd95_mm(distances)
    assert any(is_percentile(hd95, *one) for one in zip(directed, totals, strict=True))
    pooled = segeval.hd95_mm(distances, variant="pooled")
    assert is_percentile(pooled, sorted([*directed[0], *directed[1]]), sum(totals))
    assert pooled <= hd95 + 1e-12


@settings(max_examples=40)
@given(mask_pairs, spacings)
def test_symmetry(masks, spacing):
    spacing_mm = spacing[: masks[0].ndim]
    forward, backward = measure(*masks, spacing_mm), measure(*masks[::-1], spacing_mm)
    np.testing.assert_allclose(all_metrics(forward), all_metrics(backward), rtol=1e-12)


@settings(max_examples=40)
@given(mask_pairs, spacings)
def test_doubling_the_spacing_doubles_distances_and_scales_areas(masks, spacing):
    axes = masks[0].ndim
    once = measure(*masks, spacing[:axes])
    twice = measure(*masks, [2 * mm for mm in spacing[:axes]])
    np.testing.assert_allclose(all_metrics(twice, 2.1), np.multiply(all_metrics(once), [2, 2, 2, 2, 1]), rtol=1e-12)
    np.testing.assert_allclose(twice.reference_areas, once.reference_areas * 2 ** (axes - 1), rtol=1e-12)


@settings(max_examples=40)
@given(mask_pairs, st.integers(0, 3))
def test_translation_away_from_the_border_changes_nothing(masks, shift):
    assume(all(mask.any() for mask in masks))
    spacing_mm = (0.7, 1.0, 2.5)[: masks[0].ndim]
    padded = [np.pad(mask, [(shift, 3 - shift)] * mask.ndim) for mask in masks]
    np.testing.assert_array_equal(all_metrics(measure(*padded, spacing_mm)), all_metrics(measure(*masks, spacing_mm)))


@settings(max_examples=40)
@given(mask_pairs, spacings, st.randoms(use_true_random=False))
def test_transposition_changes_nothing(masks, spacing, random):
    axes = list(range(masks[0].ndim))
    random.shuffle(axes)
    spacing_mm = spacing[: len(axes)]
    moved = measure(*(mask.transpose(axes) for mask in masks), [spacing_mm[axis] for axis in axes])
    np.testing.assert_allclose(all_metrics(moved), all_metrics(measure(*masks, spacing_mm)), rtol=1e-12)


@pytest.mark.parametrize(
    ("reference", "prediction", "expected"),
    [(0, 0, (math.nan,) * 5), (1, 0, (10, 10, 10, 10, 0)), (0, 1, (10, 10, 10, 10, 0)), (1, 1, (0, 0, 0, 0, 1))],
)
def test_empty_and_full_masks(reference, prediction, expected):
    """One empty: the diagonal, here |(3, 4) × 2 mm| = 10 mm."""
    masks = [np.full((3, 4), value, bool) for value in (reference, prediction)]
    assert all_metrics(measure(*masks, (2.0, 2.0))) == pytest.approx(expected, nan_ok=True)
