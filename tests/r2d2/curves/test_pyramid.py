"""Stretches of a pyramid say what NumPy says of the same points, however these came."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2d2.curves.pyramid import Pyramid


def points(count: int, seed: int, first: int = 1) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(count, 2))
    return np.column_stack([np.arange(first, first + count), values])


@given(
    parts=st.lists(st.integers(1, 700), min_size=1, max_size=8),
    cut=st.integers(0, 3000),
    more=st.integers(0, 600),
    ends=st.tuples(st.integers(0, 4000), st.integers(0, 4000)),
    most=st.integers(4, 60),
)
def test_no_value_is_lost(
    parts: list[int],
    cut: int,
    more: int,
    ends: tuple[int, int],
    most: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    pyramid, expected = Pyramid(tmp_path_factory.mktemp("pyramid"), 2), np.empty((0, 3))
    for at, count in enumerate(parts):
        part = points(count, at, len(expected) + 1)
        pyramid.append(part)
        expected = np.concatenate([expected, part])
    pyramid.truncate(cut)
    expected = expected[expected[:, 0] <= cut]
    part = points(more, 99, len(expected) + 1)
    pyramid.append(part)
    expected = np.concatenate([expected, part])
    assert pyramid.count == len(expected)

    first, last = sorted(ends)
    found = pyramid.view(first, last, most)
    inside = expected[(expected[:, 0] >= first) & (expected[:, 0] <= last)]
    assert len(found.last) <= most and (np.diff(found.last) > 0).all()
    assert len(found.last) >= min(len(inside), most) / 2
    if len(inside):
        assert found.last[-1] == inside[-1, 0]
    begin = first - 1
    for at, end in enumerate(found.last):
        values = inside[(inside[:, 0] > begin) & (inside[:, 0] <= end)][:, 1:]
        np.testing.assert_array_equal(found.least[at], values.min(axis=0))
        np.testing.assert_array_equal(found.largest[at], values.max(axis=0))
        assert (found.mean[at] >= values.min(axis=0) - 1e-12).all()
        assert (found.mean[at] <= values.max(axis=0) + 1e-12).all()
        begin = int(end)


def test_what_is_no_number_hides_nothing(tmp_path: Path) -> None:
    rows = points(1000, 0)
    rows[3:500, 1] = np.nan
    rows[700, 1] = np.inf
    pyramid = Pyramid(tmp_path, 2)
    pyramid.append(rows)
    found = pyramid.view(0, 2000, 10)
    assert np.isnan(found.mean[2, 0]) and np.isfinite(found.mean[0, 0])
    assert np.nanmax(found.largest[:, 0]) == np.inf and np.isfinite(found.mean[7, 0])
    assert found.least[0, 0] == rows[:3, 1].min()


def test_a_mean_is_that_of_the_points(tmp_path: Path) -> None:
    rows = points(4096, 1)
    pyramid = Pyramid(tmp_path, 2)
    pyramid.append(rows)
    np.testing.assert_allclose(pyramid.view(1, 4096, 8).mean, rows[:, 1:].reshape(8, 512, 2).mean(axis=1))


def test_it_goes_on_where_another_left_it(tmp_path: Path) -> None:
    rows = points(900, 2)
    Pyramid(tmp_path, 2).append(rows[:500])
    again = Pyramid(tmp_path, 2, 400)  # the last hundred were written, and not counted before a crash
    again.append(rows[400:])
    np.testing.assert_array_equal(again.view(0, 1000, 900).mean, rows[:, 1:])
    assert again.view(0, 1000, 7).least[:, 0].min() == rows[:, 1].min()
