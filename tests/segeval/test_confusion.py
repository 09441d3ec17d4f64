import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import segeval
from segeval.class_maps import class_indices
from segeval.confusion import confusion_of_labels
from tests.segeval.naive_metrics import count_pairs

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


@st.composite
def maps_with_long_runs(draw):
    """Like real label maps: long runs of one class, of different types in reference and prediction."""
    maps = []
    for _ in range(2):
        runs = draw(st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(1, 90)), min_size=1, max_size=6))
        dtype = draw(st.sampled_from([np.uint8, np.int8, np.int16, ">i2", np.int32, np.uint64, np.int64]))
        maps.append(np.repeat(*np.array(runs).T).astype(dtype))
    size = min(map(len, maps))
    return tuple(label_map[:size] for label_map in maps)


@given(maps_with_long_runs())
def test_long_runs_of_any_integer_type_are_counted_like_single_voxels(maps):
    assert segeval.confusion_matrix(*maps, CLASSES).tolist() == count_pairs(*maps, CLASSES)


@given(maps_with_long_runs(), st.integers(-1, CLASSES))
def test_ignored_runs_are_as_if_they_did_not_exist(maps, ignored):
    kept = maps[0] != ignored
    np.testing.assert_array_equal(
        segeval.confusion_matrix(*maps, CLASSES, ignore_label=ignored),
        segeval.confusion_matrix(maps[0][kept], maps[1][kept], CLASSES),
    )


@given(maps_with_long_runs(), st.booleans())
def test_labels_that_are_any_integers_are_counted_as_their_classes(maps, ignore):
    class_values, ignored = (0, 1, 5, 117), 117 if ignore else None
    labels = [np.array(class_values, np.uint8)[label_map.astype(np.intp)] for label_map in maps]
    labels[1][labels[0] == ignored] = 33  # what lies under an ignored voxel is not looked at
    expected = segeval.confusion_matrix(*maps, CLASSES, ignore_label=3 if ignore else None)
    np.testing.assert_array_equal(confusion_of_labels(*labels, class_values, ignored), expected)


@pytest.mark.parametrize("noisy", [False, True], ids=["long runs", "no runs"])
@pytest.mark.parametrize("num_classes", [2, 16, 17, 40, 300])
def test_more_voxels_than_a_chunk_holds_and_more_codes_than_a_byte(noisy, num_classes):
    """np.histogram2d counts in its own way; 200,003 voxels are more than one chunk and no multiple of anything."""
    rng = np.random.default_rng(num_classes)
    maps = rng.integers(0, num_classes, (2, 200_003))
    if not noisy:
        maps = np.sort(maps, axis=1)
    edges = np.arange(num_classes + 1)
    expected = np.histogram2d(*maps, bins=(edges, edges))[0]
    np.testing.assert_array_equal(segeval.confusion_matrix(*maps, num_classes), expected)


def test_no_temporary_of_the_size_of_the_volume():
    """Beside two maps of 8 MB, less than half of one: the bound is one chunk, whatever the volume."""
    reference, prediction = np.zeros((2, 200, 200, 200), np.uint8)
    reference[50:150, 50:150, 50:150] = prediction[60:150, 50:150, 50:150] = 3
    tracemalloc.start()
    segeval.confusion_matrix(reference, prediction, CLASSES)
    segeval.confusion_matrix(reference[:, :, ::-1], prediction.T, CLASSES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < reference.nbytes / 2


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
        for second in (
            prediction,
            np.asfortranarray(prediction),
            np.ascontiguousarray(prediction[::-1, :, ::-1])[::-1, :, ::-1],
            np.repeat(prediction, 2, axis=2)[:, :, ::2],
            np.ascontiguousarray(prediction.transpose(1, 2, 0)).transpose(2, 0, 1),
        ):
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
        ([0, 1], [0.0, 0.9], 2, segeval.ArrayTypeError, "prediction .* 1 voxels do not, such as 0.9; take the argmax"),
        ([0, 2.5], [0, 1], 2, segeval.ArrayTypeError, "reference .* such as 2.5; was it interpolated"),
        ([0, 1], [0, np.nan], 2, segeval.ArrayTypeError, "prediction .* NaN or infinite"),
        (["a"], [0], 2, segeval.ArrayTypeError, "reference must hold integer"),
        ([0, 4], [0, 1], 3, segeval.LabelRangeError, "reference must lie in 0 to 2.*received 4"),
        ([0, 1], [0, -1], 3, segeval.LabelRangeError, "prediction must lie in 0 to 2.*received -1"),
        ([0], [0], 0, segeval.MetricArgumentError, "at least 1; received 0"),
        ([0], [0], 2.0, segeval.MetricArgumentError, r"must be an integer, at least 1; received 2\.0"),
        ([0], [0], True, segeval.MetricArgumentError, "must be an integer, at least 1; received True"),
        ([0], [0], "2", segeval.MetricArgumentError, "must be an integer, at least 1; received '2'"),
    ],
)
def test_faults_are_named(reference, prediction, num_classes, error, message):
    with pytest.raises(error, match=message):
        segeval.confusion_matrix(reference, prediction, num_classes)


def test_predicting_the_ignore_label_where_the_reference_counts_is_a_fault():
    with pytest.raises(segeval.LabelRangeError, match="received 255"):
        segeval.confusion_matrix([0, 1], [0, 255], 2, ignore_label=255)


def test_a_fault_in_a_long_run_or_in_the_last_chunk_is_found():
    reference = np.zeros(300_000, np.int16)
    prediction = reference.copy()
    prediction[-1] = 2
    with pytest.raises(segeval.LabelRangeError, match=r"prediction must lie in 0 to 1.*received 2"):
        segeval.confusion_matrix(reference, prediction, 2)
    with pytest.raises(segeval.LabelRangeError, match=r"prediction must lie in 0 to 1.*received 2"):
        segeval.confusion_matrix(np.arange(300_000) % 2, prediction, 2)


def test_undeclared_labels_of_the_whole_map_are_listed():
    reference = np.zeros(300_000, np.int16)
    prediction = reference.copy()
    prediction[0], prediction[-5:], prediction[1000:2000] = -3, 300, 7
    for count in (
        lambda: confusion_of_labels(reference, prediction, (0, 5)),
        lambda: class_indices(prediction, (0, 5), "prediction"),
    ):
        with pytest.raises(segeval.LabelRangeError, match=r"prediction holds labels -3, 7, 300, not among.* 0, 5"):
            count()


@pytest.mark.parametrize("class_values", [(), (1, 0), (0, 0), (-1, 0)])
def test_class_values_must_ascend(class_values):
    with pytest.raises(segeval.MetricArgumentError, match="ascending"):
        confusion_of_labels([0], [0], class_values)


@given(arrays(np.int32, (3, 4, 5), elements=st.sampled_from([0, 1, 5, 117])), st.permutations(range(3)))
def test_class_indices_are_positions_whatever_the_memory_order(label_map, axes):
    indices = class_indices(label_map.transpose(axes), (0, 1, 5, 117), "reference")
    assert indices.dtype == np.uint8
    np.testing.assert_array_equal(np.array([0, 1, 5, 117])[indices], label_map.transpose(axes))


def test_class_indices_take_one_map_of_bytes():
    """A map of 8 MB in, one of 8 MB out, and nothing else of that size on the way."""
    label_map = np.full((200, 200, 200), 5, np.uint8)
    tracemalloc.start()
    class_indices(label_map, (0, 1, 5), "reference")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * label_map.nbytes


@pytest.mark.parametrize("matrix", [[1, 2], [[1, 2, 3], [4, 5, 6]]])
def test_matrix_must_be_square(matrix):
    with pytest.raises(segeval.ShapeMismatchError, match="square"):
        segeval.count_classes(matrix)


def test_matrix_of_floats_is_refused():
    with pytest.raises(segeval.ArrayTypeError, match="float64"):
        segeval.count_classes([[1.0, 0.0], [0.0, 1.0]])
