import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from segeval import (
    ComparisonError,
    Conventions,
    EvaluationFormatError,
    EvaluationNotFoundError,
    MetricArgumentError,
    ScoreTable,
    ShapeMismatchError,
    compare,
    compare_with_base,
    evaluate_folder,
    read_scores,
    score_table,
    write_evaluation,
)
from segeval.statistics import holm, signed_rank

NNUNET = Path(__file__).parent / "nnunet_v2_summary.json"
"""Written by nnU-Net 2.8.1 (compute_metrics_on_folder) on the cases of the fixture `study`, labels 1, 2 and (1, 2)."""

# Darwin's fifteen pairs of maize, cross- less self-fertilised, in eighths of an inch (1876; Fisher 1935, section 17).
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def table(values, metric="dice", *, cases=None, patients=None, labels=None, **more):
    """A score table of one metric from (cases,) or (cases, labels) values."""
    array = np.asarray(values, dtype=np.float64)
    array = array.reshape(len(array), -1)
    case_ids = tuple(cases or [f"{i:02}" for i in range(len(array))])
    names = labels or {f"label {i + 1}": i + 1 for i in range(array.shape[1])}
    return ScoreTable(case_ids, tuple(patients or case_ids), names, {metric: array}, **more)


class TestHolm:
    def test_worked_by_hand(self):
        """Sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, and the last may not be below the one before."""
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    def test_never_above_one(self):
        assert holm([0.6, 0.9]).tolist() == [1.0, 1.0]

    def test_one_p_value_stays(self):
        assert holm([0.04]).tolist() == [0.04]

    def test_missing_p_values_do_not_count(self):
        corrected = holm([0.01, math.nan, 0.04])
        assert corrected[[0, 2]] == pytest.approx([0.02, 0.04])
        assert math.isnan(corrected[1])

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
    def test_between_the_p_value_and_bonferroni(self, p):
        corrected = holm(p)
        assert (corrected >= np.array(p)).all()
        assert (corrected <= np.minimum(1, len(p) * np.array(p)) + 1e-15).all()


class TestSignedRank:
    def test_darwins_maize(self):
        """The negative ranks are 9 + 14 + ... = 24, and p = 0.041 (two-sided), as in the textbooks."""
        result = signed_rank(DARWIN)
        assert (result.rank_sum_difference, result.differences, result.method) == (96 - 24, 15, "exact")
        assert result.p == pytest.approx(0.04126, abs=5e-6)

    def test_hamilton_depression_scale(self):
        """Hollander and Wolfe 1973, page 29: W = 40 of 45, one-sided p = 0.0195."""
        before = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
        after = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
        result = signed_rank(np.subtract(before, after))
        assert result.rank_sum_difference == 40 - 5
        assert result.p / 2 == pytest.approx(0.01953, abs=5e-6)
        assert signed_rank(np.subtract(before, after), alternative="greater").p == pytest.approx(0.01953, abs=5e-6)

    @given(st.lists(st.sampled_from([-3, -2, -1.5, -1, 0, 1, 1.5, 2, 3, math.inf]), min_size=2, max_size=8))
    def test_every_assignment_of_signs_counted(self, differences):
        """Ties and zeros included: all 2^n signs of the very ranks, without any recursion."""
        values = np.array([value for value in differences if value])
        result = signed_rank(differences)
        if len(values) < 2:
            assert math.isnan(result.p) and result.method == "none" and result.reason
            return
        ranks = stats.rankdata(np.abs(values))
        observed = ranks[values > 0].sum()
        sums = [sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign) for signs in _signs(len(ranks))]
        tails = np.mean(np.array(sums) <= observed), np.mean(np.array(sums) >= observed)
        assert result.p == pytest.approx(min(1, 2 * min(tails)))
        assert signed_rank(differences, alternative="greater").p == pytest.approx(tails[1])

    @given(st.lists(st.floats(-5, 5).filter(bool), min_size=6, max_size=40, unique_by=abs))
    @settings(max_examples=30)
    def test_exact_as_scipy_without_ties(self, differences):
        assert signed_rank(differences).p == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)

    @pytest.mark.parametrize("seed", range(12))
    def test_normal_as_scipy_with_ties_and_zeros(self, seed):
        differences = np.random.default_rng(seed).integers(-6, 9, 90)
        result = signed_rank(differences)
        expected = stats.wilcoxon(differences, method="asymptotic", correction=True, zero_method="wilcox")
        assert result.method == "normal"
        assert result.p == pytest.approx(expected.pvalue, abs=1e-12)
        above, scipys = (
            signed_rank(differences, alternative="greater").p,
            stats.wilcoxon(
                differences, method="asymptotic", correction=True, zero_method="wilcox", alternative="greater"
            ).pvalue,
        )
        assert above == pytest.approx(scipys, abs=1e-12)
        assert result.zeros == np.sum(differences == 0)

    def test_exact_and_normal_agree_where_they_meet(self):
        values = np.random.default_rng(2).normal(0.25, 1, 51)
        assert signed_rank(values).method == "normal" and signed_rank(values[:50]).method == "exact"
        expected = stats.wilcoxon(values, method="exact").pvalue
        assert signed_rank(values).p == pytest.approx(expected, rel=0.05)

    def test_few_differences_say_so(self):
        result = signed_rank([1.0, 2.0, 3.0, 4.0])
        assert result.p == 0.125
        assert "0.125" in result.reason


def _signs(n):
    return itertools.product([False, True], repeat=n)


class TestCompare:
    def test_means_and_difference(self):
        row = compare(table([0.5, 0.6, 0.7]), table([0.6, 0.8, 0.7])).rows[0]
        assert (row.first.mean, row.second.mean, row.difference.mean) == pytest.approx((0.6, 0.7, 0.1))
        assert (row.pairs, row.patients, row.better) == (3, 3, "higher")
        assert row.p == 0.5  # two differences of one sign: 2 / 2²

    def test_who_is_better_goes_by_the_metric(self):
        low, high = np.linspace(1, 2, 10), np.linspace(3, 5, 10)
        assert compare(table(low), table(high)).rows[0].verdict == "second better"
        assert compare(table(low, "hd95_mm"), table(high, "hd95_mm")).rows[0].verdict == "first better"

    def test_holm_over_the_labels_of_each_metric(self):
        """Ten positive differences: p = 2/2^10 in both labels, so that both become 4/2^10."""
        first, second = np.zeros((10, 2)), np.arange(1, 21).reshape(10, 2) / 100
        rows = compare(table(first), table(second)).rows
        assert [row.p for row in rows] == [2 / 1024] * 2
        assert [row.p_holm for row in rows] == [4 / 1024] * 2

    def test_holm_over_the_models_too(self):
        values = np.arange(10) / 100
        tables = {"A": table(values), "B": table(values + 0.1 + values), "C": table(values + 0.2 + values)}
        p_values = [one.rows[0].p_holm for one in compare_with_base(tables, "A")]
        assert p_values == [4 / 1024] * 2

    def test_exchange_mirrors(self):
        rng = np.random.default_rng(4)
        first, second = table(rng.random((12, 2))), table(rng.random((12, 2)) + 0.3)
        words = {"first better": "second better", "second better": "first better"}
        for one, other in zip(compare(first, second).rows, compare(second, first).rows, strict=True):
            assert one.difference.mean == pytest.approx(-other.difference.mean)
            assert one.p == other.p
            assert words.get(one.verdict, one.verdict) == other.verdict

    def test_a_table_with_itself(self):
        scores = table(np.random.default_rng(1).random(9))
        row = compare(scores, scores).rows[0]
        assert (row.difference.mean, row.difference.low, row.difference.high) == (0, 0, 0)
        assert math.isnan(row.p) and math.isnan(row.p_holm)
        assert (row.reason, row.verdict) == ("no patient differs", "no difference shown")

    def test_several_cases_of_a_patient_are_one_difference_and_widen_the_interval(self):
        rng = np.random.default_rng(8)
        by_patient = rng.normal(0.02, 0.05, 8)
        first = rng.random(40)
        second = first + np.repeat(by_patient, 5) + rng.normal(0, 0.002, 40)
        patients = [f"p{i // 5}" for i in range(40)]
        grouped = compare(table(first, patients=patients), table(second, patients=patients)).rows[0]
        apart = compare(table(first), table(second)).rows[0]
        assert (grouped.patients, apart.patients, grouped.pairs) == (8, 40, 40)
        assert grouped.difference.high - grouped.difference.low > 1.5 * (apart.difference.high - apart.difference.low)
        means = (second - first).reshape(8, 5).mean(axis=1)
        assert grouped.p == pytest.approx(stats.wilcoxon(means, method="exact").pvalue)

    def test_rounding_noise_breaks_no_tie(self):
        """0.9 - 0.8 and 0.8 - 0.7 differ in the last bit; the other two cancel each other exactly."""
        row = compare(table([0.8, 0.7, 0.5]), table([0.9, 0.8, 0.4])).rows[0]
        assert row.p == 1.0  # ranks 2, 2, 2: W is 4 or 2, and half of all signs lie at either side

    def test_missing_values_are_left_out_and_counted(self):
        nan = math.nan
        result = compare(table([0.5, nan, nan, 0.7, 0.1]), table([0.6, nan, 0.9, 0.7, nan]))
        row = result.rows[0]
        assert (row.pairs, row.left_out_both, row.left_out_one) == (2, 1, 2)
        assert row.second.mean == pytest.approx(0.65)
        assert any("2 cases" in note and "cannot be paired" in note for note in result.notes)

    def test_infinite_distances_are_ranked_and_two_of_them_are_a_tie(self):
        """Differences 0 (both inf), +inf, 1, 2, 3, 4, 5: six of one sign, p = 2/2^6."""
        inf = math.inf
        first = table([inf, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], "hd95_mm")
        second = table([inf, inf, 2.0, 3.0, 4.0, 5.0, 6.0], "hd95_mm")
        result = compare(first, second)
        row = result.rows[0]
        assert (row.p, row.difference.mean, row.verdict) == (2 / 64, inf, "first better")
        assert not math.isnan(row.difference.low) and not math.isnan(row.difference.high)
        assert any("inf" in note for note in result.notes)

    def test_a_patient_in_whom_each_failed_once_is_a_tie(self):
        first = table([math.inf, 1.0, 1.0], "hd95_mm", patients=["a", "a", "b"])
        second = table([1.0, math.inf, 2.0], "hd95_mm", patients=["a", "a", "b"])
        assert compare(first, second).rows[0].reason == "only one patient differs"

    def test_nothing_in_common_but_nan(self):
        row = compare(table([math.nan, 0.5]), table([0.5, math.nan])).rows[0]
        assert (row.pairs, row.patients, row.verdict) == (0, 0, "no difference shown")
        assert row.reason == "no value in both"
        assert math.isnan(row.difference.mean)

    def test_a_mean_that_contradicts_the_ranks_is_no_verdict(self):
        """Nineteen small gains and one great loss: p is small, the mean difference negative."""
        gains = [0.001 * (i + 1) for i in range(19)]
        row = compare(table([0.5] * 20), table([0.5 + gain for gain in gains] + [0.0])).rows[0]
        assert row.p < 0.05 and row.difference.mean < 0
        assert row.verdict == "no difference shown"

    def test_seed_decides_the_interval(self):
        rng = np.random.default_rng(0)
        first, second = table(rng.random(15)), table(rng.random(15))
        assert compare(first, second, seed=3) == compare(first, second, seed=3)
        assert compare(first, second, seed=3).rows[0].difference != compare(first, second, seed=4).rows[0].difference

    def test_arguments_stay_as_they_are(self):
        first, second = table([0.1, 0.2]), table([0.2, math.nan])
        compare(first, second)
        assert first.metrics["dice"].tolist() == [[0.1], [0.2]]
        assert math.isnan(second.metrics["dice"][1, 0])

    @pytest.mark.slow
    def test_false_alarms_and_coverage(self):
        """300 pairs of equal models, three labels: a verdict in at most 5 % of them, intervals that cover 0."""
        rng = np.random.default_rng(6)
        alarms = covered = 0
        for study in range(300):
            truth = rng.normal(0.8, 0.1, (20, 3))
            first, second = (table(truth + rng.normal(0, 0.05, (20, 3))) for _ in range(2))
            rows = compare(first, second, resamples=300, seed=study).rows
            alarms += any(row.verdict != "no difference shown" for row in rows)
            covered += rows[0].difference.low <= 0 <= rows[0].difference.high
        expected = 1 - 2 * stats.t.sf(1.96 * math.sqrt(19 / 20), 19)  # as for the mean, see test_segeval_statistics
        low, high = stats.binom.interval(0.999, 300, expected)
        assert low <= covered <= high
        assert 1 <= alarms <= stats.binom.ppf(0.999, 300, 0.05)


class TestRefusals:
    def test_cases_in_only_one_are_listed(self):
        first, second = table([0.1, 0.2, 0.3], cases="abc"), table([0.1, 0.2], cases="bd")
        with pytest.raises(ComparisonError) as caught:
            compare(first, second)
        assert "first has 2 cases that not every other has: a, c" in str(caught.value)
        assert "second has 1 case that not every other has: d" in str(caught.value)

    def test_cases_in_only_one_can_be_left_out(self):
        first, second = table([0.1, 0.2, 0.3], cases="abc"), table([0.5, 0.4, 0.9], cases="cbd")
        result = compare(first, second, on_unmatched="leave_out")
        assert (result.cases, result.rows[0].first.mean, result.rows[0].second.mean) == pytest.approx((2, 0.25, 0.45))
        assert result.left_out == {"first": ("a",), "second": ("d",)}
        assert any("left out: a." in note for note in result.notes)

    def test_the_order_of_cases_and_labels_is_no_matter(self):
        first = table([[0.1, 0.2], [0.3, 0.4]], cases="ab", labels={"one": 1, "two": 2})
        second = table([[0.4, 0.3], [0.2, 0.1]], cases="ba", labels={"two": 2, "one": 1})
        assert all(row.difference.mean == 0 for row in compare(first, second).rows)

    def test_no_case_in_common(self):
        with pytest.raises(ComparisonError, match="no case in common"):
            compare(table([0.1], cases="a"), table([0.1], cases="b"), on_unmatched="leave_out")

    def test_labels_in_only_one(self):
        first, second = table([[0.1, 0.2]] * 2), table([[0.1]] * 2)
        with pytest.raises(ComparisonError, match="first has a label that not every other has: label 2"):
            compare(first, second)
        assert len(compare(first, second, on_unmatched="leave_out").rows) == 1

    def test_a_label_with_two_names(self):
        with pytest.raises(ComparisonError, match="label 1 is “liver” in first, “spleen” in second"):
            compare(table([0.1, 0.2], labels={"liver": 1}), table([0.1, 0.2], labels={"spleen": 1}))

    def test_other_references(self):
        counts = np.array([[10], [20]])
        with pytest.raises(ComparisonError, match=r"same reference.* 01 \(label 1: 20 and 21\)"):
            compare(table([0.1, 0.2], n_ref=counts), table([0.1, 0.2], n_ref=np.array([[10], [21]])))

    def test_other_voxels_compared(self):
        counts = np.array([[10], [20]])
        with pytest.raises(ComparisonError, match="number of compared voxels differs"):
            compare(table([0.1, 0.2], voxels=counts), table([0.1, 0.2], voxels=counts * 2))

    @pytest.mark.parametrize(
        ("metric", "choices", "named"),
        [
            ("dice", {"on_empty": "medpy"}, "on_empty is penalise in first and medpy in second"),
            ("nsd", {"tolerance_mm": 2.0}, "tolerance_mm is 1.0 in first and 2.0 in second"),
            ("nsd", {"tolerance_mm": {"label 1": 3.0}}, "tolerance_mm"),
            ("assd_mm", {"surface": "area_weighted"}, "surface is voxel in first and area_weighted in second"),
            ("hd95_mm", {"hd95": "pooled"}, "hd95 is max_of_directed in first and pooled in second"),
            ("lesion_f1", {"lesion_match": "overlap"}, "lesion_match is iou in first and overlap in second"),
        ],
    )
    def test_other_conventions(self, metric, choices, named):
        first = table([0.1, 0.2], metric, conventions=Conventions())
        second = table([0.1, 0.2], metric, conventions=Conventions(**choices))
        with pytest.raises(ComparisonError, match=named):
            compare(first, second)

    @pytest.mark.parametrize(
        ("metric", "choices"),
        [
            ("dice", {"surface": "area_weighted", "hd95": "pooled", "tolerance_mm": 2.0, "lesion_match": "overlap"}),
            ("assd_mm", {"hd95": "pooled", "tolerance_mm": 2.0}),
            ("nsd", {"tolerance_mm": {"label 1": 1.0}}),
            ("dice", {"on_empty": "nnunet"}),
        ],
    )
    def test_conventions_that_do_not_touch_the_metric(self, metric, choices):
        """nnU-Net's Dice is NaN where both are empty and 0 where one is: what ours calls the worst."""
        first = table([0.1, 0.2], metric, conventions=Conventions())
        assert compare(first, table([0.1, 0.2], metric, conventions=Conventions(**choices))).rows

    @pytest.mark.parametrize("metric", ["hd95_mm", "nsd", "absolute_volume_difference_ml"])
    def test_other_voxel_sizes(self, metric):
        """As of pictures in pixels, which count as 1 mm, and in mm."""
        pixels, mm = (table([0.1, 0.2], metric, spacings_mm=(spacing,) * 2) for spacing in ((1.0, 1.0), (0.5, 0.5)))
        with pytest.raises(ComparisonError, match=r"voxels of 00 are 1 × 1 mm in first and 0\.5 × 0\.5 mm in second"):
            compare(pixels, mm)

    @pytest.mark.parametrize("metric", ["dice", "volume_similarity", "lesion_f1"])
    def test_voxel_sizes_that_do_not_touch_the_metric(self, metric):
        assert compare(*(table([0.1, 0.2], metric, spacings_mm=((mm, mm),) * 2) for mm in (1.0, 0.5))).rows

    @pytest.mark.parametrize("spacings_mm", [None, (None, None), ((0.7000001, 3.0),) * 2, ((0.7, 3.0, 1.0),) * 2])
    def test_voxel_sizes_that_are_unknown_or_rounded(self, spacings_mm):
        first = table([0.1, 0.2], "nsd", spacings_mm=((0.7, 3.0),) * 2)
        assert compare(first, table([0.1, 0.2], "nsd", spacings_mm=spacings_mm)).rows

    def test_patients_known_to_one_are_used_for_both(self):
        assert compare(table([0.1, 0.2], patients="pp"), table([0.3, 0.4])).rows[0].patients == 1

    def test_other_patients(self):
        with pytest.raises(ComparisonError, match="first and second name other patients for 1 cases: 01"):
            compare(table([0.1, 0.2], patients="pp"), table([0.1, 0.2], patients="pq"))

    @pytest.mark.parametrize(
        "settings_", [{"metrics": ["nonsense"]}, {"metrics": []}, {"confidence": 95}, {"on_unmatched": "ignore"}]
    )
    def test_arguments_outside_their_range(self, settings_):
        with pytest.raises(MetricArgumentError, match="received"):
            compare(table([0.1, 0.2]), table([0.1, 0.2]), **settings_)

    def test_a_metric_that_one_lacks(self):
        with pytest.raises(ComparisonError, match="no metric in common"):
            compare(table([0.1, 0.2]), table([0.1, 0.2], "nsd"))

    def test_tables_of_a_wrong_shape(self):
        with pytest.raises(ShapeMismatchError, match=r"received dice \(2, 1\)"):
            ScoreTable(("a",), ("a",), {"liver": 1}, {"dice": np.zeros((2, 1))})


class TestReadScores:
    @pytest.fixture
    def ours(self, study):
        """Our evaluation of what nnU-Net evaluated, as a folder."""
        evaluation = evaluate_folder(study / "reference", study / "prediction", {"organ": 1, "lesion": 2})
        write_evaluation(evaluation, study / "evaluation")
        return study / "evaluation"

    def test_our_folder(self, study, ours):
        scores = read_scores(ours)
        assert scores.case_ids == ("a", "b", "c") and scores.labels == {"organ": 1, "lesion": 2}
        assert scores.metrics["dice"][:, 0] == pytest.approx([0.8, 1.0, 1.0])  # a: 2·8 / (8 + 12)
        assert scores.metrics["dice"][1, 1] == 0 and math.isnan(scores.metrics["dice"][2, 1])
        assert scores.n_ref.tolist() == [[8, 8], [18, 4], [8, 0]]
        assert (scores.voxels == 6 * 5 * 4).all()
        assert (read_scores(ours / "summary.json").metrics["nsd"] == scores.metrics["nsd"]).sum() == 5  # one is NaN

    def test_nnunets_own_file(self, tmp_path):
        (tmp_path / "summary.json").write_text(NNUNET.read_text(encoding="utf-8"), encoding="utf-8-sig")
        scores = read_scores(tmp_path)  # with the mark that Windows puts first
        assert scores.labels == {"1": 1, "2": 2, "(1, 2)": (1, 2)}
        assert scores.case_ids == ("a", "b", "c") and set(scores.metrics) == {"dice", "jaccard"}

    def test_a_region_is_the_same_in_any_order_and_one_of_a_single_label_is_that_label(self, tmp_path):
        """nnU-Net keeps the order of its dataset.json, and writes a region of one label as "(2,)"."""
        text = NNUNET.read_text(encoding="utf-8").replace('"(1, 2)"', '"(2, 1)"').replace('"2"', '"(2,)"')
        (tmp_path / "summary.json").write_text(text, encoding="utf-8")
        scores, sorted_scores = read_scores(tmp_path), read_scores(NNUNET)
        assert scores.labels == {"1": 1, "2": 2, "(1, 2)": (1, 2)}
        np.testing.assert_array_equal(scores.metrics["dice"], sorted_scores.metrics["dice"])
        assert all(row.difference.mean == 0 for row in compare(scores, sorted_scores, metrics=["dice"]).rows)

    def test_one_label_under_two_keys_is_refused(self, tmp_path):
        text = NNUNET.read_text(encoding="utf-8").replace('"2"', '"(1,)"')
        (tmp_path / "summary.json").write_text(text, encoding="utf-8")
        with pytest.raises(EvaluationFormatError, match="are the same"):
            read_scores(tmp_path)

    def test_nnunets_and_ours_agree_case_by_case(self, ours):
        result = compare(read_scores(ours), read_scores(NNUNET), on_unmatched="leave_out")
        assert {row.label_name for row in result.rows} == {"organ", "lesion"}
        assert all(row.difference.mean == 0 and row.left_out_one == 0 for row in result.rows)
        assert {row.metric for row in result.rows} == {"dice", "jaccard"}

    def test_tables_of_an_evaluation_and_of_its_files_are_one(self, study, ours):
        evaluation = evaluate_folder(study / "reference", study / "prediction", {"organ": 1, "lesion": 2})
        for metric, values in score_table(evaluation).metrics.items():
            np.testing.assert_array_equal(values, read_scores(ours).metrics[metric])

    def test_windows_paths_and_other_suffixes(self, tmp_path):
        summary = json.loads(NNUNET.read_text())
        for case, path in zip(summary["metric_per_case"], ("C:\\ref\\x 1.nii.gz", "ref/y.2.nrrd", "z"), strict=True):
            case["reference_file"] = path
        (tmp_path / "summary.json").write_text(json.dumps(summary))
        assert read_scores(tmp_path).case_ids == ("x 1", "y.2", "z")

    def test_nothing_there(self, tmp_path):
        with pytest.raises(EvaluationNotFoundError, match=r"no summary\.json here"):
            read_scores(tmp_path)

    @pytest.mark.parametrize(
        "text", ["", "[]", "{}", '{"metric_per_case": []}', '{"metric_per_case": [{"reference_file": "a"}]}']
    )
    def test_something_else(self, tmp_path, text):
        (tmp_path / "summary.json").write_text(text)
        with pytest.raises(EvaluationFormatError, match="evaluate again"):
            read_scores(tmp_path)

    def test_a_case_with_other_labels(self, tmp_path):
        summary = json.loads(NNUNET.read_text())
        del summary["metric_per_case"][1]["metrics"]["2"]
        (tmp_path / "summary.json").write_text(json.dumps(summary))
        with pytest.raises(EvaluationFormatError, match="case b has other labels than case a"):
            read_scores(tmp_path)

    def test_two_cases_of_one_name(self, tmp_path):
        summary = json.loads(NNUNET.read_text())
        summary["metric_per_case"][1]["reference_file"] = "elsewhere/a.nii.gz"
        (tmp_path / "summary.json").write_text(json.dumps(summary))
        with pytest.raises(ComparisonError, match="same name: a"):
            read_scores(tmp_path)
