import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from imgmed import SliceSelection, select_slices, with_neighbours

labelled = st.lists(st.booleans(), min_size=1, max_size=60)
rules = st.builds(
    SliceSelection,
    count=st.none() | st.integers(1, 70),
    within_labels=st.booleans(),
    keep_empty=st.floats(0, 1),
)


def label_map(slices) -> np.ndarray:
    return np.array(slices, np.uint8)[:, None, None] * np.ones((1, 2, 3), np.uint8)


@given(slices=labelled, rule=rules, seed=st.integers(0, 99))
def test_selections_are_ascending_parts_of_the_case(slices, rule, seed):
    found = select_slices(label_map(slices), rule, seed, "a")
    assert (np.diff(found) > 0).all() and set(found.tolist()) <= set(range(len(slices)))
    assert rule.count is None or len(found) <= rule.count
    np.testing.assert_array_equal(found, select_slices(label_map(slices), rule, seed, "a"))
    if rule.within_labels and any(slices):
        assert not len(found) or (found[0] >= slices.index(True) and found[-1] < len(slices) - slices[::-1].index(True))


@given(slices=labelled, part=st.floats(0, 1))
def test_slices_with_labels_are_never_dropped_and_empty_ones_in_part(slices, part):
    found = select_slices(label_map(slices), SliceSelection(keep_empty=part), 3, "a")
    assert set(np.flatnonzero(slices).tolist()) <= set(found.tolist())
    empty = slices.count(False)
    assert abs((len(found) - slices.count(True)) - part * empty) <= 0.5


def test_seed_and_case_decide_which_empty_slices_stay():
    slices, rule = label_map([False] * 40), SliceSelection(keep_empty=0.5)
    drawn = [tuple(select_slices(slices, rule, seed, case)) for seed in (0, 1) for case in ("a", "b")]
    assert len(set(drawn)) == 4


@given(total=st.integers(1, 400), count=st.integers(1, 100))
def test_a_fixed_number_is_spread_evenly_and_symmetrically(total, count):
    found = select_slices(total, SliceSelection(count=count), 0, "a")
    assert len(found) == min(total, count)
    if len(found) > 1:
        gaps = np.diff(found)
        assert gaps.max() - gaps.min() <= 1
        before, after = found[0], total - 1 - found[-1]
        assert before >= after and before - after <= 1 and before <= gaps.max() / 2


def test_seventy_of_155_slices_as_in_the_paper():
    found = select_slices(155, SliceSelection(count=70), 0, "a")
    # part n covers [n, n + 1) * 155 / 70 = 2.214 slices, its middle is (n + 0.5) * 2.214
    assert found[:4].tolist() == [1, 3, 5, 7] and found[-1] == 153


def test_a_case_without_labels_has_no_slice_within_them():
    assert select_slices(label_map([False] * 5), SliceSelection(within_labels=True), 0, "a").size == 0


def test_the_default_takes_everything():
    assert SliceSelection().is_neutral and not SliceSelection(count=3).is_neutral
    assert select_slices(label_map([False, True, False]), SliceSelection(), 0, "a").tolist() == [0, 1, 2]


@pytest.mark.parametrize("wrong", [{"count": 0}, {"keep_empty": 1.5}, {"keep_empty": -0.1}, {"every": 2}])
def test_selections_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        SliceSelection.model_validate(wrong)


@given(length=st.integers(1, 7), neighbours=st.integers(0, 4), channels=st.integers(1, 3))
def test_neighbours_are_the_slices_around_with_the_last_one_repeated(length, neighbours, channels):
    stack = np.random.default_rng(0).normal(size=(length, 2, 3, channels)).astype(np.float32)
    indices = np.arange(length)[::-1]
    found = with_neighbours(stack, indices, neighbours)
    assert found.shape == (length, 2, 3, channels * (2 * neighbours + 1)) and found.dtype == np.float32
    for row, index in zip(found, indices, strict=True):
        for place, offset in enumerate(range(-neighbours, neighbours + 1)):
            expected = stack[min(max(index + offset, 0), length - 1)]
            np.testing.assert_array_equal(row[..., place * channels : (place + 1) * channels], expected)
