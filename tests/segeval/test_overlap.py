import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import segeval
from segeval.overlap import absolute_volume_difference_ml, long_et_al
from segeval.regions import region_counts
from tests.segeval.naive_metrics import overlap

CLASSES = 4
label_maps = arrays(np.uint8, (2, 3, 4, 2), elements=st.integers(0, CLASSES - 1))


@given(label_maps)
def test_metrics_agree_with_sets_of_voxels(maps):
    reference, prediction = maps
    matrix = segeval.confusion_matrix(reference, prediction, CLASSES)
    metrics = (segeval.dice, segeval.jaccard, segeval.precision, segeval.sensitivity)
    for label in range(CLASSES):
        ours = [metric(matrix)[label] for metric in metrics]
        np.testing.assert_allclose(ours, overlap(reference, prediction, label), rtol=1e-12)


@given(label_maps)
def test_specificity_is_the_sensitivity_of_the_complement(maps):
    reference, prediction = maps
    specificity = segeval.specificity(segeval.confusion_matrix(reference, prediction, CLASSES))
    for label in range(CLASSES):
        complement = overlap(reference != label, prediction != label, True)[3]
        np.testing.assert_allclose(specificity[label], complement, rtol=1e-12)


@given(label_maps)
def test_dice_follows_from_jaccard(maps):
    matrix = segeval.confusion_matrix(*maps, CLASSES)
    jaccard = segeval.jaccard(matrix)
    np.testing.assert_allclose(segeval.dice(matrix), 2 * jaccard / (1 + jaccard), rtol=1e-12)


@given(label_maps)
def test_dice_and_jaccard_are_symmetric_and_precision_mirrors_sensitivity(maps):
    matrix = segeval.confusion_matrix(*maps, CLASSES)
    np.testing.assert_array_equal(segeval.dice(matrix), segeval.dice(matrix.T))
    np.testing.assert_array_equal(segeval.jaccard(matrix), segeval.jaccard(matrix.T))
    np.testing.assert_array_equal(segeval.precision(matrix), segeval.sensitivity(matrix.T))


@given(label_maps, st.permutations(range(CLASSES)))
def test_averages_do_not_depend_on_the_order_of_classes(maps, order):
    matrix = segeval.confusion_matrix(*maps, CLASSES)
    shuffled = matrix[np.ix_(order, order)]
    for metric in (
        segeval.pixel_accuracy,
        segeval.mean_accuracy,
        segeval.mean_iou,
        segeval.frequency_weighted_iou,
    ):
        assert metric(shuffled) == pytest.approx(metric(matrix), rel=1e-12)


@given(label_maps)
def test_counts_may_be_summed_before_dice(maps):
    reference, prediction = maps
    summed = sum(segeval.class_counts(r, p, CLASSES) for r, p in zip(reference, prediction, strict=True))
    whole = segeval.dice(segeval.confusion_matrix(reference, prediction, CLASSES))
    np.testing.assert_array_equal(segeval.dice_from_counts(summed), whole)


@given(label_maps)
def test_volumes_agree_with_counting_each_mask(maps):
    matrix = segeval.confusion_matrix(*maps, CLASSES)
    for label in range(CLASSES):
        n_ref, n_pred = (int((label_map == label).sum()) for label_map in maps)
        similarity = 1 - abs(n_ref - n_pred) / (n_ref + n_pred) if n_ref + n_pred else math.nan
        assert segeval.volume_similarity(matrix)[label] == pytest.approx(similarity, nan_ok=True)
        assert absolute_volume_difference_ml(matrix, 0.003)[label] == pytest.approx(abs(n_ref - n_pred) * 0.003)


@given(label_maps, st.sets(st.integers(0, CLASSES - 1), min_size=1))
def test_a_region_is_the_union_of_its_labels(maps, region):
    class_values = (0, 1, 5, 117)
    labels = np.array(class_values)[maps]
    wanted = [class_values[index] for index in region]
    a, b = np.isin(labels, wanted)
    counts = region_counts(segeval.confusion_matrix(*maps, CLASSES), class_values, wanted)
    assert counts == ((a & b).sum(), (~a & b).sum(), (a & ~b).sum(), (~a & ~b).sum())
    assert counts.confusion.tolist() == segeval.confusion_matrix(a, b, 2).tolist()


@given(st.lists(label_maps, min_size=1, max_size=4))
def test_a_stack_of_matrices_is_scored_like_each_of_them(pairs):
    """Also their weighted sums, and in a matrix of so many classes, most of them empty, that arrays compute it."""
    stack = np.array([segeval.confusion_matrix(*maps, CLASSES) for maps in pairs])
    shaped = segeval.overlap_scores(0.25 * stack.reshape(1, len(pairs), 1, CLASSES, CLASSES))
    for number, matrix in enumerate(stack):
        padded = segeval.overlap_scores(np.pad(matrix, (0, 20)))
        for name, values in segeval.overlap_scores(matrix).items():
            assert isinstance(values, np.ndarray | np.float64)
            np.testing.assert_allclose(shaped[name][0, number, 0], values, rtol=1e-12)
            np.testing.assert_allclose(np.atleast_1d(padded[name])[:CLASSES], values, rtol=1e-12)


@given(label_maps)
def test_long_et_al_agrees_with_their_definitions_written_out(maps):
    """n_ij as a plain list, sums as in section 5 of the paper; classes without pixels left out as in score.py."""
    n = segeval.confusion_matrix(*maps, CLASSES).tolist()
    t = [sum(row) for row in n]
    p = [sum(column) for column in zip(*n, strict=True)]
    classes = range(CLASSES)
    iou = {i: n[i][i] / (t[i] + p[i] - n[i][i]) for i in classes if t[i] + p[i]}
    recall = {i: n[i][i] / t[i] for i in classes if t[i]}
    scores = long_et_al(n)
    assert scores["pixel_accuracy"] == pytest.approx(sum(n[i][i] for i in classes) / sum(t))
    assert scores["mean_accuracy"] == pytest.approx(sum(recall.values()) / len(recall))
    assert scores["mean_iou"] == pytest.approx(sum(iou.values()) / len(iou))
    assert scores["frequency_weighted_iou"] == pytest.approx(sum(t[i] * iou[i] for i in iou) / sum(t))


def test_a_perfect_prediction_scores_one_everywhere():
    matrix = segeval.confusion_matrix([0, 1, 2], [0, 1, 2], 3)
    for metric in (
        segeval.dice,
        segeval.jaccard,
        segeval.precision,
        segeval.sensitivity,
        segeval.specificity,
    ):
        assert metric(matrix).tolist() == [1, 1, 1]
    assert segeval.pixel_accuracy(matrix) == segeval.mean_accuracy(matrix) == segeval.mean_iou(matrix) == 1
    assert segeval.frequency_weighted_iou(matrix) == 1


@pytest.mark.parametrize("metric", [segeval.dice, segeval.jaccard, segeval.precision, segeval.sensitivity])
@pytest.mark.parametrize(
    ("reference", "prediction", "expected"),
    [([0, 0], [0, 0], math.nan), ([0, 1], [0, 0], 0.0), ([0, 0], [0, 1], 0.0)],
    ids=["both_empty", "prediction_empty", "reference_empty"],
)
def test_empty_structures(metric, reference, prediction, expected):
    value = metric(segeval.confusion_matrix(reference, prediction, 2))[1]
    assert value == pytest.approx(expected, nan_ok=True)


def test_specificity_of_an_absent_class_is_one_and_of_a_filled_image_nan():
    assert segeval.specificity(segeval.confusion_matrix([0, 0], [0, 0], 2)).tolist()[1] == 1
    assert math.isnan(segeval.specificity(segeval.confusion_matrix([1, 1], [1, 1], 2))[1])
    assert segeval.specificity(segeval.confusion_matrix([1, 1], [1, 0], 2))[1] == 0


def test_a_missed_structure_lowers_the_mean_and_an_absent_one_does_not():
    missed = segeval.mean_over_classes(segeval.dice(segeval.confusion_matrix([0, 1], [0, 0], 2)))
    absent = segeval.mean_over_classes(segeval.dice(segeval.confusion_matrix([0, 0], [0, 0], 2)))
    assert missed == (pytest.approx((2 / 3 + 0) / 2), 2, 0)
    assert absent == (1.0, 1, 1)


def test_nothing_to_average_is_nan():
    empty = np.zeros((3, 3), np.int64)
    mean, n, left_out = segeval.mean_over_classes(segeval.dice(empty))
    assert math.isnan(mean)
    assert (n, left_out) == (0, 3)
    for metric in (
        segeval.pixel_accuracy,
        segeval.mean_accuracy,
        segeval.mean_iou,
        segeval.frequency_weighted_iou,
    ):
        assert math.isnan(metric(empty))


def test_counts_of_a_whole_archive_do_not_overflow_or_round():
    """2**40 voxels: Dice = 2·2**39 / (2**40 + 2**39) = 2/3."""
    assert segeval.dice_from_counts([2**39, 2**40, 2**39]) == pytest.approx(2 / 3, rel=1e-15)


def test_counts_next_to_2_to_the_53_stay_exact():
    """In float64 2**53 + 1 is 2**53: one false negative among them must not be lost, nor one voxel of a region."""
    matrix = [[2**53 + 1, 0, 0], [1, 2**53 + 1, 0], [0, 0, 2**31 + 1]]
    assert region_counts(matrix, (0, 1, 2), (1,)) == (2**53 + 1, 0, 1, 2**53 + 2**31 + 2)
    assert region_counts(matrix, (0, 1, 2), (1, 2)) == (2**53 + 2**31 + 2, 0, 1, 2**53 + 1)
    assert absolute_volume_difference_ml(matrix, 1.0).tolist() == [1, 1, 0]
    assert segeval.count_classes(matrix)[1].tolist() == [2**53 + 1, 2**53 + 2, 2**53 + 1]


@pytest.mark.parametrize(
    ("class_values", "region", "message"),
    [
        ((0, 1), (1, 2), "made of the classes"),
        ((0, 1), (), "at least one"),
        ((0, 1, 2), (1,), "each of the 2 rows"),
    ],
)
def test_a_region_is_made_of_the_classes(class_values, region, message):
    with pytest.raises(segeval.MetricArgumentError, match=message):
        region_counts([[1, 0], [0, 1]], class_values, region)


def test_a_voxel_has_no_negative_volume():
    with pytest.raises(segeval.MetricArgumentError, match=r"received -0\.1"):
        absolute_volume_difference_ml([[1]], -0.1)


def test_a_stack_must_be_of_square_matrices():
    with pytest.raises(segeval.ShapeMismatchError, match=r"received shape \(3, 2, 4\)"):
        long_et_al(np.zeros((3, 2, 4)))


@pytest.mark.parametrize("shape", [(2, 2), (2, 4), (4,), (3, 1), (0,), ()])
def test_counts_need_their_three_columns(shape):
    """With a fourth one the first three would be taken, and nothing would look wrong."""
    with pytest.raises(segeval.ShapeMismatchError, match=rf"axis of 3 .*; received {re.escape(str(shape))}"):
        segeval.dice_from_counts(np.ones(shape, int))


# Published vectors ---------------------------------------------------------------------------------


def torchmetrics_3047():
    reference = np.zeros((9, 10), int)
    reference[1:4, 1:4], reference[1:4, 6:9], reference[4, :] = 1, 3, 5
    reference[5:8, 1:4], reference[5:8, 6:9] = 2, 4
    prediction = reference.copy()
    prediction[3, 1:4], prediction[4, 5:] = 5, 0
    return segeval.confusion_matrix(reference, prediction, 6)


def test_torchmetrics_issue_3047():
    matrix = torchmetrics_3047()
    np.testing.assert_allclose(segeval.jaccard(matrix)[1:], [0.6667, 1, 1, 1, 0.3846], atol=5e-5)
    assert segeval.pixel_accuracy(matrix) == pytest.approx(0.911111, abs=5e-7)
    assert segeval.mean_accuracy(matrix) == pytest.approx(0.861111, abs=5e-7)
    assert segeval.mean_iou(matrix) == pytest.approx(0.824874, abs=5e-7)
    assert segeval.frequency_weighted_iou(matrix) == pytest.approx(0.848404, abs=5e-7)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_keras_mean_iou(num_classes):
    matrix = segeval.confusion_matrix([0, 0, 1, 1], [0, 1, 0, 1], num_classes)
    assert segeval.mean_iou(matrix) == pytest.approx(1 / 3)


def test_keras_mean_iou_with_an_ignored_class():
    matrix = segeval.confusion_matrix([0, 1, 2, 255], [0, 1, 1, 1], 3, ignore_label=255)
    assert segeval.mean_iou(matrix) == pytest.approx(0.5)


def test_monai_mean_dice():
    matrix = segeval.confusion_matrix([[1, 0], [1, 1]], [[1, 0], [0, 1]], 2)
    assert segeval.dice(matrix)[1] == pytest.approx(0.8)


def test_torchmetrics_global_dice():
    """Channels 1 and 3 of two samples, pooled: macro .2909 leaves out the two channels that are empty."""
    shape = (3, 4, 10, 10)
    reference, prediction = np.zeros(shape, int), np.zeros(shape, int)
    reference[0, 1, :4, :4] = reference[0, 3, 4:, 4:] = 1
    prediction[0, 1, :2, :2] = prediction[0, 3, 8:, 8:] = prediction[1, 3, :2, :2] = 1
    counts = np.stack([segeval.class_counts(reference[:, c], prediction[:, c], 2)[1] for c in range(4)])
    assert segeval.dice_from_counts(counts.sum(axis=0)) == pytest.approx(0.25)
    assert segeval.mean_over_classes(segeval.dice_from_counts(counts)) == (
        pytest.approx(0.2909, abs=5e-5),
        2,
        2,
    )


def test_metrics_reloaded_inner_square():
    reference, prediction = np.zeros((14, 14), int), np.zeros((14, 14), int)
    reference[5:9, 5:9], prediction[6:8, 6:8] = 1, 1
    (tn, fp), (fn, tp) = segeval.confusion_matrix(reference, prediction, 2)
    assert (tp, fp, fn, tn) == (4, 0, 12, 180)
