"""Learning rates: scaling with the batch, warm-up by steps, four schedules, from their formulas."""

import math
from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_training.schedules import LearningRateScaling, Schedule, learning_rate_at, scaled_learning_rate
from dist_training.settings import TrainingSettings
from r2d2_base.errors import ConfigurationError


def test_twice_the_batch_is_twice_the_rate() -> None:
    assert scaled_learning_rate(1e-3, 64, 32) == pytest.approx(2e-3)
    assert scaled_learning_rate(1e-3, 32, 32) == 1e-3


def test_warm_up_rises_by_steps_from_the_reference_rate() -> None:
    # Goyal et al. 2017: from 0.1 for a batch of 256 to 3.2 for 8192, linearly
    rates = [
        learning_rate_at(step, peak=3.2, base=0.1, warmup_steps=31, total_steps=100, schedule="constant")
        for step in range(40)
    ]
    # each of the 31 steps adds (3.2 - 0.1) / 31 = 0.1
    assert rates[:32] == pytest.approx([0.1 * (step + 1) for step in range(32)])
    assert rates[32:] == pytest.approx([3.2] * 8)


def test_cosine_ends_at_zero_and_passes_half_in_the_middle() -> None:
    def rate(step: int) -> float:
        return learning_rate_at(step, peak=2.0, base=2.0, warmup_steps=10, total_steps=110, schedule="cosine")

    assert rate(10) == pytest.approx(2.0)
    assert rate(60) == pytest.approx(1.0)
    assert rate(35) == pytest.approx(1 + math.cos(math.pi / 4))
    assert rate(110) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("schedule", ["cosine", "polynomial"])
def test_a_floor_is_where_the_rate_ends(schedule: Schedule) -> None:
    def rate(step: int) -> float:
        return learning_rate_at(
            step, peak=1e-4, base=1e-4, warmup_steps=0, total_steps=100, schedule=schedule, power=1.0, floor=0.1
        )

    assert [rate(step) for step in (0, 50, 100)] == pytest.approx([1e-4, 5.5e-5, 1e-5])


def test_square_root_and_no_scaling() -> None:
    assert scaled_learning_rate(0.1, 144, 16, scaling="sqrt") == pytest.approx(0.3)
    assert scaled_learning_rate(0.1, 4, 16, scaling="sqrt") == pytest.approx(0.05)
    assert scaled_learning_rate(0.1, 144, 16, scaling="none") == 0.1


@given(st.floats(1e-6, 10), st.integers(1, 10**5), st.integers(1, 10**5))
def test_scalings_bracket_one_another(rate: float, batch: int, reference: int) -> None:
    linear, root, none = (scaled_learning_rate(rate, batch, reference, scaling=s) for s in ("linear", "sqrt", "none"))
    assert root**2 == pytest.approx(linear * none)
    assert (linear >= none) == (batch >= reference)


def test_polynomial_falls_to_zero() -> None:
    def rate(step: int, power: float) -> float:
        return learning_rate_at(
            step, peak=2.0, base=2.0, warmup_steps=10, total_steps=110, schedule="polynomial", power=power
        )

    assert [rate(step, 1.0) for step in (10, 35, 60, 110)] == pytest.approx([2.0, 1.5, 1.0, 0.0])
    assert rate(60, 2.0) == pytest.approx(2.0 / 4)
    assert rate(60, 0.9) == pytest.approx(2.0 * 0.535886731)  # 2 ** -0.9


def test_steps_fall_at_shares_of_the_whole_run() -> None:
    # He et al. 2016, section 4.2: 0.1, divided by 10 at iterations 32,000 and 48,000 of 64,000
    def rate(step: int) -> float:
        return learning_rate_at(step, peak=0.1, base=0.1, warmup_steps=400, total_steps=64_000, schedule="step")

    assert [rate(step) for step in (400, 31_999, 32_000, 47_999, 48_000, 63_999)] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    )


@given(st.integers(1, 400), st.integers(1, 399))
def test_a_milestone_falls_on_its_very_step(total: int, step: int) -> None:
    step = min(step, total - 1)
    rates = [
        learning_rate_at(
            at, peak=1.0, base=1.0, warmup_steps=0, total_steps=total, schedule="step", milestones=[step / total]
        )
        for at in (max(0, step - 1), step)
    ]
    assert rates[1] == pytest.approx(0.1)
    assert step == 0 or rates[0] == 1.0


RUNS = {
    "schedule": st.sampled_from(get_args(Schedule)),
    "warmup_steps": st.integers(0, 50),
    "total_steps": st.integers(1, 200),
    "power": st.floats(0.1, 3),
    "factor": st.floats(0.01, 0.99),
    "base": st.floats(0.001, 3),
}


@given(st.fixed_dictionaries(RUNS))
def test_rates_rise_to_the_peak_then_never_rise_again(run: dict) -> None:
    warmup = run["warmup_steps"]
    rates = [learning_rate_at(step, peak=1.0, **run) for step in range(warmup + run["total_steps"] + 1)]
    assert all(0.0 <= rate <= 1.0 for rate in rates)
    assert all(a < b for a, b in pairwise(rates[:warmup]))
    assert all(a >= b for a, b in pairwise(rates[warmup:]))
    assert rates[0] > 0 or run["total_steps"] == 0


@given(st.fixed_dictionaries({**RUNS, "warmup_steps": st.integers(1, 50), "total_steps": st.integers(200, 400)}))
def test_warm_up_meets_the_schedule_without_a_jump(run: dict) -> None:
    warmup = run["warmup_steps"]
    rates = [learning_rate_at(step, peak=1.0, **run) for step in range(warmup + 1)]
    assert rates[warmup] == 1.0
    # of equal steps, the last leads from the line to the peak
    step = (1.0 - min(run["base"], 0.1)) / warmup
    assert all(b - a == pytest.approx(step) for a, b in pairwise(rates))


def test_names_that_do_not_exist() -> None:
    assert set(get_args(LearningRateScaling)) == {"linear", "sqrt", "none"}
    with pytest.raises(ConfigurationError, match=r"must be linear, sqrt or none; received 'root'"):
        scaled_learning_rate(0.1, 2, 1, scaling="root")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"must be cosine, polynomial, step or constant; received 'poly'"):
        learning_rate_at(0, peak=1.0, base=1.0, warmup_steps=0, total_steps=9, schedule="poly")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # of 20 steps, 2 of them of warm-up: at step 11 half of the rest is done: (1 - 1/2)^2 of the rate
        ({"schedule": "polynomial", "schedule_power": 2.0, "schedule_factor": 0.1}, {2: 0.4, 11: 0.1, 20: 0.0}),
        # milestones at 1/4 and 1/2 of the run: steps 5 and 10
        (
            {"schedule": "step", "schedule_power": 2.0, "schedule_factor": 0.5, "schedule_milestones": (0.25, 0.5)},
            {4: 0.4, 5: 0.2, 9: 0.2, 10: 0.1, 19: 0.1},
        ),
    ],
)
def test_each_setting_of_a_schedule_has_its_own_part_in_the_rate(
    settings: dict[str, Any], expected: dict[int, float]
) -> None:
    """A rate of 0.1 at a batch of 16, of which a step takes 64; two epochs of 10 steps, a fifth of one of warm-up."""
    given = TrainingSettings(epochs=2, warmup_epochs=0.2, learning_rate=0.1, **settings)
    rates = {step: given.scheduled_rate(step, global_batch_size=64, steps_per_epoch=10) for step in expected}
    assert rates == pytest.approx(expected, abs=1e-12)
