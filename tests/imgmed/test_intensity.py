import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from imgmed import IntensityStatistics, Normalisation
from imgmed.intensity import percentile_bounds


def random_image(seed: int, channels: int = 2, shape=(3, 5, 4)) -> np.ndarray:
    return np.random.default_rng(seed).normal(50, 20, (*shape, channels)).astype(np.float32)


def test_statistics_equal_numpys():
    image = random_image(0)
    found = IntensityStatistics.of(image)
    flat = image.reshape(-1, 2).astype(np.float64)
    assert found.count == 60
    np.testing.assert_allclose(found.mean, flat.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, flat.std(axis=0), rtol=1e-10)


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_pooling_cases_equals_all_pixels_together(lengths):
    images = [random_image(seed, shape=(length, 3, 4)) for seed, length in enumerate(lengths)]
    pooled = IntensityStatistics.pooled(IntensityStatistics.of(image) for image in images)
    together = np.concatenate(images).reshape(-1, 2).astype(np.float64)
    np.testing.assert_allclose(pooled.mean, together.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(pooled.std, together.std(axis=0), rtol=1e-9)


@given(value=st.floats(-1e6, 1e6, width=32), size=st.integers(1, 60))
def test_a_constant_image_becomes_zero_without_dividing_by_zero(value, size):
    image = np.full((3, size, size, 1), value, np.float32)
    rule = Normalisation(kind="zscore_case")
    mean, std = rule.statistics(image)
    assert std.tolist() == [1.0]
    np.testing.assert_allclose(rule.apply(image, mean, std), 0, atol=abs(value) * 1e-6)


def test_a_large_offset_keeps_its_spread():
    image = np.random.default_rng(1).normal(1e5, 3, (4, 32, 32, 1)).astype(np.float32)
    np.testing.assert_allclose(IntensityStatistics.of(image).std, image.astype(np.float64).std(), rtol=1e-5)


def test_zscore_of_a_case_has_mean_zero_and_deviation_one():
    image = random_image(2)
    rule = Normalisation(kind="zscore_case")
    z = rule.apply(image, *rule.statistics(image))
    assert z.dtype == np.float32
    np.testing.assert_allclose(z.mean(axis=(0, 1, 2), dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(z.std(axis=(0, 1, 2), dtype=np.float64), 1, atol=1e-6)


def test_stored_statistics_give_what_the_pixels_give():
    image = random_image(3)
    rule = Normalisation(kind="zscore_case")
    stored = IntensityStatistics.model_validate_json(IntensityStatistics.of(image).model_dump_json())
    for from_pixels, from_file in zip(rule.statistics(image), rule.statistics_of_case(stored), strict=True):
        np.testing.assert_array_equal(from_pixels, from_file)


def test_dataset_normalisation_uses_its_own_numbers_for_any_image():
    rule = Normalisation(kind="zscore_dataset", mean=(10.0, 20.0), std=(2.0, 5.0))
    image = np.stack([np.full((1, 2, 2), 14.0), np.full((1, 2, 2), 10.0)], axis=-1)
    before = image.copy()
    z = rule.apply(image, *rule.statistics(image))
    np.testing.assert_array_equal(z[..., 0], 2.0)
    np.testing.assert_array_equal(z[..., 1], -2.0)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(rule.statistics_of_case(IntensityStatistics.of(image))[0], [10.0, 20.0])
    assert Normalisation.model_validate_json(rule.model_dump_json()) == rule


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "zscore_dataset"},
        {"kind": "zscore_case", "mean": (1.0,), "std": (1.0,)},
        {"kind": "zscore_dataset", "mean": (1.0,), "std": (0.0,)},
        {"kind": "zscore_dataset", "mean": (1.0, 2.0), "std": (1.0,)},
        {"kind": "minmax"},
        {"kind": "zscore_case", "scale": 2},
    ],
)
def test_normalisations_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        Normalisation.model_validate(wrong)


def test_statistics_over_no_case_are_refused():
    with pytest.raises(ValueError, match="at least one case"):
        Normalisation.of_cases("zscore_dataset", [])


def test_percentiles_are_taken_per_channel():
    image = np.stack([np.arange(1001.0), 10 * np.arange(1001.0)], axis=-1)
    # The p-th percentile of 0..1000 is 10 p.
    np.testing.assert_allclose(percentile_bounds(image, (0.5, 99.5)), [(5.0, 995.0), (50.0, 9950.0)])
