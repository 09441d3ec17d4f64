from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgmed import ImgMedError, SliceGrid

ORIENTATIONS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def affine_for(order, signs, spacing=(0.7, 1.3, 3.0)) -> np.ndarray:
    affine = np.zeros((4, 4))
    for column, (row, sign) in enumerate(zip(order, signs, strict=True)):
        affine[row, column] = sign * spacing[column]
    affine[:, 3] = [7.0, -20.0, 3.5, 1.0]
    return affine


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_round_trip_in_all_orientations(order, signs, slice_axis):
    affine = affine_for(order, signs)
    label = np.random.default_rng(0).integers(0, 9, (3, 4, 5)).astype(np.uint8)
    scores = np.random.default_rng(1).normal(size=(3, 4, 5, 6)).astype(np.float32)
    grid = SliceGrid.of(label.shape, affine, slice_axis)

    stack = grid.to_stack(label)

    assert stack.shape == grid.stack_shape
    restored = grid.restore(stack, order=0)
    np.testing.assert_array_equal(restored, label)
    assert restored.flags.c_contiguous and restored.dtype == np.uint8
    np.testing.assert_array_equal(grid.restore(grid.to_stack(scores), order=1), scores)


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_every_pixel_keeps_its_place_in_the_patient(order, signs, slice_axis):
    affine = affine_for(order, signs)
    index = np.moveaxis(np.indices((3, 4, 5)), 0, -1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    grid = SliceGrid.of((3, 4, 5), affine, slice_axis)
    stack = grid.to_stack(world)
    position = np.moveaxis(np.indices(grid.stack_shape), 0, -1)
    found = position @ grid.stack_affine[:3, :3].T + grid.stack_affine[:3, 3]
    np.testing.assert_allclose(found, stack, atol=1e-12)
    # Slices, rows and columns follow the patient's axes upwards, the slice axis first.
    for axis, canonical in enumerate([slice_axis, *(a for a in range(3) if a != slice_axis)]):
        assert (np.diff(stack[..., canonical], axis=axis) > 0).all()


@settings(max_examples=60)
@given(
    case=st.sampled_from(ORIENTATIONS),
    slice_axis=st.integers(0, 2),
    shape=st.tuples(*[st.integers(1, 7)] * 3),
    slice_shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_restoring_resampled_stacks_gives_the_original_shape_and_no_new_values(case, slice_axis, shape, slice_shape):
    grid = SliceGrid.of(shape, affine_for(*case), slice_axis, slice_shape)
    label = np.random.default_rng(2).choice([0, 4, 9], grid.stack_shape).astype(np.uint8)
    restored = grid.restore(label, order=0)
    assert restored.shape == shape and set(np.unique(restored)) <= set(np.unique(label))
    scores = np.random.default_rng(3).normal(size=(*grid.stack_shape, 3)).astype(np.float32)
    back = grid.restore(scores, order=1)
    assert back.shape == (*shape, 3) and back.dtype == np.float32
    assert back.min() >= scores.min() - 1e-5 and back.max() <= scores.max() + 1e-5


@pytest.mark.parametrize(
    ("order", "signs"), [((0, 1, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1)), ((1, 0, 2), (-1, -1, 1))]
)
def test_a_linear_field_survives_resampling_and_restoring(order, signs):
    """Scores that are a linear function of the place in the patient come back to the same function."""
    affine = affine_for(order, signs, spacing=(1.0, 1.0, 1.0))
    shape = (12, 14, 16)
    index = np.moveaxis(np.indices(shape), 0, -1)
    field = (index @ affine[:3, :3].T + affine[:3, 3]) @ [1.0, -2.0, 0.5]
    grid = SliceGrid.of(shape, affine, 2, slice_shape=(31, 37))
    position = np.moveaxis(np.indices(grid.stack_shape), 0, -1)
    stack = (position @ grid.stack_affine[:3, :3].T + grid.stack_affine[:3, 3]) @ [1.0, -2.0, 0.5]
    restored = grid.restore(stack[..., None].astype(np.float32), order=1)[..., 0]
    inner = (slice(1, -1),) * 3  # outermost pixels have no outer neighbour to average with
    # The field changes by up to 0.9 from one fine pixel to the next; half a pixel of misplacement would show.
    np.testing.assert_allclose(restored[inner], field[inner], atol=0.1)
    assert abs((restored[inner] - field[inner]).mean()) < 1e-3


def test_an_off_centre_mark_returns_to_its_voxel():
    """A voxel marked in a finely resampled stack is found where the world says it is."""
    affine = affine_for((1, 2, 0), (-1, 1, -1), spacing=(1.0, 2.0, 3.0))
    grid = SliceGrid.of((9, 8, 7), affine, 1, slice_shape=(35, 45))
    voxel = np.array([6, 1, 2])
    world = affine[:3, :3] @ voxel + affine[:3, 3]
    place = np.linalg.solve(grid.stack_affine, [*world, 1])[:3].round().astype(int)
    stack = np.zeros(grid.stack_shape, np.uint8)
    stack[place[0], place[1] - 3 : place[1] + 4, place[2] - 3 : place[2] + 4] = 8
    restored = grid.restore(stack, order=0)
    assert restored[tuple(voxel)] == 8
    assert 1 <= np.count_nonzero(restored) <= 9


def test_spacing_of_the_stack_follows_from_the_field_of_view():
    grid = SliceGrid.of((10, 20, 30), affine_for((0, 1, 2), (1, 1, 1), (1.0, 2.0, 3.0)), 2, (5, 80))
    assert grid.stack_spacing_mm == pytest.approx((3.0, 2.0, 0.5))
    np.testing.assert_allclose(np.linalg.norm(grid.stack_affine[:3, :3], axis=0), grid.stack_spacing_mm)


def test_json_round_trip_is_exact():
    grid = SliceGrid.of((3, 4, 5), affine_for((2, 0, 1), (1, -1, 1), (1 / 3, 0.1, 2 / 7)), 1, (6, 7))
    assert SliceGrid.model_validate_json(grid.model_dump_json()) == grid


def test_wrong_shapes_and_orders_are_refused():
    grid = SliceGrid.of((3, 4, 5), np.eye(4), 2)
    with pytest.raises(ImgMedError, match=r"\(5, 3, 4\).*received \(3, 4, 5\)"):
        grid.restore(np.zeros((3, 4, 5), np.uint8), order=0)
    with pytest.raises(ImgMedError, match=r"\(3, 4, 5\).*received \(5, 3, 4\)"):
        grid.to_stack(np.zeros((5, 3, 4)))
    with pytest.raises(ValueError, match="order 1"):
        grid.restore(np.zeros((5, 3, 4), np.uint8), order=1)
    with pytest.raises(ValueError, match="order 0"):
        grid.restore(np.zeros((5, 3, 4, 2), np.float32), order=0)


def test_restoring_does_not_change_its_argument():
    grid = SliceGrid.of((6, 5, 4), affine_for((1, 0, 2), (-1, 1, 1)), 2, (9, 8))
    stack = np.random.default_rng(4).integers(0, 3, grid.stack_shape).astype(np.uint8)
    before = stack.copy()
    grid.restore(stack, order=0)
    np.testing.assert_array_equal(stack, before)


def moved_grid(shape=(9, 8, 7), first=(1, 2, 1), size=(5, 4, 6), step=(1.0, 1.0, 1.0), case=((2, 0, 1), (1, -1, -1))):
    """The grid of a stack cut out of, or sampled from, a scan: stack voxel n lies at first + n * step."""
    start = SliceGrid.of(shape, affine_for(*case), 0)
    change = np.diag([*step, 1.0])
    change[:3, 3] = first
    return start, start.moved_to(size, start.stack_affine @ change)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS[::7])
def test_a_cropped_stack_returns_to_its_place_and_the_rest_is_background(order, signs):
    start, grid = moved_grid(case=(order, signs), size=(4, 3, 4))
    label = np.random.default_rng(0).integers(1, 9, (9, 8, 7)).astype(np.uint8)
    part = start.to_stack(label)[1:5, 2:5, 1:5]
    expected = np.zeros(start.stack_shape, np.uint8)
    expected[1:5, 2:5, 1:5] = part
    assert not grid.is_resampled
    np.testing.assert_array_equal(start.to_stack(grid.restore(part, order=0)), expected)
    scores = np.random.default_rng(1).random((*part.shape, 3)).astype(np.float32)
    restored = start.to_stack(grid.restore(scores, order=1))
    np.testing.assert_array_equal(restored[1:5, 2:5, 1:5], scores)
    np.testing.assert_array_equal(restored[0, 0, 0], [1, 0, 0])
    lone = grid.restore(scores[..., :1], order=1)
    assert lone.min() == 0 and np.count_nonzero(lone) == np.count_nonzero(scores[..., :1])


def test_padding_around_a_stack_is_left_out():
    start, grid = moved_grid(first=(-2, -1, -3), size=(12, 11, 15))
    label = np.random.default_rng(0).integers(0, 9, (9, 8, 7)).astype(np.uint8)
    stack = np.full((12, 11, 15), 77, np.uint8)
    depth, height, width = start.stack_shape
    stack[2 : 2 + depth, 1 : 1 + height, 3 : 3 + width] = start.to_stack(label)
    np.testing.assert_array_equal(grid.restore(stack, order=0), label)


def test_scores_between_resampled_slices_are_interpolated_where_they_lie():
    """Slices of twice the distance: a linear field of scores is linear in the scan's voxels."""
    start, grid = moved_grid(first=(0.5, 0, 0), size=(4, 7, 9), step=(2.0, 1.0, 1.0), case=((2, 0, 1), (1, 1, 1)))
    assert start.stack_shape == (8, 7, 9) and grid.is_resampled
    scores = np.broadcast_to((0.5 + 2 * np.arange(4.0, dtype=np.float32))[:, None, None, None], (4, 7, 9, 2))
    restored = start.to_stack(grid.restore(scores, order=1))
    np.testing.assert_allclose(restored[1:-1, 0, 0, 0], np.arange(1.0, 7.0), atol=1e-6)
    np.testing.assert_allclose(restored[[0, -1], 0, 0, 0], [0.5, 6.5])  # beyond the outer centres they are repeated


@pytest.mark.parametrize("step", [(1.0, 0.8, 1.0), (0.9, 1.0, 0.8)])
def test_what_lies_around_a_resampled_scan_is_left_out(step):
    """A stack that was padded: linear fields lie in the voxels where they did; where it shrinks they are averaged."""
    start, grid = moved_grid(first=(-2.0, -4.0, -3.0), size=(20, 20, 20), step=step, case=((2, 0, 1), (1, 1, 1)))
    index = np.moveaxis(np.indices(grid.stack_shape), 0, -1)
    fields = (index * step + np.array([-2.0, -4.0, -3.0])).astype(np.float32)
    restored = start.to_stack(grid.restore(fields, order=1))
    np.testing.assert_allclose(restored, np.moveaxis(np.indices(start.stack_shape), 0, -1), atol=0.06)


@pytest.mark.parametrize(
    "place",
    [
        {"first": (0.5, 0, 0), "size": (4, 7, 9), "step": (2.0, 1.0, 1.0)},
        {"first": (-1.0, 0.3, 2.0), "size": (14, 5, 3), "step": (0.7, 1.1, 0.9)},
        {"size": (4, 3, 4)},
    ],
)
def test_slabs_go_onto_the_same_slices_as_the_whole(place):
    start, grid = moved_grid(case=((2, 0, 1), (1, -1, 1)), **place)
    scores = np.random.default_rng(1).random((*grid.stack_shape, 3)).astype(np.float32)
    restored = list(grid.restored_slabs(np.split(scores, [1, 2]), [1, 0, 0]))
    assert sum(map(len, restored)) == grid.original_stack_shape[0]
    np.testing.assert_array_equal(np.concatenate(restored), start.to_stack(grid.restore(scores, order=1)))
    nothing = [np.ones((*grid.stack_shape, 3), np.float32)]
    outside = np.concatenate(list(grid.restored_slabs(nothing, [0, 0, 7])))
    np.testing.assert_array_equal(np.unique(outside[..., 2]), [1, 7] if (outside[..., 0] == 0).any() else [1])


def test_a_stack_turned_against_its_scan_is_refused():
    start = SliceGrid.of((4, 5, 6), np.eye(4), 2)
    tilted = start.stack_affine.copy()
    tilted[0, 0] = 0.2
    with pytest.raises(ImgMedError, match="along the axes of its scan"):
        start.moved_to(start.stack_shape, tilted)
    with pytest.raises(ImgMedError, match="in the same directions"):
        start.moved_to(start.stack_shape, start.stack_affine @ np.diag([-1.0, 1, 1, 1]))
