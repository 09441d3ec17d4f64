import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import segeval
from segeval.lesions import LesionMatch, lesion_f1, lesion_precision, lesion_recall, match_lesions, panoptic_quality

CONNECTIVITIES = ("face", "edge", "vertex")
mask_pairs = st.one_of(
    arrays(bool, (2, 30)), arrays(bool, (2, 6, 7)), arrays(bool, (2, 4, 4, 3)), arrays(bool, (2, 1, 9, 2))
)


def naive_lesions(mask, connectivity):
    """Sets of voxel positions, grown from a seed; neighbours differ by 1 along at most 1, 2 or all axes."""
    reach = {"face": 1, "edge": 2, "vertex": mask.ndim}[connectivity]
    steps = [step for step in itertools.product((-1, 0, 1), repeat=mask.ndim) if 0 < sum(map(abs, step)) <= reach]
    left = {tuple(index) for index in np.argwhere(mask).tolist()}
    lesions = []
    while left:
        lesion, frontier = set(), [left.pop()]
        while frontier:
            voxel = frontier.pop()
            lesion.add(voxel)
            for step in steps:
                neighbour = tuple(a + b for a, b in zip(voxel, step, strict=True))
                if neighbour in left:
                    left.remove(neighbour)
                    frontier.append(neighbour)
        lesions.append(lesion)
    return lesions


@given(mask_pairs, st.sampled_from(CONNECTIVITIES))
def test_one_to_one_matching_agrees_with_a_double_loop_over_sets(masks, connectivity):
    reference, prediction = (naive_lesions(mask, connectivity) for mask in masks)
    ious = sorted(iou for a, b in itertools.product(reference, prediction) if (iou := len(a & b) / len(a | b)) > 0.5)
    match = match_lesions(*masks, connectivity=connectivity)
    assert (match.reference_lesions, match.prediction_lesions) == (len(reference), len(prediction))
    assert (match.found, match.confirmed) == (len(ious), len(ious))
    np.testing.assert_allclose(np.sort(match.ious), ious, rtol=1e-15)


@given(mask_pairs, st.sampled_from(CONNECTIVITIES))
def test_overlap_agrees_with_a_double_loop_over_sets(masks, connectivity):
    reference, prediction = (naive_lesions(mask, connectivity) for mask in masks)
    match = match_lesions(*masks, connectivity=connectivity, match="overlap")
    assert match.found == sum(any(a & b for b in prediction) for a in reference)
    assert match.confirmed == sum(any(a & b for a in reference) for b in prediction)


@given(mask_pairs)
def test_panoptic_quality_is_segmentation_times_recognition_quality_in_both_conventions(masks):
    """Kirillov et al. 2019, equation 2."""
    by_iou = match_lesions(*masks)
    quality = panoptic_quality(by_iou)
    if by_iou.ious.size:
        assert quality == pytest.approx(by_iou.ious.mean() * lesion_f1(by_iou), rel=1e-12)
    else:
        assert quality == 0 or not masks.any()
    np.testing.assert_equal(panoptic_quality(match_lesions(*masks, match="overlap")), quality)


@given(mask_pairs, st.sampled_from(["iou", "overlap"]))
def test_swapping_the_masks_swaps_precision_and_recall(masks, rule):
    forward, backward = match_lesions(*masks, match=rule), match_lesions(*masks[::-1], match=rule)
    np.testing.assert_equal(lesion_precision(forward), lesion_recall(backward))
    np.testing.assert_allclose(lesion_f1(forward), lesion_f1(backward))
    np.testing.assert_allclose(panoptic_quality(forward), panoptic_quality(backward))


@given(mask_pairs, st.sampled_from(["iou", "overlap"]))
def test_a_margin_of_background_changes_nothing(masks, rule):
    padded = [np.pad(mask, 2) for mask in masks]
    for metric in (lesion_precision, lesion_recall, lesion_f1, panoptic_quality):
        np.testing.assert_allclose(
            metric(match_lesions(*padded, match=rule)), metric(match_lesions(*masks, match=rule))
        )


def test_counted_by_hand():
    """Reference: A (4 voxels) is matched by 3 of them (IoU 3/4); B and C (2 and 1) are joined by one prediction of 4
    (IoU 2/4, not above a half, and 1/4); D (1) is missed. Prediction also has two lesions where nothing is."""
    reference = np.array([1, 1, 1, 1, 0, 1, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0], bool)
    prediction = np.array([1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 1, 0], bool)
    by_iou = match_lesions(reference, prediction)
    assert (by_iou.reference_lesions, by_iou.prediction_lesions, by_iou.found, by_iou.confirmed) == (4, 4, 1, 1)
    assert lesion_precision(by_iou) == lesion_recall(by_iou) == lesion_f1(by_iou) == 1 / 4
    assert panoptic_quality(by_iou) == pytest.approx(0.75 / (1 + 3 / 2 + 3 / 2))
    by_overlap = match_lesions(reference, prediction, match="overlap")
    assert (by_overlap.found, by_overlap.confirmed) == (3, 2)
    assert lesion_recall(by_overlap) == 3 / 4
    assert lesion_precision(by_overlap) == 2 / 4
    assert lesion_f1(by_overlap) == pytest.approx(2 * (3 / 4) * (2 / 4) / (3 / 4 + 2 / 4))


def test_an_iou_of_exactly_one_half_is_no_match():
    assert match_lesions([1, 1], [1, 0]).found == 0
    assert match_lesions([1, 1, 1], [1, 1, 0]).found == 1


@pytest.mark.parametrize(("connectivity", "lesions"), [("face", 4), ("edge", 3), ("vertex", 2)])
def test_neighbours_by_face_edge_and_vertex(connectivity, lesions):
    """(0,0,0) touches (0,1,1) by an edge, that touches (1,2,2) by a vertex; (3,3,0) is alone."""
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[0, 1, 1] = mask[1, 2, 2] = mask[3, 3, 0] = True
    match = match_lesions(mask, mask, connectivity=connectivity)
    assert match.reference_lesions == match.found == lesions
    assert lesion_f1(match) == panoptic_quality(match) == 1


def test_edge_neighbours_in_a_plane_are_all_there_are():
    mask = np.eye(3, dtype=bool)
    counts = [match_lesions(mask, mask, connectivity=c).reference_lesions for c in CONNECTIVITIES]
    assert counts == [3, 1, 1]


@pytest.mark.parametrize("metric", [lesion_precision, lesion_recall, lesion_f1, panoptic_quality])
@pytest.mark.parametrize("rule", ["iou", "overlap"])
@pytest.mark.parametrize(
    ("reference", "prediction", "expected"),
    [([0, 0], [0, 0], math.nan), ([0, 1], [0, 0], 0.0), ([0, 0], [0, 1], 0.0), ([1, 0, 0], [0, 0, 1], 0.0)],
    ids=["both_empty", "prediction_empty", "reference_empty", "disjoint"],
)
def test_empty_and_disjoint_masks(metric, rule, reference, prediction, expected):
    assert metric(match_lesions(reference, prediction, match=rule)) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("shape", [(0,), (0, 0, 0), (3, 0)])
def test_a_box_without_voxels(shape):
    nothing = np.zeros(shape, bool)
    match = match_lesions(nothing, nothing)
    assert (match.reference_lesions, match.prediction_lesions, match.found, match.confirmed) == (0, 0, 0, 0)
    assert math.isnan(panoptic_quality(match))


def test_more_lesions_than_32_bits_can_pair():
    """A chessboard of 300,000 single voxels each: the codes of pairs go beyond 2**31."""
    mask = np.zeros(600_000, bool)
    mask[::2] = True
    match = match_lesions(mask, mask)
    assert match.reference_lesions == match.found == 300_000
    assert panoptic_quality(match) == 1


@pytest.mark.parametrize(
    ("reference", "arguments", "error", "message"),
    [
        ([0, 1, 1], {}, segeval.ShapeMismatchError, r"received \(3,\) and \(2,\)"),
        ([0, 2], {}, segeval.ArrayTypeError, "reference must be a mask.*values 0 to 2; compare a label map"),
        ([0.2, 1.0], {}, segeval.ArrayTypeError, "reference must hold integer labels; 1 voxels do not, such as 0.2"),
        ([0, 1], {"connectivity": 6}, segeval.MetricArgumentError, "one of face, edge, vertex; received 6"),
        ([0, 1], {"match": "dice"}, segeval.MetricArgumentError, "one of iou, overlap; received 'dice'"),
    ],
)
def test_faults_are_named(reference, arguments, error, message):
    with pytest.raises(error, match=message):
        match_lesions(reference, [0, 1], **arguments)


def test_a_match_is_a_value():
    with pytest.raises(AttributeError):
        match_lesions([1], [1]).found = 2
    assert isinstance(match_lesions([1], [1]), LesionMatch)
