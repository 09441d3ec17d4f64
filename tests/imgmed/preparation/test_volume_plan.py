"""Volumes: the published rule of their spacing against numbers worked out by hand, and what is chosen besides."""

import numpy as np
import pytest

from imgmed.operations import Clip, CropToContent, Resample
from imgmed.preparation.volume_plan import VolumeSpacing, long_axis
from tests.imgmed.preparation.test_plan import Measured, case, plan


def spacings(across: list[float], plane: float = 0.5) -> list[tuple[float, float, float]]:
    return [(plane, plane, value) for value in across]


@pytest.mark.parametrize(
    ("shape", "across", "expected", "is_long"),
    [
        ((300, 300, 200), [1.0, 1.2, 1.4], 1.2, False),  # nearly isotropic: the median
        ((300, 300, 20), [1.4, 1.5, 1.5], 1.5, False),  # exactly 3 times is not over 3 times
        # 10th percentile of 2, 3, 4, 5, 6: at 0.4 of the way from 2 to 3
        ((300, 300, 20), [2.0, 3.0, 4.0, 5.0, 6.0], 2.4, True),
        ((300, 300, 100), [2.0, 3.0, 4.0, 5.0, 6.0], 4.0, True),  # exactly a third of the voxels is not under a third
        ((300, 300, 20), [0.1, 3.0, 3.0], 0.68, True),  # 0.1 + 0.2 * 2.9, finer than others by far but not than 0.5
        ((300, 300, 20), [0.1, 0.2, 3.0, 3.0, 3.0], 0.5, True),  # 0.14 would be finer than the plane
    ],
)
def test_the_spacing_follows_the_published_rule(shape, across, expected, is_long):
    found = VolumeSpacing.of([shape] * len(across), spacings(across))
    assert found.spacing_mm == pytest.approx((0.5, 0.5, expected))
    assert found.long_axis == (2 if is_long else None)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_rule_is_the_same_along_every_axis(axis):
    turned = np.roll(np.array([[4.0, 1.0, 1.1]] * 3 + [[8.0, 1.0, 1.1]] * 2), axis, axis=1)
    sizes = np.roll([20, 200, 200], axis)
    found = VolumeSpacing.of([sizes] * 5, turned)
    assert found.long_axis == axis
    assert found.spacing_mm == pytest.approx(np.roll([4.0, 1.0, 1.1], axis))


def test_two_long_axes_are_none():
    assert long_axis((0.2, 1.0, 1.0)) is None and long_axis((5.0, 1.0, 1.5)) == 0


def test_volumes_are_cropped_resampled_along_all_axes_and_clipped():
    found = plan([case((60, 60, 40), (s, s, 2 * s)) for s in (1.0, 1.2, 2.0)], kind="volumes")
    crop, resampling, clip = found.scan_preparation.operations
    assert crop == CropToContent() and isinstance(clip, Clip)
    assert resampling == Resample(spacing_mm=(1.2, 1.2, 2.4), order=3)
    assert found.reasons["kind"] == "set by the user"
    assert "three axes" in found.reasons["spacing_mm"] and "1 x 1 x 2 to 2 x 2 x 4" in found.reasons["spacing_mm"]
    assert "not 0" in found.reasons["crop"]


def test_along_long_voxels_images_take_the_nearest_and_the_reason_says_so():
    found = plan([case((200, 200, 20), (0.5, 0.5, s)) for s in (2.0, 3.0, 4.0)], kind="volumes")
    resampling = found.scan_preparation.operations[1]
    assert resampling == Resample(spacing_mm=(0.5, 0.5, 2.2), order=(3, 3, 0))
    assert "10th percentile (Isensee et al. 2021)" in found.reasons["spacing_mm"]
    assert "foot-head" in found.reasons["spacing_mm"] and "nearest" in found.reasons["spacing_mm"]
    thin = plan([case((60, 60, 60), (1.0, 1.0, 1.0))], kind="volumes", spacing_mm=(1.0, 4.0, 1.0))
    assert thin.scan_preparation.operations[1].order == (3, 0, 3)


def test_all_alike_are_not_resampled():
    found = plan([case(), case(spacing=(1.005, 1.0, 3.0)), case()], kind="volumes")
    assert found.scan_preparation.operations[1].spacing_mm == (1.0, 1.0, 3.0)
    assert "not resampled" in found.reasons["spacing_mm"]


def test_the_spacing_of_the_user_counts_along_all_three_axes():
    found = plan([case()], kind="volumes", spacing_mm=(2.0, 2.0, 1.5))
    assert found.scan_preparation.operations[1].spacing_mm == (2.0, 2.0, 1.5)
    assert found.reasons["spacing_mm"] == "set by the user"


def test_ct_is_cropped_to_what_is_denser_than_air():
    found = plan([case(lowest=-1024.0)], ("CT",), kind="volumes")
    assert found.scan_preparation.operations[0] == CropToContent(above=-500.0)
    assert "denser than air, -500 HU" in found.reasons["crop"]
    shifted = plan([case(lowest=0.0)], ("CT",), kind="volumes")
    assert shifted.scan_preparation.operations[0] == CropToContent()


def test_operations_of_the_user_stand_alone():
    own = ({"op": "clip", "bounds": [[0, 1]]},)
    found = plan([case()], kind="volumes", operations=own)
    assert found.scan_preparation.operations == (Clip(bounds=((0, 1),)),)
    assert found.reasons["operations"] == "set by the user"


@pytest.mark.parametrize(
    ("shape", "spacing", "said"),
    [
        ((48, 48, 30), (1.0, 1.0, 1.5), "slices unless asked otherwise; preparation.kind=volumes would suit too"),
        ((200, 200, 9), (1.0, 1.0, 5.0), "slices: a typical volume is 200 x 200 x 9 voxels of 1 x 1 x 5 mm, under 16"),
    ],
)
def test_the_kind_that_suits_is_said_with_its_reason(shape, spacing, said):
    assert plan([case(shape, spacing)]).reasons["kind"].startswith(said)
    asked = plan([case(shape, spacing)], kind="volumes").reasons["kind"]
    assert asked.startswith("set by the user") and ("though" in asked) == ("under 16" in said)


def test_pictures_are_slices():
    picture = Measured(**{**vars(case((40, 50, 1), (1.0, 1.0, 1.0))), "is_picture": True})
    assert plan([picture]).reasons["kind"] == "slices, as pictures have no size in millimetres"


def test_a_single_slice_is_no_volume():
    cases = [case(), case((40, 50, 1), (1.0, 1.0, 3.0)), case()]
    found = plan(cases, kind="volumes")
    assert list(found.misfits) == [1]
    assert "a single slice (40 x 50 x 1 voxels), which is no volume; leave such cases out" in found.misfits[1]
    assert not plan(cases).misfits
