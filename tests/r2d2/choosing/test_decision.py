"""Which candidate is chosen, and what it is said to be worth, on scores whose answer is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2d2.choosing.decision import decide, fewest_patients, nested_score
from r2d2.choosing.scores import CandidateScores

TRUTH = 0.8


def scores_by(
    values: dict[str, list[float] | np.ndarray],
    folds: list[int] | np.ndarray,
    metric: str = "dice",
    patients: list[str] | None = None,
) -> CandidateScores:
    cases = tuple(f"case {number:02}" for number in range(len(folds)))
    table = np.array(list(values.values()), np.float64)
    return CandidateScores(tuple(values), metric, cases, tuple(patients or cases), np.array(folds), table)


def test_p_values_are_corrected_over_all_pairs_and_not_only_those_with_the_best() -> None:
    """All eight differences of a pair point one way: each p is 2/2^8, and Holm gives all three 3/128."""
    steps = np.arange(8) / 1000
    scores = scores_by({"a": 0.5 + steps, "b": 0.6 + 2 * steps, "c": 0.7 + 4 * steps}, np.arange(8) % 2)
    decision = decide(scores, {"a": 1, "b": 2, "c": 3})
    assert [(pair.first, pair.second) for pair in decision.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair.row.p for pair in decision.pairs] == [2 / 2**8] * 3
    assert [pair.row.p_holm for pair in decision.pairs] == pytest.approx([3 * 2 / 2**8] * 3)
    assert [pair.better for pair in decision.pairs] == ["b", "c", "c"]
    assert (decision.best, decision.alike, decision.chosen) == ("c", ("c",), "c")
    assert decision.means["b"].mean == pytest.approx(0.6 + 2 * 3.5 / 1000)


def test_of_those_that_cannot_be_told_apart_the_smallest_is_chosen_and_the_worse_is_not() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.7, 0.9, 20)
    values = {"tiny": base - 0.2, "small": base - rng.normal(0, 0.01, 20), "large": base + rng.normal(0.001, 0.01, 20)}
    decision = decide(scores_by(values, np.arange(20) % 4), {"tiny": 1, "small": 2, "large": 3})
    assert set(decision.alike) == {"small", "large"}
    assert decision.chosen == "small"
    assert {pair.better for pair in decision.pairs if "tiny" in (pair.first, pair.second)} == {"small", "large"}


def test_lower_is_better_where_the_metric_says_so() -> None:
    near, far = np.linspace(1, 2, 10), np.linspace(3, 9, 10)
    decision = decide(scores_by({"far": far, "near": near}, np.arange(10) % 2, "hd95_mm"), {"far": 1, "near": 9})
    assert (decision.best, decision.chosen) == ("near", "near")


def test_cases_of_one_patient_count_once() -> None:
    """Thirty cases of three patients: with three differences no two-sided p is below 1/4, so the best mean decides."""
    patients = [f"patient {number % 3}" for number in range(30)]
    values = {"a": np.linspace(0.5, 0.6, 30), "b": np.linspace(0.8, 0.9, 30)}
    decision = decide(scores_by(values, [number % 3 for number in range(30)], patients=patients), {"a": 1, "b": 2})
    (pair,) = decision.pairs
    assert (pair.row.patients, pair.row.p, pair.better) == (3, 0.25, None)
    assert (set(decision.alike), decision.chosen, decision.is_tested) == ({"a", "b"}, "b", False)


@pytest.mark.parametrize("candidates", [2, 3, 6])
def test_fewer_patients_than_are_needed_show_nothing_and_as_many_do(candidates: int) -> None:
    """Each candidate is better than the one before in every patient, which is all that can be."""
    needed = fewest_patients(candidates)
    for patients, can_be_shown in ((needed - 1, False), (needed, True)):
        steps = np.arange(patients) / 1000
        values = {str(number): number * (0.1 + steps) for number in range(candidates)}
        decision = decide(scores_by(values, np.arange(patients) % 2), dict.fromkeys(values, 1))
        assert (len(decision.alike) == 1) is can_be_shown is decision.is_tested
        assert decision.chosen == str(candidates - 1)


def test_where_none_is_better_one_is_rarely_said_to_be() -> None:
    """Of 120 draws of four equal candidates at most 5 % find a difference, and 3 standard deviations of that."""
    rng, found = np.random.default_rng(1), 0
    for _ in range(120):
        hardness = rng.normal(0, 0.1, 16)
        values = {str(number): TRUTH + hardness + rng.normal(0, 0.02, 16) for number in range(4)}
        decision = decide(scores_by(values, np.arange(16) % 4), dict.fromkeys(values, 1), resamples=1)
        found += any(pair.better is not None for pair in decision.pairs)
    assert 0 < found <= 120 * (0.05 + 3 * math.sqrt(0.05 * 0.95 / 120))


def test_a_candidate_that_was_lucky_where_it_was_chosen_is_not_flattered() -> None:
    """In folds 0 and 1 it has 0.9, in fold 2 nothing; the other has 0.55 throughout.

    By all cases both are alike, and the smaller, lucky one is chosen, with a mean of 0.6. Folds 0 and 1 choose it for
    fold 2, where it has 0; with fold 2 the other is the better one. So nested it is (0.55 + 0.55 + 0) / 3.
    """
    folds = np.repeat([0, 1, 2], 12)
    scores = scores_by({"lucky": np.where(folds == 2, 0.0, 0.9), "steady": np.full(36, 0.55)}, folds)
    sizes = {"lucky": 1, "steady": 2}
    decision, nested = decide(scores, sizes), nested_score(scores, sizes)
    assert decision.chosen == "lucky"
    assert decision.means["lucky"].mean == pytest.approx(0.6)
    assert nested.choices == {0: "steady", 1: "steady", 2: "lucky"}
    assert nested.score.mean == pytest.approx(1.1 / 3)
    assert nested.score.n == 36


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.integers(0, 3))
def test_what_a_fold_scores_does_not_change_who_is_chosen_for_it(seed: int, fold: int) -> None:
    rng, folds = np.random.default_rng(seed), np.arange(24) % 4
    values = {name: rng.uniform(0, 1, 24) + luck for name, luck in (("a", 0.0), ("b", 0.3), ("c", 0.2))}
    sizes = {"a": 1, "b": 2, "c": 3}
    before = nested_score(scores_by(values, folds), sizes)
    other = {name: np.where(folds == fold, rng.uniform(0, 5, 24), own) for name, own in values.items()}
    after = nested_score(scores_by(other, folds), sizes)
    assert after.choices[fold] == before.choices[fold]
    by_hand = np.mean([other[after.choices[at]][case] for case, at in enumerate(folds)])
    assert after.score.mean == pytest.approx(by_hand)


def test_nested_scores_are_right_on_average_where_those_that_chose_are_too_high() -> None:
    """Networks of a fold may be lucky by 0.05: all candidates are worth 0.8, and the chosen of four seems more."""
    rng = np.random.default_rng(2)
    folds = np.repeat(np.arange(4), 6)
    seeming, nested = [], []
    for _ in range(40):
        luck = rng.normal(0, 0.05, (4, 4))
        values = {str(one): TRUTH + luck[one][folds] + rng.normal(0, 0.005, 24) for one in range(4)}
        scores, sizes = scores_by(values, folds), dict.fromkeys(values, 1)
        decision = decide(scores, sizes, resamples=1)
        seeming.append(decision.means[decision.chosen].mean)
        nested.append(nested_score(scores, sizes).score.mean)
    deviation = {name: np.std(found) / math.sqrt(40) for name, found in (("seeming", seeming), ("nested", nested))}
    assert np.mean(seeming) > TRUTH + 3 * deviation["seeming"]
    assert abs(np.mean(nested) - TRUTH) < 3 * deviation["nested"]


def test_candidates_that_answer_alike_in_every_case_are_alike() -> None:
    decision = decide(scores_by({"a": np.full(9, 0.5), "b": np.full(9, 0.5)}, np.arange(9) % 3), {"a": 2, "b": 1})
    assert (decision.best, decision.alike, decision.chosen) == ("b", ("b", "a"), "b")
    assert math.isnan(decision.pairs[0].row.p_holm)
