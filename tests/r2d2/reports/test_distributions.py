"""Box and strip plots, and Bland-Altman plots: what is drawn, from evaluations whose values are known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2d2.reports.agreement import agreement_section, draw_agreement, limits_of_agreement
from r2d2.reports.distributions import distributions_section, draw_distribution, quartiles, spread_of
from segeval import METRICS, EvaluatedCase, Evaluation, build_settings, evaluate
from segeval.evaluation import build_evaluation

pytestmark = pytest.mark.slow


def evaluation_of(
    pairs: list[tuple[np.ndarray, np.ndarray]], labels: dict[str, int], on_empty: str = "penalise"
) -> Evaluation:
    settings = build_settings(choices={"labels": labels, "on_empty": on_empty})
    spacing = (1.0, 1.0, 1000.0)[: pairs[0][0].ndim]  # a voxel of a volume is 1 ml
    results = [evaluate(*pair, labels, spacing, conventions=settings.conventions) for pair in pairs]
    cases = [
        EvaluatedCase(f"case {k}", f"case {k}", None, f"r{k}.nii", f"p{k}.nii", result.scores, result.image)
        for k, result in enumerate(results)
    ]
    return build_evaluation(settings, cases, [result.confusion for result in results])


def rods(*lengths: tuple[int, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """A rod along the first axis in reference and prediction, of the lengths given: that many ml."""
    pairs = []
    for reference_length, prediction_length in lengths:
        reference, prediction = np.zeros((12, 3, 2), np.uint8), np.zeros((12, 3, 2), np.uint8)
        reference[:reference_length, 1, 0], prediction[:prediction_length, 1, 0] = 1, 1
        pairs.append((reference, prediction))
    return pairs


def test_every_case_is_a_point_and_says_whether_it_was_measured() -> None:
    evaluation = evaluation_of(rods((4, 4), (4, 2), (3, 0), (0, 0)), {"rod": 1})
    (spread,) = spread_of(evaluation, "dice")
    assert spread.values.tolist() == pytest.approx([1.0, 2 / 3, 0.0])
    assert spread.is_measured.tolist() == [True, True, False]
    assert spread.left_out == 1


def test_infinite_values_are_values() -> None:
    evaluation = evaluation_of(rods((4, 4), (3, 0)), {"rod": 1}, on_empty="infinite")
    (spread,) = spread_of(evaluation, "hd95_mm")
    assert spread.values.tolist() == [0.0, math.inf]
    picture = draw_distribution(evaluation, METRICS["hd95_mm"])
    assert "rod: median ∞, from 0.00 to ∞" in picture.alt
    assert "2 values, 1 of them not measured" in picture.caption
    assert "Grey band" in picture.caption


def test_penalised_distances_far_away_stand_in_a_band() -> None:
    """The diagonal is more than 2000 mm, the measured distance 2 mm."""
    assert "Grey band" in draw_distribution(evaluation_of(rods((4, 2), (3, 0)), {"rod": 1}), METRICS["hd95_mm"]).caption
    assert "Grey band" not in draw_distribution(evaluation_of(rods((4, 2)), {"rod": 1}), METRICS["hd95_mm"]).caption


@pytest.mark.parametrize(
    ("lengths", "on_empty"),
    [
        ([(0, 0)], "penalise"),
        ([(3, 0)], "infinite"),
        ([(3, 0)], "monai"),
        ([(5, 4)], "deepmind"),
        ([(k % 9, k % 5) for k in range(40)], "penalise"),
        ([(k % 9, k % 5) for k in range(40)], "infinite"),
    ],
)
def test_few_and_many_cases_of_any_kind_can_be_drawn(lengths: list[tuple[int, int]], on_empty: str) -> None:
    evaluation = evaluation_of(rods(*lengths), {"rod": 1, "$_$ <b>": 2}, on_empty=on_empty)
    assert distributions_section(evaluation).count("<img") == 3
    assert "$_$ &lt;b&gt;: no value" in distributions_section(evaluation)


def test_the_same_evaluation_gives_the_same_picture() -> None:
    evaluation = evaluation_of(rods((4, 4), (4, 2), (3, 1)), {"rod": 1})
    first, second = (draw_distribution(evaluation, METRICS["dice"]).png for _ in range(2))
    assert first == second
    other = replace(evaluation, settings=build_settings(evaluation.settings, {"seed": 1}))
    assert draw_distribution(other, METRICS["dice"]).png != first, "the seed moves the points"


def test_quartiles_are_those_of_textbooks() -> None:
    """Of 1 to 5 the median is 3 and the quartiles 2 and 4 (the inclusive method)."""
    assert quartiles(np.array([5.0, 1.0, 4.0, 2.0, 3.0])) == (2.0, 3.0, 4.0)
    assert quartiles(np.array([1.0, math.inf, math.inf])) == (1.0, math.inf, math.inf)


def test_limits_of_agreement_of_a_known_sample() -> None:
    """Differences 1, 3, 5: mean 3, standard deviation 2; 3 ± 1.96 · 2."""
    agreement = limits_of_agreement([10, 20, 30], [11, 23, 35])
    assert (agreement.n, agreement.bias) == (3, 3.0)
    assert (agreement.low, agreement.high) == pytest.approx((-0.92, 6.92))


def test_two_cases_have_no_limits() -> None:
    agreement = limits_of_agreement([1.0, 2.0], [2.0, 2.0])
    assert agreement.bias == 0.5
    assert math.isnan(agreement.low)
    assert math.isnan(agreement.high)


@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e4)), min_size=3, max_size=30),
    st.floats(-100, 100),
)
def test_a_constant_more_moves_bias_and_limits_by_it(volumes: list[tuple[float, float]], constant: float) -> None:
    reference, prediction = np.array(volumes).T
    before, after = (limits_of_agreement(reference, prediction + more) for more in (0.0, constant))
    for name in ("bias", "low", "high"):
        assert getattr(after, name) == pytest.approx(getattr(before, name) + constant, abs=1e-6)


def test_volumes_are_compared_where_a_side_has_the_structure() -> None:
    """Differences in ml: 0, -2, -3 (missed); the case with the rod in neither is left out."""
    evaluation = evaluation_of(rods((4, 4), (4, 2), (3, 0), (0, 0)), {"rod": 1})
    picture = draw_agreement(evaluation, "rod")
    assert picture is not None
    assert picture.caption.startswith("rod: mean difference −1.67 ml, limits −4.66 to +1.33 ml; n = 3, 1 left out.")


def test_a_structure_nowhere_has_no_plot() -> None:
    evaluation = evaluation_of(rods((4, 4)), {"rod": 1, "ghost": 2})
    assert draw_agreement(evaluation, "ghost") is None
    assert "No case has volumes to compare of: ghost." in agreement_section(evaluation)


def test_images_of_two_axes_have_no_volumes() -> None:
    flat = [(reference[..., 0], prediction[..., 0]) for reference, prediction in rods((4, 4), (4, 2))]
    section = agreement_section(evaluation_of(flat, {"rod": 1}))
    assert "a plane has no volume" in section
    assert "<img" not in section
