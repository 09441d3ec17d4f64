import math

import numpy as np
import pytest

import segeval
from segeval.evaluation import EvaluatedCase, build_evaluation

OVERLAP = ("dice", "jaccard")
TWO = {"a": 1, "b": 2}
ONE_LABEL = segeval.build_settings(choices={"labels": {"a": 1}, "metrics": OVERLAP})


def evaluation_of(maps, labels=TWO, patients=None, **options):
    """Evaluate (reference, prediction) lists, one case each, named 0, 1, ..."""
    results = [segeval.evaluate(*pair, labels, (1.0,), metrics=OVERLAP) for pair in maps]
    cases = [
        EvaluatedCase(
            str(number), patients[number] if patients else str(number), None, "r", "p", result.scores, result.image
        )
        for number, result in enumerate(results)
    ]
    settings = segeval.build_settings(choices={"labels": labels, "metrics": OVERLAP, **options})
    return build_evaluation(settings, cases, [result.confusion for result in results])


MAPS = [
    ([1, 1, 2, 0, 0, 0], [1, 0, 2, 0, 0, 0]),  # a: 2/3, b: 1
    ([1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]),  # a: 1, b: in neither
    ([0, 2, 2, 2, 2, 0], [0, 2, 0, 0, 0, 1]),  # a: 0 (not in the reference), b: 2/5
]


def test_the_averages_by_their_names():
    evaluation = evaluation_of(MAPS)
    means = evaluation.means["dice"]
    assert (means["a"].mean, means["a"].n, means["a"].left_out) == (pytest.approx(5 / 9), 3, 0)
    assert (means["b"].mean, means["b"].n, means["b"].left_out) == (pytest.approx(0.7), 2, 1)
    assert evaluation.foreground["dice"].mean == pytest.approx((5 / 9 + 0.7) / 2)
    assert (evaluation.foreground["dice"].n, evaluation.foreground["dice"].left_out) == (5, 1)
    per_case = evaluation.per_case["dice"]
    assert (per_case.mean, per_case.n) == (pytest.approx((5 / 6 + 1 + 0.2) / 3), 3)
    # pooled: a has 2 of 3 + 2 + ... : tp 2, n_ref 3, n_pred 3; b: tp 2, n_ref 5, n_pred 2
    assert evaluation.pooled.labels["a"] == pytest.approx({"dice": 4 / 6, "jaccard": 2 / 4})
    assert evaluation.pooled.labels["b"] == pytest.approx({"dice": 4 / 7, "jaccard": 2 / 5})


def test_the_figures_of_long_et_al_per_image_and_pooled():
    evaluation = evaluation_of(MAPS)
    assert evaluation.images["pixel_accuracy"].mean == pytest.approx((5 / 6 + 1 + 2 / 6) / 3)
    pooled = evaluation.pooled.image["pixel_accuracy"]
    assert (pooled.mean, pooled.n, pooled.patients) == (pytest.approx(13 / 18), 3, 3)
    assert pooled.low <= pooled.mean <= pooled.high
    assert evaluation.pooled.classes == 3
    assert evaluation.pooled.confusion.tolist() == [[9, 1, 0], [1, 2, 0], [3, 0, 2]]


def test_pooled_intervals_resample_patients():
    """Two patients, all right and all wrong: the drawn accuracies are 0, 1/2 or 1, so the interval is all of it."""
    evaluation = evaluation_of([([1, 1], [1, 1]), ([1, 1], [0, 0])], {"a": 1})
    pooled = evaluation.pooled.image["pixel_accuracy"]
    assert (pooled.mean, pooled.low, pooled.high) == (0.5, 0, 1)
    same = evaluation_of([([1, 1], [1, 1]), ([1, 1], [0, 0])], {"a": 1}, patients=["p", "p"])
    assert math.isnan(same.pooled.image["pixel_accuracy"].low)
    assert same.pooled.image["pixel_accuracy"].patients == 1
    assert any("fewer than two patients" in warning for warning in same.warnings)


def test_the_pooled_interval_agrees_with_drawing_cases_one_by_one():
    rng = np.random.default_rng(3)
    maps = [(rng.integers(0, 3, 40), rng.integers(0, 3, 40)) for _ in range(12)]
    evaluation = evaluation_of(maps)
    draws = []
    for _ in range(1500):
        chosen = [maps[index] for index in rng.integers(0, 12, 12)]
        matrix = sum(segeval.confusion_matrix(*pair, 3) for pair in chosen)
        draws.append(segeval.mean_iou(matrix))
    low, high = np.percentile(draws, [2.5, 97.5])
    interval = evaluation.pooled.image["mean_iou"]
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.01)


def test_counts_beyond_32_bits_and_beyond_float32_stay_exact():
    """2 ** 31 voxels a case: one wrong voxel among them still shows in the counts of ten cases."""
    huge = np.array([[2**31, 1], [0, 2**31]], dtype=np.int64)
    score = segeval.LabelScore(1, "a", "measured", {"dice": 1.0, "jaccard": 1.0}, 1.0, 1.0, 2**31, 1, 0, 2**31)
    cases = [EvaluatedCase(str(i), str(i), None, "r", "p", (score,), {}) for i in range(10)]
    evaluation = build_evaluation(ONE_LABEL, cases, [huge] * 10)
    assert evaluation.pooled.confusion.tolist() == [[10 * 2**31, 10], [0, 10 * 2**31]]
    assert evaluation.pooled.labels["a"]["dice"] == pytest.approx(2**32 / (2**32 + 1), abs=1e-15)


def test_a_dataset_in_which_nothing_is_and_nothing_was_predicted():
    evaluation = evaluation_of([([0, 0], [0, 0])] * 3)
    for name in TWO:
        mean = evaluation.means["dice"][name]
        assert math.isnan(mean.mean)
        assert (mean.n, mean.left_out) == (0, 3)
    assert math.isnan(evaluation.foreground["dice"].mean)
    assert evaluation.pooled.image["pixel_accuracy"].mean == 1
    assert math.isnan(evaluation.pooled.labels["a"]["dice"])
    assert sum("it has no scores" in warning for warning in evaluation.warnings) == 2


def test_missing_predictions_are_named_in_a_warning():
    scores = segeval.evaluate_missing([0, 1], {"a": 1}, (1.0,), metrics=OVERLAP)
    case = EvaluatedCase("x7", "x7", None, "r", "p", scores.scores, scores.image)
    evaluation = build_evaluation(ONE_LABEL, [case], [scores.confusion])
    assert any("1 of 1 cases have no prediction" in w and "x7" in w for w in evaluation.warnings)
    assert evaluation.foreground["dice"].mean == 0


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others():
    rng = np.random.default_rng(0)
    maps = [(rng.integers(0, 3, 30), rng.integers(0, 3, 30)) for _ in range(9)]
    first, again, other = (evaluation_of(maps, seed=seed) for seed in (1, 1, 2))
    assert first.means == again.means
    assert first.pooled.image == again.pooled.image
    assert first.means["dice"]["a"].low != other.means["dice"]["a"].low
