"""Gradients summed over ranks: nothing lost, nothing swapped, most of it on its way early."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from dist_training.ranks.communicator import SoloCommunicator
from dist_training.ranks.gradients import early_count, sum_over_ranks
from tests.dist_training.ranks.thread_ranks import ThreadCommunicator, on_ranks

SHAPES = [(3, 3, 1, 4), (4,), (), (20, 5), (5,), (2, 30)]
SIZES = [36, 4, 1, 100, 5, 60]  # of these shapes; the last three hold 165 of 206, the last two only 65


@given(sizes=st.lists(st.integers(1, 10_000), min_size=1, max_size=30), share=st.floats(0.01, 1))
def test_the_early_buffer_is_the_shortest_end_that_holds_its_share(sizes: list[int], share: float) -> None:
    cut = early_count(sizes, share)
    assert 0 <= cut < len(sizes)
    wanted = share * sum(sizes)
    assert sum(sizes[cut:]) >= wanted
    assert sum(sizes[cut + 1 :]) < wanted


def test_one_worker_gets_its_own_gradients_back() -> None:
    gradients = [tf.random.normal(shape) for shape in SHAPES]
    scalars = tf.constant([0.5, 1.0])
    summed, figures = sum_over_ranks(SoloCommunicator(), gradients, scalars)
    assert all(one is other for one, other in zip(summed, gradients, strict=True))
    assert figures is scalars


@pytest.mark.parametrize("world_size", [2, 3])
def test_every_rank_gets_every_sum_in_its_place(world_size: int) -> None:
    """Whole numbers, so that the sums are exact in whatever order they are added."""
    rng = np.random.default_rng(0)
    parts = [[rng.integers(-99, 99, shape).astype(np.float64) for shape in SHAPES] for _ in range(world_size)]
    figures = [np.array([rank + 0.5, rank == 1]) for rank in range(world_size)]

    def work(job: ThreadCommunicator) -> tuple[list[tf.Tensor], tf.Tensor, list[int]]:
        gradients = [tf.constant(part) for part in parts[job.rank]]
        summed, scalars = sum_over_ranks(job, gradients, tf.constant(figures[job.rank]))
        return summed, scalars, [int(tf.size(buffer)) for buffer in job.sent]

    for gradients, scalars, lengths in on_ranks(world_size, work):
        for position, shape in enumerate(SHAPES):
            assert gradients[position].shape == shape
            np.testing.assert_array_equal(gradients[position], sum(part[position] for part in parts))
        np.testing.assert_array_equal(scalars, sum(figures))
        assert lengths == [sum(SIZES[3:]), sum(SIZES[:3]) + 2]


def test_gradients_of_16_bits_are_summed_in_32() -> None:
    """256, 1 and 2 of three ranks: bfloat16, of 8 bits, would lose the 1; the sum, 259, is rounded once, to 260."""
    ranks = [256.0, 1.0, 2.0]

    def work(job: ThreadCommunicator) -> tuple[tf.Tensor, list[str]]:
        (summed,), _ = sum_over_ranks(job, [tf.fill([2], tf.cast(ranks[job.rank], tf.bfloat16))])
        return summed, [buffer.dtype.name for buffer in job.sent]

    for summed, dtypes in on_ranks(3, work):
        assert (summed.dtype, dtypes) == (tf.bfloat16, ["float32"])
        np.testing.assert_array_equal(tf.cast(summed, tf.float32), [260.0, 260.0])


def test_what_travels_in_half_precision_neither_overflows_nor_vanishes_nor_divides_by_nothing() -> None:
    """Ranks whose gradients differ by 10^9, some of them 0 on one rank or on all; an infinity stays one, everywhere."""
    parts = [
        [np.array([6e4, -3e4]), np.array([3e-9, 0.0]), np.zeros(3), np.array([1.0, 2.0])],
        [np.array([6e4, 1e-5]), np.array([3.0, 1.0]), np.zeros(3), np.array([np.inf, 2.0])],
    ]

    def work(job: ThreadCommunicator) -> tuple[list[tf.Tensor], list[str]]:
        gradients = [tf.constant(part, tf.float32) for part in parts[job.rank]]
        summed, scalars = sum_over_ranks(job, gradients, tf.constant([1.25 + job.rank]), compression="fp16")
        assert scalars.numpy().tolist() == [3.5]  # 1.25 + 2.25: never compressed
        return summed, [buffer.dtype.name for buffer in job.sent]

    ranks = on_ranks(2, work)
    for (large, uneven, zero, broken), dtypes in ranks:
        assert set(dtypes) == {"float32", "float16"}
        np.testing.assert_allclose(large, parts[0][0] + parts[1][0], rtol=2e-3)
        np.testing.assert_allclose(uneven, parts[0][1] + parts[1][1], rtol=2e-3)
        np.testing.assert_array_equal(zero, np.zeros(3))
        assert not np.isfinite(broken[0])
    for one, other in zip(ranks[0][0], ranks[1][0], strict=True):
        np.testing.assert_array_equal(one, other)  # alike bit for bit, or ranks drift apart
