import math

import numpy as np
import pytest
from scipy import stats

from segeval import ComparisonError, MetricArgumentError, ScoreTable, rank
from segeval.statistics import SCHEMES


def table(values, metric="dice", patients=None):
    array = np.asarray(values, dtype=np.float64)
    array = array.reshape(len(array), -1)
    case_ids = tuple(f"{i:02}" for i in range(len(array)))
    labels = {f"label {i + 1}": i + 1 for i in range(array.shape[1])}
    return ScoreTable(case_ids, tuple(patients or case_ids), labels, {metric: array})


def places(ranking):
    return {model.name: model.rank for model in ranking.models}


def model(ranking, name):
    return next(model for model in ranking.models if model.name == name)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_separated_models_keep_their_ranks(scheme):
    """Where one model is better in every case, it is in every resample."""
    noise = np.random.default_rng(0).random(20) / 10
    tables = {"middle": table(0.5 + noise), "worst": table(0.2 + noise), "best": table(0.8 + noise)}
    ranking = rank(tables, "dice", scheme=scheme)
    assert [model.name for model in ranking.models] == ["best", "middle", "worst"]
    assert [model.shares for model in ranking.models] == [{1.0: 1.0}, {2.0: 1.0}, {3.0: 1.0}]
    assert [(model.low, model.high) for model in ranking.models] == [(1, 1), (2, 2), (3, 3)]
    assert (ranking.kendall_tau_mean, ranking.kendall_tau_low) == (1.0, 1.0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_identical_models_share_their_rank(scheme):
    scores = table(np.random.default_rng(1).random((9, 2)))
    ranking = rank({"a": scores, "b": scores, "c": scores}, "dice", scheme=scheme)
    assert places(ranking) == {"a": 2.0, "b": 2.0, "c": 2.0}
    assert all(model.shares == {2.0: 1.0} for model in ranking.models)
    assert ranking.kendall_tau_mean == 1.0


@pytest.mark.parametrize("scheme", ["aggregate_then_rank", "rank_then_aggregate"])
def test_two_patients_by_hand(scheme):
    """Each model is better in one patient; draws are (2, 0), (1, 1), (0, 2) with odds 1 : 2 : 1.

    The models are tied in the original and in half of the resamples (tau 1), untied in the others (tau 0).
    """
    ranking = rank({"a": table([1.0, 0.0]), "b": table([0.0, 1.0])}, "dice", scheme=scheme, resamples=4000)
    assert places(ranking) == {"a": 1.5, "b": 1.5}
    assert model(ranking, "a").shares == pytest.approx({1.0: 0.25, 1.5: 0.5, 2.0: 0.25}, abs=0.03)
    assert ranking.kendall_tau_mean == pytest.approx(0.5, abs=0.03)


def test_kendalls_tau_as_of_scipy():
    """The four ways to draw two patients, each ranked by SciPy and compared by SciPy's tau-b."""
    scores = np.array([[0.9, 0.1], [0.5, 0.4], [0.3, 0.8], [0.5, 0.4]])
    original = stats.rankdata(-scores.mean(axis=1))
    taus = [
        stats.kendalltau(original, stats.rankdata(-scores[:, draw].mean(axis=1))).statistic
        for draw in ([0, 0], [0, 1], [1, 0], [1, 1])
    ]
    tables = {f"m{i}": table(row) for i, row in enumerate(scores)}
    ranking = rank(tables, "dice", resamples=8000)
    assert list(places(ranking).values()) == sorted(original)
    assert ranking.kendall_tau_mean == pytest.approx(np.mean(taus), abs=0.03)
    assert ranking.kendall_tau_low == pytest.approx(min(taus))


def test_equal_models_are_best_about_equally_often():
    """In 200 studies of two exchangeable models the share of "best in" is uniform, so its mean is 1/2."""
    rng = np.random.default_rng(3)
    shares = [
        model(rank({"a": table(rng.random(30)), "b": table(rng.random(30))}, "dice", resamples=200), "a").shares
        for _ in range(200)
    ]
    best = np.array([share.get(1.0, 0.0) for share in shares])
    assert best.mean() == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / 200))
    assert np.quantile(best, 0.1) < 0.25 and np.quantile(best, 0.9) > 0.75


def test_schemes_differ_as_they_should():
    """Means .633 and .433, but b is better in two cases of three: mean ranks 5/3 and 4/3."""
    tables = {"a": table([0.9, 0.5, 0.5]), "b": table([0.1, 0.6, 0.6])}
    aggregated, ranked = (rank(tables, "dice", scheme=scheme) for scheme in list(SCHEMES)[:2])
    assert places(aggregated) == {"a": 1.0, "b": 2.0}
    assert places(ranked) == {"b": 1.0, "a": 2.0}
    assert model(aggregated, "a").score == pytest.approx(1.9 / 3)
    assert model(ranked, "a").score == pytest.approx(5 / 3)


def test_models_beaten_by_a_test():
    """The first beats two models that no test can tell apart: these share ranks 2 and 3."""
    rng = np.random.default_rng(5)
    base = rng.random(12)
    tables = {"b": table(base), "c": table(base + np.tile([0.01, -0.01], 6)), "a": table(base + 0.5)}
    ranking = rank(tables, "dice", scheme="test_then_rank")
    assert places(ranking) == {"a": 1.0, "b": 2.5, "c": 2.5}
    assert [model.score for model in ranking.models] == [2, 0, 0]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_lower_is_better_in_distances(scheme):
    values = np.random.default_rng(2).random(12)
    ranking = rank({"far": table(values + 2, "hd95_mm"), "near": table(values, "hd95_mm")}, "hd95_mm", scheme=scheme)
    assert [model.name for model in ranking.models] == ["near", "far"]
    assert ranking.better == "lower"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_infinite_distances_rank_last(scheme):
    tables = {"misses": table([math.inf] * 8, "hd95_mm"), "finds": table(np.arange(8), "hd95_mm")}
    assert places(rank(tables, "hd95_mm", scheme=scheme)) == {"finds": 1.0, "misses": 2.0}
    both = {"one": tables["misses"], "other": tables["misses"]}
    assert places(rank(both, "hd95_mm", scheme=scheme)) == {"one": 1.5, "other": 1.5}


def test_what_one_model_lacks_is_left_out_for_all():
    """Without that rule b would lead with .9 against .7; on what both have it is .9 against .95."""
    ranking = rank({"a": table([0.95, 0.45]), "b": table([0.9, math.nan])}, "dice")
    assert (places(ranking), ranking.left_out, ranking.patients) == ({"a": 1.0, "b": 2.0}, 1, 1)
    assert math.isnan(ranking.kendall_tau_mean) and math.isnan(model(ranking, "a").low)
    assert model(ranking, "a").shares == {}


def test_labels_weigh_the_same_or_are_chosen():
    first, second = table([[0.9, 0.1]] * 3), table([[0.6, 0.6]] * 3)
    assert places(rank({"a": first, "b": second}, "dice")) == {"b": 1.0, "a": 2.0}
    chosen = rank({"a": first, "b": second}, "dice", label="label 1")
    assert (places(chosen), chosen.labels) == ({"a": 1.0, "b": 2.0}, ("label 1",))


def test_cases_of_one_patient_are_drawn_together():
    """Twenty cases of two patients are as unstable as two cases."""
    values = np.repeat([1.0, 0.0], 10)
    patients = ["p"] * 10 + ["q"] * 10
    tables = {"a": table(values, patients=patients), "b": table(1 - values + 0.01, patients=patients)}
    grouped = rank(tables, "dice", resamples=4000)
    assert model(grouped, "a").shares == pytest.approx({1.0: 0.25, 2.0: 0.75}, abs=0.03)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_seed_decides(scheme):
    rng = np.random.default_rng(9)
    tables = {name: table(rng.random(10)) for name in "abc"}
    assert rank(tables, "dice", scheme=scheme, seed=1) == rank(tables, "dice", scheme=scheme, seed=1)
    if scheme != "test_then_rank":
        one, other = (rank(tables, "dice", scheme=scheme, seed=seed) for seed in (1, 2))
        assert [model.shares for model in one.models] != [model.shares for model in other.models]


@pytest.mark.parametrize(
    "settings",
    [{"scheme": "best_first"}, {"label": "spleen"}, {"confidence": 95}, {"resamples": 0}, {"level": 0}],
)
def test_arguments_outside_their_range(settings):
    scores = table([0.1, 0.2])
    with pytest.raises(MetricArgumentError, match="received"):
        rank({"a": scores, "b": scores}, "dice", **settings)


def test_one_model_is_no_ranking():
    with pytest.raises(MetricArgumentError, match="at least two"):
        rank({"a": table([0.1, 0.2])}, "dice")


def test_no_value_in_common():
    with pytest.raises(ComparisonError, match="no case has a value of dice in all of a, b"):
        rank({"a": table([0.1, math.nan]), "b": table([math.nan, 0.1])}, "dice")
