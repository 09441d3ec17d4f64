from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgmed.geometry import (
    axis_codes,
    canonical_affine,
    canonical_shape,
    canonical_spacing,
    describe_affine,
    from_canonical,
    is_same_affine,
    orientation_of,
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


def test_affines_agree_within_a_thousandth_of_the_spacing():
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    shifted = affine.copy()
    shifted[0, 3] = 0.0019
    assert is_same_affine(affine, shifted)
    shifted[0, 3] = 0.0021
    assert not is_same_affine(affine, shifted)


def test_affine_is_described_in_one_line_without_negative_zero():
    affine = np.array([[-1.0, -0.0, 0, 9.25], [0, 1, 0, 0], [0, 0, 2.5, -3], [0, 0, 0, 1]])
    assert describe_affine(affine) == "[[-1 0 0 9.25] [0 1 0 0] [0 0 2.5 -3]]"
