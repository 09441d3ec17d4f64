"""What is measured of a case, against nibabel and plain NumPy, and the body against shapes that are known."""

import json

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgmed.errors import LabelError
from imgmed.fingerprint.measures import FACES, SAMPLE, CaseMeasures, body_mask, measure_case
from imgmed.volume import Volume

LABELS = {"background": 0, "shell": 1, "core": 7, "absent": 9}
PERCENTILES = (0.5, 5, 25, 50, 75, 95, 99.5)


def thorax(shape: tuple[int, int, int] = (60, 50, 20), noise: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    """Air with noise around an elliptic body that holds two dark lungs; and where the body is."""
    rng = np.random.default_rng(0)
    i, j, _ = np.ogrid[: shape[0], : shape[1], : shape[2]]
    x, y = (i - shape[0] / 2) / (0.4 * shape[0]), (j - shape[1] / 2) / (0.4 * shape[1])
    body = np.broadcast_to(x**2 + y**2 <= 1, shape).copy()
    lungs = np.broadcast_to((np.abs(x) - 0.4) ** 2 + y**2 <= 0.07, shape)
    image = rng.normal(0, noise, shape) + np.where(body & ~lungs, rng.normal(500, 100, shape), 0)
    return (image - 1000).astype(np.float32), body


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    channels=st.integers(1, 3),
    codes=st.sampled_from(["RAS", "LPS", "SAR", "IPL", "ASL"]),
    layout=st.sampled_from(["C", "F"]),
)
def test_numbers_are_those_of_numpy(seed, shape, channels, codes, layout):
    rng = np.random.default_rng(seed)
    image = np.asarray(rng.normal(1000, 50, (*shape, channels)), np.float32, order=layout)
    label = np.asarray(rng.choice([0, 0, 1, 7], shape), np.uint8, order=layout)
    affine = affine_of(codes, (0.5, 2.0, 3.0))
    before = image.copy(), label.copy()
    measures = measure_case(Volume(image, affine), label, LABELS)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(label, before[1])

    assert measures.orientation == "".join(nib.aff2axcodes(affine)) == codes
    np.testing.assert_allclose(measures.spacing_mm, nib.affines.voxel_sizes(affine))
    assert measures.canonical_spacing_mm == (0.5, 2.0, 3.0)
    for number, channel in enumerate(measures.channels):
        values = image[..., number].astype(np.float64)
        assert (channel.minimum, channel.maximum) == (values.min(), values.max())
        assert channel.mean == pytest.approx(values.mean(), rel=1e-9)
        assert channel.std == pytest.approx(values.std(), rel=1e-6, abs=1e-9)
        np.testing.assert_allclose(channel.percentiles, np.percentile(values, PERCENTILES))
    assert list(measures.labels) == ["shell", "core", "absent"]
    for name, one in measures.labels.items():
        places = np.argwhere(label == LABELS[name])
        assert one.voxels == len(places)
        assert one.volume_ml == pytest.approx(len(places) * 0.003)  # 0.5 x 2 x 3 mm
        if not len(places):
            assert (one.box, one.border, one.mean, one.outside_body) == (None, (), (), None)
            continue
        assert one.box == tuple(zip(places.min(0).tolist(), (places.max(0) + 1).tolist(), strict=True))
        np.testing.assert_allclose(one.mean, image[label == LABELS[name]].mean(0, dtype=np.float64), rtol=1e-6)
        assert set(one.border) == faces_by_world(places, shape, affine)
    assert CaseMeasures.model_validate(json.loads(measures.model_dump_json())) == measures


def affine_of(codes: str, spacing: tuple[float, float, float]) -> np.ndarray:
    """Array axes that point where the letters say; the spacing is along left-right, back-front, foot-head."""
    affine = np.eye(4)
    for axis, letter in enumerate(codes):
        canonical = next(number for number, pair in enumerate(("LR", "PA", "IS")) if letter in pair)
        affine[:3, axis] = 0
        affine[canonical, axis] = spacing[canonical] * (1 if letter in "RAS" else -1)
    affine[:3, 3] = (-20.0, 5.0, 100.0)
    return affine


def faces_by_world(places: np.ndarray, shape: tuple[int, ...], affine: np.ndarray) -> set[str]:
    """Faces that voxels touch, by the millimetres at which they and the image's corners lie."""
    own = nib.affines.apply_affine(affine, places)
    corners = nib.affines.apply_affine(affine, np.array([[0, 0, 0], np.array(shape) - 1]))
    found = set()
    for axis, (low, high) in enumerate(FACES):
        first, last = sorted(corners[:, axis])
        if first < last:
            found |= {low} if np.isclose(own[:, axis].min(), first) else set()
            found |= {high} if np.isclose(own[:, axis].max(), last) else set()
    return found


def test_a_large_volume_gives_the_percentiles_of_an_even_part():
    image = np.random.default_rng(0).normal(0, 1, (120, 120, 100)).astype(np.float32)
    assert image.size > 2 * SAMPLE
    (channel,) = measure_case(Volume(image, np.eye(4)), None, {}).channels
    np.testing.assert_allclose(channel.percentiles, np.percentile(image, PERCENTILES), atol=0.03)
    assert channel.maximum == image.max()
    assert channel.std == pytest.approx(image.std(dtype=np.float64), rel=1e-9)


def test_a_label_map_on_another_grid_is_refused():
    with pytest.raises(LabelError, match=r"received \(4, 5, 7\), expected \(4, 5, 6\)"):
        measure_case(Volume(np.zeros((4, 5, 6)), np.eye(4)), np.zeros((4, 5, 7), np.uint8), LABELS)


def test_a_case_without_a_label_map_has_no_labels_and_keeps_its_words():
    volume = Volume(np.zeros((4, 5, 6), np.float32), np.eye(4))
    measures = measure_case(volume, None, LABELS, dtype="int16", repaired=["axes reordered"])
    assert (measures.labels, measures.dtype, measures.repaired) == ({}, "int16", ("axes reordered",))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_body_is_found_with_its_lungs_whichever_axis_is_axial(axis):
    image, body = thorax()
    image, body = np.moveaxis(image, 2, axis), np.moveaxis(body, 2, axis)
    found, steps = body_mask(image[..., np.newaxis], axis)
    assert steps == (1, 1, 1)
    assert found[body].mean() > 0.999  # lungs included
    assert found[~body].mean() < 0.15  # the rim by which it is widened


def test_a_scaled_or_shifted_unit_changes_nothing():
    image, _ = thorax()
    body, _ = body_mask(image[..., np.newaxis], 2)
    other, _ = body_mask((1e4 * image - 7e5)[..., np.newaxis], 2)
    np.testing.assert_array_equal(body, other)


def test_an_image_cropped_to_the_inside_has_no_air():
    image, _ = thorax()
    inside = image[24:36, 31:40]  # below the lungs
    assert body_mask(inside[..., np.newaxis], 2) is None
    assert body_mask(np.full((8, 8, 8, 1), 3.0), 2) is None
    label = np.zeros(inside.shape, np.uint8)
    label[:3, :3] = 1
    assert measure_case(Volume(inside, np.eye(4)), label, {"a": 1}).labels["a"].outside_body is None


@pytest.mark.parametrize(("start", "expected"), [(20, 0.0), (0, 1.0)])
def test_a_label_in_the_air_is_noticed(start, expected):
    image, _ = thorax((120, 100, 20))  # a coarse grid of 60 x 50 x 20
    label = np.zeros(image.shape, np.uint8)
    label[start : start + 8, 45:55, 5:10] = 1
    label[start : start + 8, 45:55, 5:10][1::2] = 2
    measures = measure_case(Volume(image, np.eye(4)), label, {"a": 1, "b": 2})
    assert measures.labels["a"].outside_body == measures.labels["b"].outside_body == expected


def test_lungs_are_body():
    image, _ = thorax()
    label = np.zeros(image.shape, np.uint8)
    label[(image < -950) & (np.abs(np.arange(60)[:, None, None] - 30) < 14)] = 1
    label[:, :15] = label[:, 35:] = 0
    assert label.sum() > 1000
    assert measure_case(Volume(image, np.eye(4)), label, {"lung": 1}).labels["lung"].outside_body == 0.0


def test_what_one_channel_shows_is_body():
    """A skull-stripped channel beside one that shows the whole head."""
    image, _ = thorax()
    stripped = np.where(np.abs(np.arange(60)[:, None, None] - 30) < 6, image, -1000.0)
    both, _ = body_mask(np.stack([stripped, image], axis=-1), 2)
    alone, _ = body_mask(image[..., np.newaxis], 2)
    np.testing.assert_array_equal(both, alone)
