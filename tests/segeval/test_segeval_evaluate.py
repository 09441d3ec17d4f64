import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from naive_metrics import overlap, surface

import segeval

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
    ],
)
def test_label_sets_are_checked(labels, message):
    with pytest.raises(segeval.MetricArgumentError, match=message):
        segeval.evaluate([0], [0], labels, (1,))


def test_shapes_types_and_spacing_are_checked():
    with pytest.raises(segeval.ShapeMismatchError):
        segeval.evaluate([0, 1], [0], {"a": 1}, (1,))
    with pytest.raises(segeval.ArrayTypeError, match="prediction"):
        segeval.evaluate([0, 1], [0.0, 1.0], {"a": 1}, (1,))
    with pytest.raises(segeval.MetricArgumentError, match="spacing_mm"):
        segeval.evaluate([0, 1], [0, 1], {"a": 1}, (1, 1))


def test_many_labels_and_all_integer_types():
    """300 labels need 16-bit class indices; every label has one voxel in its place, so every Dice is 1."""
    labels = {f"l{value}": value for value in range(1, 301)}
    for dtype in (np.uint16, np.int16, np.int64):
        array = np.arange(301, dtype=dtype)
        case = segeval.evaluate(array, array, labels, (1,))
        assert {score["dice"] for score in case.scores} == {1.0}
        assert case.confusion.tolist() == np.eye(301, dtype=int).tolist()
