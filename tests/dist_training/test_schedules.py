"""Learning rates: the linear rule, warm-up by steps, half a cosine."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dist_training.schedules import learning_rate_at, scaled_learning_rate


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


@given(st.integers(0, 200), st.integers(0, 50), st.integers(1, 150))
def test_no_rate_is_negative_or_above_the_peak(step: int, warmup: int, total: int) -> None:
    rate = learning_rate_at(step, peak=1.0, base=0.5, warmup_steps=warmup, total_steps=total, schedule="cosine")
    assert 0.0 <= rate <= 1.0
