"""How images grow along each axis: by the nearest voxel, linearly, by cubic convolution, mixed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import affine_transform

from imgmed import Volume
from imgmed.axis_map import AxisMap
from imgmed.operations import Reorient, Resample, Scan
from imgmed.resampling import resample


@given(old=st.integers(1, 12), new=st.integers(1, 40))
def test_the_nearest_voxel_is_that_of_scipy_where_an_axis_grows(old, new):
    new = max(old, new)
    line = np.random.default_rng(old).normal(size=old).astype(np.float32)
    found = resample(line[:, None, None, None], (AxisMap.covering(old, new), AxisMap(1, 1), AxisMap(1, 1)), 0)
    places = (np.arange(new) + 0.5) * old / new - 0.5
    is_tied = np.isclose(places % 1, 0.5)
    expected = affine_transform(line, [old / new], 0.5 * old / new - 0.5, (new,), order=0, mode="nearest")
    np.testing.assert_array_equal(found.ravel()[~is_tied], expected[~is_tied])
    assert set(found.ravel()) <= set(line)


def test_each_axis_grows_by_its_own_order():
    """The same as one axis after the other, whatever direction the array has."""
    array = np.random.default_rng(1).normal(size=(6, 7, 5)).astype(np.float32)
    scan = Scan(Volume(array, np.diag([1.0, 1.0, 3.0, 1.0])))
    together = Resample(spacing_mm=(0.6, 0.7, 1.0), order=(1, 3, 0)).apply(scan).image.array
    step = scan
    for operation in (
        Resample(spacing_mm=(0.6, None, None), order=1),
        Resample(spacing_mm=(None, 0.7, None), order=3),
        Resample(spacing_mm=(None, None, 1.0), order=(3, 3, 0)),
    ):
        step = operation.apply(step)
    np.testing.assert_allclose(together, step.image.array, atol=1e-5)
    turned = Reorient(axes="SLA").apply(scan)
    found = Reorient().apply(Resample(spacing_mm=(0.6, 0.7, 1.0), order=(1, 3, 0)).apply(turned))
    np.testing.assert_allclose(found.image.array, together, atol=1e-5)
    np.testing.assert_array_equal(together[..., 0::3], together[..., 2::3])  # a slice of 3 mm became three of 1 mm


def test_one_order_for_all_axes_is_that_order_for_each():
    array = np.random.default_rng(2).normal(size=(6, 7, 5)).astype(np.float32)
    scan = Scan(Volume(array, np.eye(4)))
    for order in (1, 3):
        once, each = (Resample(spacing_mm=(0.6, 0.7, 0.5), order=given) for given in (order, (order,) * 3))
        assert once.apply(scan).image.array.tobytes() == each.apply(scan).image.array.tobytes()
    assert Resample(spacing_mm=(1, 1, 1)).model_dump(mode="json")["order"] == 3  # as it always was in datasets


@pytest.mark.parametrize("wrong", [0, 2, (3, 3), (3, 3, 2)])
def test_other_orders_are_refused(wrong):
    with pytest.raises(ValueError, match="order"):
        Resample(spacing_mm=(1, 1, 1), order=wrong)
