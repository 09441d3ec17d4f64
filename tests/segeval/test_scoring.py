import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import segeval
from tests.segeval.naive_metrics import overlap, surface

LABELS = {"background": 0, "core": 2, "rim": 40}
values = st.sampled_from([0, 2, 40])


@given(arrays(np.uint8, (2, 4, 5, 3), elements=values))
def test_every_score_agrees_with_the_naive_metrics(maps):
    reference, prediction = maps
    spacing_mm = (0.5, 1.0, 3.0)
    case = segeval.evaluate(reference, prediction, LABELS, spacing_mm)
    assert [(score.label, score.label_name) for score in case.scores] == [(2, "core"), (40, "rim")]
    for score in case.scores:
        a, b = reference == score.label, prediction == score.label
        dice, jaccard, _, _ = overlap(reference, prediction, score.label)
        _, hd95_mm, assd_mm, _ = surface(a, b, spacing_mm, 1.0)
        np.testing.assert_allclose(
            [score["dice"], score["jaccard"], score["hd95_mm"], score["assd_mm"]],
            [dice, jaccard, hd95_mm, assd_mm],
            rtol=1e-9,
            atol=1e-12,
        )
        assert (score.tp, score.fp) == ((a & b).sum(), (~a & b).sum())
        assert (score.fn, score.tn) == ((a & ~b).sum(), (~a & ~b).sum())
        assert (score.n_ref, score.n_pred) == (a.sum(), b.sum())
        assert score.reference_ml == pytest.approx(a.sum() * 1.5 / 1000)
        assert score.prediction_ml == pytest.approx(b.sum() * 1.5 / 1000)


@given(arrays(np.uint8, (2, 4, 5, 3), elements=values))
def test_order_and_integers_of_the_labels_do_not_matter(maps):
    renumber = np.zeros(41, np.int32)
    renumber[2], renumber[40] = 7, 3
    before = {s.label_name: s for s in segeval.evaluate(*maps, LABELS, (1, 1, 1)).scores}
    after = {s.label_name: s for s in segeval.evaluate(*renumber[maps], {"core": 7, "rim": 3}, (1, 1, 1)).scores}
    for name in ("core", "rim"):
        assert after[name]["dice"] == pytest.approx(before[name]["dice"], nan_ok=True)
        assert after[name]["hd95_mm"] == pytest.approx(before[name]["hd95_mm"], nan_ok=True)


@pytest.mark.parametrize(
    ("reference", "prediction", "status", "dice", "hd95_mm"),
    [
        ([0, 1, 1], [0, 1, 0], "measured", 2 / 3, 0.95),
        ([0, 1, 1], [0, 0, 0], "prediction_empty", 0, 3),
        ([0, 0, 0], [0, 1, 0], "reference_empty", 0, 3),
        ([0, 0, 0], [0, 0, 0], "both_empty", math.nan, math.nan),
    ],
)
def test_status_says_what_a_value_is(reference, prediction, status, dice, hd95_mm):
    """Distances of [0 1 1] to [0 1 0] are 0 and 1: their 95th percentile is 0.95; the diagonal is 3 mm."""
    score = segeval.evaluate(reference, prediction, {"a": 1}, spacing_mm=(1.0,)).scores[0]
    assert score.status == status
    assert (score["dice"], score["hd95_mm"]) == pytest.approx((dice, hd95_mm), nan_ok=True)


def test_a_plane_has_no_volume():
    score = segeval.evaluate([[1]], [[1]], {"a": 1}, (1, 1)).scores[0]
    assert math.isnan(score.reference_ml)
    assert score["dice"] == 1


def test_a_prediction_of_255_where_labels_are_0_and_1_is_named():
    with pytest.raises(segeval.LabelRangeError, match=r"prediction holds label 255, not among.*labels 0, 1"):
        segeval.evaluate([0, 1], [0, 255], {"a": 1}, (1,))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, "at least one label"),
        ({"background": 0}, "at least one label"),
        ({"a": 1, "b": 1}, "an integer each of their own"),
        ({"a": -1}, "received -1"),
        ({"a": 70000}, "0 to 65535"),
        ({"a": 1.5}, "received 1.5"),
        ({"a": True}, "received True"),
        (["a"], r"must be a mapping such as {\"liver\": 1}; received \['a'\]"),
        (None, "must be a mapping"),
    ],
)
def test_label_sets_are_checked(labels, message):
    with pytest.raises(segeval.MetricArgumentError, match=message):
        segeval.evaluate([0], [0], labels, (1,))


def test_shapes_types_and_spacing_are_checked():
    with pytest.raises(segeval.ShapeMismatchError):
        segeval.evaluate([0, 1], [0], {"a": 1}, (1,))
    with pytest.raises(segeval.ArrayTypeError, match="prediction"):
        segeval.evaluate([0, 1], [0.0, 0.8], {"a": 1}, (1,))
    with pytest.raises(segeval.MetricArgumentError, match="spacing_mm"):
        segeval.evaluate([0, 1], [0, 1], {"a": 1}, (1, 1))
    for ignore_label in (1.5, "9", True):
        with pytest.raises(segeval.MetricArgumentError, match="ignore_label must be an integer, or None; received"):
            segeval.evaluate([0, 1], [0, 1], {"a": 1}, (1,), ignore_label=ignore_label)


@pytest.mark.parametrize("metrics", [("dice",), ("dice", "hd95_mm"), ("lesion_f1",)])
@pytest.mark.parametrize("axes", [0, 4])
@pytest.mark.parametrize("value", [0, 1])
def test_an_image_has_one_to_three_axes_whatever_is_in_it_and_asked_for(axes, value, metrics):
    image = np.full((2,) * axes, value)
    with pytest.raises(segeval.MetricArgumentError, match="1 to 3 axes; received shape"):
        segeval.evaluate(image, image, {"a": 1}, (1.0,) * axes, metrics=metrics)


def test_many_labels_and_all_integer_types():
    """300 labels need 16-bit class indices; every label has one voxel in its place, so every Dice is 1."""
    labels = {f"l{value}": value for value in range(1, 301)}
    for dtype in (np.uint16, np.int16, np.int64):
        array = np.arange(301, dtype=dtype)
        case = segeval.evaluate(array, array, labels, (1,))
        assert {score["dice"] for score in case.scores} == {1.0}
        assert case.confusion.tolist() == np.eye(301, dtype=int).tolist()


@given(arrays(np.uint8, (2, 3, 5, 4), elements=st.sampled_from([0, 1, 2, 3])))
def test_a_region_scores_as_the_mask_of_its_union(maps):
    labels = {"whole": (1, 2, 3), "core": (3, 1), "rim": 2}
    scores = segeval.evaluate(*maps, labels, (1.0, 2.0, 0.5)).scores
    assert [score.label for score in scores] == [(1, 2, 3), (1, 3), 2]
    assert [score.key for score in scores] == ["(1, 2, 3)", "(1, 3)", "2"]
    for score, members in zip(scores, ([1, 2, 3], [1, 3], [2]), strict=True):
        masks = [np.isin(label_map, members).astype(np.uint8) for label_map in maps]
        alone = segeval.evaluate(*masks, {"mask": 1}, (1.0, 2.0, 0.5)).scores[0]
        assert score.values == pytest.approx(alone.values, nan_ok=True)
        assert (score.status, score.tp, score.fp, score.fn, score.tn) == (
            *(alone.status, alone.tp, alone.fp, alone.fn),
            alone.tn,
        )


@given(arrays(np.uint8, (2, 3, 5, 4), elements=st.sampled_from([0, 1, 2])), st.integers(0, 59))
def test_ignored_voxels_count_nowhere_whatever_is_predicted_there(maps, first):
    """Ignoring voxels is the same as setting both maps to background there, but for the background's count."""
    reference, prediction = maps
    ignored = np.zeros(60, bool)
    ignored[first : first + 20] = True
    ignored = ignored.reshape(reference.shape)
    labels = {"a": 1, "b": 2}
    case = segeval.evaluate(np.where(ignored, 9, reference), prediction, labels, (1, 1, 1), ignore_label=9)
    without = segeval.evaluate(np.where(ignored, 0, reference), np.where(ignored, 0, prediction), labels, (1, 1, 1))
    assert case.confusion.sum() == (~ignored).sum()
    np.testing.assert_array_equal(case.confusion[1:], without.confusion[1:])
    for score, other in zip(case.scores, without.scores, strict=True):
        assert score["hd95_mm"] == pytest.approx(other["hd95_mm"], nan_ok=True)
        assert score["dice"] == pytest.approx(other["dice"], nan_ok=True)
        assert score.tn == other.tn - ignored.sum()


def test_an_ignored_label_may_be_anything_in_the_prediction_but_no_label_of_ours():
    case = segeval.evaluate([0, 1, 255], [0, 1, 77], {"a": 1}, (1,), ignore_label=255)
    assert case.scores[0]["dice"] == 1
    assert case.pixel_accuracy == 1
    with pytest.raises(segeval.MetricArgumentError, match="must not contain ignore_label 1"):
        segeval.evaluate([0, 1], [0, 1], {"a": 1}, (1,), ignore_label=1)
    with pytest.raises(segeval.LabelRangeError, match="reference holds label 255"):
        segeval.evaluate([0, 1, 255], [0, 1, 1], {"a": 1}, (1,))


def test_the_metrics_of_a_whole_image_count_the_background():
    """[[3, 1], [0, 2]]: 5 of 6 voxels right; classes 3/4 and 1 found; IoU 3/4 and 2/3; weighted by 4/6 and 2/6."""
    case = segeval.evaluate([0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1], {"a": 1}, (1,))
    assert case.pixel_accuracy == pytest.approx(5 / 6)
    assert case.mean_accuracy == pytest.approx(7 / 8)
    assert case.mean_iou == pytest.approx(17 / 24)
    assert case.frequency_weighted_iou == pytest.approx((4 * 3 / 4 + 2 * 2 / 3) / 6)
    assert case.image == pytest.approx(
        {
            "pixel_accuracy": 5 / 6,
            "mean_accuracy": 7 / 8,
            "mean_iou": 17 / 24,
            "frequency_weighted_iou": (4 * 3 / 4 + 2 * 2 / 3) / 6,
        }
    )


def test_volumes_and_their_difference_are_in_millilitres():
    """30 against 10 voxels of 1 x 2 x 5 mm, which are 0.01 ml each."""
    reference, prediction = np.zeros((2, 3, 5, 5), np.uint8)
    reference[:2, :3], prediction[0, :2] = 1, 1
    score = segeval.evaluate(reference, prediction, {"a": 1}, (1.0, 2.0, 5.0)).scores[0]
    assert (score.reference_ml, score.prediction_ml) == pytest.approx((0.3, 0.1))
    assert score["absolute_volume_difference_ml"] == pytest.approx(0.2)
    assert score["volume_similarity"] == pytest.approx(1 - 20 / 40)


@pytest.mark.parametrize("kind", ["missed", "absent", "present"])
def test_a_missing_prediction_is_scored_worst_on_every_label(kind):
    reference = {"missed": [0, 1, 1, 0], "absent": [0, 0, 0, 0], "present": [1, 1, 1, 1]}[kind]
    score = segeval.evaluate_missing(reference, {"a": 1}, (2.0,)).scores[0]
    assert score.status == "prediction_missing"
    for name, value in score.values.items():
        metric = segeval.METRICS[name]
        if metric.unit != "ml":  # a line has no volume
            assert value == {("higher", ""): 0, ("lower", "mm"): 8, ("lower", ""): 1}[metric.better, metric.unit]
    assert (score.n_ref, score.n_pred) == (sum(reference), 0)


def test_the_background_of_a_missing_prediction_earns_nothing():
    """Nine voxels of ten are background: predicted as such they would be an accuracy of 0.9."""
    case = segeval.evaluate_missing([0] * 9 + [1], {"a": 1}, (1.0,))
    assert set(case.image.values()) == {0.0}
    assert case.pixel_accuracy == case.mean_iou == 0
    assert case.confusion.tolist() == [[9, 0], [1, 0]]


@pytest.mark.parametrize("on_empty", sorted(segeval.ON_EMPTY))
def test_a_missing_prediction_is_never_left_out_whatever_the_convention(on_empty):
    score = segeval.evaluate_missing(np.eye(3, dtype=int), {"a": 1}, (1, 1), on_empty=on_empty).scores[0]
    del score.values["absolute_volume_difference_ml"]  # a plane has no volume
    assert not any(math.isnan(value) for value in score.values.values())


@given(arrays(np.uint8, (2, 4, 4, 3), elements=st.sampled_from([0, 1])), st.integers(1, 5))
def test_a_spacing_of_twice_as_many_mm_doubles_mm_and_leaves_shares(maps, millimetres):
    before = segeval.evaluate(*maps, {"a": 1}, (1.0, millimetres, 2.5)).scores[0]
    after = segeval.evaluate(*maps, {"a": 1}, (2.0, 2 * millimetres, 5.0), tolerance_mm=2.0).scores[0]
    factors = {"mm": 2, "ml": 8, "": 1}
    for name, value in before.values.items():
        assert after[name] == pytest.approx(factors[segeval.METRICS[name].unit] * value, nan_ok=True), name


@given(arrays(np.uint8, (2, 4, 4, 3), elements=st.sampled_from([0, 1, 2])))
def test_symmetric_metrics_do_not_care_which_side_is_the_reference(maps):
    asymmetric = {"precision": "sensitivity", "sensitivity": "precision"}
    there = segeval.evaluate(*maps, {"a": 1, "b": 2}, (1.0, 2.0, 3.0)).scores
    back = segeval.evaluate(*maps[::-1], {"a": 1, "b": 2}, (1.0, 2.0, 3.0)).scores
    for one, other in zip(there, back, strict=True):
        for name, value in one.values.items():
            if name != "specificity":
                assert other[asymmetric.get(name, name)] == pytest.approx(value, nan_ok=True), name


def test_only_what_is_asked_for_is_measured():
    case = segeval.evaluate([0, 1], [0, 1], {"a": 1}, (1,), metrics=("nsd", "dice"))
    assert list(case.scores[0].values) == ["dice", "nsd"]
