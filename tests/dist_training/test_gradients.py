"""Gradients summed over ranks: nothing lost, nothing swapped, most of it on its way early."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from dist_training.ranks.communicator import SoloCommunicator
from dist_training.ranks.gradients import early_count, sum_over_ranks

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


class ThreadCommunicator:
    """A rank among threads of this process; each sum waits for all of them."""

    local_rank, local_size = 0, 1

    def __init__(self, rank: int, shared: list[tf.Tensor | None], barrier: Barrier) -> None:
        self.rank, self.world_size = rank, len(shared)
        self._shared, self._barrier = shared, barrier
        self.lengths: list[int] = []

    def sum_tensor(self, tensor: tf.Tensor) -> tf.Tensor:
        self.lengths.append(int(tf.size(tensor)))
        self._shared[self.rank] = tensor
        self._barrier.wait(timeout=30)
        total = tf.add_n(self._shared)
        self._barrier.wait(timeout=30)
        return total


@pytest.mark.parametrize("world_size", [2, 3])
def test_every_rank_gets_every_sum_in_its_place(world_size: int) -> None:
    """Whole numbers, so that the sums are exact in whatever order they are added."""
    rng = np.random.default_rng(0)
    parts = [[rng.integers(-99, 99, shape).astype(np.float64) for shape in SHAPES] for _ in range(world_size)]
    figures = [np.array([rank + 0.5, rank == 1]) for rank in range(world_size)]
    shared: list[tf.Tensor | None] = [None] * world_size
    barrier = Barrier(world_size)
    ranks = [ThreadCommunicator(rank, shared, barrier) for rank in range(world_size)]

    def work(communicator: ThreadCommunicator) -> tuple[list[tf.Tensor], tf.Tensor]:
        gradients = [tf.constant(part) for part in parts[communicator.rank]]
        return sum_over_ranks(communicator, gradients, tf.constant(figures[communicator.rank]))

    with ThreadPoolExecutor(world_size) as pool:
        results = list(pool.map(work, ranks))
    for gradients, scalars in results:
        for position, shape in enumerate(SHAPES):
            assert gradients[position].shape == shape
            np.testing.assert_array_equal(gradients[position], sum(part[position] for part in parts))
        np.testing.assert_array_equal(scalars, sum(figures))
    assert all(rank.lengths == [sum(SIZES[3:]), sum(SIZES[:3]) + 2] for rank in ranks)
