import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import segeval
from segeval.accumulator import OverlapAccumulator
from tests.segeval.naive_metrics import count_pairs, overlap

CLASSES = 3
batches = st.lists(
    arrays(np.uint8, st.tuples(st.just(2), st.integers(0, 3), st.integers(1, 4)), elements=st.integers(0, CLASSES - 1)),
    min_size=1,
    max_size=5,
)


def accumulate(batches, ignore_label=None):
    accumulator = OverlapAccumulator(CLASSES, ignore_label)
    for reference, prediction in batches:
        accumulator.update(reference, prediction)
    return accumulator


@given(batches, st.sampled_from([None, 0, 2]))
def test_batches_one_by_one_are_the_whole_at_once(batches, ignore_label):
    whole = [np.concatenate([batch[side].ravel() for batch in batches]) for side in (0, 1)]
    if ignore_label is not None:
        whole = [side[whole[0] != ignore_label] for side in whole]
    assert accumulate(batches, ignore_label).confusion.tolist() == count_pairs(*whole, CLASSES)


@given(batches, st.data())
def test_workers_merged_in_any_order_are_one_loop(batches, data):
    workers = [OverlapAccumulator(CLASSES) for _ in range(3)]
    for batch in batches:
        workers[data.draw(st.integers(0, 2))].update(*batch)
    first, second, third = data.draw(st.permutations(workers))
    second.merge(third)
    first.merge(second)
    np.testing.assert_array_equal(first.confusion, accumulate(batches).confusion)


@given(batches)
def test_the_sum_of_matrices_is_a_merged_accumulator(batches):
    """What Horovod does: sum the matrices, then go on from the sum."""
    summed = sum(accumulate([batch]).confusion for batch in batches)
    result = OverlapAccumulator.from_confusion(summed).result()
    np.testing.assert_array_equal(result.dice, accumulate(batches).result().dice)


@given(batches)
@pytest.mark.slow
def test_results_agree_with_sets_of_voxels(batches):
    reference, prediction = (np.concatenate([batch[side].ravel() for batch in batches]) for side in (0, 1))
    result = accumulate(batches).result()
    for label in range(CLASSES):
        ours = (result.dice, result.jaccard, result.precision, result.sensitivity)
        expected = overlap(reference, prediction, label)
        np.testing.assert_allclose([values[label] for values in ours], expected, rtol=1e-12)
    right = (reference == prediction).mean() if reference.size else math.nan
    assert result.pixel_accuracy == pytest.approx(right, nan_ok=True)


def test_every_result_of_a_matrix_counted_by_hand():
    """Rows [6 2], [1 3]: background IoU 6/9, lesion IoU 3/6, Dice 6/9; t = 8 and 4."""
    result = OverlapAccumulator.from_confusion([[6, 2], [1, 3]]).result()
    assert result.foreground_dice == result.dice[1] == pytest.approx(6 / 9)
    assert result.specificity[1] == pytest.approx(6 / 8)
    assert result.pixel_accuracy == pytest.approx(9 / 12)
    assert result.mean_accuracy == pytest.approx((6 / 8 + 3 / 4) / 2)
    assert result.mean_iou == pytest.approx((6 / 9 + 3 / 6) / 2)
    assert result.frequency_weighted_iou == pytest.approx((8 * 6 / 9 + 4 * 3 / 6) / 12)


@pytest.mark.parametrize("counts", [2**31 - 1, 2**31, 2**53 - 1, 2**53, 2**62])
def test_one_more_voxel_counts_whatever_has_been_counted(counts):
    """In float32 one voxel is lost from 2**24 on, in int32 from 2**31, in float64 from 2**53."""
    accumulator = OverlapAccumulator.from_confusion([[counts, 0], [0, 7]])
    accumulator.update([0, 1], [0, 0])
    other = OverlapAccumulator(2)
    other.update([0], [0])
    accumulator.merge(other)
    assert accumulator.confusion.tolist() == [[counts + 2, 0], [1, 7]]


def test_a_result_does_not_change_with_later_updates():
    accumulator = accumulate([([0, 1], [0, 1])])
    result, counts = accumulator.result(), accumulator.confusion
    accumulator.update([1], [0])
    assert result.dice.tolist()[:2] == [1, 1]
    assert counts.sum() == 2
    counts[:] = 0
    assert accumulator.confusion.sum() == 3
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.confusion = counts


def test_starting_from_counts_leaves_them_alone():
    counts = np.array([[1, 0], [0, 1]])
    OverlapAccumulator.from_confusion(counts).update([0], [0])
    assert counts.tolist() == [[1, 0], [0, 1]]


def test_a_batch_with_a_fault_is_not_half_counted():
    accumulator = OverlapAccumulator(2)
    with pytest.raises(segeval.LabelRangeError):
        accumulator.update(np.arange(300_000) // 299_999 * 2, np.zeros(300_000, int))
    assert accumulator.confusion.sum() == 0


def test_nothing_counted_has_no_value():
    result = OverlapAccumulator(3).result()
    assert math.isnan(result.foreground_dice)
    assert math.isnan(result.mean_iou)


def test_faults_are_named():
    for num_classes in (0, 2.0, True, None):
        with pytest.raises(segeval.MetricArgumentError, match=f"an integer, at least 1; received {num_classes}"):
            OverlapAccumulator(num_classes)
    with pytest.raises(
        segeval.MetricArgumentError, match=r"same num_classes and ignore_label.*\(2, None\) and \(2, 1\)"
    ):
        OverlapAccumulator(2).merge(OverlapAccumulator(2, ignore_label=1))
    with pytest.raises(segeval.MetricArgumentError, match="no negative counts; received -1"):
        OverlapAccumulator.from_confusion([[0, -1], [0, 0]])
    with pytest.raises(segeval.ArrayTypeError, match="float64"):
        OverlapAccumulator.from_confusion([[0.5]])
