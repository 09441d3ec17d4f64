"""Augmentation of one slice: draws in range and reproducible, geometry as theory says, labels never invented."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import ndimage

from imgmed import AugmentationSettings
from imgmed.augmentation.apply import BEYOND, OUTSIDE, apply_draw, source_coordinates
from imgmed.augmentation.draw import Draw, draw_sample, elastic_basis
from imgmed.augmentation.settings import PRESETS

NEUTRAL = AugmentationSettings()
EVERYTHING = AugmentationSettings(
    rotation_degrees=45,
    zoom=(0.8, 1.2),
    translation_px=5,
    vertical_flip_probability=0.5,
    horizontal_flip_probability=0.5,
    elastic_alpha_px=2,
    elastic_sigma_px=5,
    gamma=(0.7, 1.5),
    contrast=(0.75, 1.25),
    brightness=0.2,
    noise_std=0.1,
)


def smooth_image(size: tuple[int, int], channels: int = 1, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(*size, channels))
    image = ndimage.gaussian_filter(noise, (2, 2, 0))
    return (image / image.std()).astype(np.float32)


def labels_of(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array([0, 3, 7, 1000], np.int32), size)


def always(**fields: Any) -> AugmentationSettings:
    return AugmentationSettings(**fields)


def with_matrix(matrix: Any, size: tuple[int, int]) -> Draw:
    return Draw(np.array(matrix, float), size)


def about_centre(linear: Any, size: tuple[int, int]) -> np.ndarray:
    """The matrix that maps output offsets from the centre to input offsets from the centre."""
    centre = (np.array(size) - 1) / 2
    return np.column_stack([linear, centre - np.array(linear) @ centre])


class TestSettings:
    def test_the_default_does_nothing(self) -> None:
        assert NEUTRAL.is_neutral
        assert AugmentationSettings.model_validate("none") == NEUTRAL

    def test_table_1_of_the_paper(self) -> None:
        table1 = AugmentationSettings.model_validate("table1")
        changed = table1.model_dump(exclude_defaults=True)
        assert changed == {"rotation_degrees": 45.0, "zoom": (0.8, 1.2), "translation_px": 25.6}
        assert not table1.is_neutral

    @pytest.mark.parametrize(
        ("fields", "is_neutral"),
        [
            ({"rotation_degrees": 10, "rotation_probability": 0}, True),
            ({"elastic_alpha_px": 3, "elastic_probability": 0}, True),
            ({"noise_std": 1, "noise_probability": 0}, True),
            ({"gamma": (1, 1)}, True),
            ({"crop_size": (8, 8)}, False),
            ({"horizontal_flip_probability": 0.1}, False),
            ({"contrast": (0.9, 1)}, False),
        ],
    )
    def test_neutral_is_what_changes_no_slice(self, fields: dict[str, Any], is_neutral: bool) -> None:
        assert AugmentationSettings(**fields).is_neutral is is_neutral

    def test_presets_survive_json(self) -> None:
        for preset in PRESETS.values():
            assert AugmentationSettings.model_validate_json(preset.model_dump_json()) == preset

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("table", "the presets are none, table1, nnunet; received 'table'; did you mean table1"),
            ({"zoom": (1.2, 0.8)}, "two positive numbers"),
            ({"gamma": (0, 1)}, "two positive numbers"),
            ({"crop_size": (0, 5)}, "two positive numbers of pixels"),
            ({"rotation_degrees": -1}, "greater than or equal to 0"),
            ({"interpolation": "cubic", "where": "device"}, "cubic interpolation runs on the host"),
            ({"rotate": 5}, "Extra inputs"),
        ],
    )
    def test_what_cannot_be_is_refused(self, given: Any, message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            AugmentationSettings.model_validate(given)

    def test_where_is_no_fact_of_the_samples(self) -> None:
        assert AugmentationSettings(where="host").facts() == AugmentationSettings(where="device").facts()
        assert AugmentationSettings(zoom=(1, 2)).facts() != NEUTRAL.facts()


class TestDraws:
    def test_one_sample_is_always_the_same_and_others_differ(self) -> None:
        keys = [(seed, epoch, sample) for seed in range(3) for epoch in range(3) for sample in range(20)]
        first, again = ([draw_sample(EVERYTHING, key, (9, 8), (9, 8), 2) for key in keys] for _ in range(2))
        for one, two in zip(first, again, strict=True):
            np.testing.assert_array_equal(one.matrix, two.matrix)
            np.testing.assert_array_equal(one.elastic, two.elastic)
            np.testing.assert_array_equal(one.noise, two.noise)
            assert (one.gamma, one.contrast, one.brightness) == (two.gamma, two.contrast, two.brightness)
        assert len({draw.matrix.tobytes() for draw in first}) == len(keys)

    def test_draws_share_no_stream_with_the_order_of_the_slices(self) -> None:
        """NumPy pads seeds with zeros: [seed, epoch] and [seed, epoch, 0] are one stream."""
        order, padded = np.random.default_rng([5, 2]).random(24), np.random.default_rng([5, 2, 0]).random(24)
        np.testing.assert_array_equal(order, padded)
        draw = draw_sample(always(brightness=1), (5, 2, 0), (4, 4), (4, 4))
        assert not np.isclose((2 * order - 1), draw.brightness).any()

    def test_table_1_is_uniform_over_its_ranges(self) -> None:
        size, count = (101, 101), 4000
        draws = [draw_sample(PRESETS["table1"], (0, 0, sample), size, size) for sample in range(count)]
        linear = np.stack([draw.matrix[:, :2] for draw in draws])
        zoom = 1 / np.sqrt(np.linalg.det(linear))
        angle = np.degrees(np.arctan2(linear[:, 0, 1], linear[:, 0, 0]))
        centre = np.full(2, 50.0)
        # from the centre to the output pixel that shows it
        shifts = np.stack([np.linalg.solve(d.matrix[:, :2], centre - d.matrix[:, 2]) - centre for d in draws])
        expected = ((angle, -45, 45), (zoom, 0.8, 1.2), (shifts[:, 0], -25.6, 25.6), (shifts[:, 1], -25.6, 25.6))
        for values, low, high in expected:
            assert low <= values.min() < low + 0.01 * (high - low)
            assert high - 0.01 * (high - low) < values.max() <= high
            counts, _ = np.histogram(values, 10, (low, high))
            chi_square = np.square(counts - count / 10).sum() / (count / 10)
            assert chi_square < 33.7  # 9 degrees of freedom: exceeded once in 10,000
        together = np.corrcoef([angle, zoom, *shifts.T])
        assert np.abs(together - np.eye(4)).max() < 0.07

    def test_probabilities_are_kept(self) -> None:
        settings = always(
            brightness=1, brightness_probability=0.3, gamma=(2, 2), gamma_probability=0.7, vertical_flip_probability=0.2
        )
        draws = [draw_sample(settings, (1, 0, sample), (5, 5), (5, 5)) for sample in range(3000)]
        for share, expected in (
            (np.mean([draw.brightness != 0 for draw in draws]), 0.3),
            (np.mean([draw.gamma == 2 for draw in draws]), 0.7),
            (np.mean([draw.matrix[0, 0] < 0 for draw in draws]), 0.2),
            (np.mean([draw.matrix[1, 1] < 0 for draw in draws]), 0.0),
        ):
            assert abs(share - expected) < 4 * np.sqrt(0.25 / 3000)

    def test_another_transform_leaves_the_others_as_they_were(self) -> None:
        more = draw_sample(EVERYTHING, (0, 1, 2), (9, 9), (9, 9))
        fewer = draw_sample(
            EVERYTHING.model_copy(update={"noise_std": 0.0, "gamma": (1.0, 1.0)}), (0, 1, 2), (9, 9), (9, 9)
        )
        np.testing.assert_array_equal(more.matrix, fewer.matrix)
        assert (more.contrast, more.brightness) == (fewer.contrast, fewer.brightness)
        assert more.gamma != fewer.gamma == 1

    def test_elastic_displacements_have_the_strength_and_smoothness_asked_for(self) -> None:
        sigma, alpha = 6.0, 3.0
        settings = always(elastic_alpha_px=alpha, elastic_sigma_px=sigma)
        fields = []
        for sample in range(400):
            draw = draw_sample(settings, (0, 0, sample), (48, 40), (48, 40))
            rows, columns = source_coordinates(draw, sigma)
            fields.append(np.stack([rows - np.arange(48)[:, None], columns - np.arange(40)]))
        field = np.stack(fields)
        assert abs(field.std() - alpha) < 0.1
        assert np.abs(field.std(axis=0) - alpha).max() < 0.8  # also at the border
        for distance in (3, 6, 12):  # white noise smoothed by a Gaussian: correlation exp(-d² / 4σ²)
            found = np.mean(field[:, :, distance:] * field[:, :, :-distance]) / np.mean(field**2)
            assert abs(found - np.exp(-(distance**2) / (4 * sigma**2))) < 0.05

    @given(length=st.integers(1, 300), sigma=st.floats(1, 60))
    def test_every_pixel_has_displacements_of_equal_variance(self, length: int, sigma: float) -> None:
        np.testing.assert_allclose(np.square(elastic_basis(length, sigma)).sum(axis=1), 1, atol=1e-12)


class TestGeometry:
    @pytest.mark.parametrize("size", [(8, 8), (9, 9), (31, 31)])
    def test_a_quarter_turn_is_rot90(self, size: tuple[int, int]) -> None:
        image, labels = smooth_image(size, 3), labels_of(size)
        # the inverse of a quarter turn counter-clockwise, in (row, column)
        draw = with_matrix(about_centre([[0, 1], [-1, 0]], size), size)
        moved, moved_labels = apply_draw(image, labels, draw, NEUTRAL)
        np.testing.assert_allclose(moved, np.rot90(image), atol=1e-6)
        np.testing.assert_array_equal(moved_labels, np.rot90(labels))

    def test_drawn_quarter_turns_go_both_ways(self) -> None:
        """The sign and the axes of drawn rotations: a drawn angle turns as SciPy turns by it, from columns to rows."""
        size = (21, 21)
        image, labels = smooth_image(size), labels_of(size)
        settings = always(rotation_degrees=180)
        for sample in range(6):
            draw = draw_sample(settings, (0, 0, sample), size, size)
            angle = np.degrees(np.arctan2(draw.matrix[0, 1], draw.matrix[0, 0]))
            moved, classes = apply_draw(image, labels, draw, settings)
            turned = ndimage.rotate(image, angle, axes=(1, 0), reshape=False, order=1, mode="nearest")
            inner = classes != OUTSIDE
            np.testing.assert_allclose(moved[inner], turned[inner], atol=1e-4)

    @pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-5, 4), (40, 0)])
    def test_whole_pixels_are_shifted_bit_for_bit(self, shift: tuple[int, int]) -> None:
        size = (12, 15)
        image, labels = smooth_image(size, 2), labels_of(size)
        moved, classes = apply_draw(image, labels, with_matrix([[1, 0, -shift[0]], [0, 1, -shift[1]]], size), NEUTRAL)
        expected = np.zeros_like(image)
        expected_labels = np.full(size, OUTSIDE)
        for row in range(size[0]):
            for column in range(size[1]):
                target = row + shift[0], column + shift[1]
                if 0 <= target[0] < size[0] and 0 <= target[1] < size[1]:
                    expected[target], expected_labels[target] = image[row, column], labels[row, column]
        np.testing.assert_array_equal(moved, expected)
        np.testing.assert_array_equal(classes, expected_labels)

    def test_a_shift_by_whole_pixels_is_also_exact_where_it_is_resampled(self) -> None:
        """Deformation by nothing takes the way of remap, which must give the very pixels."""
        size = (12, 15)
        image, labels = smooth_image(size, 5), labels_of(size)
        shift = np.array([[1.0, 0, -3], [0, 1, 2]])
        controls = np.zeros((2, elastic_basis(12, 8.0).shape[1], elastic_basis(15, 8.0).shape[1]))
        copied = apply_draw(image, labels, Draw(shift, size), NEUTRAL)
        resampled = apply_draw(image, labels, Draw(shift, size, elastic=controls), NEUTRAL)
        for one, other in zip(copied, resampled, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_zoom_is_about_the_centre(self) -> None:
        size = (33, 41)
        centre = (16, 20)
        image = np.zeros((*size, 1), np.float32)
        image[centre[0], centre[1] + 6] = 1
        settings = always(zoom=(2, 2))
        draw = draw_sample(settings, (0, 0, 0), size, size)
        moved, _ = apply_draw(image, labels_of(size), draw, settings)
        assert moved[16, 20 + 12, 0] == 1  # twice as far from the centre
        assert moved[16, 20 + 11, 0] == pytest.approx(0.5)
        assert moved.sum() == pytest.approx(4, abs=1e-4)  # four times the area

    @pytest.mark.parametrize("axis", [0, 1])
    def test_flips_mirror_and_undo_themselves(self, axis: int) -> None:
        size = (10, 13)
        image, labels = smooth_image(size, 4), labels_of(size)
        name = ("vertical", "horizontal")[axis]
        settings = always(**{f"{name}_flip_probability": 1})
        draw = draw_sample(settings, (0, 0, 0), size, size)
        once = apply_draw(image, labels, draw, settings)
        np.testing.assert_array_equal(once[0], np.flip(image, axis))
        np.testing.assert_array_equal(once[1], np.flip(labels, axis))
        twice = apply_draw(*once, draw, settings)
        np.testing.assert_array_equal(twice[0], image)
        np.testing.assert_array_equal(twice[1], labels)

    def test_neutral_settings_change_no_bit(self) -> None:
        image, labels = smooth_image((9, 14), 2), labels_of((9, 14))
        draw = draw_sample(NEUTRAL, (0, 0, 0), (9, 14), (9, 14), 2)
        moved, classes = apply_draw(image, labels, draw, NEUTRAL)
        np.testing.assert_array_equal(moved, image)
        np.testing.assert_array_equal(classes, labels)

    @pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 7])
    def test_linear_resampling_agrees_with_scipy_for_any_channels(self, channels: int) -> None:
        size = (40, 52)
        image, labels = smooth_image(size, channels), labels_of(size)
        settings = EVERYTHING.model_copy(
            update={"gamma": (1, 1), "contrast": (1, 1), "brightness": 0.0, "noise_std": 0.0}
        )
        for sample in range(5):
            draw = draw_sample(settings, (0, 0, sample), size, size, channels)
            moved, classes = apply_draw(image, labels, draw, settings)
            down, across = np.mgrid[:40, :52].astype(float)
            assert draw.elastic is not None
            places = [
                row[0] * down + row[1] * across + row[2] + elastic_basis(40, 5.0) @ field @ elastic_basis(52, 5.0).T
                for row, field in zip(draw.matrix, draw.elastic, strict=True)
            ]
            expected = np.stack(
                [ndimage.map_coordinates(part, places, order=1, mode="nearest") for part in np.moveaxis(image, -1, 0)],
                -1,
            )
            nearest = np.stack([np.floor(place + 0.5) for place in places])
            inside = (nearest >= 0).all(0) & (nearest[0] < 40) & (nearest[1] < 52)
            clear = (np.abs(np.stack(places) % 1 - 0.5) > 1e-4).all(0)  # no tie between two pixels
            np.testing.assert_array_equal((classes != OUTSIDE)[clear], inside[clear])
            # OpenCV 4, and 5 for 2 or more than 4 channels at once, is off by 0.02 here
            both = inside & (classes != OUTSIDE)
            np.testing.assert_allclose(moved[both], expected[both], atol=2e-5)
            assert not moved[classes == OUTSIDE].any()
            taken = labels[tuple(np.clip(nearest, 0, [[[39]], [[51]]]).astype(int))]
            np.testing.assert_array_equal(classes[both & clear], taken[both & clear])

    def test_cubic_is_a_spline_through_the_pixels(self) -> None:
        size = (41, 41)
        image, labels = smooth_image(size), labels_of(size)
        cubic = always(zoom=(2, 2), interpolation="cubic")
        draw = draw_sample(cubic, (0, 0, 0), size, (81, 81))
        moved, _ = apply_draw(image, labels, draw, cubic)
        np.testing.assert_allclose(moved[::2, ::2], image, atol=1e-5)
        exact = ndimage.zoom(image[..., 0], 81 / 41, order=3, mode="nearest")
        np.testing.assert_allclose(moved[..., 0], exact, atol=1e-3)

    def test_image_and_labels_move_together(self) -> None:
        """An image that shows its own labels still does after any movement, but where two labels meet."""
        size = (60, 60)
        labels = np.zeros(size, np.int32)
        labels[20:42, 25:50] = 1
        settings = always(rotation_degrees=45, zoom=(0.8, 1.2), translation_px=6, elastic_alpha_px=2)
        for sample in range(10):
            draw = draw_sample(settings, (2, 0, sample), size, size)
            moved, classes = apply_draw(labels[..., None].astype(np.float32), labels, draw, settings)
            inside = classes != OUTSIDE
            apart = np.abs(moved[..., 0] - classes)[inside]
            assert apart.max() <= 0.751  # a corner: the nearest pixel weighs at least a quarter
            assert np.mean(apart < 0.01) > 0.9

    @given(key=st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 99)))
    @hypothesis_settings(max_examples=40)
    def test_labels_are_never_invented_and_nothing_is_changed_in_place(self, key: tuple[int, int, int]) -> None:
        size = (17, 23)
        image, labels = smooth_image(size, 2), labels_of(size)
        image.flags.writeable = labels.flags.writeable = False
        draw = draw_sample(EVERYTHING, key, size, (24, 24), 2)
        moved, classes = apply_draw(image, labels, draw, EVERYTHING)
        assert moved.dtype == np.float32 and classes.dtype == np.int32
        assert moved.shape == (24, 24, 2) and classes.shape == (24, 24)
        assert set(np.unique(classes)) <= {OUTSIDE, 0, 3, 7, 1000}
        assert np.isfinite(moved).all()
        assert not moved[classes == OUTSIDE].any()

    def test_a_smaller_slice_is_centred_and_turns_about_its_own_centre(self) -> None:
        image, labels = smooth_image((5, 5)), labels_of((5, 5))
        _, classes = apply_draw(image, labels, draw_sample(NEUTRAL, (0, 0, 0), (5, 5), (8, 9)), NEUTRAL)
        np.testing.assert_array_equal(classes[1:6, 2:7], labels)
        assert (classes != OUTSIDE).sum() == 25
        settings = always(vertical_flip_probability=1)
        _, classes = apply_draw(image, labels, draw_sample(settings, (0, 0, 0), (5, 5), (8, 9)), settings)
        np.testing.assert_array_equal(classes[1:6, 2:7], labels[::-1])

    def test_crops_lie_anywhere_within_the_slice(self) -> None:
        size = (10, 12)
        labels = np.arange(120, dtype=np.int32).reshape(size)
        settings = always(crop_size=(4, 12))
        tops = set()
        for sample in range(200):
            draw = draw_sample(settings, (0, 0, sample), size, (4, 12))
            _, classes = apply_draw(labels[..., None].astype(np.float32), labels, draw, settings)
            top = int(classes[0, 0]) // 12
            np.testing.assert_array_equal(classes, labels[top : top + 4])
            tops.add(top)
        assert tops == set(range(7))


class TestIntensities:
    @staticmethod
    def changed(image: np.ndarray, **fields: Any) -> tuple[np.ndarray, Draw]:
        settings = always(**fields)
        draw = draw_sample(settings, (0, 0, 5), image.shape[:2], image.shape[:2], image.shape[2])
        return apply_draw(image, np.zeros(image.shape[:2], np.int32), draw, settings)[0], draw

    def test_brightness_adds(self) -> None:
        image = smooth_image((20, 20), 2)
        changed, draw = self.changed(image, brightness=0.5)
        assert 0 < abs(draw.brightness) <= 0.5
        np.testing.assert_allclose(changed, image + draw.brightness, atol=1e-6)

    def test_contrast_stretches_about_each_channels_mean(self) -> None:
        image = smooth_image((20, 20), 2) + np.array([3, -1], np.float32)
        changed, _ = self.changed(image, contrast=(2, 2))
        np.testing.assert_allclose(changed.mean(axis=(0, 1)), image.mean(axis=(0, 1)), atol=1e-4)
        np.testing.assert_allclose(changed.std(axis=(0, 1)), 2 * image.std(axis=(0, 1)), rtol=1e-4)

    def test_gamma_keeps_the_range_and_bends_between(self) -> None:
        image = np.linspace(-1, 3, 9, dtype=np.float32).reshape(3, 3, 1)
        changed, _ = self.changed(image, gamma=(2, 2))
        np.testing.assert_allclose(changed.ravel(), -1 + 4 * (np.arange(9) / 8) ** 2, atol=1e-6)
        constant = np.full((3, 3, 1), 2.5, np.float32)
        np.testing.assert_array_equal(self.changed(constant, gamma=(2, 2))[0], constant)

    def test_noise_is_gaussian_with_the_drawn_strength(self) -> None:
        image = np.zeros((200, 200, 2), np.float32)
        strengths = []
        for sample in range(20):
            settings = always(noise_std=0.3)
            draw = draw_sample(settings, (0, 0, sample), (200, 200), (200, 200), 2)
            noise = apply_draw(image, np.zeros((200, 200), np.int32), draw, settings)[0]
            strengths.append(noise.std())
            assert abs(noise.mean()) < 0.01
            assert abs(np.mean(np.abs(noise) < noise.std()) - 0.6827) < 0.01
        assert min(strengths) > 0 and max(strengths) <= 0.3 * 1.01
        assert max(strengths) - min(strengths) > 0.15

    def test_what_lies_outside_takes_no_part(self) -> None:
        """Padding stays 0, and does not shift the mean about which contrast stretches."""
        image = np.full((6, 6, 1), 10, np.float32)
        settings = always(contrast=(3, 3), brightness=0.5, noise_std=0.1)
        draw = draw_sample(settings, (0, 0, 1), (6, 6), (10, 10))
        moved, classes = apply_draw(image, np.ones((6, 6), np.int32), draw, settings)
        assert not moved[classes == OUTSIDE].any()
        assert np.abs(moved[classes == 1] - 10).max() < 1.2

    def test_what_counts_nowhere_is_shown_and_what_shows_nothing_stays_empty(self) -> None:
        image, labels = smooth_image((6, 8)), np.zeros((6, 8), np.int32)
        labels[:2], labels[4:] = OUTSIDE, BEYOND
        settings = always(brightness=1)
        draw = draw_sample(settings, (0, 0, 0), (6, 8), (6, 8))
        moved, classes = apply_draw(image, labels, draw, settings)
        np.testing.assert_allclose(moved[:4], image[:4] + draw.brightness, rtol=1e-5)
        assert not moved[4:].any() and draw.brightness != 0
        assert (classes[[0, 1, 4, 5]] == OUTSIDE).all() and not classes[2:4].any()
