from dataclasses import dataclass

import numpy as np
import pytest

from imgmed import PreparationSettings, Volume
from imgmed.preparation.plan import choose_slice_axis, derive_plan


@dataclass(frozen=True)
class Measured:
    """What a plan asks of a case."""

    shape: tuple[int, int, int]
    affine: np.ndarray
    lowest: tuple[float, ...]
    foreground: np.ndarray
    is_picture: bool = False

    @property
    def placeholder(self) -> Volume:
        return Volume(np.zeros(self.shape), self.affine)


def case(shape=(40, 50, 20), spacing=(1.0, 1.0, 3.0), lowest=0.0, foreground=None, channels=1) -> Measured:
    return Measured(
        shape=shape,
        affine=np.diag([*spacing, 1.0]),
        lowest=(lowest,) * channels,
        foreground=np.zeros((0, channels)) if foreground is None else foreground,
    )


def resampling(found) -> tuple:
    return found.scan_preparation.operations[0].spacing_mm


def clip(found):
    return found.scan_preparation.operations[1]


def plan(train, channels=("MRI",), everyone=None, **settings):
    return derive_plan(train, everyone or train, channels, PreparationSettings(**settings))


@pytest.mark.parametrize(
    ("shape", "spacing", "axis"),
    [
        ((256, 256, 20), (1, 1, 5), 2),  # thick axial slices
        ((20, 256, 256), (5, 1, 1), 0),  # thick sagittal slices
        ((35, 50, 36), (1, 1, 1), 0),  # isotropic: the fewest voxels across
        ((36, 50, 36), (1, 1, 1), 2),  # a tie goes to the last axis
        ((50, 50, 50), (1, 1, 1), 2),
        ((256, 256, 105), (1.25, 1.25, 1.37), 2),
        ((100, 10, 200), (1.0, 1.6, 1.0), 1),  # just anisotropic
        ((100, 200, 100), (1.0, 1.4, 1.0), 2),  # not quite: slice size decides
        ((30, 40, 300), (3, 3, 1), 0),  # two coarse axes
    ],
)
def test_slice_axis(shape, spacing, axis):
    assert choose_slice_axis(shape, spacing) == axis
    assert plan([case(shape, spacing)]).scan_preparation.slice_axis == axis


def test_slice_axis_is_found_in_the_patient_not_in_the_file():
    turned = Measured(**{**vars(case()), "shape": (20, 40, 50), "affine": np.eye(4)[[1, 2, 0, 3]] * [3, 1, 1, 1]})
    assert plan([turned]).scan_preparation.slice_axis == 2
    assert plan([turned]).scan_preparation.slice_size == (48, 64)


def test_slices_are_kept_where_all_agree_and_the_median_decides_otherwise():
    same = plan([case(), case(spacing=(1.005, 1.0, 3.0)), case()])
    assert resampling(same) == (1.0, 1.0, None)
    assert "not resampled" in same.reasons["spacing_mm"]
    mixed = plan([case(spacing=(s, 2 * s, 9.0)) for s in (1.0, 1.2, 2.0)])
    assert resampling(mixed) == (pytest.approx(1.2), pytest.approx(2.4), None)
    assert mixed.reasons["spacing_mm"].startswith("median")


def test_slice_size_holds_the_largest_resampled_training_slice():
    found = plan(
        [
            case((40, 50, 9), (1.0, 1.0, 9.0)),
            case((30, 33, 9), (1.0, 1.0, 9.0)),
            case((60, 20, 9), (2.0, 2.0, 9.0)),
        ]
    )
    # Medians are 1 mm, so the third case becomes 120 x 40.
    assert found.scan_preparation.slice_size == (128, 64)
    assert plan([case((48, 64, 9), (1, 1, 9))]).scan_preparation.slice_size == (48, 64)


def test_what_the_user_sets_is_kept():
    found = plan([case()], slice_axis=0, spacing_mm=(9.0, 2.0, 1.5), normalisation="zscore_dataset")
    assert found.scan_preparation.slice_axis == 0
    assert resampling(found) == (None, 2.0, 1.5)
    assert found.scan_preparation.slice_size == (32, 48)  # 50 / 2 = 25 and 20 * 3 / 1.5 = 40
    assert found.normalisation == "zscore_dataset"
    assert [found.reasons[key] for key in ("slice_axis", "spacing_mm", "normalisation")] == ["set by the user"] * 3


@pytest.mark.parametrize(
    ("channels", "lowest", "kind"),
    [
        (("MRI",), [0.0, 0.0], "zscore_case"),
        (("CT",), [0.0, 0.0], "zscore_dataset"),
        (("ct",), [-200.0, 0.0], "zscore_dataset"),
        (("image",), [-1024.0, -500.0], "zscore_dataset"),
        (("image",), [-1024.0, -499.0], "zscore_case"),
        (("CT", "PET"), [0.0, 0.0], "zscore_case"),
    ],
)
def test_ct_is_recognised(channels, lowest, kind):
    cases = [case(lowest=value, channels=len(channels)) for value in lowest]
    found = plan(cases, channels)
    assert found.normalisation == kind and found.reasons["normalisation"]


def test_bounds_come_from_the_training_cases_only():
    train = [case(foreground=np.arange(1001.0)[:, None])]
    other = case(foreground=np.full((1000, 1), 1e6))
    found = plan(train, ("CT",), everyone=[*train, other])
    assert clip(found).bounds == ((5.0, 995.0),)
    assert found.fingerprint["training_cases"] == 1


def test_training_cases_without_labelled_voxels_fall_back_to_their_own_percentiles():
    found = plan([case()], ("CT",))
    assert clip(found).bounds is None
    assert "no training case has a labelled voxel" in found.reasons["clipping"]
