from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmed.errors import PairMismatchError
from imgmed.geometry import (
    axis_codes,
    canonical_affine,
    canonical_shape,
    canonical_spacing,
    from_canonical,
    orientation_of,
    place_on_grid,
    to_canonical,
)

ORIENTATIONS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def affine_for(order, signs, spacing=(0.7, 1.3, 3.0), origin=(-11.0, 5.0, 40.0)) -> np.ndarray:
    affine = np.zeros((4, 4))
    for column, (row, sign) in enumerate(zip(order, signs, strict=True)):
        affine[row, column] = sign * spacing[column]
    affine[:3, 3] = origin
    affine[3, 3] = 1
    return affine


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_canonical_order_equals_nibabels(order, signs):
    affine = affine_for(order, signs)
    array = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    expected = nib.as_closest_canonical(nib.Nifti1Image(array.astype(np.int16), affine))
    orientation = orientation_of(affine)

    canonical = to_canonical(array, orientation)

    np.testing.assert_array_equal(canonical, np.asarray(expected.dataobj))
    np.testing.assert_allclose(canonical_affine(affine, array.shape), expected.affine, atol=1e-12)
    assert canonical_shape(array.shape, orientation) == expected.shape
    np.testing.assert_allclose(canonical_spacing(affine), nib.affines.voxel_sizes(expected.affine))
    assert axis_codes(affine) == "".join(nib.aff2axcodes(affine))
    np.testing.assert_array_equal(from_canonical(canonical, orientation), array)


@given(
    angles=st.tuples(*[st.floats(-0.35, 0.35)] * 3),
    case=st.sampled_from(ORIENTATIONS),
    index=st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 3)),
)
def test_every_voxel_keeps_its_place_in_oblique_volumes(angles, case, index):
    affine = _rotation(angles) @ affine_for(*case)
    array = np.zeros((2, 3, 4), int)
    array[index] = 1
    canonical = to_canonical(array, orientation_of(affine))
    place = np.argwhere(canonical)[0]
    before = affine @ [*index, 1]
    after = canonical_affine(affine, array.shape) @ [*place, 1]
    np.testing.assert_allclose(after, before, atol=1e-9)


def _rotation(angles) -> np.ndarray:
    result = np.eye(4)
    for axis, angle in enumerate(angles):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(4)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def test_channels_stay_last():
    affine = affine_for((2, 0, 1), (-1, 1, -1))
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    canonical = to_canonical(array, orientation_of(affine))
    assert canonical.shape == (3, 4, 2, 5)
    for channel in range(5):
        np.testing.assert_array_equal(
            canonical[..., channel], to_canonical(array[..., channel], orientation_of(affine))
        )


@given(
    angles=st.tuples(*[st.floats(-0.35, 0.35)] * 3),
    source=st.sampled_from(ORIENTATIONS),
    target=st.sampled_from(ORIENTATIONS),
    shift=st.tuples(*[st.integers(-4, 4)] * 3),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
)
def test_what_is_placed_lies_at_the_same_world_position(angles, source, target, shift, shape):
    """One isotropic lattice, two descriptions of it: every voxel of the target holds what lay there, or the fill."""
    turn = _rotation(angles)
    affine = turn @ affine_for(*source, spacing=(1.5, 1.5, 1.5))
    target_affine = turn @ affine_for(*target, spacing=(1.5, 1.5, 1.5))
    target_affine[:3, 3] += target_affine[:3, :3] @ shift
    array = np.arange(1, 61).reshape(3, 4, 5)
    before = array.copy()

    placed = place_on_grid(array, affine, shape, target_affine)

    assert placed.shape == shape
    for index in np.ndindex(*shape):
        there = np.rint(np.linalg.solve(affine, target_affine @ [*index, 1])[:3]).astype(int)
        is_inside = ((there >= 0) & (there < array.shape)).all()
        assert placed[index] == (array[tuple(there)] if is_inside else 0)
    np.testing.assert_array_equal(array, before)


def test_placing_there_and_back_is_the_identity_and_keeps_channels():
    first, second = affine_for((0, 1, 2), (1, 1, 1)), affine_for((0, 1, 2), (1, -1, 1))
    second[1, 3] = first[1, 3] + 1.3 * 3
    array = np.random.default_rng(0).random((3, 4, 5, 2))
    there = place_on_grid(array, first, (3, 4, 5), second, fill=None)
    np.testing.assert_array_equal(there, array[:, ::-1])
    np.testing.assert_array_equal(place_on_grid(there, second, (3, 4, 5), first, fill=None), array)


def test_the_fill_is_outside_or_refused():
    array = np.ones((2, 2, 2), np.int8)
    assert place_on_grid(array, np.eye(4), (3, 2, 2), np.eye(4), fill=-1)[2].tolist() == [[-1, -1], [-1, -1]]
    with pytest.raises(PairMismatchError, match=r"other voxels: 2 x 2 x 2 beginning at voxel \(0, 0, 0\) of 3 x 2 x 2"):
        place_on_grid(array, np.eye(4), (3, 2, 2), np.eye(4), fill=None)
    far = np.eye(4)
    far[0, 3] = 50
    assert not place_on_grid(array, far, (3, 2, 2), np.eye(4)).any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (np.diag([1.0, 1, 2, 1]), r"voxels of \(0\.7, 1\.3, 6\) mm against \(0\.7, 1\.3, 3\) mm"),
        (np.array([[1.0, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), r"shifted by \(0\.5, 0, 0\) voxels"),
    ],
)
def test_other_lattices_are_refused_saying_how(change, said):
    affine = affine_for((0, 1, 2), (1, 1, 1))
    with pytest.raises(PairMismatchError, match=said):
        place_on_grid(np.zeros((3, 4, 5)), affine @ change, (3, 4, 5), affine)


def test_turned_lattices_are_refused_saying_by_how_much():
    affine = affine_for((0, 1, 2), (1, 1, 1), spacing=(1, 1, 1))
    with pytest.raises(PairMismatchError, match=r"axes turned by 2 degrees"):
        place_on_grid(np.zeros((30, 4, 5)), _rotation((np.radians(2), 0, 0)) @ affine, (30, 4, 5), affine)


def test_rounded_headers_still_meet():
    affine = _rotation((0.1, 0.2, 0.3)) @ affine_for((0, 1, 2), (1, -1, 1))
    rounded = np.round(affine, 5)
    array = np.random.default_rng(1).random((300, 300, 40))
    np.testing.assert_array_equal(place_on_grid(array, rounded, array.shape, affine, fill=None), array)


@pytest.mark.parametrize("target", ORIENTATIONS[::5])
@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e3])
def test_the_same_voxels_meet_in_any_order_and_unit(target, unit):
    """nibabel reorients; a label map that lost its unit code is a thousand times too large or small."""
    affine = _rotation((0.1, -0.2, 0.3)) @ affine_for((0, 1, 2), (1, -1, 1))
    array = np.arange(60).reshape(3, 4, 5)
    other = nib.Nifti1Image(array.astype(np.int16), affine).as_reoriented(np.array(list(zip(*target, strict=True))))
    stored = np.diag([unit, unit, unit, 1]) @ other.affine
    np.testing.assert_array_equal(place_on_grid(np.asarray(other.dataobj), stored, (3, 4, 5), affine, fill=None), array)


@pytest.mark.parametrize(("spacing", "is_same"), [(1.00005, True), (1.0005, False), (1.002, False)])
def test_a_spacing_that_is_off_adds_up_over_the_volume(spacing, is_same):
    """Of 512 voxels the last lies 511 times the difference off: 0.026, 0.26 and 1.02 voxels."""
    array = np.ones((512, 2, 2), np.uint8)
    if is_same:
        assert place_on_grid(array, np.diag([spacing, 1, 1, 1]), array.shape, np.eye(4), fill=None) is not None
    else:
        with pytest.raises(PairMismatchError):
            place_on_grid(array, np.diag([spacing, 1, 1, 1]), array.shape, np.eye(4), fill=None)
