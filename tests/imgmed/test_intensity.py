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


KINDS = ("none", "zscore_case", "zscore_nonzero", "zscore_dataset", "min_max")


def brain(seed: int = 0) -> np.ndarray:
    """Two channels, a third of the pixels 0 as around a skull-stripped brain."""
    rng = np.random.default_rng(seed)
    image = rng.gamma(2.0, (50.0, 7.0), (4, 9, 8, 2))
    image[rng.random(image.shape[:3]) < 0.3] = 0
    return image.astype(np.float32)


def rule_of(kind: str) -> Normalisation:
    return Normalisation.of_cases(kind, [IntensityStatistics.of(brain(1)), IntensityStatistics.of(brain(2))])


def by_hand(kind: str, channel: np.ndarray, number: int) -> np.ndarray:
    channel = channel.astype(np.float64)
    if kind == "none":
        return channel
    if kind == "min_max":
        return (channel - channel.min()) / (channel.max() - channel.min())
    if kind == "zscore_case":
        return (channel - channel.mean()) / channel.std()
    if kind == "zscore_nonzero":
        inside = channel[channel != 0]
        return np.where(channel == 0, 0, (channel - inside.mean()) / inside.std())
    training = np.concatenate([brain(1), brain(2)])[..., number].astype(np.float64)
    return (channel - training.mean()) / training.std()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_does_what_it_says_from_pixels_and_from_stored_numbers(kind):
    image, rule = brain(), rule_of(kind)
    before = image.copy()
    found = rule.apply(image, *rule.statistics(image))
    assert found.dtype == np.float32 and not np.shares_memory(found, image)
    for number in range(2):
        np.testing.assert_allclose(found[..., number], by_hand(kind, image[..., number], number), atol=1e-5)
    stored = IntensityStatistics.model_validate_json(IntensityStatistics.of(image).model_dump_json())
    np.testing.assert_array_equal(found, rule.apply(image, *rule.statistics_of_case(stored)))
    np.testing.assert_array_equal(image, before)
    assert Normalisation.model_validate_json(rule.model_dump_json()) == rule


@pytest.mark.parametrize("kind", KINDS)
def test_slices_and_other_memory_layouts_are_normalised_like_the_whole(kind):
    image, rule = brain(), rule_of(kind)
    numbers = rule.statistics(image)
    whole = rule.apply(image, *numbers)
    np.testing.assert_array_equal(np.stack([rule.apply(part, *numbers) for part in image]), whole)
    np.testing.assert_array_equal(rule.apply(np.asfortranarray(image), *numbers), whole)
    np.testing.assert_array_equal(rule.apply(image[..., :1], *(part[:1] for part in numbers)), whole[..., :1])


@pytest.mark.parametrize("kind", ["zscore_nonzero", "min_max"])
def test_channels_without_range_stay_finite(kind):
    rule = Normalisation(kind=kind)
    for value in (0.0, 7.0):
        image = np.full((2, 3, 3, 1), value, np.float32)
        np.testing.assert_array_equal(rule.apply(image, *rule.statistics(image)), 0)


def test_pooled_extremes_and_counts_are_those_of_all_pixels():
    images = [brain(seed) for seed in range(3)]
    pooled = IntensityStatistics.pooled(IntensityStatistics.of(image) for image in images)
    together = np.concatenate(images)
    np.testing.assert_array_equal(pooled.lowest, together.min(axis=(0, 1, 2)))
    np.testing.assert_array_equal(pooled.highest, together.max(axis=(0, 1, 2)))
    np.testing.assert_array_equal(pooled.nonzero, np.count_nonzero(together, axis=(0, 1, 2)))


@pytest.mark.parametrize("percentiles", [(0.5, 99.5), (0, 100), (2, 50), (49.9, 50.1), (25, 75)])
@pytest.mark.parametrize("kind", ["normal", "integers", "mostly-zero", "constant", "sorted", "two-values"])
def test_percentiles_of_large_images_are_numpys(kind, percentiles):
    rng = np.random.default_rng(5)
    size = (41, 53, 37)
    values = {
        "normal": rng.normal(size=size).astype(np.float32),
        "integers": rng.integers(-30, 30, size).astype(np.int16),
        "mostly-zero": np.where(rng.random(size) < 0.97, 0, rng.gamma(2, 9, size)).astype(np.float32),
        "constant": np.full(size, 3.5, np.float32),
        "sorted": np.sort(rng.normal(size=size).ravel()).reshape(size).astype(np.float32),
        "two-values": np.sort((rng.random(size) < 0.5).astype(np.uint8).ravel()).reshape(size),
    }[kind]
    expected = np.percentile(values.astype(np.float64), percentiles)
    np.testing.assert_allclose(percentile_bounds(values[..., None], percentiles)[0], expected, rtol=1e-12)
    turned = np.asfortranarray(np.stack([values, values], axis=-1))
    np.testing.assert_allclose(percentile_bounds(turned, percentiles)[1], expected, rtol=1e-12)


@given(
    size=st.integers(1, 40), low=st.floats(0, 99, allow_nan=False), high=st.floats(99.1, 100), seed=st.integers(0, 9)
)
def test_percentiles_of_small_images_are_numpys(size, low, high, seed):
    values = np.random.default_rng(seed).integers(0, 9, (size, 1)).astype(np.float64)
    expected = np.percentile(values, (low, high))
    np.testing.assert_allclose(percentile_bounds(values, (low, high))[0], expected, rtol=1e-12, atol=1e-12)
