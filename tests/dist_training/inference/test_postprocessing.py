"""Rules on label maps, against parts that were drawn by hand."""

import numpy as np
import pytest

from dist_training.inference.postprocessing import apply_rules, parse_rule
from imgmed import Volume
from r2d2_base.errors import ConfigurationError

LABELS = {"background": 0, "kidney": 1, "tumour": 2}
AFFINE = np.diag([1.0, 1.0, 5.0, 1.0])  # 5 cubic millimetres a voxel


def ruled(array: np.ndarray, *words: str) -> np.ndarray:
    before = array.copy()
    found = apply_rules(Volume(array, AFFINE), [parse_rule(word) for word in words], LABELS)
    np.testing.assert_array_equal(array, before)
    assert found.array.dtype == array.dtype
    return found.array


@pytest.fixture
def array() -> np.ndarray:
    """A kidney with a hole, a small kidney, a tumour at the first one's corner, and one far from both."""
    array = np.zeros((12, 12, 6), np.uint8)
    array[1:6, 1:6, 1:4] = 1
    array[3, 3, 2] = 0
    array[9:11, 9:11, 1:3] = 1
    array[6:8, 6, 4] = 2
    array[0, 11, 5] = 2
    return array


def test_the_largest_part_is_kept(array: np.ndarray) -> None:
    expected = array.copy()
    expected[9:11, 9:11, 1:3] = 0
    np.testing.assert_array_equal(ruled(array, "largest_component:kidney"), expected)


@pytest.mark.parametrize(("ml", "kept"), [(0.039, True), (0.041, False)])
def test_small_parts_go(array: np.ndarray, ml: float, kept: bool) -> None:
    """8 voxels are 0.04 ml."""
    expected = array.copy()
    expected[9:11, 9:11, 1:3] *= kept
    np.testing.assert_array_equal(ruled(array, f"minimum_size:kidney:{ml}"), expected)


def test_holes_are_filled_with_background_only(array: np.ndarray) -> None:
    expected = array.copy()
    expected[3, 3, 2] = 1
    np.testing.assert_array_equal(ruled(array, "fill_holes:kidney"), expected)
    array[3, 3, 2] = 2  # an enclosed tumour stays one
    np.testing.assert_array_equal(ruled(array, "fill_holes:kidney"), array)


def test_parts_that_touch_another_label_stay(array: np.ndarray) -> None:
    expected = array.copy()
    expected[0, 11, 5] = 0
    np.testing.assert_array_equal(ruled(array, "only_inside:tumour:kidney"), expected)


def test_rules_follow_each_other(array: np.ndarray) -> None:
    """Without the small kidney, a tumour at it goes too."""
    array[11, 11, 3] = 2
    assert ruled(array, "only_inside:tumour:kidney")[11, 11, 3] == 2
    assert ruled(array, "largest_component:kidney", "only_inside:tumour:kidney")[11, 11, 3] == 0


def test_nothing_there_is_no_fault() -> None:
    empty = np.zeros((3, 3, 3), np.uint16)
    for word in ("largest_component:kidney", "minimum_size:kidney:1", "fill_holes:kidney", "only_inside:tumour:kidney"):
        assert not ruled(empty, word).any()


@pytest.mark.parametrize(
    "word",
    ["largest:kidney", "minimum_size:kidney", "minimum_size:kidney:-1", "fill_holes:kidney:2", "only_inside:a", ""],
)
def test_what_is_no_rule_is_refused(word: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"a rule is one of largest_component:LABEL, minimum_size:LABEL:ML, .*received"
    ):
        parse_rule(word)


def test_a_rule_about_another_label_is_refused(array: np.ndarray) -> None:
    with pytest.raises(ConfigurationError, match=r"only_inside is about liver; the model's labels are kidney, tumour"):
        ruled(array, "only_inside:tumour:liver")
