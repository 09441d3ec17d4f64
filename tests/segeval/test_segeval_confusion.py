import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from naive_metrics import count_pairs

import segeval

CLASSES = 4
label_maps = st.integers(0, 40).flatmap(
    lambda size: st.tuples(
        arrays(np.int16, size, elements=st.integers(0, CLASSES - 1)),
        arrays(np.uint8, size, elements=st.integers(0, CLASSES - 1)),
    )
)


@given(label_maps)
def test_matrix_agrees_with_counting_voxel_by_voxel(maps):
    matrix = segeval.confusion_matrix(*maps, CLASSES)
    assert matrix.dtype == np.int64
    assert matrix.tolist() == count_pairs(*maps, CLASSES)


@given(label_maps)
def test_swapping_reference_and_prediction_transposes(maps):
    reference, prediction = maps
    forward = segeval.confusion_matrix(reference, prediction, CLASSES)
    np.testing.assert_array_equal(segeval.confusion_matrix(prediction, reference, CLASSES), forward.T)


@given(label_maps, st.permutations(range(CLASSES)))
def test_renaming_the_classes_permutes_rows_and_columns(maps, order):
    names = np.array(order)
    reference, prediction = maps
    renamed = segeval.confusion_matrix(names[reference], names[prediction], CLASSES)
    np.testing.assert_array_equal(renamed[np.ix_(names, names)], segeval.confusion_matrix(*maps, CLASSES))


@given(st.lists(label_maps, min_size=1, max_size=4))
def test_matrices_of_parts_add_up_to_that_of_the_whole(parts):
    whole = segeval.confusion_matrix(*(np.concatenate(side) for side in zip(*parts, strict=True)), CLASSES)
    np.testing.assert_array_equal(sum(segeval.confusion_matrix(*part, CLASSES) for part in parts), whole)


@given(label_maps)
def test_class_counts_are_intersection_reference_and_prediction(maps):
    reference, prediction = maps
    counts = segeval.class_counts(reference, prediction, CLASSES)
    assert counts.dtype == np.int64
    for label in range(CLASSES):
        a, b = reference == label, prediction == label
        assert counts[label].tolist() == [int((a & b).sum()), int(a.sum()), int(b.sum())]


@given(label_maps, st.integers(0, CLASSES - 1))
def test_ignored_voxels_are_as_if_they_did_not_exist(maps, ignored):
    reference, prediction = maps
    kept = reference != ignored
    np.testing.assert_array_equal(
        segeval.confusion_matrix(reference, prediction, CLASSES, ignore_label=ignored),
        segeval.confusion_matrix(reference[kept], prediction[kept], CLASSES),
    )


def test_a_negative_ignore_label_as_in_padded_training_batches():
    assert segeval.class_counts([0, -1, 1], [0, 1, 1], 2, ignore_label=-1).tolist() == [[1, 1, 1], [1, 1, 1]]


def test_memory_order_does_not_matter():
    rng = np.random.default_rng(0)
    reference, prediction = rng.integers(0, 3, (2, 5, 6, 7))
    expected = segeval.confusion_matrix(reference, prediction, 3)
    for first in (reference, np.asfortranarray(reference)):
        for second in (prediction, np.asfortranarray(prediction), prediction[::-1][::-1]):
            np.testing.assert_array_equal(segeval.confusion_matrix(first, second, 3), expected)


def test_counts_beyond_what_float32_can_hold():
    """MONAI's test_compute_confusion_matrix.py: 1024 × 1024 × 44 zeros give TN 46137344, above 2**24."""
    zeros = np.zeros((1024, 1024, 44), np.uint8)
    assert segeval.confusion_matrix(zeros, zeros, 2).tolist() == [[46137344, 0], [0, 0]]


def test_neither_input_is_changed():
    reference, prediction = np.array([0, 1, 255], np.uint8), np.array([1, 1, 7], np.uint8)
    segeval.confusion_matrix(reference, prediction, 2, ignore_label=255)
    assert reference.tolist() == [0, 1, 255]
    assert prediction.tolist() == [1, 1, 7]


@pytest.mark.parametrize(
    ("reference", "prediction", "num_classes", "error", "message"),
    [
        ([[0, 1]], [0, 1], 2, segeval.ShapeMismatchError, r"received \(1, 2\) and \(2,\)"),
        (np.zeros((1, 5), int), np.zeros((5, 5), int), 2, segeval.ShapeMismatchError, "same shape"),
        ([0, 1], [0.0, 1.0], 2, segeval.ArrayTypeError, "prediction.*float64; take the argmax"),
        (["a"], [0], 2, segeval.ArrayTypeError, "reference must hold integer"),
        ([0, 4], [0, 1], 3, segeval.LabelRangeError, "reference must lie in 0 to 2.*received 4"),
        ([0, 1], [0, -1], 3, segeval.LabelRangeError, "prediction must lie in 0 to 2.*received -1"),
        ([0], [0], 0, segeval.MetricArgumentError, "at least 1; received 0"),
    ],
)
def test_faults_are_named(reference, prediction, num_classes, error, message):
    with pytest.raises(error, match=message):
        segeval.confusion_matrix(reference, prediction, num_classes)


def test_predicting_the_ignore_label_where_the_reference_counts_is_a_fault():
    with pytest.raises(segeval.LabelRangeError, match="received 255"):
        segeval.confusion_matrix([0, 1], [0, 255], 2, ignore_label=255)


@pytest.mark.parametrize("matrix", [[1, 2], [[1, 2, 3], [4, 5, 6]]])
def test_matrix_must_be_square(matrix):
    with pytest.raises(segeval.ShapeMismatchError, match="square"):
        segeval.count_classes(matrix)


def test_matrix_of_floats_is_refused():
    with pytest.raises(segeval.ArrayTypeError, match="float64"):
        segeval.count_classes([[1.0, 0.0], [0.0, 1.0]])
