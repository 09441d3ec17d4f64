import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import map_coordinates

from imgmed.axis_map import AxisMap
from imgmed.resampling import resample, resample_images, resample_labels, resample_slabs, resampled_size

sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))


def resample_scores(slices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scores in the plane, as a prediction goes back to its scan's voxels: linear where they grow."""
    across, height, width = slices.shape[:3]
    maps = (AxisMap(across, across), AxisMap.covering(height, size[0]), AxisMap.covering(width, size[1]))
    return resample(slices, maps, order=1)


def linear_by_scipy(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Linear interpolation at pixel-area positions, edges repeated."""
    rows = (np.arange(size[0]) + 0.5) * image.shape[0] / size[0] - 0.5
    columns = (np.arange(size[1]) + 0.5) * image.shape[1] / size[1] - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    return map_coordinates(image.astype(np.float64), grid, order=1, mode="nearest")


def areas(image: np.ndarray, size: int) -> np.ndarray:
    """Average over the exact area of each output row, from the cumulative sum."""
    old = image.shape[0]
    total = np.concatenate([np.zeros((1, image.shape[1])), np.cumsum(image, axis=0)])
    edges = np.linspace(0, old, size + 1)
    at_edges = np.stack([np.interp(edges, np.arange(old + 1), column) for column in total.T], axis=1)
    return np.diff(at_edges, axis=0) / (old / size)


@pytest.mark.parametrize(("old", "new"), [((5, 7), (11, 20)), ((5, 7), (10, 7)), ((1, 3), (4, 9))])
def test_growing_scores_is_linear_interpolation(old, new):
    image = np.random.default_rng(0).normal(size=old).astype(np.float32)
    grown = resample_scores(image[None, :, :, None], new)[0, :, :, 0]
    np.testing.assert_allclose(grown, linear_by_scipy(image, new), atol=1e-5)


@pytest.mark.parametrize("kind", [resample_images, resample_scores])
@pytest.mark.parametrize(("old", "new"), [(12, 4), (13, 5), (10, 9)])
def test_shrinking_averages_over_areas(kind, old, new):
    image = np.random.default_rng(1).normal(size=(old, 6)).astype(np.float32)
    np.testing.assert_allclose(kind(image[None, :, :, None], (new, 6))[0, :, :, 0], areas(image, new), atol=1e-5)


def test_shrinking_one_direction_and_growing_the_other_treats_each_by_its_own_rule():
    image = np.random.default_rng(2).normal(size=(12, 5)).astype(np.float32)
    expected = linear_by_scipy(areas(image, 4), (4, 11))
    np.testing.assert_allclose(resample_scores(image[None, :, :, None], (4, 11))[0, :, :, 0], expected, atol=1e-5)


def test_a_pattern_finer_than_the_new_pixels_is_averaged_out():
    stripes = np.tile(np.array([0.0, 100.0], np.float32), (8, 32))[None, :, :, None]
    np.testing.assert_allclose(resample_images(stripes, (8, 16)), 50.0, atol=1e-4)


def test_growing_images_is_cubic_and_follows_a_smooth_function_better_than_linear():
    x = (np.arange(32) + 0.5) / 32
    fine = (np.arange(96) + 0.5) / 96
    wave = np.tile(np.sin(2 * np.pi * 3 * x), (4, 1)).astype(np.float32)[None, :, :, None]
    truth = np.sin(2 * np.pi * 3 * fine)[12:-12]
    cubic = np.abs(resample_images(wave, (4, 96))[0, 0, 12:-12, 0] - truth).max()
    linear = np.abs(resample_scores(wave, (4, 96))[0, 0, 12:-12, 0] - truth).max()
    assert cubic < linear / 2


@given(old=sizes, new=sizes, value=st.floats(-1e4, 1e4, width=32))
def test_constants_stay_constant(old, new, value):
    image = np.full((1, *old, 1), value, np.float32)
    for kind in (resample_images, resample_scores):
        np.testing.assert_allclose(kind(image, new), np.full((1, *new, 1), value), rtol=1e-5, atol=1e-5)


def test_many_channels_equal_each_channel_alone():
    scores = np.random.default_rng(3).normal(size=(2, 6, 5, 11)).astype(np.float32)
    together = resample_scores(scores, (9, 3))
    for channel in range(11):
        alone = resample_scores(scores[..., channel : channel + 1], (9, 3))
        np.testing.assert_allclose(together[..., channel], alone[..., 0], atol=1e-6)


@given(
    label=hnp.arrays(
        np.uint16,
        st.tuples(st.just(2), st.integers(1, 10), st.integers(1, 10)),
        elements=st.sampled_from([0, 3, 7, 900]),
    ),
    size=sizes,
)
def test_labels_never_gain_values(label, size):
    before = label.copy()
    resampled = resample_labels(label, size)
    assert resampled.shape == (2, *size) and resampled.dtype == np.uint16
    for old, new in zip(label, resampled, strict=True):
        assert set(np.unique(new)) <= set(np.unique(old))
    np.testing.assert_array_equal(label, before)


@given(
    label=hnp.arrays(np.uint8, st.tuples(st.just(1), st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 4)),
    factor=st.sampled_from([3, 5]),
)
def test_labels_come_back_from_a_finer_grid(label, factor):
    _, height, width = label.shape
    fine = resample_labels(label, (height * factor, width * factor))
    # The centre pixel of each block lies exactly on the old pixel's centre.
    np.testing.assert_array_equal(fine[:, factor // 2 :: factor, factor // 2 :: factor], label)


def test_a_label_border_moves_to_the_nearest_pixel_edge():
    label = np.zeros((1, 4, 4), np.uint8)
    label[:, :, 2:] = 5
    fine = resample_labels(label, (4, 8))
    np.testing.assert_array_equal(fine[0, 0], [0, 0, 0, 0, 5, 5, 5, 5])


def test_the_majority_wins_where_labels_share_a_pixel():
    label = np.array([[[1, 1, 1, 2, 2, 2, 2, 2, 1]]], np.uint8)
    np.testing.assert_array_equal(resample_labels(label, (1, 3))[0, 0], [1, 2, 2])


def test_same_size_changes_nothing_and_arguments_are_never_changed():
    image = np.random.default_rng(4).normal(size=(1, 4, 5, 2)).astype(np.float32)
    before = image.copy()
    assert resample_images(image, (4, 5)) is image and np.shares_memory(resample_scores(image, (4, 5)), image)
    resample_images(image, (8, 3))
    resample_scores(image, (8, 3))
    np.testing.assert_array_equal(image, before)


def test_sizes_cover_the_same_field():
    assert resampled_size(512, 0.7, 1.4) == 256
    assert resampled_size(10, 1.0, 0.3) == 33
    assert resampled_size(1, 0.1, 10.0) == 1


def test_growing_images_reproduces_a_parabola():
    """Keys' kernel with a = -1/2 is exact for polynomials of second degree (away from the edges)."""
    x = np.arange(20) + 0.5
    fine = (np.arange(50) + 0.5) * 20 / 50
    image = (0.3 * x**2 - 2 * x + 1).astype(np.float32)[None, None, :, None]
    grown = resample_images(image, (1, 50))[0, 0, :, 0]
    np.testing.assert_allclose(grown[5:-5], (0.3 * fine**2 - 2 * fine + 1)[5:-5], atol=1e-4)


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("start", [1.3, 2.0, -1.4])
@pytest.mark.parametrize("step", [0.9, 1.0])
def test_a_part_of_an_array_is_made_from_that_part(axis, start, step):
    """A linear field along each axis, whose others are resampled too."""
    maps = [AxisMap.covering(6, 9)] * 3
    maps[axis] = AxisMap(11, 6, start=start, step=step)
    shape = [one.old for one in maps]
    field = np.moveaxis(np.broadcast_to(np.arange(11, dtype=np.float32), (6, 6, 11)), 2, axis)
    assert field.shape == tuple(shape)
    places = np.maximum(0, start + step * np.arange(6))
    expected = np.where(start + step * np.arange(6) < -0.5, 0, places)
    found = resample(np.ascontiguousarray(field)[..., None], tuple(maps), order=1)[..., 0]
    np.testing.assert_allclose(np.moveaxis(found, axis, 2)[3, 4], expected, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "maps",
    [
        (AxisMap.covering(23, 41), AxisMap.covering(7, 9), AxisMap.covering(5, 3)),  # grows, and shrinks
        (AxisMap.covering(23, 9), AxisMap(7, 7), AxisMap(5, 8, start=-2.0)),  # shrinks; reaches beyond
        (AxisMap(23, 40, start=-6.3, step=0.9), AxisMap(7, 4, start=2.0), AxisMap.covering(5, 5)),
        (AxisMap(23, 30, start=-3.0), AxisMap(7, 9, start=-1.0), AxisMap(5, 3, start=1.0)),  # copied alone
        (AxisMap(23, 23), AxisMap(7, 7), AxisMap(5, 5)),
        (AxisMap(23, 10, start=5.0), AxisMap(7, 7), AxisMap(5, 5)),  # the ends are not wanted
        (AxisMap(23, 4, start=40.0), AxisMap(7, 7), AxisMap(5, 5)),  # nothing of it
        (AxisMap.covering(23, 4), AxisMap(7, 3, start=20.0), AxisMap(5, 5)),
    ],
)
def test_slabs_are_resampled_as_the_whole_is(maps, channels):
    array = np.random.default_rng(3).normal(size=(23, 7, 5, channels)).astype(np.float32)
    fill = [2.0, 0.5, -1.0][:channels]
    expected = resample(array, maps, 1, fill)
    for cuts in ([], [1], [4, 5, 20], list(range(1, 23))):
        slabs = np.split(array, cuts)
        np.testing.assert_array_equal(np.concatenate(list(resample_slabs(slabs, maps, fill))), expected)


def test_slabs_are_held_as_long_as_they_are_wanted():
    """Growing by a half, sixteen slices at a time are made from about eleven: never many more have been taken in."""
    taken = []

    def slabs():
        for number in range(60):
            taken.append(number)
            yield np.full((1, 128, 64, 1), number, np.float32)

    made = 0
    for part in resample_slabs(slabs(), (AxisMap.covering(60, 90), AxisMap(128, 128), AxisMap(64, 64))):
        made += len(part)
        assert len(part) <= 16 and len(taken) <= made * 60 / 90 + 2
    assert made == 90 and len(taken) == 60


def test_slabs_that_end_too_soon_are_refused():
    maps = (AxisMap(5, 5), AxisMap(2, 2), AxisMap(2, 2))
    with pytest.raises(ValueError, match="all 5 slices of an array; received 3"):
        list(resample_slabs([np.zeros((3, 2, 2, 1), np.float32)], maps))
