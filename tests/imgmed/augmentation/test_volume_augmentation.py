"""Augmentation of patches of volumes: drawn as asked for, moved as theory says, labels never invented."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import ndimage

from imgmed import AugmentationSettings
from imgmed.augmentation.draw import elastic_basis
from imgmed.augmentation.settings import PRESETS
from imgmed.augmentation.volume_apply import adjust_patch, cut_patch, source_places
from imgmed.augmentation.volume_draw import VolumeDraw, draw_patch
from imgmed.augmentation.volume_filters import filtered

MOVING = AugmentationSettings(
    rotation_degrees=40,
    tilt_degrees=25,
    zoom=(0.7, 1.4),
    translation_px=3,
    vertical_flip_probability=0.5,
    horizontal_flip_probability=0.5,
    slice_flip_probability=0.5,
)
BENT = MOVING.model_copy(update={"elastic_alpha_px": 1.5, "elastic_sigma_px": 5.0})
SHAPE, CORNER, SIZE = (24, 30, 28), (6, 7, 5), (10, 14, 13)
Size = tuple[int, int, int]


def smooth_volume(shape: Size = SHAPE, channels: int = 1, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(*shape, channels))
    volume = ndimage.gaussian_filter(noise, (1.5, 1.5, 1.5, 0))
    return (volume / volume.std()).astype(np.float32)


def labels_of(shape: Size = SHAPE) -> np.ndarray:
    return np.random.default_rng(1).choice(np.array([0, 3, 7, 200], np.uint8), shape)


def as_it_is(part: np.ndarray) -> np.ndarray:
    return part.astype(np.float32)


def cut(
    volume: np.ndarray, labels: np.ndarray, draw: VolumeDraw, settings: AugmentationSettings = MOVING
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return cut_patch(volume, labels, draw, settings, as_it_is)


def drawn(settings: AugmentationSettings, number: int = 0, corner: Size = CORNER, **more: Any) -> VolumeDraw:
    return draw_patch(settings, (0, 0, number), corner, SIZE, **more)


def turned(linear: Any, corner: Size, size: Size) -> VolumeDraw:
    """A draw that maps offsets from the patch's centre to offsets from the same place in the volume."""
    middle = (np.array(size) - 1) / 2
    return VolumeDraw(np.column_stack([linear, np.array(corner) + middle - np.array(linear) @ middle]), size)


def exact_places(draw: VolumeDraw) -> np.ndarray:
    """The places that a patch shows, float64 (3, *size), a voxel at a time in the manner of a textbook."""
    grid = np.stack(np.meshgrid(*map(np.arange, draw.size), indexing="ij")).astype(float)
    places = np.einsum("ij,jabc->iabc", draw.matrix[:, :3], grid) + draw.matrix[:, 3, None, None, None]
    if draw.elastic is not None:
        lengths = draw.size[-len(draw.elastic) :]
        bases = [elastic_basis(*pair) for pair in zip(lengths, draw.elastic_sigmas, strict=True)]
        if len(bases) == 3:
            places += np.einsum("aj,bk,cl,ijkl->iabc", *bases, draw.elastic)
        else:
            places[1:] += np.einsum("bk,cl,ikl->ibc", *bases, draw.elastic)[:, None]
    return places


class TestSettings:
    def test_nnunet_has_the_ranges_of_its_trainer(self) -> None:
        preset = PRESETS["nnunet"]
        assert (preset.rotation_degrees, preset.tilt_degrees, preset.rotation_probability) == (30, 30, 0.2)
        assert (preset.zoom, preset.zoom_probability) == ((0.7, 1.4), 0.2)
        assert preset.noise_std**2 == pytest.approx(0.1)
        assert not preset.is_neutral and not preset.is_elastic

    def test_settings_of_volumes_are_known(self) -> None:
        assert AugmentationSettings(rotation_degrees=20, gamma=(0.5, 2)).of_volumes == ()
        assert AugmentationSettings(tilt_degrees=5, blur_sigma_px=(0, 1)).of_volumes == (
            "tilt_degrees",
            "blur_sigma_px",
        )

    @pytest.mark.parametrize(
        "fields",
        [
            {"tilt_degrees": 5},
            {"slice_flip_probability": 0.1},
            {"intensity_factor": (0.5, 2)},
            {"blur_sigma_px": (0, 1)},
            {"low_resolution": (1, 2)},
            {"gamma": (0.5, 2), "gamma_probability": 0, "inverted_gamma_probability": 0.1},
        ],
    )
    def test_what_changes_patches_is_not_neutral(self, fields: dict[str, Any]) -> None:
        assert not AugmentationSettings(**fields).is_neutral

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"blur_sigma_px": (2, 1)}, "two numbers of pixels"),
            ({"low_resolution": (0.5, 1)}, "1 or more"),
            ({"intensity_factor": (0, 1)}, "two positive numbers"),
            ({"across_slices": "perhaps"}, "'auto', 'always' or 'never'"),
        ],
    )
    def test_what_cannot_be_is_refused(self, fields: dict[str, Any], message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            AugmentationSettings(**fields)


class TestDraws:
    def test_one_patch_is_always_the_same_and_others_differ(self) -> None:
        settings = BENT.model_copy(update={"noise_std": 0.1, "gamma": (0.7, 1.5)})
        first, again = ([drawn(settings, number) for number in range(40)] for _ in range(2))
        for one, two in zip(first, again, strict=True):
            np.testing.assert_array_equal(one.matrix, two.matrix)
            np.testing.assert_array_equal(one.elastic, two.elastic)
            np.testing.assert_array_equal(one.noise, two.noise)
            assert one.gamma == two.gamma
        assert len({draw.matrix.tobytes() for draw in first}) == 40

    def test_nnunet_is_drawn_as_often_and_as_far_as_it_says(self) -> None:
        count = 4000
        small = PRESETS["nnunet"]
        draws = [draw_patch(small, (0, 3, number), (0, 0, 0), (3, 3, 3)) for number in range(count)]
        linear = np.stack([draw.matrix[:, :3] for draw in draws])
        zoom = 1 / np.cbrt(np.abs(np.linalg.det(linear)))
        turn = np.stack([np.sign(np.diag(one))[:, None] * one for one in linear]) * zoom[:, None, None]
        is_turned = np.abs(turn - np.eye(3)).max(axis=(1, 2)) > 1e-9
        is_zoomed = np.abs(zoom - 1) > 1e-9
        shares = {
            "turned": (is_turned, 0.2),
            "zoomed": (is_zoomed, 0.2),
            "blurred": ([draw.blur[0] > 0 for draw in draws], 0.1),
            "coarsened": ([draw.coarsening[0] > 1 for draw in draws], 0.125),
            "gamma": ([draw.gamma != 1 for draw in draws], 0.3),
            "inverted": ([draw.inverted_gamma != 1 for draw in draws], 0.1),
            "contrast": ([draw.contrast != 1 for draw in draws], 0.15),
            "factor": ([draw.factor != 1 for draw in draws], 0.15),
            "noisy": ([draw.noise is not None for draw in draws], 0.1),
            **{f"flip {axis}": (linear[:, axis, axis] < 0, 0.5) for axis in range(3)},
        }
        for name, (found, expected) in shares.items():
            assert abs(np.mean(found) - expected) < 4.5 * np.sqrt(expected * (1 - expected) / count), name
        assert 0.7 <= zoom.min() < 0.72 and 1.38 < zoom.max() <= 1.4
        # inverse of (in the plane) (about the rows) (about the columns): angles by its entries
        inverse = turn[is_turned].transpose(0, 2, 1)
        about_rows = np.degrees(np.arcsin(inverse[:, 0, 2]))
        assert np.abs(about_rows).max() <= 30 and np.abs(about_rows).max() > 29
        together = np.corrcoef([is_turned, is_zoomed, *(linear[:, axis, axis] < 0 for axis in range(3))])
        assert np.abs(together - np.eye(5)).max() < 0.08

    @pytest.mark.parametrize("distance", [1.0, 2.0])
    def test_patches_turn_rigidly_in_the_patients_space(self, distance: float) -> None:
        settings = AugmentationSettings(rotation_degrees=90, tilt_degrees=60)
        for number in range(10):
            linear = drawn(settings, number, slice_distance_px=distance).matrix[:, :3]
            to_pixels = np.diag([distance, 1, 1])
            turn = to_pixels @ linear @ np.linalg.inv(to_pixels)
            np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
            assert np.linalg.det(turn) == pytest.approx(1)
            assert abs(turn[0, 1]) > 1e-3 and abs(turn[0, 2]) > 1e-3

    @pytest.mark.parametrize(("across", "distance"), [("auto", 3.5), ("never", 1.0)])
    def test_thick_slices_stay_what_they_are(self, across: str, distance: float) -> None:
        settings = BENT.model_copy(
            update={"across_slices": across, "blur_sigma_px": (1.0, 1.0), "low_resolution": (2.0, 2.0)}
        )
        volume = np.broadcast_to(np.arange(24, dtype=np.float32)[:, None, None, None], (*SHAPE, 1))
        for number in range(6):
            draw = drawn(settings, number, slice_distance_px=distance)
            assert draw.is_planar and draw.blur == (0, 1, 1) and draw.coarsening == (1, 2, 2)
            patch, _, _ = cut(volume, labels_of(), draw, settings)
            flat = patch[..., 0].reshape(SIZE[0], -1)
            assert (flat == flat[:, :1]).all()
            assert sorted(flat[:, 0].tolist()) == list(range(6, 16))

    def test_another_transform_leaves_the_others_as_they_were(self) -> None:
        more = drawn(BENT.model_copy(update={"noise_std": 0.3, "gamma": (0.5, 2.0), "contrast": (0.5, 2.0)}))
        fewer = drawn(MOVING.model_copy(update={"contrast": (0.5, 2.0)}))
        np.testing.assert_array_equal(more.matrix, fewer.matrix)
        assert more.contrast == fewer.contrast != 1 and more.gamma != fewer.gamma == 1

    def test_a_deformation_is_as_strong_as_asked_for_in_the_patients_space(self) -> None:
        settings = AugmentationSettings(elastic_alpha_px=2, elastic_sigma_px=4)
        fields = []
        for number in range(150):
            draw = drawn(settings, number, slice_distance_px=2.0)
            fields.append(np.stack(source_places(draw)) - np.stack(source_places(VolumeDraw(draw.matrix, SIZE))))
        found = np.stack(fields).std(axis=(0, 2, 3, 4))
        np.testing.assert_allclose(found, [1, 2, 2], rtol=0.1)  # voxels: slices are two pixels apart


class TestGeometry:
    def test_neutral_settings_change_no_bit(self) -> None:
        volume, labels = smooth_volume(channels=2), labels_of()
        neutral = AugmentationSettings()
        draw = drawn(neutral)
        patch, classes, known = cut(volume, labels, draw, neutral)
        box = tuple(slice(first, first + count) for first, count in zip(CORNER, SIZE, strict=True))
        np.testing.assert_array_equal(patch, volume[box])
        np.testing.assert_array_equal(classes, labels[box])
        np.testing.assert_array_equal(adjust_patch(patch, known, draw), patch)
        assert known.all()

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_flips_mirror_the_patch(self, axis: int) -> None:
        name = ("slice", "vertical", "horizontal")[axis]
        settings = AugmentationSettings(**{f"{name}_flip_probability": 1})
        volume, labels = smooth_volume(), labels_of()
        for corner in (CORNER, (0, 0, 0), (14, 16, 15)):
            plain, mirrored = (cut(volume, labels, drawn(one, corner=corner), one) for one in (MOVING_NOT, settings))
            for one, other in zip(plain, mirrored, strict=True):
                np.testing.assert_array_equal(other, np.flip(one, axis))

    @pytest.mark.parametrize("axes", [(1, 2), (0, 2), (0, 1)])
    def test_a_quarter_turn_is_rot90(self, axes: tuple[int, int]) -> None:
        """By the way of copies, and by resampling: a deformation by nothing takes that."""
        volume, labels = smooth_volume(channels=2), labels_of()
        linear = np.eye(3)
        linear[np.ix_(axes, axes)] = [[0, 1], [-1, 0]]  # its inverse, counter-clockwise from the first to the second
        size: Size = (9, 9, 9)
        draw = turned(linear, CORNER, size)
        box = tuple(slice(first, first + 9) for first in CORNER)
        patch, classes, known = cut(volume, labels, draw)
        np.testing.assert_allclose(patch, np.rot90(volume[box], axes=axes), atol=1e-5)
        np.testing.assert_array_equal(classes, np.rot90(labels[box], axes=axes))
        assert known.all()

    @pytest.mark.parametrize("settings", [MOVING, BENT], ids=["affine", "deformed"])
    @pytest.mark.parametrize("across", ["always", "never"])
    @pytest.mark.parametrize("channels", [1, 2, 5])
    def test_resampling_agrees_with_scipy(self, settings: AugmentationSettings, across: str, channels: int) -> None:
        settings = settings.model_copy(update={"across_slices": across})
        volume, labels = smooth_volume(channels=channels), labels_of()
        for number in range(4):
            draw = drawn(settings, number, corner=(12, 4, 17), slice_distance_px=1.5)  # reaches beyond the volume
            patch, classes, known = cut(volume, labels, draw, settings)
            places = exact_places(draw)
            for channel in range(channels):
                expected = ndimage.map_coordinates(volume[..., channel], places, order=1, mode="nearest")
                np.testing.assert_allclose(patch[..., channel], expected, atol=2e-4)
            nearest = np.floor(places + 0.5).astype(int)
            limits = np.array(SHAPE)[:, None, None, None]
            inside = ((nearest >= 0) & (nearest < limits)).all(axis=0)
            clear = (np.abs(places % 1 - 0.5) > 1e-4).all(axis=0)  # no tie between two voxels
            assert inside.any() and not inside.all()
            np.testing.assert_array_equal(known[clear], inside[clear])
            taken = labels[tuple(np.clip(nearest, 0, limits - 1))]
            np.testing.assert_array_equal(classes[clear], taken[clear])

    def test_a_cubic_spline_agrees_with_that_of_the_whole_volume(self) -> None:
        settings = BENT.model_copy(update={"interpolation": "cubic"})
        volume = smooth_volume((40, 40, 40))
        for across in ("always", "never"):
            draw = drawn(settings.model_copy(update={"across_slices": across}), corner=(14, 12, 13))
            patch, _, _ = cut(volume, labels_of((40, 40, 40)), draw, settings)
            places = exact_places(draw)
            if across == "always":
                expected = ndimage.map_coordinates(volume[..., 0], places, order=3, mode="nearest")
            else:
                slices = places[0, :, 0, 0].astype(int)
                expected = np.stack(
                    [
                        ndimage.map_coordinates(volume[one, ..., 0], places[1:, at], order=3, mode="nearest")
                        for at, one in enumerate(slices)
                    ]
                )
            np.testing.assert_allclose(patch[..., 0], expected, atol=2e-3)

    @pytest.mark.parametrize("zoom", [0.8, 1.5])
    def test_zoom_changes_a_balls_volume_by_its_cube(self, zoom: float) -> None:
        distance = np.sqrt(sum(np.square(axis) for axis in np.ogrid[-30:30, -30:30, -30:30]))
        ball = (distance < 12).astype(np.uint8)
        settings = AugmentationSettings(zoom=(zoom, zoom), rotation_degrees=40, tilt_degrees=40)
        for number in range(3):
            draw = draw_patch(settings, (0, 0, number), (10, 10, 10), (41, 41, 41))
            patch, classes, _ = cut(ball[..., None], ball, draw, settings)
            assert classes.sum() == pytest.approx(zoom**3 * ball.sum(), rel=0.03)
            assert patch.sum() == pytest.approx(zoom**3 * ball.sum(), rel=0.03)

    def test_a_turned_patch_shows_what_lies_beside_its_box_and_reads_no_more(self) -> None:
        volume = smooth_volume((60, 70, 80))
        read: list[int] = []

        def counted(part: np.ndarray) -> np.ndarray:
            read.append(part.size)
            return part.astype(np.float32)

        settings = AugmentationSettings(rotation_degrees=180, tilt_degrees=180)
        for number in range(5):
            draw = drawn(settings, number, corner=(25, 28, 33))
            patch, _, known = cut_patch(volume, labels_of((60, 70, 80)), draw, settings, counted)
            assert known.all() and patch.all()
            diagonal = np.linalg.norm(SIZE)
            assert 0 < read.pop() < (diagonal + 3) ** 3 < volume.size / 10

    def test_image_and_labels_move_together_and_no_label_is_invented(self) -> None:
        labels = np.zeros(SHAPE, np.uint8)
        labels[8:17, 9:22, 8:20] = 1
        for number in range(10):
            draw = drawn(BENT, number)
            patch, classes, known = cut(labels[..., None], labels, draw, BENT)
            apart = np.abs(patch[..., 0] - classes)[known]
            assert set(np.unique(classes)) <= {0, 1}
            assert apart.max() <= 0.876  # a corner: the nearest voxel weighs at least an eighth
            assert np.mean(apart < 0.01) > 0.75

    def test_nothing_is_changed_in_place(self) -> None:
        volume, labels = smooth_volume(channels=2), labels_of()
        volume.flags.writeable = labels.flags.writeable = False
        settings = BENT.model_copy(update={"noise_std": 0.2, "contrast": (0.5, 2.0)})
        draw = drawn(settings, channels=2)
        patch, _, known = cut(volume, labels, draw, settings)
        patch.flags.writeable = False
        changed = adjust_patch(patch, known, draw)
        assert changed.shape == (*SIZE, 2) and changed.dtype == np.float32 and np.isfinite(changed).all()

    def test_a_volume_smaller_than_the_patch(self) -> None:
        volume, labels = smooth_volume((3, 30, 5)), np.ones((3, 30, 5), np.uint8)
        for settings in (MOVING_NOT, MOVING, MOVING.model_copy(update={"across_slices": "never"})):
            draw = drawn(settings, corner=(-3, 8, -4))
            patch, classes, known = cut(volume, labels, draw, settings)
            assert patch.shape == (*SIZE, 1) and (classes == 1).all()
            assert 0 < known.sum() < known.size and not adjust_patch(patch, known, draw)[~known].any()


class TestIntensities:
    @staticmethod
    def changed(patch: np.ndarray, known: np.ndarray | None = None, **fields: Any) -> tuple[np.ndarray, VolumeDraw]:
        settings = AugmentationSettings(**fields)
        size: Size = patch.shape[:3]
        draw = draw_patch(settings, (0, 0, 5), (0, 0, 0), size, channels=patch.shape[3])
        return adjust_patch(patch, np.ones(size, bool) if known is None else known, draw), draw

    def test_gamma_bends_the_dark_end_and_inverted_gamma_the_bright_one(self) -> None:
        patch = np.linspace(-1, 3, 27, dtype=np.float32).reshape(3, 3, 3, 1)
        part = np.arange(27) / 26
        plain, _ = self.changed(patch, gamma=(2, 2))
        np.testing.assert_allclose(plain.ravel(), -1 + 4 * part**2, atol=1e-5)
        inverted, _ = self.changed(patch, gamma=(2, 2), gamma_probability=0, inverted_gamma_probability=1)
        np.testing.assert_allclose(inverted.ravel(), 3 - 4 * (1 - part) ** 2, atol=1e-5)

    def test_factor_contrast_and_brightness(self) -> None:
        patch = smooth_volume((6, 7, 8), 2) + np.array([3, -1], np.float32)
        np.testing.assert_allclose(self.changed(patch, intensity_factor=(2, 2))[0], 2 * patch, rtol=1e-6)
        brighter, draw = self.changed(patch, brightness=0.5)
        assert 0 < abs(draw.brightness) <= 0.5
        np.testing.assert_allclose(brighter, patch + draw.brightness, atol=1e-6)
        stretched, _ = self.changed(patch, contrast=(2, 2))
        mean = patch.mean(axis=(0, 1, 2))
        np.testing.assert_allclose(stretched, mean + 2 * (patch - mean), atol=1e-4)

    def test_noise_is_gaussian_with_the_drawn_strength(self) -> None:
        noise, draw = self.changed(np.zeros((30, 30, 30, 2), np.float32), noise_std=0.3)
        assert draw.noise is not None and 0 < noise.std() <= 0.3 * 1.01
        assert abs(np.mean(np.abs(noise) < noise.std()) - 0.6827) < 0.01
        np.testing.assert_array_equal(noise, draw.noise)

    def test_what_lies_outside_takes_no_part(self) -> None:
        patch, known = np.full((4, 6, 6, 1), 10, np.float32), np.zeros((4, 6, 6), bool)
        known[:2] = True
        patch[~known] = 1000
        changed, _ = self.changed(patch, known, contrast=(3, 3), gamma=(2, 2), brightness=0.5, noise_std=0.1)
        assert not changed[~known].any()
        assert np.abs(changed[known] - 10).max() < 1.2

    def test_nothing_inside_is_no_error(self) -> None:
        changed, _ = self.changed(np.ones((2, 3, 3, 1), np.float32), np.zeros((2, 3, 3), bool), gamma=(2, 2))
        assert not changed.any()


class TestFilters:
    @pytest.mark.parametrize("sigmas", [(0.5, 0.5, 0.5), (0, 1.0, 1.0), (2.0, 0.7, 0)])
    def test_blur_agrees_with_scipy(self, sigmas: tuple[float, float, float]) -> None:
        patch = np.random.default_rng(0).normal(size=(7, 12, 9, 2)).astype(np.float32)
        expected = ndimage.gaussian_filter(patch.astype(float), (*sigmas, 0), mode="nearest")
        np.testing.assert_allclose(filtered(patch, sigmas, (1, 1, 1)), expected, atol=1e-5)

    def test_coarsening_by_two_keeps_every_other_voxel_and_lies_between_their_places(self) -> None:
        line = np.array([0, 1, 4, 9, 16, 25], np.float32).reshape(1, 1, 6, 1)
        found = filtered(line, (0, 0, 0), (1, 1, 2)).ravel()
        kept = np.array([1, 9, 25])  # the later one of each pair, now at places 0.5, 2.5 and 4.5
        np.testing.assert_allclose(found, np.interp(np.arange(6), [0.5, 2.5, 4.5], kept), atol=1e-5)

    @pytest.mark.parametrize("factor", [1.0, 1.3, 2.0, 50.0])
    def test_what_is_constant_stays_so(self, factor: float) -> None:
        patch = np.full((5, 8, 9, 3), 7, np.float32)
        np.testing.assert_allclose(filtered(patch, (1, 1, 1), (factor,) * 3), patch, rtol=1e-5)

    def test_axes_are_coarsened_apart(self) -> None:
        patch = np.random.default_rng(0).normal(size=(6, 8, 8, 1)).astype(np.float32)
        found = filtered(patch, (0, 0, 0), (1, 2, 2))
        for number in range(6):
            np.testing.assert_allclose(filtered(patch[[number]], (0, 0, 0), (1, 2, 2))[0], found[number], atol=1e-6)


MOVING_NOT = AugmentationSettings()
